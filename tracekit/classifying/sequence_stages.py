"""Stages of a run that nothing marks, from the sequence of its work: loops, and what is beside."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from tracekit.classifying.decoder_tails import (
    decoder_tail,
    tail_after_step,
    tail_after_transformer,
)
from tracekit.classifying.loop_choice import runs_of
from tracekit.classifying.model_changes import model_starts
from tracekit.classifying.parts import Part, numbered_parts
from tracekit.classifying.run_sequence import LOOK_UP, TIME, RunSequence
from tracekit.classifying.sequence_names import (
    beside_training,
    is_causal,
    is_unet,
    looks_up,
    loop_name,
    name_beside,
    picks_tokens,
    queries_many,
    trains,
    with_calls_again,
    with_cascade,
    with_decoded_tokens,
)
from tracekit.linking.repetition import Loop, likeness

_LEAST_WORK: Final = 8
"""Layers from which on work without any loop is a stage."""
_UNKNOWN: Final = ("before", "between", "after")
_LIKE_A_TOKEN: Final = 0.5
_ENCODERS: Final = {"text_encoder", "image_encoder", "vae_encode"}
_ENCODER_PASSES: Final = 3
"""Passes up to which a loop before others encodes prompts, one after another."""


def sequence_parts(sequence: RunSequence) -> list[Part]:
    """Return the stages that a sequence shows, in order.

    What belongs to none (preparations, the scheduler's first work) is left out. The name of a
    stage that a run has several of is numbered from the second on.
    """
    parts: list[Part] = []
    for first, end, loops in runs_of(sequence):
        passes = [loop for loop in loops if not _encodes(sequence, loop, loops, end)]
        steps = [loop for loop in passes if not _decodes_in_tiles(sequence, loop, passes)]
        found = _run_parts(sequence, (first, end), steps)
        if len(steps) < len(passes) and found and found[-1].name == "vae_decode":
            # Tiles are blended without a layer once all are decoded.
            found[-1] = replace(found[-1], end=end)
        parts.extend(numbered_parts(sequence, found))
    return parts


def _run_parts(sequence: RunSequence, span: tuple[int, int], loops: list[Loop]) -> list[Part]:
    if not loops:
        return _without_loop(sequence, *span)
    found: list[Part] = []
    names = _loop_names(sequence, loops)
    before = span[0]
    for at, (loop, name) in enumerate(zip(loops, names, strict=True)):
        following = names[at] if len(loop) > 1 else None
        beside = _beside(sequence, (before, loop.start), is_first=at == 0, then=following)
        if following == "decode":
            beside, loop = _with_prompt(sequence, beside, loop)
        starts = None if name == "prefill" else loop.starts
        found.extend([*beside, Part(name, loop.start, loop.end, starts)])
        before = loop.end
    after = _beside(sequence, (before, span[1]), is_first=False, then=None)
    if names[-1] in ("decode", "parallel_decode"):
        after = with_decoded_tokens(sequence, after)
    found.extend(after)
    return beside_training(with_calls_again(sequence, with_cascade(sequence, found)))


def _with_prompt(sequence: RunSequence, beside: list[Part], loop: Loop) -> tuple[list[Part], Loop]:
    """Name the part right before a loop of tokens that is much like one of them.

    If it asks for one query a sequence it is the first token, which fills caches.
    """
    if not beside:
        return beside, loop
    last = beside[-1]
    bounds = np.array([last.first, loop.start, int(loop.bounds[1])])
    if likeness(sequence.codes, bounds)[0] < _LIKE_A_TOKEN:
        return beside, loop
    if queries_many(sequence, slice(last.first, last.end)) is False:
        return beside[:-1], Loop(np.append(last.first, loop.starts), loop.end)
    return [*beside[:-1], replace(last, name="prefill")], loop


def _loop_names(sequence: RunSequence, loops: list[Loop]) -> list[str]:
    names = [loop_name(sequence, loop) for loop in loops]
    for at, loop in enumerate(loops):
        following = names[at + 1] if at + 1 < len(loops) else None
        if following == "decode" and len(loop) == 1:
            names[at] = "prefill"
    return names


def _encodes(sequence: RunSequence, loop: Loop, loops: list[Loop], end: int) -> bool:
    """Say whether a loop is a few prompts being encoded: for guidance, with one text and another.

    It looks up tokens, but picks none, and what follows is another model: a loop of other passes,
    or the time is told. How much of the run it is says nothing, since a run may be traced for a
    few steps.
    """
    return (
        len(loop) <= _ENCODER_PASSES
        and loop_name(sequence, loop) in ("decode", "parallel_decode")
        and not picks_tokens(sequence, slice(loop.start, loop.end))
        and _is_before_others(sequence, loop, loops, end)
    )


def _decodes_in_tiles(sequence: RunSequence, loop: Loop, loops: list[Loop]) -> bool:
    """Say whether a loop is an image or a video that is decoded tile by tile.

    Its passes convolve, and are not told the time, as those of a denoiser before them are.
    """
    if not is_unet(sequence, loop) or _times(sequence, loop):
        return False
    before = [other for other in loops if other.end <= loop.start]
    return any(_times(sequence, other) >= len(other) for other in before)


def _times(sequence: RunSequence, loop: Loop) -> int:
    """Return how often the time is told in a loop, or tokens are looked up."""
    rare = sequence.rare[loop.start : loop.end]
    return int(np.count_nonzero((rare == TIME) | (rare == LOOK_UP)))


def _is_before_others(sequence: RunSequence, loop: Loop, loops: list[Loop], end: int) -> bool:
    following = [other for other in loops if other.start >= loop.end]
    if not following:
        return bool((sequence.rare[loop.end : end] == TIME).any())
    other = following[0]
    turns = [slice(int(one.bounds[0]), int(one.bounds[1])) for one in (loop, other)]
    codes = [sequence.codes[turn] for turn in turns]
    bounds = np.array([0, len(codes[0]), len(codes[0]) + len(codes[1])])
    return bool(likeness(np.concatenate(codes), bounds)[0] < _LIKE_A_TOKEN)


def _without_loop(sequence: RunSequence, first: int, end: int) -> list[Part]:
    """Return the one stage of work without a loop, or those of a run of one step."""
    inside = slice(first, end)
    if np.count_nonzero(sequence.is_layer[inside]) < _LEAST_WORK:
        return []
    if trains(sequence, inside):
        return [Part("train", first, end)]
    parts = _of_one_step(sequence, first, end)
    if parts:
        return parts
    many = queries_many(sequence, inside)
    if many is None or not is_causal(sequence, inside) or not looks_up(sequence, inside):
        return [Part("forward", first, end)]
    return [Part("prefill" if many else "decode", first, end)]


def _of_one_step(sequence: RunSequence, first: int, end: int) -> list[Part]:
    """Return encoders, step and decoder where a run has one step, else nothing."""
    parts = _beside(sequence, (first, end), is_first=True, then=None)
    names = [part.name for part in parts]
    steps = [at for at, part in enumerate(parts) if part.starts is not None]
    return parts if steps and set(names[: steps[0]]) & _ENCODERS else []


def _beside(
    sequence: RunSequence, span: tuple[int, int], *, is_first: bool, then: str | None
) -> list[Part]:
    """Return the stages of what stands before, between or after loops, or without any.

    Each pass of a model is a part; what comes before the first layer and after the last one of a
    part belongs to none. A denoiser's pass is a step, and the scheduler's work is its own.
    """
    found: list[Part] = []
    pieces = _pieces(sequence, *span)
    steps = [at for at, (_, _, is_step) in enumerate(pieces) if is_step]
    for at, (low, high, is_step) in enumerate(pieces):
        inside = slice(low, high)
        layers = np.flatnonzero(sequence.is_layer[inside])
        if not len(layers):
            continue
        if is_step:
            is_last = at + 1 == len(pieces)
            stop = low + int(layers[-1]) + 1 if is_last else high
            found.append(Part("denoise", low, stop, np.array([low])))
            continue
        following = "denoise" if any(step > at for step in steps) else then
        leads = is_first and not any(step < at for step in steps)
        name = name_beside(sequence, inside, is_first=leads, then=following)
        if name in _UNKNOWN and len(layers) < _LEAST_WORK:
            continue
        starts = low if sequence.rare[low] == LOOK_UP else low + int(layers[0])
        found.append(Part(name, starts, low + int(layers[-1]) + 1))
    return found


def _pieces(sequence: RunSequence, first: int, end: int) -> list[tuple[int, int, bool]]:
    """Return the bounds of each model's pass, and whether it is a denoiser's.

    A decoder may be of the sizes of an encoder before it, so models are told apart without it.
    """
    tail = decoder_tail(sequence, first, end)
    starts = model_starts(sequence, first, tail)
    if starts and starts[-1].is_told_time:
        tail = tail_after_step(sequence, starts[-1].place, tail, end)
    else:
        tail = end
        starts = model_starts(sequence, first, end)
    steps = {start.place for start in starts if start.is_told_time}
    models = sorted({first, *(start.place for start in starts), tail, end})
    parts = [(low, high) for low, high in pairwise(models) if low not in steps]
    cuts = sorted({*models, *(tail_after_transformer(sequence, *part) for part in parts)})
    return [(low, high, low in steps) for low, high in pairwise(cuts)]
