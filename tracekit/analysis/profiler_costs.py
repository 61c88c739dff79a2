"""What profiling an event costs the host, in ns.

Measured on two hosts (`docs/idle.md`, `docs/data/`): by adding one kind of event after the other to
runs that the host alone sets the pace of, and from run folders whose unprofiled wall time is known.
"""

from __future__ import annotations

from typing import Final

from tracekit.analysis.pacing import EventCosts

COSTS: Final = EventCosts(op=1_600, shapes=1_000, call=2_000, frame=1_600, annotation=1_500)
"""Usual costs; where a run folder tells the unprofiled wall time, they are scaled to it."""
LEAST: Final = EventCosts(op=1_000, shapes=700, call=1_500, frame=800, annotation=1_000)
DEAREST: Final = EventCosts(op=2_300, shapes=1_400, call=4_000, frame=2_500, annotation=2_500)
"""About the least and the most that an event costs; hosts that are slow at times cost more."""
DEVICE_SHARE: Final = 0.03
"""By what share the time of a device differs between runs of the same work."""
