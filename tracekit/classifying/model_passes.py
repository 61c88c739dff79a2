"""Which loops are passes of a whole model, and which are layers of one.

A pass does some things once that its layers do not do: it looks up tokens, draws or picks some,
tells the time. And it repeats itself: its layers. A layer that looks something up does so beside
one or two attention calls, and repeats little.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.classifying.run_sequence import LOOK_UP, RARE, SAMPLE, TIME, UPDATE, RunSequence
from tracekit.linking.repetition import Loop, likeness, loops_of, repeated_share
from tracekit.trace import BoolArray, IntArray

_MOST_TURNS_WITHOUT: Final = 0.2
"""Share of turns in which what a pass does once may be missing."""
LEAST_INSIDE: Final = 0.3
"""Share of what the part does of the kind that must lie in the loop."""
_CALLS_PER: Final = {UPDATE: 0.0, LOOK_UP: 1.0, SAMPLE: 1.0, TIME: 0.5, RARE: 8.0}
"""Attention calls that there must be for each time that a turn does something of the kind."""
_CONVS: Final = 12
"""Convolutions of a turn for each time that it does something, with no attention beside them."""
_TWICE: Final = 2
_MANY: Final = 8
"""Attention calls of a turn that no layer has: other loops of the part may do the same."""
_LEAST_REPEATED: Final = 0.75
"""Share of a pass that it does more than once: layers. Of a layer it is less."""
_LEAST_OF_A_SIZE: Final = 0.5
"""Likeness of turns with their sizes; blocks at several resolutions are less alike."""
_LEAST_ALIKE_OF_TWO: Final = 0.85
"""Likeness of a prompt's pass and one token's, of two sizes; encoder and decoder are less."""
_LEAST_OF_ALL: Final = 0.85
_LEAST_EQUAL: Final = 0.8
_NESTED_SHARE: Final = 0.4
_LONG: Final = 24
"""Share, likeness and length of turns that are told by their structure alone."""


def is_pass(sequence: RunSequence, loop: Loop, part: slice, least: float = LEAST_INSIDE) -> bool:
    """Say whether the turns of a loop are passes of a model, each of them.

    `part` is what is looked at; the share `least` of what it does of a kind must lie in the loop.
    Where nothing in the whole sequence is done only once a pass, structure decides.
    """
    if not (sequence.rare > 0).any():
        return _is_pass_by_structure(sequence, loop)
    calls = float(np.median(_per_turn(loop, sequence.attends)))
    convs = float(np.median(_per_turn(loop, sequence.is_conv)))
    once = {
        kind
        for kind, often in _done_in_turns(
            sequence, loop, part, 0.0 if calls >= _MANY and least <= LEAST_INSIDE else least
        )
        if _CALLS_PER[kind] * often <= calls
        or (calls <= 1 and (often == 1 or convs >= _CONVS * often))
    }
    if UPDATE in once:
        return True
    if calls <= 1 and convs < _CONVS:
        return {LOOK_UP, SAMPLE} <= once
    return bool(once) and _holds_layers(sequence, loop, looks_up=LOOK_UP in once)


def _done_in_turns(
    sequence: RunSequence, loop: Loop, part: slice, least: float
) -> list[tuple[int, float]]:
    """Return what nearly all turns do that models do once, as its kind and how often they do."""
    inside = slice(loop.start, loop.end)
    rare, codes = sequence.rare[inside], sequence.codes[inside]
    pairs = np.unique(np.stack([codes[rare > 0], rare[rare > 0]]), axis=1)
    found = []
    for code, kind in pairs.T.tolist():
        flags = (sequence.codes == code) & (sequence.rare == kind)
        times = _per_turn(loop, flags)
        often = float(np.median(times))
        is_there = often > 0 and (times == 0).mean() <= _MOST_TURNS_WITHOUT
        if is_there and times.sum() >= least * np.count_nonzero(flags[part]):
            found.append((int(kind), often))
    return found


def _holds_layers(sequence: RunSequence, loop: Loop, *, looks_up: bool) -> bool:
    """Say whether a turn repeats itself, and the next is of its sizes or follows a prompt."""
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    if repeated_share(sequence.codes[first:end]) < _LEAST_REPEATED:
        return False
    if sequence.exact is None:
        return True
    alike = np.sort(likeness(sequence.exact, loop.bounds))
    if alike[len(alike) // 2] >= _LEAST_OF_A_SIZE:
        return True
    is_prompt = looks_up and len(loop) == _TWICE
    return is_prompt and bool(likeness(sequence.codes, loop.bounds)[0] >= _LEAST_ALIKE_OF_TWO)


def _is_pass_by_structure(sequence: RunSequence, loop: Loop) -> bool:
    """Say whether turns repeat layers that are not all of them, and are all that was done."""
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    if loop.end - loop.start < _LEAST_OF_ALL * len(sequence):
        return False
    exact = sequence.exact
    if exact is not None and np.median(likeness(exact, loop.bounds)) < _LEAST_EQUAL:
        return False
    works = sequence.attends | sequence.is_conv | sequence.is_linear
    if not works[first:end].any():
        return end - first >= _LONG or _has_nested(sequence, first, end, None)
    calls = float(np.median(_per_turn(loop, sequence.attends)))
    layered = repeated_share(sequence.codes[first:end]) >= _LEAST_REPEATED
    return calls != 1 and layered and _has_nested(sequence, first, end, works)


def _has_nested(sequence: RunSequence, first: int, end: int, works: BoolArray | None) -> bool:
    """Say whether a turn repeats a good part of it, of layers if told, beside something else."""
    codes = sequence.codes[first:end]
    for inner in loops_of(codes):
        beside = ~np.isin(codes, codes[inner.start : inner.end])
        is_large = inner.end - inner.start >= _NESTED_SHARE * (end - first)
        layers = works is None or _per_turn(inner.shifted(first), works).all()
        if is_large and layers and beside.any():
            return True
    return False


def _per_turn(loop: Loop, flags: BoolArray) -> IntArray:
    """Return how many flags each turn holds."""
    inside = flags[loop.start : loop.end].astype(np.int64)
    return np.asarray(np.add.reduceat(inside, loop.starts - loop.start))
