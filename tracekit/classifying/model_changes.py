"""Where a sequence goes from one model to the next without a loop to tell: passes one by one.

A model does the same work again, to the size: its layers are equal, and a network that goes down
in resolution comes up again. So models change where nothing that was done before is done after.
A model may change like that too, from one level of a decoder to the next, so that alone says
nothing: a pass must begin there, which looks up tokens, tells the time or cuts an image in patches.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.classifying.run_sequence import LOOK_UP, TIME, RunSequence
from tracekit.classifying.sequence_names import (
    LEAST_CALLS,
    LEAST_CONVS,
    PATCH_CONVS,
    begins,
    layers,
)
from tracekit.linking.repetition import repeated_share
from tracekit.linking.sequences import run_hashes
from tracekit.trace import BoolArray, IntArray

_RUN: Final = 8
"""Elements of the runs that are looked for on both sides; shorter ones different models share."""
_MOST_SHARED: Final = 0.05
"""Share of the runs of one side that may stand on the other side too."""
PATCHES: Final = 0
"""An image is cut in patches; the other kinds of what begins a pass are those of a sequence."""
_MOST_LOOKED_AT: Final = 4096
"""Activities of a model that are enough to see its layers."""
_LEAST_REPEATED: Final = {LOOK_UP: 0.6, TIME: 0.4, PATCHES: 0.4}
"""Share of a model before that it does more than once: layers, beside what is made ready."""


@dataclass(frozen=True, slots=True)
class ModelStart:
    """A place where a model's pass begins, and with what: `LOOK_UP`, `TIME` or `PATCHES`."""

    place: int
    kind: int

    @property
    def is_told_time(self) -> bool:
        """Whether the model is a denoiser."""
        return self.kind == TIME


def model_starts(sequence: RunSequence, first: int, end: int) -> list[ModelStart]:
    """Return where passes of models begin in a part of a sequence without loops, in order.

    The first model may begin before the first of them.
    """
    stretch = _Stretch(sequence, first, end)
    found: list[ModelStart] = []
    for start in stretch.candidates():
        before = found[-1] if found else ModelStart(first, LOOK_UP)
        if stretch.holds_model(before.place, start.place):
            if stretch.holds_model(start.place, end) and stretch.is_new(before, start):
                found.append(start)
        elif not found:
            found.append(start)
        elif start.kind == TIME:
            # An image is cut in patches, or what a prompt gave is looked up, before the time is
            # told; the layers come after both.
            found[-1] = replace(found[-1], kind=TIME)
    return found


def changes(exact: IntArray) -> BoolArray:
    """Return for each place of a sequence, its end included, whether models may change there."""
    if len(exact) < _RUN:
        return np.zeros(len(exact) + 1, np.bool_)
    hashes = run_hashes(exact, _RUN)
    _, begin, kind = np.unique(hashes, return_index=True, return_inverse=True)
    last = np.zeros(len(begin), np.int64)
    np.maximum.at(last, kind, np.arange(len(hashes)))
    begun, over = (np.cumsum(np.bincount(at + 1, minlength=len(exact) + 1)) for at in (begin, last))
    least = np.minimum(begun, len(begin) - over)
    return np.asarray(begun - over <= _MOST_SHARED * least)


