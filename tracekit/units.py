"""Turns the integers of results into text for people; the only place where units are converted."""

from __future__ import annotations

import re
from typing import Final

MISSING: Final = "–"
"""What a renderer shows for null."""

_SMALLEST: Final = 1000
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kMGT]?)B?", re.IGNORECASE)
_PREFIXES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME_STEPS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"))
_RATE_STEPS: Final = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))
_BYTE_STEPS: Final = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


def format_ns(time_ns: int | None) -> str:
    """Return a time in ns with three significant digits and the unit that suits it."""
    if time_ns is None:
        return MISSING
    return _scaled(time_ns, _TIME_STEPS, "ns")


def format_bytes(size_bytes: int | None) -> str:
    """Return a size in bytes with three significant digits and an SI prefix (1 kB = 1000 B)."""
    if size_bytes is None:
        return MISSING
    return _scaled(size_bytes, _BYTE_STEPS, "B")


def format_rate(per_s: float | None, unit: str) -> str:
    """Return an amount a second with three significant digits and an SI prefix: 989 TFLOP/s."""
    if per_s is None:
        return MISSING
    steps = tuple((size, f"{prefix}{unit}/s") for size, prefix in _RATE_STEPS)
    return _scaled(round(per_s), steps, f"{unit}/s")


def format_intensity(flops_per_byte: float | None) -> str:
    """Return FLOPs a byte with three significant digits, thousands as whole numbers."""
    if flops_per_byte is None:
        return MISSING
    return f"{flops_per_byte:,.0f}" if flops_per_byte >= 99.95 else _three_digits(flops_per_byte)


def format_share(share: float | None) -> str:
    """Return a share between 0 and 1 as a percentage with one decimal."""
    return MISSING if share is None else f"{100 * share:.1f}%"


def format_count(count: int | None) -> str:
    """Return a count with thousands separated by commas."""
    return MISSING if count is None else f"{count:,}"


def parse_size(text: str) -> int | None:
    """Return a size such as 500MB or 2 GB (SI prefixes) in bytes, null for any other text."""
    match = _SIZE.fullmatch(text.strip())
    return None if match is None else int(float(match[1]) * _PREFIXES[match[2].lower()])


def share_of(part: int, whole: int) -> float | None:
    """Return `part / whole`, or null when the whole is 0."""
    return part / whole if whole else None


def _scaled(value: int, steps: tuple[tuple[int, str], ...], unit: str) -> str:
    """Write a value in the largest unit in which it rounds to 1 or more."""
    for size, name in steps:
        if abs(value) >= size or (size > _SMALLEST and abs(value) >= 0.9995 * size):
            return f"{_three_digits(value / size)} {name}"
    return f"{value} {unit}"


def _three_digits(value: float) -> str:
    magnitude = abs(value)
    if magnitude >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if magnitude >= 9.995 else f"{value:.2f}"
