"""What a run would have been without the profiler, estimated from its trace alone."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.analysis.breakdown import device_times
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.pacing import Pace
from tracekit.analysis.profiler_costs import DEAREST, DEVICE_SHARE, LEAST
from tracekit.analysis.undilated import undilated
from tracekit.classifying.table import KernelTable
from tracekit.results import Corrected
from tracekit.units import share_of

ESTIMATED_SCALE: Final = 1.0
"""The usual costs are removed as they are."""


def estimated_times(
    table: KernelTable, pace: Pace, found: IdlePieces, limit: int | None
) -> Corrected | None:
    """Return wall, busy and idle time of the run without a profiler, as a range.

    The run is paced anew (`pace` has the usual costs) with the host relieved of what profiling its
    events costs: at usual costs, at the least and at the most that were measured
    (`profiler_costs`); the range is wider by what the device's own time differs from run to run.
    Null where no launch is known.
    """
    if not (table.linked.launch >= 0).any():
        return None
    longest, usual, shortest = (
        one.run(ESTIMATED_SCALE).end_ns for one in (pace.at(LEAST), pace, pace.at(DEAREST))
    )
    busy_ns = device_times(table)[0].busy_ns
    margin_ns = round(DEVICE_SHARE * busy_ns)
    idle_ns = max(0, usual - busy_ns)
    causes = undilated(table, pace, ESTIMATED_SCALE, found, idle_ns, limit)
    return Corrected(
        source="estimated",
        wall_ns=usual,
        low_ns=min(shortest, usual) - margin_ns,
        high_ns=max(longest, usual) + margin_ns,
        busy_ns=busy_ns,
        idle_ns=idle_ns,
        idle_share=share_of(idle_ns, usual),
        dilation=share_of(pace.run().end_ns, usual),
        by_cause=causes.by_cause,
        method=_method(table),
        blame=causes.blame,
    )


def _method(table: KernelTable) -> str:
    trace = table.linked.trace
    counts = {
        "ops": len(trace.ops),
        "runtime calls": len(trace.calls),
        "Python frames": len(trace.frames),
    }
    events = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    shapes = " with shapes" if np.any(trace.ops.input_dims >= 0) else ""
    return (
        f"An estimate: the run of the trace, with the host relieved of what profiling {events}"
        f"{shapes} usually costs; the range is that of the least and the most that was measured."
    )
