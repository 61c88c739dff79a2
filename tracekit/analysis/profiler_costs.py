"""What profiling an event costs the host, in ns.

Measured on one kind of host (`docs/idle.md`, `docs/data/`): by adding one kind of event after the
other to runs that the host alone sets the pace of, and from the paper's eight models, timed before
a profiler had run in their process and in turn with it.
"""

from __future__ import annotations

from typing import Final

from tracekit.analysis.pacing import EventCosts

COSTS: Final = EventCosts(op=1_500, shapes=1_000, call=7_500, frame=1_600, annotation=1_500)
"""Costs on the usual host (`host_speed`); a slower one takes longer for all of them. Where a run
folder tells the unprofiled wall time, they are scaled to it."""
LEAST: Final = 0.65
DEAREST: Final = 1.1
"""Between how many times that the costs are, on most hosts and in most minutes."""
DEVICE_SHARE: Final = 0.03
"""By what share the time of a device differs between runs of the same work."""
