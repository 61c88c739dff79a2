"""Attention by call, axis, kind and length."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.attention_inside import attention_inside
from tracekit.analysis.breakdown import sums_by_code
from tracekit.analysis.call_table import CallTable, is_attention
from tracekit.analysis.sequence_lengths import length_profiles, length_ratio, sequence_lengths
from tracekit.analysis.stage_likeness import stage_likeness
from tracekit.attention_results import AttentionCall
from tracekit.classifying.call_columns import BACKENDS, DTYPES
from tracekit.classifying.table import KernelTable
from tracekit.results import AttentionResult, AttentionShare
from tracekit.roofline_results import Roofline
from tracekit.trace import NULL, AnyArray, IntArray
from tracekit.units import share_of

LISTED_CALLS = 1000
"""How many calls a result holds unless all are asked for."""

_DTYPES = tuple(DTYPES)
_SIZES = (
    "batch",
    "heads",
    "key_heads",
    "sequences",
    "query_length",
    "key_length",
    "head_size",
    "value_size",
)


def attention_times(
    table: KernelTable,
    calls: CallTable,
    limit: int | None = LISTED_CALLS,
    roofline: Roofline | None = None,
) -> AttentionResult:
    """Return attention by call, axis, kind and length; what nothing tells is null.

    `calls` are those of the table. `limit` is how many are listed, those that take most time, null
    for all; everything else counts all of them. `roofline` tells the intensities of stages, where
    it is known.
    """
    rows = np.flatnonzero(is_attention(table))
    return AttentionResult(
        calls=_listed(table, calls, limit),
        calls_total=len(calls),
        calls_listed=len(calls) if limit is None else min(limit, len(calls)),
        by_axis=_shares(table, rows, calls, table.axis, table.axes),
        by_kind=_shares(table, rows, calls, table.kind, table.kinds),
        sequence_lengths=sequence_lengths(table, calls),
        length_ratio=length_ratio(table, calls),
        profile=length_profiles(table, calls),
        inside=attention_inside(table, calls),
        likeness=stage_likeness(table, calls, roofline),
    )


def _shares(
    table: KernelTable,
    rows: IntArray,
    calls: CallTable,
    column: IntArray,
    names: tuple[str, ...],
) -> tuple[AttentionShare, ...]:
    """Return time and calls by a column of the kernel table, that of most time first."""
    total_ns, size = int(table.dur_ns[rows].sum()), len(names) + 1
    kernels, time_ns = sums_by_code(column[rows] + 1, table.dur_ns[rows], size)
    of_calls, flops = column[calls.main] + 1, calls.costs.flops
    count = np.bincount(of_calls[~calls.is_backward], minlength=size)
    used = np.bincount(of_calls, minlength=size)
    known = flops != NULL
    unknown = np.bincount(of_calls[~known], minlength=size)
    shares = [
        AttentionShare(
            key=names[code - 1] if code else None,
            kernels=int(kernels[code]),
            time_ns=int(time_ns[code]),
            time_share=share_of(int(time_ns[code]), total_ns),
            calls=int(count[code]) if used[code] else None,
            flops=_sum(flops[known & (of_calls == code)]),
            calls_without_flops=int(unknown[code]),
        )
        for code in np.flatnonzero(kernels).tolist()
    ]
    return tuple(sorted(shares, key=lambda share: -share.time_ns))


def _listed(table: KernelTable, calls: CallTable, limit: int | None) -> tuple[AttentionCall, ...]:
    """Return the calls that take most time, in the order of their start."""
    largest = np.sort(np.argsort(-calls.time_ns, kind="stable")[:limit])
    return tuple(_call(table, calls, at) for at in largest.tolist())


def _call(table: KernelTable, calls: CallTable, at: int) -> AttentionCall:
    main, call, costs = int(calls.main[at]), int(calls.call[at]), calls.costs
    causal = int(table.causal[main])
    return AttentionCall(
        start_ns=int(calls.start_ns[at]),
        stage=table.stage_at(main),
        step=_number(table.stages.step, main),
        module=_text(table.module_paths, table.module[main]),
        kind=_text(table.kinds, table.kind[main]),
        axis=_text(table.axes, table.axis[main]),
        phase="backward" if calls.is_backward[at] else "forward",
        causal=None if causal < 0 else bool(causal),
        dtype=_text(_DTYPES, calls.calls.dtype[call]),
        backend=_text(BACKENDS, calls.backend[at]),
        kernels=int(calls.kernels[at]),
        time_ns=int(calls.time_ns[at]),
        flops=_number(costs.flops, at),
        flops_causal=_number(costs.flops_causal, at),
        bytes=_number(costs.bytes, at),
        **{name: _number(getattr(calls.calls, name), call) for name in _SIZES},
    )


def _sum(values: IntArray) -> int | None:
    """Return the sum in Python's integers, which do not overflow."""
    return sum(values.tolist()) if len(values) else None


def _number(column: AnyArray, row: int) -> int | None:
    value = int(column[row])
    return None if value == NULL else value


def _text(names: tuple[str, ...], code: int) -> str | None:
    return None if code < 0 else names[code]
