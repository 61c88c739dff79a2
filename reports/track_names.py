"""What slices of added tracks are called, and which colours they have."""

from __future__ import annotations

from typing import Final

from tracekit import categories as c
from tracekit.reports.idle_cells import cause_label
from tracekit.reports.palette import label_of
from tracekit.track_results import CATEGORY, IDLE, SliceTrack

CNAME_OF: Final = {
    c.CONV: "rail_idle",
    c.LINEAR: "rail_response",
    c.ATTENTION: "rail_animation",
    c.TEMPORAL_ATTENTION: "thread_state_uninterruptible",
    c.NORM: "rail_load",
    c.ELEMENTWISE: "thread_state_runnable",
    c.EMBEDDING: "startup",
    c.COMMUNICATION: "thread_state_unknown",
    c.MEMORY: "generic_work",
    c.OTHER: "grey",
}
"""The reserved colour of chrome://tracing that is nearest to a category's own.

Of Catapult's `color_scheme.html`. Perfetto gives each name a colour of its own, and does not read
these.
"""

_SURROGATES: Final = dict.fromkeys(range(55296, 57344), 65533)


def slice_names(track: SliceTrack) -> list[str]:
    """Return the names that the labels of a track are shown by, in the order of its texts."""
    if track.kind == CATEGORY:
        return [label_of(text) for text in track.label.texts]
    if track.kind == IDLE:
        return [cause_label(text) for text in track.label.texts]
    return [encodable(text) for text in track.label.texts]


def encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 cannot hold."""
    return text if text.isascii() else text.translate(_SURROGATES)
