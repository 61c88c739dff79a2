"""Which of the loops that a sequence shows are steps: whole passes of a model, no layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from tracekit.classifying.loop_ends import with_true_starts
from tracekit.classifying.model_passes import LEAST_INSIDE, is_pass
from tracekit.classifying.run_sequence import LOOK_UP, RunSequence
from tracekit.linking.repetition import Loop, likeness, loops_of

_LESS_ALIKE: Final = 0.1
_SAME_REGION: Final = 0.9
_JOINT: Final = 6
_AGREE: Final = 0.8
_LEAST_OF_A_RUN: Final = 0.8
_OF_A_RUN: Final = 0.5
"""Share of a turn from which on a loop inside makes it a run, not a step."""
_CALLS_OF_A_STEP: Final = 3
_NEARLY_ALL: Final = 0.85
_FEW_LAYERS: Final = 8
"""Layers that no model does without: fewer are what a scheduler was taken for."""
_FEW_CALLS: Final = 2


def runs_of(sequence: RunSequence) -> list[tuple[int, int, list[Loop]]]:
    """Return the runs of a sequence, each as its first place, its end and its loops of steps.

    Of nested loops the outermost whose turns are passes of a model are steps. If these hold loops
    of steps themselves, they are repetitions of the run, and the steps are those inside.
    """
    whole = _outermost(sequence, 0, len(sequence))
    bounds = [0, len(sequence)]
    if whole is not None and _is_run(sequence, whole):
        bounds = sorted({0, *whole.bounds.tolist(), len(sequence)})
    return [(first, end, _step_loops(sequence, first, end)) for first, end in pairwise(bounds)]


def _step_loops(sequence: RunSequence, first: int, end: int) -> list[Loop]:
    """Return the loops of steps in a part of a sequence, in order; they do not overlap.

    Turns of another size than the rest are loops of their own: the prompt before tokens, another
    resolution. A single one may be the end of another loop, and is looked at again with it.
    """
    found: list[Loop] = []
    singles: list[Loop] = []
    parts = [(first, end)]
    while parts:
        low, high = parts.pop()
        loop = _outermost(sequence, low, high)
        if loop is None:
            continue
        pieces = split_by_size(sequence, _within(with_true_starts(sequence, loop), low, high))
        kept = [piece for piece in pieces if len(piece) > 1] or pieces
        found.extend(kept)
        singles.extend(piece for piece in pieces if piece not in kept)
        bounds = [low, *(edge for piece in kept for edge in (piece.start, piece.end)), high]
        parts.extend(zip(bounds[::2], bounds[1::2], strict=True))
    found.extend(one for one in singles if not any(_overlap(one, other) for other in found))
    return sorted(found, key=lambda loop: loop.start)


def _overlap(one: Loop, other: Loop) -> bool:
    return one.start < other.end and other.start < one.end


def _within(loop: Loop, first: int, end: int) -> Loop:
    """Return the part of a loop in a part of a sequence; of a turn most of it is enough.

    The last turn of the loop before it may reach into what the first turn begins with.
    """
    at = int(np.searchsorted(loop.starts, first))
    starts = loop.starts[at:]
    if at and first < loop.end:
        turn_end = int(loop.bounds[at])
        if turn_end - first >= _SAME_REGION * (turn_end - int(loop.starts[at - 1])):
            starts = np.append(first, starts)
    return Loop(starts, min(loop.end, end))


def split_by_size(sequence: RunSequence, loop: Loop) -> list[Loop]:
    """Return the parts of a loop whose turns work on data of one size each, in order.

    The prompt and the tokens after it, or two resolutions of one architecture, are steps alike
    but for their sizes. Where those grow from step to step, most of them stay the same.
    """
    if sequence.exact is None or len(loop) < _FEW_CALLS + 1:
        return [loop]
    alike = likeness(sequence.exact, loop.bounds)
    usual = float(np.median(alike))
    cuts = np.flatnonzero(alike < usual / 2) + 1
    pieces = np.split(loop.starts, cuts)
    ends = [*loop.starts[cuts].tolist(), loop.end]
    return [Loop(starts, end) for starts, end in zip(pieces, ends, strict=True)]


def _outermost(
    sequence: RunSequence, first: int, end: int, least: float = LEAST_INSIDE
) -> Loop | None:
    loops = [loop.shifted(first) for loop in loops_of(sequence.codes[first:end])]
    passes = [loop for loop in loops if is_pass(sequence, loop, slice(first, end), least)]
    if not passes:
        return None
    alike = [float(np.median(likeness(sequence.codes, loop.bounds))) for loop in passes]
    least = max(alike) - _LESS_ALIKE
    passes = [loop for loop, one in zip(passes, alike, strict=True) if one >= least]
    chosen = passes[0]
    for inner in passes[1:]:
        if len(inner) > len(chosen) and _covers(inner, chosen):
            chosen = chosen if _joints_differ(sequence, inner, chosen) else inner
    return chosen


def _covers(inner: Loop, outer: Loop) -> bool:
    return inner.end - inner.start >= _SAME_REGION * (outer.end - outer.start)


def _joints_differ(sequence: RunSequence, inner: Loop, outer: Loop) -> bool:
    """Say whether inner turns are joined otherwise within an outer turn than between two.

    Two passes with guidance, then the scheduler: that is one step of two passes. If all joints are
    equal, the outer loop is two steps taken for one.
    """
    calls = round(len(inner) / len(outer))
    if calls < _FEW_CALLS or len(inner) < 2 * calls - 1:
        return True
    starts = inner.starts[1:]
    joints = sequence.codes[np.maximum(starts[:, None] - np.arange(1, _JOINT + 1), 0)]
    _, joint = np.unique(joints, axis=0, return_inverse=True)
    near = np.abs(starts[:, None] - outer.starts[None, :]).min(axis=1)
    between = near <= (outer.starts[1] - outer.starts[0]) / (2 * calls)
    if between.all() or not between.any():
        return True
    usual = [np.bincount(joint.ravel()[flags]) for flags in (between, ~between)]
    agree = min(float(counts.max() / counts.sum()) for counts in usual)
    return int(usual[0].argmax()) != int(usual[1].argmax()) and agree >= _AGREE


def _is_run(sequence: RunSequence, loop: Loop) -> bool:
    """Say whether each turn holds steps of its own, beside other work or in greater number.

    Passes that make up nearly a whole turn are one step if they are a few, guidance in several
    calls, or if they differ in size: frames in chunks, of which the last one is shorter.
    """
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    inner = _outermost(sequence, first, end, _LEAST_OF_A_RUN)
    if inner is None:
        return False
    share = (inner.end - inner.start) / (end - first)
    if share < _NEARLY_ALL:
        return share >= _OF_A_RUN
    if len(inner) > _CALLS_OF_A_STEP:
        return not _is_in_chunks(sequence, inner, first, end)
    outside = np.append(sequence.rare[first : inner.start], sequence.rare[inner.end : end])
    return bool((outside == LOOK_UP).any())


def _is_in_chunks(sequence: RunSequence, inner: Loop, first: int, end: int) -> bool:
    """Say whether passes of several sizes are all that a turn does; those of tokens are not."""
    layers = sequence.attends | sequence.is_conv | sequence.is_linear
    beside = [slice(first, inner.start), slice(inner.end, end)]
    if sum(np.count_nonzero(layers[part]) for part in beside) >= _FEW_LAYERS:
        return False
    looks_up = bool((sequence.rare[first:end] == LOOK_UP).any())
    return not looks_up and len(split_by_size(sequence, inner)) > 1
