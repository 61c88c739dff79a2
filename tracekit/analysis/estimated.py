"""What a run would have been without the profiler, estimated from its trace alone."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.breakdown import device_times
from tracekit.analysis.pacing import pace_of
from tracekit.analysis.profiler_costs import COSTS, DEAREST, DEVICE_SHARE, LEAST
from tracekit.analysis.undilated import undilated
from tracekit.classifying.table import KernelTable
from tracekit.results import Corrected
from tracekit.units import share_of


def estimated_times(table: KernelTable, limit: int | None) -> Corrected | None:
    """Return wall, busy and idle time of the run without a profiler, as a range.

    The run is paced anew with the host relieved of what profiling its events costs: at usual costs,
    at the least and at the most that were measured (`profiler_costs`); the range is wider by what
    the device's own time differs from run to run. Null without GPU activity,
    without host events, or with several devices.
    """
    devices = device_times(table)
    if table.linked.basis == "cpu" or len(devices) != 1 or not (table.linked.launch >= 0).any():
        return None
    device = int(table.device[0])
    longest, usual, shortest = (
        pace_of(table, device, costs).run(1.0).end_ns for costs in (LEAST, COSTS, DEAREST)
    )
    busy_ns = devices[0].busy_ns
    margin_ns = round(DEVICE_SHARE * busy_ns)
    idle_ns = max(0, usual - busy_ns)
    found = undilated(table, COSTS, usual, idle_ns, limit, scale=1.0)
    recorded_ns = pace_of(table, device, COSTS).run().end_ns
    return Corrected(
        source="estimated",
        wall_ns=usual,
        low_ns=min(shortest, usual) - margin_ns,
        high_ns=max(longest, usual) + margin_ns,
        busy_ns=busy_ns,
        idle_ns=idle_ns,
        idle_share=share_of(idle_ns, usual),
        dilation=share_of(recorded_ns, usual),
        by_cause=found.by_cause,
        method=_method(table),
        blame=found.blame,
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
