"""Where the turns of a loop begin: with what a model's pass begins with."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.classifying.run_sequence import LOOK_UP, TIME, RunSequence
from tracekit.classifying.sequence_names import picks_tokens
from tracekit.linking.repetition import Loop, ended, likeness
from tracekit.trace import IntArray

_NEAR_THE_START: Final = {LOOK_UP: 0.06, TIME: 0.25}
"""Share of a turn within which a pass looks up its tokens or tells the time."""
_BEFORE_TIME: Final = 0.05
_AT_ONCE: Final = 0.25
"""Share of a turn within which what is done several times is done at once."""
_LONGER: Final = 1.6
_STEADY: Final = 1.1
_FEWEST: Final = 2
_FEW_AT_ONCE: Final = 3
_ALIKE, _ALIKE_IN_SIZE = 0.7, 0.4
_MOST_TURNS: Final = 0.8


def with_true_starts(sequence: RunSequence, loop: Loop) -> Loop:
    """Return the loop turned so that passes begin where tokens are looked up or time is told.

    A sequence alone does not say where a turn begins if what stands before the loop happens to be
    like the end of a turn. A first turn that differs from the others (it fills caches, or warms
    up) is one of them if it begins like them.
    """
    for kind in (LOOK_UP, TIME):
        anchors = _once_a_turn(sequence, loop, kind)
        if anchors is not None:
            break
    else:
        return loop
    usual = float(np.median(np.diff(loop.bounds)))
    inside = anchors[(anchors >= loop.start) & (anchors < loop.end)]
    turn = np.searchsorted(loop.starts, inside, side="right") - 1
    offset = int(np.median(inside - loop.starts[turn]))
    goes_on = kind == LOOK_UP and _begins_amid_a_pass(sequence, loop, offset)
    if goes_on or offset > _NEAR_THE_START[kind] * usual:
        starts = _in_a_row(anchors, loop, usual)
        if len(starts) < _FEWEST:
            return loop
        loop = ended(sequence.codes, Loop(starts, max(loop.end, int(starts[-1]) + 1)))
        missing = int(usual) - (loop.end - int(loop.starts[-1]))
        offset = 0
        if kind == TIME and 0 < missing <= _BEFORE_TIME * usual:
            # What the last turn lacks at its end stands before the first: inputs made ready.
            loop, offset = Loop(loop.starts - missing, loop.end), missing
    return _with_first(sequence, loop, anchors, offset)


def _begins_amid_a_pass(sequence: RunSequence, loop: Loop, offset: int) -> bool:
    """Say whether what stands before the look-up of a turn ends the pass before it.

    Tokens are picked after a pass and looked up at the start of the next. What ends a pass also
    stands after the last turn.
    """
    head = slice(loop.starts[-1], loop.starts[-1] + offset)
    if picks_tokens(sequence, head):
        return True
    turned = sequence.codes[loop.end : loop.end + offset]
    return offset > 0 and np.array_equal(turned, sequence.codes[head])


def _once_a_turn(sequence: RunSequence, loop: Loop, kind: int) -> IntArray | None:
    """Return all places where most turns do something of a kind, once or at once, if they do."""
    codes, rare = sequence.codes, sequence.rare
    inside = slice(loop.start, loop.end)
    usual = float(np.median(np.diff(loop.bounds)))
    for code in np.unique(codes[inside][rare[inside] == kind]).tolist():
        places = np.flatnonzero((codes == code) & (rare == kind))
        places = places[np.diff(places, prepend=-len(codes)) >= _AT_ONCE * usual]
        here = places[(places >= loop.start) & (places < loop.end)]
        turn = np.searchsorted(loop.starts, here, side="right") - 1
        times = np.bincount(turn, minlength=len(loop))
        # A turn that is cut amiss may lack what the next one has, or the one before.
        once = np.count_nonzero(times == 1)
        raw = np.count_nonzero((codes[inside] == code) & (rare[inside] == kind))
        least = _MOST_TURNS * len(loop)
        if raw <= _FEW_AT_ONCE * len(loop):
            least = min(least, len(loop) - 1)
        if times.max(initial=0) == 1 and once >= least:
            return places
    return None


def _in_a_row(anchors: IntArray, loop: Loop, usual: float) -> IntArray:
    """Return the anchors from the last one before a loop on that are about a turn apart.

    Less than half a turn is left after the last of them, or a whole one begins there.
    """
    starts = anchors[(anchors >= loop.start) & (anchors < loop.end)]
    before = anchors[anchors < loop.start]
    if len(before) and usual / _STEADY <= starts[0] - before[-1] <= _STEADY * usual:
        starts = np.append(before[-1], starts)
    if loop.end - starts[-1] < usual / 2 and len(starts) > _FEWEST:
        starts = starts[:-1]
    return starts


def _with_first(sequence: RunSequence, loop: Loop, anchors: IntArray, offset: int) -> Loop:
    usual = float(np.median(np.diff(loop.bounds)))
    before = anchors[anchors < loop.start] - offset
    if not len(before) or not 0 <= before[-1] >= loop.start - _LONGER * usual:
        return loop
    bounds = np.array([before[-1], *loop.bounds[:2]])
    if likeness(sequence.codes, bounds)[0] < _ALIKE:
        return loop
    if sequence.exact is not None and likeness(sequence.exact, bounds)[0] < _ALIKE_IN_SIZE:
        return loop
    return Loop(np.append(before[-1], loop.starts), loop.end)
