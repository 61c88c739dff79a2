"""What a run would have been without the profiler, estimated from its trace alone."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.breakdown import device_times
from tracekit.analysis.host_speed import slowness
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.pacing import Pace
from tracekit.analysis.profiler_costs import DEAREST, DEVICE_SHARE, LEAST
from tracekit.analysis.undilated import undilated
from tracekit.classifying.table import KernelTable
from tracekit.results import Corrected
from tracekit.units import share_of


def estimated_scale(table: KernelTable) -> float | None:
    """Return how many times the usual costs this trace's host had, null without launches.

    1 where the trace does not tell.
    """
    if not (table.linked.launch >= 0).any():
        return None
    threads = np.unique(table.linked.thread).astype(np.int64)
    told = slowness(table.linked.trace, threads[threads >= 0])
    return 1.0 if told is None else told


def estimated_times(
    table: KernelTable, pace: Pace, scale: float, found: IdlePieces, limit: int | None
) -> Corrected:
    """Return wall, busy and idle time of the run without a profiler, as a range.

    The run is paced anew with the host relieved of what profiling its events costs: `scale` times
    the usual (which `pace` has), and the least and the most of that (`profiler_costs`); the range
    is wider by what the device's own time differs from run to run.
    """
    longest, usual, shortest = (pace.run(times * scale).end_ns for times in (LEAST, 1.0, DEAREST))
    busy_ns = device_times(table)[0].busy_ns
    margin_ns = round(DEVICE_SHARE * busy_ns)
    idle_ns = max(0, usual - busy_ns)
    causes = undilated(table, pace, scale, found, idle_ns, limit)
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
        method=_method(table, scale),
        blame=causes.blame,
    )


def _method(table: KernelTable, scale: float) -> str:
    trace = table.linked.trace
    counts = {
        "ops": len(trace.ops),
        "runtime calls": len(trace.calls),
        "Python frames": len(trace.frames),
    }
    events = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    shapes = " with shapes" if np.any(trace.ops.input_dims >= 0) else ""
    speed = (
        ""
        if scale == 1.0
        else f", {scale:.2g} times over: so many times as long as the usual host it takes from an "
        "op to the first one inside it"
    )
    return (
        f"An estimate: the run of the trace, with the host relieved of what profiling {events}"
        f"{shapes} usually costs{speed}; the range is {LEAST:g} to {DEAREST:g} times that."
    )
