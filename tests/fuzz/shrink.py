"""Makes a failing input smaller: delta debugging over bytes (Zeller and Hildebrandt, 2002)."""

from __future__ import annotations

import time
from collections.abc import Callable


def shrink(data: bytes, fails: Callable[[bytes], bool], limit_s: float = 20.0) -> bytes:
    """Return a smaller input that still fails; at most `limit_s` seconds are spent on it."""
    until = time.monotonic() + limit_s
    size = len(data) // 2
    while size:
        at, removed = 0, False
        while at < len(data):
            if time.monotonic() > until:
                return data
            candidate = data[:at] + data[at + size :]
            if candidate and fails(candidate):
                data, removed = candidate, True
            else:
                at += size
        if not removed or size > len(data):
            size //= 2
    return data
