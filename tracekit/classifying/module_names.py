"""What the class names of `nn.Module` calls say of the work inside them."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"_\d+$")
_TEMPORAL: Final = re.compile(
    r"temporal|motion_?module|animatediff|^time_?attention", re.IGNORECASE
)
_NOT_ALONE: Final = re.compile(
    r"spatio_?-?temporal|space_?time|temporal_?decoder|temporal_?autoencoder", re.IGNORECASE
)
"""Words for both axes, and for decoders whose convolutions, not attention, work along time."""
_NORM: Final = re.compile(
    r"(?:^|[a-z\d_])(?:Layer|RMS|Rms|Group|Batch|Instance|Local|Global)?Norm(?:alization)?"
    r"(?:\dd|32|16|Gated|Affine|Fp32|FP32|Layer|Act|NormAct)*$|^(?:T5LayerNorm|LRN|GRN)$"
)
"""Classes of normalization layers: they end in Norm, LayerNorm2d, FP32LayerNorm and the like."""


def class_of(call: str) -> str:
    """Return the class of a module call as traces name it: `Linear` of `Linear_12`."""
    return _NUMBER.sub("", call)


def module_hint(path: str) -> tuple[str | None, str | None]:
    """Return what a chain of module calls says of its innermost work, and the class that says it.

    The hint is "norm" where the innermost class is a normalization, "temporal_attention" where
    one of the enclosing classes works along time, else null.
    """
    classes = [class_of(call) for call in path.split("/")]
    if _NORM.search(classes[-1]):
        return "norm", classes[-1]
    for name in reversed(classes):
        if _TEMPORAL.search(_NOT_ALONE.sub("", name)):
            return "temporal_attention", name
    return None, None
