"""Connects GPU activities with the host events that issued them."""
