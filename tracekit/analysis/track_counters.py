"""Numbers over time: how busy a device is, FLOP/s, and how long sequences are."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable
from tracekit.analysis.sequence_lengths import own_tokens
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import numbered
from tracekit.trace import NULL, FloatArray, IntArray
from tracekit.track_results import CounterTrack

_MOST_BINS: Final = 1000
_SHORTEST_BIN_NS: Final = 50_000
_ROUND: Final = (1, 2, 5)
_NS: Final = 1_000_000_000
BUSY: Final = "GPU busy"
RATE: Final = "achieved rate"
LENGTH: Final = "sequence length"


def counters(table: KernelTable, rows: IntArray, calls: CallTable) -> tuple[CounterTrack, ...]:
    """Return the counters of one device, whose rows of the table are given in start order.

    Busy time and FLOPs are averages over bins of equal length (`bin_length_ns`), exact to the ns:
    an operation's FLOPs are spread evenly over the time of its kernels.
    """
    start, end = table.start_ns[rows], table.start_ns[rows] + table.dur_ns[rows]
    edges = _edges(int(start.min()), int(end.max()))
    width_ns = int(edges[1] - edges[0])
    busy_start, busy_end = _union(start, end)
    busy_ns = _spread(busy_start, busy_end, (busy_end - busy_start).astype(np.float64), edges)
    found = [_series(BUSY, "%", edges, np.minimum(100.0, 100 * busy_ns / width_ns))]
    flops = _flops_of_rows(table)[rows]
    if flops.any():
        per_bin = _spread(start, end, flops, edges)
        found.append(_series(RATE, "FLOP/s", edges, per_bin * (_NS / width_ns)))
    return (*found, *_lengths(table, rows, calls))


def bin_length_ns(span_ns: int) -> int:
    """Return the length of a bin: 1, 2 or 5 times a power of ten, 1,000 of them at most."""
    least, size = max(_SHORTEST_BIN_NS, -(-span_ns // _MOST_BINS)), 1
    while True:
        for factor in _ROUND:
            if factor * size >= least:
                return factor * size
        size *= 10


def _edges(first_ns: int, last_ns: int) -> IntArray:
    width = bin_length_ns(last_ns - first_ns)
    bins = max(1, -(-(last_ns - first_ns) // width))
    return first_ns + width * np.arange(bins + 1, dtype=np.int64)


def _union(start_ns: IntArray, end_ns: IntArray) -> tuple[IntArray, IntArray]:
    """Return the intervals that are covered, which do not touch."""
    reach = np.maximum.accumulate(end_ns)
    begins = np.append(True, start_ns[1:] > reach[:-1])
    ends = np.append(begins[1:], True)
    return start_ns[begins], reach[ends]


def _spread(
    start_ns: IntArray, end_ns: IntArray, amount: FloatArray, edges: IntArray
) -> FloatArray:
    """Return what falls into each bin of amounts that are spread evenly over their intervals."""
    width = int(edges[1] - edges[0])
    last_bin = len(edges) - 2
    low = np.minimum((start_ns - edges[0]) // width, last_bin)
    high = np.clip((end_ns - 1 - edges[0]) // width, low, last_bin)
    count = high - low + 1
    of = np.repeat(np.arange(len(start_ns)), count)
    place = low[of] + np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)
    inside = np.minimum(end_ns[of], edges[place + 1]) - np.maximum(start_ns[of], edges[place])
    length = (end_ns - start_ns)[of]
    share = np.where(length > 0, inside / np.maximum(length, 1), 1.0)
    per_bin = np.bincount(place, amount[of] * share, minlength=last_bin + 1)
    return per_bin.astype(np.float64)


def _flops_of_rows(table: KernelTable) -> FloatArray:
    """Return the FLOPs of each row: those of its operation by its part of the time."""
    work = table.operations
    known = np.flatnonzero(work.flops != NULL)
    own = np.zeros(len(table), np.float64)
    own[known] = work.flops[known]
    members = np.flatnonzero(work.op >= 0)
    if not len(members):
        return own
    count, group = numbered(work.op[members], int(work.op.max()) + 1)
    dur = table.dur_ns[members].astype(np.float64)
    flops = np.bincount(group, own[members], minlength=count)
    time_ns = np.bincount(group, dur, minlength=count)
    spread = flops[group] * dur / np.maximum(time_ns[group], 1)
    own[members] = np.where(time_ns[group] > 0, spread, own[members])
    return own


def _lengths(table: KernelTable, rows: IntArray, calls: CallTable) -> list[CounterTrack]:
    """Return how many tokens look at themselves, call by call, along each axis."""
    chosen, tokens = own_tokens(table, calls)
    here = np.isin(calls.main[chosen], rows)
    chosen, tokens = chosen[here], tokens[here]
    axis = table.axis[calls.main[chosen]]
    found = []
    for one in np.unique(axis).tolist():
        of_axis = axis == one
        along = "sequence" if one < 0 else table.axes[one]
        name = LENGTH if along == "sequence" else f"{along} {LENGTH}"
        start_ns, last = calls.start_ns[chosen[of_axis]], chosen[of_axis][-1]
        end_ns = int(calls.start_ns[last] + calls.time_ns[last])
        found.append(
            _changes(
                name,
                "tokens",
                np.append(start_ns, end_ns),
                np.append(tokens[of_axis].astype(np.float64), 0.0),
            )
        )
    return found


def _series(name: str, unit: str, edges: IntArray, value: FloatArray) -> CounterTrack:
    return _changes(name, unit, edges, np.append(value, 0.0))


def _changes(name: str, unit: str, time_ns: IntArray, value: FloatArray) -> CounterTrack:
    """Return a counter without the values that repeat the one before."""
    kept = np.flatnonzero(np.append(True, np.diff(value) != 0))
    return CounterTrack(name, unit, time_ns[kept], value[kept])
