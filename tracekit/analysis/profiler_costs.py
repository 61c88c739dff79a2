"""What profiling an event costs the host."""

from __future__ import annotations

from typing import Final

from tracekit.analysis.pacing import EventCosts

COSTS: Final = EventCosts(op=1_000, shapes=650, call=4_000, frame=350, annotation=1_000)
"""Usual costs in ns; what a run really paid is this times a scale."""
