"""Gives every GPU activity one of the ten operator categories, with its evidence."""
