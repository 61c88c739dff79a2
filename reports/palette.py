"""One colour and one label for each category and each idle cause, the same in every report.

The colours of categories extend the Okabe-Ito set; those of idle causes are darker or more vivid.
Any two of all fifteen stay apart (CIELAB distance of 13 or more) under simulated protanopia,
deuteranopia and tritanopia (Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009). They are meant
for bars and areas: on white, yellow is too pale for text.
"""

from __future__ import annotations

from typing import Final

from tracekit import categories as c

COLOR_OF: Final = {
    c.CONV: "#E69F00",
    c.LINEAR: "#0072B2",
    c.ATTENTION: "#D55E00",
    c.TEMPORAL_ATTENTION: "#E58CC0",
    c.NORM: "#009E73",
    c.ELEMENTWISE: "#56B4E9",
    c.EMBEDDING: "#F0E442",
    c.COMMUNICATION: "#8B5A2B",
    c.MEMORY: "#6E6E6E",
    c.OTHER: "#C8C8C8",
}
"""The colour of each category slug, as `#RRGGBB`."""

LABEL_OF: Final = {
    c.CONV: "Convolution",
    c.LINEAR: "Linear",
    c.ATTENTION: "Attention",
    c.TEMPORAL_ATTENTION: "Temporal attention",
    c.NORM: "Norm",
    c.ELEMENTWISE: "Elementwise",
    c.EMBEDDING: "Embedding",
    c.COMMUNICATION: "Communication",
    c.MEMORY: "Memory",
    c.OTHER: "Other",
}
"""What people read instead of the slug."""


CAUSE_COLOR_OF: Final = {
    "host_late": "#7A0C1C",
    "sync": "#A040F0",
    "launch_latency": "#94D96C",
    "profiler": "#1C2F8C",
    "unknown": "#3B3640",
}
"""The colour of each cause of idle time, as `#RRGGBB`, in the order of results."""

CAUSE_LABEL_OF: Final = {
    "host_late": "Host late",
    "sync": "Synchronization",
    "launch_latency": "Launch latency",
    "profiler": "Profiler",
    "unknown": "Unknown",
}
"""What people read instead of the slug of a cause."""


def color_of(category: str) -> str:
    """Return the colour of a category as `#RRGGBB`; one that is unknown looks like `other`."""
    return COLOR_OF.get(category, COLOR_OF[c.OTHER])


def label_of(category: str) -> str:
    """Return the label of a category; one that is unknown keeps its own name."""
    return LABEL_OF.get(category, category)