class _Stretch:
    """A part of a sequence, with what it holds up to each place."""

    def __init__(self, sequence: RunSequence, first: int, end: int) -> None:
        inside = slice(first, end)
        self._sequence = sequence
        self._inside = inside
        self._attends = np.flatnonzero(sequence.attends[inside]) + first
        self._convs = begins(sequence.is_conv[inside]) + first
        exact = sequence.exact
        self._changes = None if exact is None else changes(exact[inside])
        rare = sequence.rare[inside]
        self._told = (np.flatnonzero(rare == TIME) + first).tolist()
        self._looked_up = (np.flatnonzero(rare == LOOK_UP) + first).tolist()

    def candidates(self) -> list[ModelStart]:
        """Return where a pass may begin, in order."""
        patches = self._patches()
        found = [ModelStart(at, PATCHES) for at in patches]
        given = [at for at in self._looked_up if self._is_given_tokens(at, patches)]
        found += [ModelStart(at, LOOK_UP) for at in given]
        found += [ModelStart(at, TIME) for at in self._projected(self._told)]
        return sorted(found, key=lambda start: start.place)

    def holds_model(self, low: int, high: int) -> bool:
        """Say whether there is as much work as a model does."""
        is_transformer = self._calls_in(low, high) >= LEAST_CALLS
        return is_transformer or self._convs_in(low, high) >= LEAST_CONVS

    def _calls_in(self, low: int, high: int) -> int:
        return int(np.diff(np.searchsorted(self._attends, [low, high]))[0])

    def _convs_in(self, low: int, high: int) -> int:
        return int(np.diff(np.searchsorted(self._convs, [low, high]))[0])

    def is_new(self, before: ModelStart, start: ModelStart) -> bool:
        """Say whether what begins is another model than the one before, or another pass of it.

        Only of text encoders there are several passes: for one prompt and for another.
        """
        since, place = before.place, start.place
        if start.kind == LOOK_UP and self._calls_in(since, place) < LEAST_CALLS:
            return False
        is_prompt = start.kind == LOOK_UP and not before.is_told_time
        if not is_prompt and not self._is_other(since, start):
            return False
        looked_at = self._sequence.codes[since : min(place, since + _MOST_LOOKED_AT)]
        return repeated_share(looked_at) >= _LEAST_REPEATED[start.kind]

    def _is_other(self, since: int, start: ModelStart) -> bool:
        """Say whether it is another model that begins, by its sizes or by what it does."""
        if start.kind == PATCHES and self._convs_in(since, start.place):
            # Networks that go down in resolution cut their own tokens in patches again.
            return False
        if self._changes is not None and self._changes[start.place - self._inside.start]:
            return True
        # Where sizes do not tell, tokens that were looked up tell a prompt's model from a denoiser.
        if start.kind != TIME or self._convs_in(self._inside.start, start.place):
            return False
        looked_up = bool(self._looked_up) and self._looked_up[0] < start.place
        return looked_up and start.place == self._told[0]

    def _is_given_tokens(self, place: int, patches: list[int]) -> bool:
        """Say whether layers are given what is looked up.

        Relative positions are looked up too, right before the scores are made of them, and those
        of patches, right after these are cut.
        """
        at = int(np.searchsorted(self._attends, place))
        if len(self._attends) - at < LEAST_CALLS:
            return False
        patch = bisect_left(patches, place) - 1
        if patch >= 0 and (not at or patches[patch] > self._attends[at - 1]):
            return False
        return bool(self._sequence.is_linear[place : self._attends[at]].any())

    def _patches(self) -> list[int]:
        """Return where few convolutions stand alone before a model that attends."""
        after = np.searchsorted(self._attends, self._convs)
        calls, first, counts = np.unique(after, return_index=True, return_counts=True)
        few = (counts <= PATCH_CONVS) & (len(self._attends) - calls >= LEAST_CALLS)
        return [int(at) for at in self._convs[first[few]]]

    def _projected(self, told: list[int]) -> list[int]:
        """Return where the time is told: a projection, an activation and a projection take it.

        The sine of a rotation waits for queries and keys.
        """
        sequence = self._sequence
        linear, activates = sequence.is_linear[self._inside], sequence.activates[self._inside]
        matters = np.union1d(layers(sequence, self._inside), np.flatnonzero(activates))
        layered = matters[~(linear[matters] & linear[matters - 1] & (matters > 0))]
        following = np.searchsorted(layered, np.array(told, np.int64) - self._inside.start)
        return [
            at
            for at, then in zip(told, following.tolist(), strict=True)
            if then + 2 < len(layered)
            and linear[layered[then]]
            and activates[layered[then + 1]]
            and linear[layered[then + 2]]
        ]
