"""Cache hit rates and memory traffic of attention, from counters that Nsight Compute wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tracekit.analysis.attention_inside import attention_parts
from tracekit.analysis.call_table import is_attention
from tracekit.analysis.counted_kernels import counted_kernels
from tracekit.attention_results import AttentionCache, AxisCache, PartCache
from tracekit.classifying.attention_parts import PARTS
from tracekit.classifying.table import KernelTable
from tracekit.counters import DRAM_READ, DRAM_WRITE, L1_HIT_RATE, L2_HIT_RATE, CountedLaunch
from tracekit.trace import ACTIVITY_KINDS, FloatArray, IntArray


def attention_cache(table: KernelTable, launches: Sequence[CountedLaunch]) -> AttentionCache:
    """Return hit rates and traffic by axis and part, most time first, and what did not match.

    The table is that of a trace with GPU activities. Copies and memsets of the driver have no
    counters and count for nothing here.
    """
    counted = counted_kernels(table, launches)
    is_kernel = table.linked.trace.activities.kind == ACTIVITY_KINDS.index("kernel")
    rows = np.flatnonzero(is_attention(table) & is_kernel)
    parts = attention_parts(table, rows)
    has = counted.launch[rows] >= 0
    axes = []
    for code in np.unique(table.axis[rows]).tolist():
        of_axis = table.axis[rows] == code
        ours = rows[of_axis & has]
        inside = [(name, rows[of_axis & has & (parts == at)]) for at, name in enumerate(PARTS)]
        axes.append(
            AxisCache(
                axis=table.axes[code] if code >= 0 else None,
                kernels_without=int(np.count_nonzero(of_axis & ~has)),
                parts=tuple(
                    PartCache(part=name, **_use(table, some, launches, counted.launch))
                    for name, some in inside
                    if len(some)
                ),
                **_use(table, ours, launches, counted.launch),
            )
        )
    return AttentionCache(
        by_axis=tuple(sorted(axes, key=lambda axis: -axis.time_ns)),
        kernels=int(np.count_nonzero(has)),
        kernels_repeated=int(np.count_nonzero(counted.is_repeated[rows])),
        kernels_without=int(np.count_nonzero(~has)),
        launches=len(launches),
        launches_unmatched=len(launches) - len(np.unique(counted.launch[counted.launch >= 0])),
    )


def _use(
    table: KernelTable, rows: IntArray, launches: Sequence[CountedLaunch], launch: IntArray
) -> dict[str, Any]:
    """Return the fields that an axis and a part have in common, of rows with counters."""
    dur_ns = table.dur_ns[rows]
    counters = [launches[at].values for at in launch[rows].tolist()]

    def column(metric: str) -> FloatArray:
        return np.array([one.get(metric, np.nan) for one in counters], np.float64)

    return {
        "kernels": len(rows),
        "time_ns": int(dur_ns.sum()),
        "l1_hit_rate": _mean(column(L1_HIT_RATE), dur_ns),
        "l2_hit_rate": _mean(column(L2_HIT_RATE), dur_ns),
        "dram_read_bytes": _sum(column(DRAM_READ)),
        "dram_write_bytes": _sum(column(DRAM_WRITE)),
    }


def _mean(values: FloatArray, dur_ns: IntArray) -> float | None:
    """Return the mean by time of what is known, null where nothing is."""
    known = ~np.isnan(values)
    weight = dur_ns[known]
    return float(np.average(values[known], weights=weight)) if weight.sum() > 0 else None


def _sum(values: FloatArray) -> int | None:
    """Return the sum, null where a value is missing: less than all would look like all."""
    return round(float(values.sum())) if len(values) and not np.isnan(values).any() else None
