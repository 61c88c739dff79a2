"""Which of the loops that a sequence shows are steps: whole passes of a model, no layers."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.classifying.loop_ends import with_true_starts
from tracekit.classifying.run_sequence import LOOK_UP, RARE, SAMPLE, TIME, RunSequence
from tracekit.linking.repetition import Loop, likeness, loops_of, repeated_share
from tracekit.trace import BoolArray, IntArray

_MOST_TURNS_WITHOUT: Final = 0.2
"""Share of turns in which what a pass does once may be missing."""
_LESS_ALIKE: Final = 0.1
_SAME_REGION: Final = 0.9
_JOINT: Final = 6
_AGREE: Final = 0.8
_OF_A_RUN: Final = 0.5
"""Share of a turn from which on a loop inside makes it a run, not a step."""
_CALLS_OF_A_STEP: Final = 3
_NEARLY_ALL: Final = 0.85
_FEW_CALLS, _MANY_CALLS = 2, 4
_CONVS: Final = 12
_CALLS_PER: Final = {LOOK_UP: 1.0, SAMPLE: 1.0, TIME: 0.5, RARE: 8.0}
"""Attention calls that there must be for each time that a turn does something of the kind."""
_LEAST_INSIDE: Final = 0.3
"""Share of all that is done of the kind that must lie in the loop."""
_LEAST_REPEATED: Final = 0.75
"""Share of a pass that it does more than once: layers. Of a layer it is less."""
_LEAST_ALIKE_OF_TWO: Final = 0.85
_LEAST_OF_A_SIZE: Final = 0.5
"""Likeness of turns with their sizes; blocks at several resolutions are less alike."""
_LEAST_NESTED, _NESTED_SHARE = 3, 0.4
_LONG: Final = 24


def runs_of(sequence: RunSequence) -> list[tuple[int, int, list[Loop]]]:
    """Return the runs of a sequence, each as its first place, its end and its loops of steps.

    Of nested loops the outermost whose turns are passes of a model are steps. If these hold loops
    of steps themselves, they are repetitions of the run, and the steps are those inside.
    """
    whole = _outermost(sequence, 0, len(sequence))
    bounds = [0, len(sequence)]
    if whole is not None and _is_run(sequence, whole):
        bounds = sorted({0, *whole.bounds.tolist(), len(sequence)})
    return [
        (first, end, _step_loops(sequence, first, end))
        for first, end in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def _step_loops(sequence: RunSequence, first: int, end: int) -> list[Loop]:
    """Return the loops of steps in a part of a sequence, in order; they do not overlap."""
    found: list[Loop] = []
    parts = [(first, end)]
    while parts:
        low, high = parts.pop()
        loop = _outermost(sequence, low, high)
        if loop is not None:
            loop = _within(with_true_starts(sequence, loop), low, high)
            found.append(loop)
            parts.extend([(low, loop.start), (loop.end, high)])
    return sorted(found, key=lambda loop: loop.start)


def _within(loop: Loop, first: int, end: int) -> Loop:
    starts = loop.starts[loop.starts >= first]
    return Loop(starts, min(loop.end, end))


def split_by_size(sequence: RunSequence, loop: Loop) -> list[Loop]:
    """Return the parts of a loop whose turns work on data of one size each.

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


