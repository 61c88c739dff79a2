"""How long attention calls that run in parts would take as one fused kernel each.

The speed is that of the trace's own fused calls of like size where it has some. Elsewhere it is
assumed: what the shortest kernel takes, and then the best published share of the device's peak or
its memory's bandwidth. That is a bound: none of the 1,738 fused calls of 16 bits in `corpus/traces`
and `examples/traces` takes less, and half of them take 2.5 times as long
(`python -m benchmarks.fused_bound`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable
from tracekit.analysis.device_peaks import Peaks
from tracekit.classifying.call_columns import BACKENDS, DTYPES
from tracekit.linking.codes import distinct_rows
from tracekit.trace import NULL, BoolArray, FloatArray, IntArray

PEAK_SHARE: Final = 0.75
"""FlashAttention-3 on an H100: 740 TFLOP/s in 16 bits (Shah et al., arXiv 2407.08608, abstract);
FlashAttention-2 reaches 73% of an A100 (Dao, arXiv 2307.08691) and 35% of an H100. The calls of
`corpus/traces` are small: none does more than 56%."""
LEAST_NS: Final = 4_000
"""The shortest of those calls takes 4,320 ns, the shortest backward one 6,048 ns."""

_IN_PARTS: Final = tuple(BACKENDS.index(name) for name in ("math", "written_out"))
FUSED: Final = tuple(BACKENDS.index(name) for name in ("flash", "cudnn", "fused"))
"""Backends of one kernel whose speed is that of flash attention."""
_TYPES: Final = tuple(DTYPES)
_HALVES: Final = tuple(_TYPES.index(name) for name in ("float16", "bfloat16"))
_LARGEST_HEAD: Final = 256
"""Flash attention takes no larger heads, and nothing but 16 bits."""


@dataclass(frozen=True, slots=True)
class FusedCalls:
    """What becomes of a table's activities where calls in parts are one kernel each.

    `dur_ns` holds each activity's time: a call's first one has all of it, and the others, which
    are `merged` into it, have none. `calls` is how many that are, of which `measured` are as fast
    as fused calls of the same trace; `in_parts` counts those that could not be told as well.
    `device` names what the speed of the others was assumed of.
    """

    dur_ns: IntArray
    merged: BoolArray
    calls: int
    measured: int
    in_parts: int
    device: str


def fused_calls(dur_ns: IntArray, calls: CallTable, peaks: Peaks | None) -> FusedCalls | None:
    """Return the calls in parts as fused ones; null where none is known to be faster so.

    `dur_ns` holds the time of each row of the kernel table. No call takes longer than it does.
    Calls of float32 and of larger heads than flash attention takes stay, as do those of unknown
    size, and on an unknown device those without fused calls of like size beside them.
    """
    in_parts = np.isin(calls.backend, _IN_PARTS)
    if not in_parts.any():
        return None
    flops = fused_flops(calls, in_parts)
    can = in_parts & can_be_fused(calls, flops)
    measured_ns = _as_measured(calls, flops)
    has_like = ~np.isnan(measured_ns)
    time_ns = np.where(has_like, measured_ns, as_assumed(calls, flops, peaks))
    chosen = can & (time_ns < calls.time_ns)
    if not chosen.any():
        return None
    rows = np.flatnonzero(calls.of_row >= 0)
    rows = rows[chosen[calls.of_row[rows]]]
    which, first = np.unique(calls.of_row[rows], return_index=True)
    merged = np.zeros(len(dur_ns), np.bool_)
    merged[rows] = True
    merged[rows[first]] = False
    becomes = np.where(merged, 0, dur_ns)
    becomes[rows[first]] = np.rint(time_ns[which]).astype(np.int64)
    return FusedCalls(
        dur_ns=becomes,
        merged=merged,
        calls=int(np.count_nonzero(chosen)),
        measured=int(np.count_nonzero(chosen & has_like)),
        in_parts=int(np.count_nonzero(in_parts)),
        device=(None if peaks is None else peaks.name) or "the device",
    )


def fused_flops(calls: CallTable, in_parts: BoolArray) -> IntArray:
    """Return the FLOPs of each call as a fused one, which computes the scores anew backward."""
    flops = np.where(calls.costs.flops_causal != NULL, calls.costs.flops_causal, calls.costs.flops)
    size, value = calls.calls.head_size[calls.call], calls.calls.value_size[calls.call]
    value = np.where(value == NULL, size, value)
    again = np.maximum(size, 0) / np.maximum(2 * size + 2 * value, 1)
    more = in_parts & calls.is_backward & (flops != NULL)
    return np.where(more, np.rint(flops * (1 + again)), flops).astype(np.int64)


def can_be_fused(calls: CallTable, flops: IntArray) -> BoolArray:
    """Return which calls are of known size, and of a type and a head that flash attention takes."""
    of_call = calls.calls
    head = np.maximum(of_call.head_size, of_call.value_size)[calls.call]
    halves = np.isin(of_call.dtype[calls.call], _HALVES)
    is_known: BoolArray = (flops > 0) & halves & (head > 0) & (head <= _LARGEST_HEAD)
    return is_known & ~of_call.is_linear[calls.call]


def _as_measured(calls: CallTable, flops: IntArray) -> FloatArray:
    """Return the time in ns of each call at the speed of fused ones of like size, NaN without.

    Alike are calls of one type, head size and phase whose FLOPs and query lengths are between the
    same powers of two.
    """
    of_call, row = calls.calls, calls.call
    columns = (
        of_call.dtype[row].astype(np.int64),
        of_call.head_size[row],
        calls.is_backward.astype(np.int64),
        _power(flops),
        _power(of_call.query_length[row]),
    )
    first, group = distinct_rows(columns)
    fused = np.isin(calls.backend, FUSED) & (flops > 0) & ~of_call.is_linear[row]
    done, took_ns = np.zeros(len(first)), np.zeros(len(first))
    np.add.at(done, group[fused], flops[fused])
    np.add.at(took_ns, group[fused], calls.time_ns[fused])
    each = np.full(len(first), np.nan)
    known = done > 0
    each[known] = took_ns[known] / done[known]
    result: FloatArray = each[group] * np.maximum(flops, 0)
    return result


def _power(values: IntArray) -> IntArray:
    exponent: IntArray = np.frexp(np.maximum(values, 0).astype(np.float64))[1].astype(np.int64)
    return exponent


def as_assumed(calls: CallTable, flops: IntArray, peaks: Peaks | None) -> FloatArray:
    """Return the time in ns that each call takes at least on its device, NaN where unknown."""
    rates = np.full(len(_TYPES) + 1, np.nan)
    for kind in _HALVES if peaks is not None else ():
        rates[kind] = peaks.flops.get(_TYPES[kind], np.nan) if peaks is not None else np.nan
    computing = flops / (PEAK_SHARE * rates[calls.calls.dtype[calls.call]])
    bandwidth = np.nan if peaks is None or peaks.bandwidth is None else peaks.bandwidth
    moving = np.maximum(calls.costs.bytes, 0) / bandwidth
    moving = np.where(np.isnan(moving), 0.0, moving)
    least: FloatArray = LEAST_NS + 1e9 * np.maximum(computing, moving)
    return least
