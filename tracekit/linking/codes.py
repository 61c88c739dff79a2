"""Gives combinations of small integers numbers of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tracekit.trace import IntArray

_TABLE_PER_ROW = 4
_SMALL_TABLE = 1 << 20


def numbered(values: IntArray, size: int) -> tuple[int, IntArray]:
    """Return how many distinct values there are, and each value's rank among them.

    Values are in `range(size)`; a table replaces sorting where that range is small.
    """
    if size <= max(_SMALL_TABLE, _TABLE_PER_ROW * len(values)):
        present = np.zeros(size, np.bool_)
        present[values] = True
        rank = np.cumsum(present, dtype=np.int64) - 1
        return int(rank[-1]) + 1 if size else 0, rank[values]
    distinct, code = np.unique(values, return_inverse=True)
    return len(distinct), code


def sorted_distinct(values: IntArray) -> IntArray:
    """Return the distinct values in order, by sorting: numpy's own hashes long arrays slowly."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def distinct_rows(columns: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Return the first row of each distinct combination, and the combination of each row."""
    count = len(columns[0])
    combined = np.zeros(count, np.int64)
    combinations = 1
    for column in columns:
        low, high = (int(column.min()), int(column.max())) if count else (0, 0)
        values, code = numbered(column - low, high - low + 1)
        combinations, combined = numbered(combined * values + code, combinations * values)
    first = np.full(combinations if count else 0, count, np.int64)
    np.minimum.at(first, combined, np.arange(count))
    return first, combined
