"""What stages of a run are called that nothing names: by what is done in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.classifying.parts import Part
from tracekit.classifying.run_sequence import LOOK_UP, SAMPLE, RunSequence
from tracekit.linking.link import PHASES
from tracekit.linking.repetition import Loop
from tracekit.trace import NULL, BoolArray, IntArray

LEAST_CONVS: Final = 8
"""Convolutions from which on work is that of a convolutional model."""
LEAST_CALLS: Final = 2
"""Attention calls from which on work is that of a transformer."""
PATCH_CONVS: Final = 2
"""Convolutions in a row, without attention, up to which they only cut an image in patches."""

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


def with_cascade(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Name the denoisers of a cascade: convolutional ones after the first refine its image.

    One that does not convolve at all, not even to cut patches, before the first that does, works
    on no image: it is the prior that makes the condition.
    """
    found = list(parts)
    steps = [at for at, part in enumerate(parts) if part.name == "denoise"]
    steps = [at for at in steps if parts[at].starts is not None]
    nets = [at for at in steps if is_unet(sequence, _loop_of(parts[at]))]
    for at in steps:
        inside = slice(parts[at].first, parts[at].end)
        if nets and at < nets[0] and not sequence.is_conv[inside].any():
            found[at] = replace(parts[at], name="prior")
    others = [at for at in steps if found[at].name == "denoise"]
    for at in others[1:]:
        first, part = parts[others[0]], parts[at]
        if at in nets and (part.model is None or part.model != first.model):
            found[at] = replace(part, name="super_resolution")
    return found


def with_calls_again(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Name loops that are one model that was called again, to be timed: `forward`.

    Parallel decoding picks tokens. A run that denoises looks up, draws or tells the time somewhere.
    """
    again = [] if sequence.rare.any() else ["denoise"]
    return [
        replace(part, name="forward")
        if part.name in again
        or (
            part.name == "parallel_decode"
            and not picks_tokens(sequence, slice(part.first, part.end))
        )
        else part
        for part in parts
    ]


def beside_training(parts: list[Part]) -> list[Part]:
    """Name what stands beside the steps of a training, mostly a step that was cut off.

    It may look like an encoder or a decoder of images, which no training calls once.
    """
    steps = [at for at, part in enumerate(parts) if part.name == "train"]
    if not steps:
        return parts
    found = list(parts)
    for at, part in enumerate(parts):
        if part.name not in ("train", "forward"):
            name = "before" if at < steps[0] else "between" if at < steps[-1] else "after"
            found[at] = replace(part, name=name)
    return found


def with_decoded_tokens(sequence: RunSequence, parts: list[Part]) -> list[Part]:
    """Name what follows a loop of tokens and looks up what these stand for: their decoder.

    What convolves after it works on the image that it made.
    """
    found = list(parts)
    for at, part in enumerate(parts):
        inside = slice(part.first, part.end)
        if part.name == "after" and looks_up(sequence, inside) and not is_causal(sequence, inside):
            found[at] = replace(part, name="vae_decode")
        elif part.name == "vae_decode" and any(one.name == "vae_decode" for one in found[:at]):
            found[at] = replace(part, name="super_resolution")
    return found


def _loop_of(part: Part) -> Loop:
    starts = np.array([part.first]) if part.starts is None else part.starts
    return Loop(starts, part.end)


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


def picks_tokens(sequence: RunSequence, inside: slice) -> bool:
    """Say whether tokens are drawn or picked: by scores that a projection made right before.

    What a text encoder picks comes after its last norm: the place where a prompt ends.
    """
    picks = np.flatnonzero(sequence.rare[inside] == SAMPLE)
    known = layers(sequence, inside)
    before = np.searchsorted(known, picks) - 1
    projects = sequence.is_linear[inside][known[before[before >= 0]]]
    return bool(projects.any())


def name_beside(sequence: RunSequence, inside: slice, *, is_first: bool, then: str | None) -> str:
    """Return the name of a stage beside loops by what it does: `then` names the loop after it."""
    convs = np.count_nonzero(sequence.is_conv[inside])
    calls = np.count_nonzero(sequence.attends[inside])
    cuts_patches = len(begins(sequence.is_conv[inside])) <= PATCH_CONVS
    has_tokens = looks_up(sequence, inside)
    if then == "decode" and has_tokens and is_causal(sequence, inside):
        return "prefill"
    if convs >= LEAST_CONVS and convs >= calls and not (cuts_patches and calls >= LEAST_CALLS):
        return "vae_encode" if is_first else "vae_decode"
    if then is not None and calls >= LEAST_CALLS and convs:
        return "image_encoder"
    if then is not None and has_tokens and calls >= LEAST_CALLS:
        return "text_encoder"
    if then is None:
        return "after"
    return "before" if is_first else "between"


def layers(sequence: RunSequence, inside: slice) -> IntArray:
    """Return where layers stand, as places in the part: products, convolutions and norms."""
    products = sequence.is_linear[inside] | sequence.is_conv[inside] | sequence.attends[inside]
    return np.flatnonzero(products | sequence.is_norm[inside])


def begins(flags: BoolArray) -> IntArray:
    """Return where stretches of flags begin; one layer may take several kernels."""
    return np.flatnonzero(flags & ~np.append(False, flags[:-1]))
