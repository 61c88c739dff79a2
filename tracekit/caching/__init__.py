"""Keeps loaded traces, so that a second analysis of a file need not parse it."""
