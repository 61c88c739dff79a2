"""Pairs the kernels of two sequences of roughly the same work, in order.

Runs that both hold once are anchors, what is equal beside an anchor belongs to it, and the little
that is left between them is aligned by dynamic programming with affine gaps (Gotoh, "An Improved
Algorithm for Matching Biological Sequences", 1982). The ends of the whole are free: either
sequence may begin earlier or end later than the other.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.sequences import GRAINS, Elements, run_hashes
from tracekit.linking.subsequence import common_subsequence
from tracekit.trace import AnyArray, IntArray

_ANCHORS: Final = (16, 4)
"""Lengths of the runs that are anchors, in the order in which they are looked for."""
_FEW_CELLS: Final = 1 << 10
_MOST_CELLS: Final = 1 << 21
"""From where on anchors are looked for between anchors, and dynamic programming is too much."""
_EXACT, _NAME, _KIND, _NEVER = 14, 8, 3, -(1 << 20)
_OPEN, _EXTEND = 2, 1
"""What a pair is worth; what a gap costs at once, and for each element."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Parts of both sequences that belong together; a free end is that of the whole."""

    first_a: int
    end_a: int
    first_b: int
    end_b: int
    free_head: bool = False
    free_tail: bool = False

    @property
    def cells(self) -> int:
        return (self.end_a - self.first_a) * (self.end_b - self.first_b)

    def trimmed(self, a: IntArray, b: IntArray) -> tuple[_Segment, int, int]:
        """Return what is left without the equal ends, and how much was equal at each."""
        first_a, end_a, first_b, end_b = self.first_a, self.end_a, self.first_b, self.end_b
        head = tail = 0
        if not self.free_head:
            head = _equal_length(a[first_a:end_a], b[first_b:end_b])
        if not self.free_tail:
            rest_a, rest_b = a[first_a + head : end_a], b[first_b + head : end_b]
            tail = _equal_length(rest_a[::-1], rest_b[::-1])
        left = _Segment(
            first_a + head,
            end_a - tail,
            first_b + head,
            end_b - tail,
            self.free_head,
            self.free_tail,
        )
        return left, head, tail


def aligned(query: Elements, target: Elements) -> tuple[IntArray, IntArray]:
    """Return the positions of partners in both sequences, in order.

    Partners are of one kind; names and launch configurations agree as far as that is possible.
    """
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    segments = [_Segment(0, len(query), 0, len(target), free_head=True, free_tail=True)]
    for grain in GRAINS:
        a, b = query.at(grain), target.at(grain)
        for length in _ANCHORS:
            refined: list[_Segment] = []
            for segment in segments:
                if segment.cells <= _FEW_CELLS and not (segment.free_head or segment.free_tail):
                    refined.append(segment)
                else:
                    refined += _refined(segment, a, b, length, pairs)
            segments = refined
    for segment in segments:
        x, y = _best(query, target, segment)
        pairs.append((x + segment.first_a, y + segment.first_b))
    x = np.concatenate([x for x, _ in pairs])
    y = np.concatenate([y for _, y in pairs])
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    alike = query.kind[x] == target.kind[y]
    return x[alike], y[alike]


def _refined(
    segment: _Segment,
    a: IntArray,
    b: IntArray,
    length: int,
    pairs: list[tuple[IntArray, IntArray]],
) -> Iterator[_Segment]:
    """Yield what anchors leave of a segment; what they pair is added to `pairs`."""
    x, y = _anchors(a[segment.first_a : segment.end_a], b[segment.first_b : segment.end_b], length)
    x, y = x + segment.first_a, y + segment.first_b
    pairs.append((x, y))
    ends_x, ends_y = np.append(x, segment.end_a), np.append(y, segment.end_b)
    begins_x, begins_y = np.append(segment.first_a, x + 1), np.append(segment.first_b, y + 1)
    holds = np.flatnonzero((ends_x > begins_x) & (ends_y > begins_y))
    for at in holds.tolist():
        part = _Segment(
            int(begins_x[at]),
            int(ends_x[at]),
            int(begins_y[at]),
            int(ends_y[at]),
            segment.free_head and at == 0,
            segment.free_tail and at == len(x),
        )
        left, head, tail = part.trimmed(a, b)
        for first_a, first_b, equal in (
            (part.first_a, part.first_b, head),
            (left.end_a, left.end_b, tail),
        ):
            pairs.append((np.arange(first_a, first_a + equal), np.arange(first_b, first_b + equal)))
        if left.cells:
            yield left


