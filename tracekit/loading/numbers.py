"""Turns the text and the loosely typed values of a trace into int64 columns, exactly."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
from msgspec import Raw

from tracekit.trace import NULL, IntArray

_NEWLINE: Final = ord("\n")
_POINT: Final = ord(".")
_MAX_SAFE_DIGITS: Final = 18
_INT64_MAX: Final = int(np.iinfo(np.int64).max)


def ns_of_us_texts(texts: Sequence[Raw]) -> IntArray:
    """Return int64 ns for microseconds written as text; `NULL` where there is no such number.

    Digits are read as digits, so the result is exact whatever the magnitude; more than three
    decimals are rounded to the nearest ns, ties to even. Times beyond int64 become `NULL`.
    """
    joined = b"\n".join(texts) + b"\n"
    characters = np.frombuffer(joined, np.uint8)
    ends = np.flatnonzero(characters == _NEWLINE)
    if _is_plain_thousandths(characters, ends, len(texts)):
        return np.fromstring(joined.replace(b".", b""), dtype=np.int64, sep="\n")
    return np.array([_ns_of_us_text(bytes(text)) for text in texts], dtype=np.int64)


def _is_plain_thousandths(
    characters: np.ndarray[Any, Any], ends: np.ndarray[Any, Any], count: int
) -> bool:
    """Whether every line is digits, a point and three digits, and fits int64 as ns."""
    if len(ends) != count or ends[0] < 5 or not (characters[ends - 4] == _POINT).all():
        return False
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 5 or lengths.max() > _MAX_SAFE_DIGITS:
        return False
    digits = np.count_nonzero((characters - np.uint8(ord("0"))) <= 9)
    return bool(digits == len(characters) - 2 * count)


def _ns_of_us_text(text: bytes) -> int:
    try:
        value_us = Decimal(text.strip(b'" \t\r\n').decode())
        if not value_us.is_finite() or value_us.adjusted() > _MAX_SAFE_DIGITS:
            return NULL
        value_ns = int((value_us * 1000).to_integral_value(ROUND_HALF_EVEN))
    except (InvalidOperation, UnicodeDecodeError):
        return NULL
    return value_ns if abs(value_ns) <= _INT64_MAX else NULL


def int_column(values: list[Any]) -> IntArray:
    """Return an int64 column; integers may come as text, anything else becomes `NULL`."""
    try:
        return np.array(array("q", values), dtype=np.int64)
    except (TypeError, OverflowError):
        return np.array([_as_int(value) for value in values], dtype=np.int64)


def _as_int(value: Any) -> int:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return NULL
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INT64_MAX:
        return value
    return NULL


MAX_START_NS: Final = 2**62
"""Latest (and, negative, earliest) usable start, 146 years: ends stay within int64."""

MAX_DUR_NS: Final = 2**53
"""Longest usable duration, 104 days: what is longer is no measurement."""

MAX_TOTAL_NS: Final = 2**62
"""Most that the durations of one table may add up to, 146 years: sums stay within int64."""
