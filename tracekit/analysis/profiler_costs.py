"""What profiling an event costs the host, in ns."""

from __future__ import annotations

from typing import Final

from tracekit.analysis.pacing import EventCosts

COSTS: Final = EventCosts(op=1_000, shapes=650, call=4_000, frame=1_000, annotation=1_000)
"""Usual costs; where a run folder tells the unprofiled wall time, they are scaled to it."""
LEAST: Final = EventCosts(op=550, shapes=600, call=2_000, frame=600, annotation=1_000)
DEAREST: Final = EventCosts(op=2_250, shapes=1_400, call=7_700, frame=2_500, annotation=2_000)
"""The least and the most that an event was measured to cost."""