def _anchors(a: IntArray, b: IntArray, length: int) -> tuple[IntArray, IntArray]:
    """Return the middles of the runs that both hold once, as many as stand in one order."""
    if min(len(a), len(b)) < length:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    once = []
    for codes in (a, b):
        runs, at, times = np.unique(
            run_hashes(codes, length), return_index=True, return_counts=True
        )
        once.append((runs[times == 1], at[times == 1]))
    _, of_a, of_b = np.intersect1d(once[0][0], once[1][0], assume_unique=True, return_indices=True)
    x, y = once[0][1][of_a], once[1][1][of_b]
    order = np.argsort(x)
    x, y = x[order], y[order]
    rising = _longest_rising(y)
    return x[rising] + length // 2, y[rising] + length // 2


def _longest_rising(values: IntArray) -> IntArray:
    """Return the positions of a longest rising subsequence."""
    if (np.diff(values) > 0).all():
        return np.arange(len(values))
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for at, value in enumerate(values.tolist()):
        rank = bisect_left(ends, value)
        before.append(last[rank - 1] if rank else -1)
        if rank == len(ends):
            ends.append(value)
            last.append(at)
        else:
            ends[rank], last[rank] = value, at
    chain = [last[-1]]
    while before[chain[-1]] >= 0:
        chain.append(before[chain[-1]])
    return np.array(chain[::-1], np.int64)


def _equal_length(a: IntArray, b: IntArray) -> int:
    count = min(len(a), len(b))
    differs = np.flatnonzero(a[:count] != b[:count])
    return int(differs[0]) if len(differs) else count


def _best(query: Elements, target: Elements, segment: _Segment) -> tuple[IntArray, IntArray]:
    """Return the pairs of one segment, as positions in its parts."""
    a = query.take(slice(segment.first_a, segment.end_a))
    b = target.take(slice(segment.first_b, segment.end_b))
    if segment.cells > _MOST_CELLS:
        return common_subsequence(a.name, b.name)
    if segment.cells == 1 and not (segment.free_head or segment.free_tail):
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    worth = np.full((len(a), len(b)), _NEVER, np.int64)
    for kind_of_pair, value in (("kind", _KIND), ("name", _NAME), ("exact", _EXACT)):
        codes_a, codes_b = getattr(a, kind_of_pair), getattr(b, kind_of_pair)
        worth[codes_a[:, None] == codes_b[None, :]] = value
    worth[a.kind[:, None] != b.kind[None, :]] = _NEVER
    return _Grid.of(worth, segment).pairs(worth)


@dataclass(frozen=True, slots=True)
class _Grid:
    """The best scores of all prefixes of two sequences.

    `score` is that of two prefixes, `along_a` that where the last of the first has no partner.
    """

    score: AnyArray
    along_a: AnyArray
    end: tuple[int, int]

    @classmethod
    def of(cls, worth: AnyArray, segment: _Segment) -> _Grid:
        """Fill the grid row by row; a gap along a row is a running maximum."""
        count_a, count_b = worth.shape
        steps = _EXTEND * np.arange(count_b + 1)
        score = np.zeros((count_a + 1, count_b + 1), np.int64)
        along_a = np.full_like(score, _NEVER)
        if not segment.free_head:
            score[0, 1:] = -_OPEN - steps[1:]
        for row in range(1, count_a + 1):
            above = score[row - 1]
            along_a[row] = np.maximum(along_a[row - 1], above - _OPEN) - _EXTEND
            best = along_a[row].copy()
            np.maximum(best[1:], above[:-1] + worth[row - 1], out=best[1:])
            if segment.free_head:
                best[0] = 0
            along_b = np.maximum.accumulate(best + steps)[:-1] - _OPEN - steps[1:]
            np.maximum(best[1:], along_b, out=best[1:])
            score[row] = best
        end = (count_a, count_b)
        if segment.free_tail:
            at_a, at_b = int(np.argmax(score[:, -1])), int(np.argmax(score[-1]))
            ends_b_first = score[at_a, -1] > score[-1, at_b]
            end = (at_a, count_b) if ends_b_first else (count_a, at_b)
        return cls(score, along_a, end)

    def pairs(self, worth: AnyArray) -> tuple[IntArray, IntArray]:
        """Walk back from the end and return the pairs on the way, in order."""
        (row, column), score = self.end, self.score
        x: list[int] = []
        y: list[int] = []
        while row and column:
            here = score[row, column]
            if here == score[row - 1, column - 1] + worth[row - 1, column - 1]:
                row, column = row - 1, column - 1
                x.append(row)
                y.append(column)
            elif here == self.along_a[row, column]:
                while self.along_a[row, column] != score[row - 1, column] - _OPEN - _EXTEND:
                    row -= 1
                row -= 1
            else:
                gaps = _OPEN + _EXTEND * np.arange(column, 0, -1)
                came_from = np.flatnonzero(score[row, :column] - gaps == here)
                if not len(came_from):
                    break
                column = int(came_from[-1])
        return np.array(x[::-1], np.int64), np.array(y[::-1], np.int64)
