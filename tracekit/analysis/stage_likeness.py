"""Whether a stage works like the prefill of a language model or like its decoding.

Golden et al. (arXiv 2312.14385) find diffusion to resemble prefill, which attends from all tokens
at once and is bound by arithmetic, and autoregressive image models to resemble decoding, which
attends from one new token to all before it and is bound by memory. So both are asked: how many
queries a call of self-attention has, and how many FLOPs a byte the stage does, beside what balances
the device's arithmetic with its memory (the ridge point of Williams, Waterman and Patterson, CACM
52(4), 2009).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable
from tracekit.attention_results import StageLikeness
from tracekit.classifying.table import KernelTable
from tracekit.costing.operations import DTYPES
from tracekit.linking.codes import distinct_rows
from tracekit.roofline_results import Roofline
from tracekit.trace import NULL, IntArray
from tracekit.units import format_count, format_intensity

PREFILL: Final = "prefill"
DECODE: Final = "decode"
_OWN: Final = ("self", "joint")
_TEMPORAL: Final = "temporal"
_FEW: Final = 16
"""Rows that a product of tensor cores takes at once (PTX ISA, mma.m16n8k16)."""
_LONGER: Final = 4
"""Decoding of several tokens at once has at least this many keys a query."""
_BELOW_RIDGE: Final = 0.1
"""Many queries below this share of the ridge point are not what bounds the stage."""


def stage_likeness(
    table: KernelTable, calls: CallTable, roofline: Roofline | None
) -> tuple[StageLikeness, ...]:
    """Return what each stage that attends is like, in the order of their first calls.

    Where lengths and intensity disagree, `like` is null. An intensity or a peak that is not known
    does not count. Stages without self-attention of known lengths are left out.
    """
    groups = list(_stages(table, calls))
    types = _types(table) if groups and roofline is not None else {}
    return tuple(_likeness(table, calls, rows, roofline, types) for rows in groups)


def _stages(table: KernelTable, calls: CallTable) -> Iterator[IntArray]:
    """Yield the forward calls of self-attention of each stage; along time if there are no others.

    Frames are few, and all of them are looked at from each at once.
    """
    own = [table.kinds.index(kind) for kind in _OWN if kind in table.kinds]
    lengths = (calls.calls.query_length[calls.call], calls.calls.key_length[calls.call])
    known = (lengths[0] > 0) & (lengths[1] > 0)
    rows = np.flatnonzero(known & ~calls.is_backward & np.isin(table.kind[calls.main], own))
    first, group = distinct_rows((table.stages.stage[calls.main[rows]],))
    temporal = table.axes.index(_TEMPORAL) if _TEMPORAL in table.axes else -2
    for at in np.argsort(first).tolist():
        ours = rows[group == at]
        others = ours[table.axis[calls.main[ours]] != temporal]
        yield others if len(others) else ours


def _likeness(
    table: KernelTable,
    calls: CallTable,
    rows: IntArray,
    roofline: Roofline | None,
    types: dict[int, str],
) -> StageLikeness:
    stage = table.stage_at(int(calls.main[rows[0]]))
    median = _median(calls, rows)
    queries, keys = (
        int(column[calls.call[median]])
        for column in (calls.calls.query_length, calls.calls.key_length)
    )
    intensity = _intensity(roofline, stage)
    ridge = _ridge(roofline, types.get(int(table.stages.stage[calls.main[rows[0]]])))
    share = None if intensity is None or not ridge else intensity / ridge
    return StageLikeness(
        stage=stage,
        like=_like(queries, keys, share),
        query_length=queries,
        key_length=keys,
        intensity=intensity,
        ridge=ridge,
        evidence=_evidence(queries, keys, intensity, ridge),
    )


def _median(calls: CallTable, rows: IntArray) -> int:
    """Return the call in the middle of the time that calls take, by their lengths."""
    call = calls.call[rows]
    order = rows[np.lexsort((calls.calls.key_length[call], calls.calls.query_length[call]))]
    spent = np.cumsum(calls.time_ns[order])
    return int(order[np.searchsorted(spent, spent[-1] / 2)])


def _like(queries: int, keys: int, share: float | None) -> str | None:
    """Return what lengths say, null where the share of the ridge point says otherwise."""
    if queries == 1 or (queries <= _FEW and keys >= _LONGER * queries):
        return DECODE if share is None or share < 1 else None
    return PREFILL if share is None or share >= _BELOW_RIDGE else None


def _evidence(queries: int, keys: int, intensity: float | None, ridge: float | None) -> str:
    words = "query" if queries == 1 else "queries"
    told = f"{format_count(queries)} {words} at once on {format_count(keys)} keys"
    if intensity is None:
        return f"{told}; FLOPs a byte unknown"
    told += f"; {format_intensity(intensity)} FLOPs a byte"
    if ridge is None:
        return told
    return f"{told}, where {format_intensity(ridge)} balance arithmetic and memory"


def _intensity(roofline: Roofline | None, stage: str | None) -> float | None:
    rows = () if roofline is None else roofline.by_stage
    return next((row.intensity for row in rows if row.key == stage), None)


def _ridge(roofline: Roofline | None, dtype: str | None) -> float | None:
    """Return the FLOPs a byte at which the device computes as fast as it reads, for a type."""
    if roofline is None or dtype is None or not roofline.peaks.bytes_per_s:
        return None
    peak = roofline.peaks.flops_per_s.get(dtype)
    return None if peak is None else peak / roofline.peaks.bytes_per_s


def _types(table: KernelTable) -> dict[int, str]:
    """Return the type in which each stage does most of its arithmetic."""
    found = table.operations
    rows = np.flatnonzero((found.flops != NULL) & (found.dtype >= 0))
    first, group = distinct_rows((table.stages.stage[rows], found.dtype[rows].astype(np.int64)))
    flops = np.bincount(group, found.flops[rows].astype(np.float64), minlength=len(first))
    # What comes last of a stage has most.
    order = np.argsort(flops, kind="stable")
    stages = table.stages.stage[rows[first[order]]].tolist()
    return dict(zip(stages, (DTYPES[at] for at in found.dtype[rows[first[order]]]), strict=True))
