"""Stages of a run that nothing marks, from the sequence of its work: loops, and what is beside."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Final

import numpy as np

from tracekit.classifying.loop_choice import runs_of
from tracekit.classifying.parts import Part, numbered_parts
from tracekit.classifying.run_sequence import LOOK_UP, SAMPLE, TIME, RunSequence
from tracekit.classifying.sequence_names import (
    LEAST_CALLS,
    LEAST_CONVS,
    is_causal,
    looks_up,
    loop_name,
    name_beside,
    queries_many,
    trains,
    with_super_resolution,
    works,
)
from tracekit.linking.repetition import Loop, likeness, repeated_share

_VAE_LINEARS, _VAE_CALLS = 4, 1
"""Layers and attention calls of a decoder of images: those of its one attention block."""
_LEAST_WORK: Final = 8
"""Layers from which on work without any loop is a stage."""
_LEAST_REPEATED: Final = 0.6
_LIKE_A_TOKEN: Final = 0.5
_ENCODER_PASSES: Final = 3
"""Passes up to which a loop before others encodes prompts, one after another."""


def sequence_parts(sequence: RunSequence) -> list[Part]:
    """Return the stages that a sequence shows, in order.

    What belongs to none (preparations, the scheduler's first work) is left out. The name of a
    stage that a run has several of is numbered from the second on.
    """
    parts: list[Part] = []
    for first, end, loops in runs_of(sequence):
        steps = [loop for loop in loops if not _encodes(sequence, loop, (first, end))]
        parts.extend(numbered_parts(sequence, _run_parts(sequence, (first, end), steps)))
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
        found.extend(_with_prompt(sequence, beside, loop) if following == "decode" else beside)
        starts = None if name == "prefill" else loop.starts
        found.append(Part(name, loop.start, loop.end, starts))
        before = loop.end
    found.extend(_beside(sequence, (before, span[1]), is_first=False, then=None))
    return with_super_resolution(sequence, found)


def _with_prompt(sequence: RunSequence, beside: list[Part], loop: Loop) -> list[Part]:
    """Name the part right before a loop of tokens that is much like one of them."""
    if not beside:
        return beside
    last = beside[-1]
    bounds = np.array([last.first, loop.start, int(loop.bounds[1])])
    if likeness(sequence.codes, bounds)[0] < _LIKE_A_TOKEN:
        return beside
    return [*beside[:-1], replace(last, name="prefill")]


def _loop_names(sequence: RunSequence, loops: list[Loop]) -> list[str]:
    names = [loop_name(sequence, loop) for loop in loops]
    for at, loop in enumerate(loops):
        following = names[at + 1] if at + 1 < len(loops) else None
        if following == "decode" and len(loop) == 1:
            names[at] = "prefill"
    return names


def _encodes(sequence: RunSequence, loop: Loop, span: tuple[int, int]) -> bool:
    """Say whether a loop is a few prompts being encoded, before most of a run."""
    return (
        len(loop) <= _ENCODER_PASSES
        and loop.end - span[0] < (span[1] - span[0]) / 2
        and loop_name(sequence, loop) in ("decode", "parallel_decode")
        and not (sequence.rare[loop.start : loop.end] == SAMPLE).any()
    )


def _without_loop(sequence: RunSequence, first: int, end: int) -> list[Part]:
    """Return the one stage of work without a loop, or those of a run of one step."""
    inside = slice(first, end)
    if np.count_nonzero(works(sequence, inside)) < _LEAST_WORK:
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
    """Return text encoder, step and decoder where a run has one step, else nothing."""
    time = np.flatnonzero(sequence.rare[first:end] == TIME)
    if not len(time):
        return []
    at = first + int(time[0])
    before, after = slice(first, at), slice(at, end)
    encodes = looks_up(sequence, before) and not sequence.is_conv[before].any()
    calls = [np.count_nonzero(sequence.attends[inside]) for inside in (before, after)]
    if not encodes or min(calls) < LEAST_CALLS or not sequence.is_conv[after].any():
        return []
    tail = _decoder_tail(sequence, at, end)
    text = _beside(sequence, (first, at), is_first=True, then="denoise")
    step = Part("denoise", at, tail, np.array([at]))
    return [*text, step, *_beside(sequence, (tail, end), is_first=False, then=None)]


def _decoder_tail(sequence: RunSequence, first: int, end: int) -> int:
    """Return where the longest end begins that convolves and has one attention block at most."""
    linear = np.cumsum(sequence.is_linear[first:end][::-1])
    calls = np.cumsum(sequence.attends[first:end][::-1])
    convs = np.cumsum(sequence.is_conv[first:end][::-1])
    length = int(np.count_nonzero((linear <= _VAE_LINEARS) & (calls <= _VAE_CALLS)))
    if not length or convs[length - 1] < LEAST_CONVS:
        return end
    return end - length


def _tail_after_transformer(sequence: RunSequence, first: int, end: int) -> int:
    """Return where convolutions follow a transformer (an image's two encoders), else the end."""
    tail = _decoder_tail(sequence, first, end)
    calls = np.count_nonzero(sequence.attends[first:tail])
    convs = np.count_nonzero(sequence.is_conv[first:tail])
    return tail if calls >= LEAST_CALLS and convs < LEAST_CONVS else end


def _beside(
    sequence: RunSequence, span: tuple[int, int], *, is_first: bool, then: str | None
) -> list[Part]:
    """Return the stages of what stands before, between or after loops.

    Each model that looks up tokens begins a part; what comes before the first layer and after the
    last one of a part belongs to none.
    """
    first, end = span
    models = [first, *_text_starts(sequence, first, end), end]
    cuts = {*models, *(_tail_after_transformer(sequence, *part) for part in pairwise(models))}
    found = []
    for low, high in pairwise(sorted(cuts)):
        inside = slice(low, high)
        layers = np.flatnonzero(works(sequence, inside))
        if not len(layers):
            continue
        name = name_beside(sequence, inside, is_first=is_first, then=then)
        starts = low if sequence.rare[low] == LOOK_UP else low + int(layers[0])
        found.append(Part(name, starts, low + int(layers[-1]) + 1))
    return found


def _text_starts(sequence: RunSequence, first: int, end: int) -> list[int]:
    """Return where models begin that look up tokens: after all layers of the one before.

    Relative positions are looked up too, right before the scores are made of them.
    """
    starts = np.flatnonzero(sequence.rare[first:end] == LOOK_UP) + first
    calls = np.concatenate([[0], np.cumsum(sequence.attends[first:end])])
    found: list[int] = []
    attends = np.flatnonzero(sequence.attends[first:end]) + first
    for at in starts.tolist():
        if calls[-1] - calls[at - first] < LEAST_CALLS:
            break
        following = attends[np.searchsorted(attends, at)]
        if not sequence.is_linear[at:following].any():
            continue
        since = found[-1] if found else at
        has_layers = (
            calls[at - first] - calls[since - first] >= LEAST_CALLS
            and repeated_share(sequence.codes[since:at]) >= _LEAST_REPEATED
        )
        if not found or has_layers:
            found.append(at)
    return found
