"""Reads trace files into columns."""