def _outermost(sequence: RunSequence, first: int, end: int) -> Loop | None:
    loops = [loop.shifted(first) for loop in loops_of(sequence.codes[first:end])]
    passes = [loop for loop in loops if _is_pass(sequence, loop)]
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

    A few passes that make up nearly a whole turn are one step: guidance in several calls.
    """
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    inner = _outermost(sequence, first, end)
    if inner is None:
        return False
    share = (inner.end - inner.start) / (end - first)
    if share < _NEARLY_ALL or len(inner) > _CALLS_OF_A_STEP:
        return share >= _OF_A_RUN
    outside = np.append(sequence.rare[first : inner.start], sequence.rare[inner.end : end])
    return bool((outside == LOOK_UP).any())


def _is_pass(sequence: RunSequence, loop: Loop) -> bool:
    """Say whether turns are passes of a whole model: they do what layers inside them do not.

    That is to look up tokens, to pick or draw some, to tell the time. Layers that do so do it in
    each of their attention calls. Where nothing of that is in the trace, structure decides.
    """
    of_turn = _per_turn(loop)
    calls = float(np.median(of_turn(sequence.attends)))
    convs = float(np.median(of_turn(sequence.is_conv)))
    if not (sequence.rare > 0).any():
        return _is_pass_by_structure(sequence, loop, calls)
    once = set()
    for code, kind in _rare_codes(sequence, loop):
        flags = (sequence.codes == code) & (sequence.rare == kind)
        times = of_turn(flags)
        often = float(np.median(times))
        if not often or (times == 0).mean() > _MOST_TURNS_WITHOUT:
            continue
        if times.sum() < _LEAST_INSIDE * np.count_nonzero(flags):
            continue
        if _CALLS_PER[kind] * often <= calls:
            once.add(kind)
        elif calls <= 1 and ((convs >= _CONVS and often <= _FEW_CALLS) or often == 1):
            once.add(kind)
    if calls <= 1 and convs < _CONVS:
        return {LOOK_UP, SAMPLE} <= once
    return bool(once) and _holds_layers(sequence, loop, LOOK_UP in once)


def _holds_layers(sequence: RunSequence, loop: Loop, looks_up: bool) -> bool:
    """Say whether a turn repeats itself, and the next is of its sizes (or follows a prompt)."""
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    if repeated_share(sequence.codes[first:end]) < _LEAST_REPEATED:
        return False
    if looks_up and len(loop) == _FEW_CALLS:
        # A prompt and one token after it are of two sizes.
        if float(likeness(sequence.codes, loop.bounds)[0]) >= _LEAST_ALIKE_OF_TWO:
            return True
    if sequence.exact is None:
        return True
    alike = np.sort(likeness(sequence.exact, loop.bounds))
    return bool(alike[len(alike) // 2] >= _LEAST_OF_A_SIZE)


def _rare_codes(sequence: RunSequence, loop: Loop) -> list[tuple[int, int]]:
    rare = sequence.rare[loop.start : loop.end]
    codes = sequence.codes[loop.start : loop.end]
    pairs = np.unique(np.stack([codes[rare > 0], rare[rare > 0]]), axis=1)
    return [(int(code), int(kind)) for code, kind in pairs.T.tolist()]


def _is_pass_by_structure(sequence: RunSequence, loop: Loop, calls: float) -> bool:
    """Say whether turns repeat layers that are not all of them, and are all that was done."""
    first, end = int(loop.bounds[0]), int(loop.bounds[1])
    if loop.end - loop.start < _NEARLY_ALL * len(sequence):
        return False
    if sequence.exact is not None and np.median(likeness(sequence.exact, loop.bounds)) < _AGREE:
        return False
    codes = sequence.codes[first:end]
    works = sequence.attends | sequence.is_conv | sequence.is_linear
    known = works[first:end].any()
    for inner in loops_of(codes):
        held = np.isin(codes, codes[inner.start : inner.end])
        share = (inner.end - inner.start) / (end - first)
        if known and not _per_turn(inner.shifted(first))(works).all():
            continue
        if len(inner) >= _FEW_CALLS and share >= _NESTED_SHARE and not held.all():
            return calls != 1 and repeated_share(codes) >= _LEAST_REPEATED
    return not known and end - first >= _LONG


def _per_turn(loop: Loop):  # type: ignore[no-untyped-def]
    bounds = loop.bounds

    def counted(flags: BoolArray) -> IntArray:
        before = np.concatenate([[0], np.cumsum(flags[bounds[0] : bounds[-1]], dtype=np.int64)])
        return np.diff(before[bounds - bounds[0]])

    return counted
