"""What attention consists of along each axis, and temporal attention beside spatial."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable, is_attention
from tracekit.attention_results import AttentionInside, AxisInside, AxisRatio, PartTime
from tracekit.classifying.attention_parts import PARTS, part_of_attention
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.trace import ACTIVITY_KINDS, NULL, BoolArray, IntArray, SmallArray
from tracekit.units import share_of

_TEMPORAL: Final = "temporal"
_SPATIAL: Final = "spatial"
_SELF: Final = "self"


def attention_inside(table: KernelTable, calls: CallTable) -> AttentionInside:
    """Return the time of products, softmax, elementwise work and copies by axis, and ratios.

    FLOPs and calls are those of `calls`, time that of all attention, as in `by_axis`.
    """
    rows = np.flatnonzero(is_attention(table))
    parts = attention_parts(table, rows)
    axes = [_axis(table, rows, parts, calls, code) for code in np.unique(table.axis[rows]).tolist()]
    kinds = (None, _SELF) if _SELF in table.kinds else (None,)
    ratios = (_ratio(table, rows, parts, calls, kind) for kind in kinds)
    return AttentionInside(
        by_axis=tuple(sorted(axes, key=lambda axis: -axis.time_ns)),
        temporal_to_spatial=tuple(ratio for ratio in ratios if ratio is not None),
    )


def attention_parts(table: KernelTable, rows: IntArray) -> SmallArray:
    """Return the part of attention that each row is, positions in `PARTS`."""
    linked = table.linked
    kind = np.zeros(len(table), np.int64)
    if linked.basis != "cpu":
        kind = linked.trace.activities.kind.astype(np.int64)
    columns = linked.name[rows].astype(np.int64), kind[rows]
    first, group = distinct_rows(columns)
    of = [
        PARTS.index(part_of_attention(linked.trace.text(name) or "", ACTIVITY_KINDS[activity]))
        for name, activity in zip(*(column[first].tolist() for column in columns), strict=True)
    ]
    return np.array([*of, 0], np.int8)[group]


def _axis(
    table: KernelTable, rows: IntArray, parts: SmallArray, calls: CallTable, code: int
) -> AxisInside:
    chosen = table.axis[rows] == code
    ours = rows[chosen]
    time_ns = int(table.dur_ns[ours].sum())
    of_axis = table.axis[calls.main] == code
    count = int(np.count_nonzero(of_axis & ~calls.is_backward))
    flops = _flops(calls, of_axis)
    return AxisInside(
        axis=table.axes[code] if code >= 0 else None,
        calls=count if of_axis.any() else None,
        kernels=len(ours),
        time_ns=time_ns,
        time_per_call_ns=_each(time_ns, count),
        flops_per_call=None if flops is None else _each(flops, count),
        parts=tuple(
            PartTime(
                part=name,
                kernels=int(np.count_nonzero(inside)),
                time_ns=(spent := int(table.dur_ns[ours[inside]].sum())),
                time_share=share_of(spent, time_ns),
                time_per_call_ns=_each(spent, count),
            )
            for at, name in enumerate(PARTS)
            if (inside := parts[chosen] == at).any()
        ),
    )


def _ratio(
    table: KernelTable, rows: IntArray, parts: SmallArray, calls: CallTable, kind: str | None
) -> AxisRatio | None:
    """Return temporal attention over spatial attention, null where either is not there."""
    if not {_TEMPORAL, _SPATIAL} <= set(table.axes):
        return None
    sides = []
    for axis in (_TEMPORAL, _SPATIAL):
        code = table.axes.index(axis)
        of_rows = table.axis[rows] == code
        of_calls = table.axis[calls.main] == code
        if kind is not None:
            of_rows &= table.kind[rows] == table.kinds.index(kind)
            of_calls &= table.kind[calls.main] == table.kinds.index(kind)
        durations = table.dur_ns[rows[of_rows]]
        by_part = np.bincount(parts[of_rows], durations, minlength=len(PARTS))
        count = int(np.count_nonzero(of_calls & ~calls.is_backward))
        sides.append((int(durations.sum()), count, _flops(calls, of_calls), by_part))
    (time, count, flops, by_part), (base_time, base_count, base_flops, base_by_part) = sides
    if not time or not base_time:
        return None
    calls_ratio = share_of(count, base_count)
    flops_ratio = None if flops is None or base_flops is None else share_of(flops, base_flops)
    return AxisRatio(
        kind=kind,
        calls=calls_ratio,
        time=time / base_time,
        time_per_call=time / base_time / calls_ratio if calls_ratio else None,
        flops=flops_ratio,
        flops_per_call=flops_ratio / calls_ratio if flops_ratio and calls_ratio else None,
        parts={
            name: float(by_part[at] / base_by_part[at])
            for at, name in enumerate(PARTS)
            if base_by_part[at]
        },
    )


def _flops(calls: CallTable, chosen: BoolArray) -> int | None:
    """Return the FLOPs of calls, null where those of one are not known."""
    flops = calls.costs.flops[chosen]
    return sum(flops.tolist()) if len(flops) and (flops != NULL).all() else None


def _each(amount: int, count: int) -> int | None:
    return round(amount / count) if count else None
