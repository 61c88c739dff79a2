"""What stages of a run are called that nothing names: by what is done in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.classifying.parts import Part
from tracekit.classifying.run_sequence import LOOK_UP, RunSequence
from tracekit.linking.link import PHASES
from tracekit.linking.repetition import Loop
from tracekit.trace import NULL, BoolArray

LEAST_CONVS: Final = 8
"""Convolutions from which on work is that of a convolutional model."""
LEAST_CALLS: Final = 2
"""Attention calls from which on work is that of a transformer."""

_BACKWARD: Final = PHASES.index("backward")
_TRAINS: Final = 0.1
"""Share of backward work from which on a loop is training."""


def loop_name(sequence: RunSequence, loop: Loop) -> str:
    """Return the name of a loop of steps by what the steps do.

    Training goes backward; a language model looks up tokens in each pass and asks for one a
    sequence, parallel decoding for many; any other loop of passes is denoising.
    """
    inside = slice(loop.start, loop.end)
    if trains(sequence, inside):
        return "train"
    in_each = np.count_nonzero(sequence.rare[inside] == LOOK_UP) >= len(loop)
    if not in_each or is_unet(sequence, loop):
        return "denoise"
    many = queries_many(sequence, inside)
    if many is None:
        many = (sequence.causal[inside] == 0).any() and not is_causal(sequence, inside)
    return "parallel_decode" if many else "decode"


def with_super_resolution(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Name the convolutional denoisers of a cascade: those after the first refine its image."""
    found = []
    first: Part | None = None
    for part in parts:
        if part.name != "denoise" or part.starts is None:
            found.append(part)
            continue
        first = part if first is None else first
        is_other = part is not first and (part.model is None or part.model != first.model)
        refines = is_other and is_unet(sequence, Loop(part.starts, part.end))
        found.append(replace(part, name="super_resolution") if refines else part)
    return found


def trains(sequence: RunSequence, inside: slice) -> bool:
    """Say whether work goes backward to a good part."""
    return bool((sequence.phase[inside] == _BACKWARD).mean() >= _TRAINS)


def is_unet(sequence: RunSequence, loop: Loop) -> bool:
    """Say whether the turns of a loop convolve throughout."""
    return bool(
        np.count_nonzero(sequence.is_conv[loop.start : loop.end]) >= LEAST_CONVS * len(loop)
    )


def queries_many(sequence: RunSequence, inside: slice) -> bool | None:
    """Say whether attention asks for many tokens a sequence, null where that is not known."""
    queries = sequence.queries[inside]
    known = queries[queries != NULL]
    return bool(np.median(known) > 1) if len(known) else None


def is_causal(sequence: RunSequence, inside: slice) -> bool:
    """Say whether there is attention that is known to be causal."""
    return bool((sequence.causal[inside] == 1).any())


def looks_up(sequence: RunSequence, inside: slice) -> bool:
    """Say whether tokens are looked up."""
    return bool((sequence.rare[inside] == LOOK_UP).any())


def name_beside(sequence: RunSequence, inside: slice, *, is_first: bool, then: str | None) -> str:
    """Return the name of a stage beside loops by what it does: `then` names the loop after it."""
    convs = np.count_nonzero(sequence.is_conv[inside])
    calls = np.count_nonzero(sequence.attends[inside])
    has_tokens = looks_up(sequence, inside)
    if then == "decode" and has_tokens and is_causal(sequence, inside):
        return "prefill"
    if convs >= LEAST_CONVS and convs >= calls:
        return "vae_encode" if is_first else "vae_decode"
    if then is not None and calls >= LEAST_CALLS and convs:
        return "image_encoder"
    if then is not None and has_tokens and calls >= LEAST_CALLS:
        return "text_encoder"
    if then is None:
        return "after"
    return "before" if is_first else "between"


def works(sequence: RunSequence, inside: slice) -> BoolArray:
    """Return which activities are of layers."""
    layers = sequence.is_linear[inside] | sequence.is_conv[inside] | sequence.is_norm[inside]
    return np.asarray(layers | sequence.attends[inside])
