"""The ten operator categories, in the order in which every table shows them."""

from __future__ import annotations

from typing import Final

CONV: Final = "conv"
LINEAR: Final = "linear"
ATTENTION: Final = "attention"
TEMPORAL_ATTENTION: Final = "temporal_attention"
NORM: Final = "norm"
ELEMENTWISE: Final = "elementwise"
EMBEDDING: Final = "embedding"
COMMUNICATION: Final = "communication"
MEMORY: Final = "memory"
OTHER: Final = "other"

CATEGORIES: Final = (
    CONV,
    LINEAR,
    ATTENTION,
    TEMPORAL_ATTENTION,
    NORM,
    ELEMENTWISE,
    EMBEDDING,
    COMMUNICATION,
    MEMORY,
    OTHER,
)
"""The category slugs in their fixed order."""

CODE_OF: Final = {slug: code for code, slug in enumerate(CATEGORIES)}
"""Position of each slug in `CATEGORIES`; kernel tables hold these small integers inside."""

EVIDENCES: Final = ("annotation", "op", "module", "shape", "graph", "name", "sequence")
"""What can decide a category, strongest first."""

WEAK_EVIDENCES: Final = ("name", "sequence")
"""Evidence that guesses: such rows carry a confidence."""
