"""Exact unions of time intervals, in integer nanoseconds."""

from __future__ import annotations

import numpy as np

from tracekit.trace import IntArray


def union_ns(start_ns: IntArray, end_ns: IntArray) -> int:
    """Return the time in ns that intervals cover; they may overlap and come in any order."""
    if not len(start_ns):
        return 0
    order = np.argsort(start_ns, kind="stable")
    start, reach = start_ns[order], np.maximum.accumulate(end_ns[order])
    return int(reach[-1] - start[0] - _gap_lengths(start, reach).sum())


def gaps_between(start_ns: IntArray, end_ns: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the intervals that nothing covers between the first start and the last end.

    Gives the start and the length of each gap in ns, and the input row that ends it.
    """
    order = np.argsort(start_ns, kind="stable")
    start = start_ns[order]
    reach = np.maximum.accumulate(end_ns[order])
    length = _gap_lengths(start, reach)
    at = np.flatnonzero(length)
    return reach[at], length[at], order[at + 1]


def _gap_lengths(start: IntArray, reach: IntArray) -> IntArray:
    lengths: IntArray = np.maximum(start[1:] - reach[:-1], 0)
    return lengths
