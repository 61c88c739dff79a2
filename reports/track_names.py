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

Of Catapult's `color_scheme.html`. Perfetto does not read these.
"""

_SPACES: Final = {
    c.CONV: "\u200a\u2008\u2009",
    c.LINEAR: "\u2006\u2009\u2008\u200a",
    c.ATTENTION: "\u200a\u2009\u2008",
    c.TEMPORAL_ATTENTION: "\u2006\u2006\u2008\u2008",
    c.NORM: "\u200a\u2009\u2008",
    c.ELEMENTWISE: "\u2009\u2006\u200a\u2009",
    c.EMBEDDING: "\u200a\u2009\u2008\u2009",
    c.COMMUNICATION: "\u2009\u200a\u2009\u2006",
    c.MEMORY: "\u2008\u200a\u200a\u200a",
    c.OTHER: "\u200a\u2008\u2009\u2009",
}
"""Spaces behind a category's label, for which Perfetto shows it in (nearly) the category's colour.

Perfetto takes a slice's colour from a hash of its name, and from nothing else; the labels as they
are would give convolution, temporal attention and embedding one dark green. It has no greys, so
`memory` and `other` are what is far from the rest.
"""

_SURROGATES: Final = dict.fromkeys(range(55296, 57344), 65533)


def slice_names(track: SliceTrack) -> list[str]:
    """Return the names that the labels of a track are shown by, in the order of its texts."""
    if track.kind == CATEGORY:
        return [label_of(text) + _SPACES.get(text, "") for text in track.label.texts]
    if track.kind == IDLE:
        return [cause_label(text) for text in track.label.texts]
    return [encodable(text) for text in track.label.texts]


def encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 cannot hold."""
    return text if text.isascii() else text.translate(_SURROGATES)
