"""The longest common subsequence of two sequences of numbers.

Equal ends are cut off, since equal sequences are the normal case; what lies between them is aligned
by Myers, "An O(ND) Difference Algorithm", 1986, with all diagonals at once and with equal runs
skipped by blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.codes import numbered
from tracekit.trace import AnyArray, IntArray

_MOST_EDITS: Final = 1000
_MOST_ROUNDS: Final = 8
_LEVELS: Final = 11
_OUTSIDE: Final = -(1 << 40)


def common_subsequence(a: IntArray, b: IntArray) -> tuple[IntArray, IntArray]:
    """Return the positions in both sequences of a longest common subsequence.

    It is the longest for up to a thousand differences; beyond that it is found piece by piece, and
    after eight thousand the rest counts as different.
    """
    head = _equal_length(a, b)
    tail = _equal_length(a[head:][::-1], b[head:][::-1])
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    runs = [(0, 0, head)]
    if len(middle_a) and len(middle_b):
        runs += [(head + x, head + y, n) for x, y, n in _runs(middle_a, middle_b)]
    runs.append((len(a) - tail, len(b) - tail, tail))
    at_a = [np.arange(x, x + length) for x, _, length in runs]
    at_b = [np.arange(y, y + length) for _, y, length in runs]
    return np.concatenate(at_a), np.concatenate(at_b)


def _equal_length(a: IntArray, b: IntArray) -> int:
    """Return how many elements at the beginning of both are equal."""
    count = min(len(a), len(b))
    differs = np.flatnonzero(a[:count] != b[:count])
    return int(differs[0]) if len(differs) else count


def _runs(a: IntArray, b: IntArray) -> list[tuple[int, int, int]]:
    """Return the common subsequence as runs: where in `a`, where in `b`, how long."""
    blocks = _Blocks.of(a, b)
    runs: list[tuple[int, int, int]] = []
    x = y = 0
    for _ in range(_MOST_ROUNDS):
        found, x, y = blocks.align_from(x, y)
        runs += found
        if x >= len(a) or y >= len(b):
            break
    return runs


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Two sequences whose blocks of 1, 2, 4, … elements are numbered, equal for equal content."""

    levels_a: tuple[IntArray, ...]
    levels_b: tuple[IntArray, ...]

    @classmethod
    def of(cls, a: IntArray, b: IntArray) -> _Blocks:
        level_a, level_b = _renumbered(a - min(a.min(), b.min()), b - min(a.min(), b.min()))
        levels_a, levels_b = [level_a], [level_b]
        half = 1
        while len(levels_a) < _LEVELS and 2 * half <= min(len(a), len(b)):
            width = 1 + max(int(level_a.max()), int(level_b.max()))
            level_a, level_b = _renumbered(
                level_a[:-half] * width + level_a[half:], level_b[:-half] * width + level_b[half:]
            )
            levels_a.append(level_a)
            levels_b.append(level_b)
            half *= 2
        return cls(tuple(levels_a), tuple(levels_b))

    def align_from(self, x0: int, y0: int) -> tuple[list[tuple[int, int, int]], int, int]:
        """Return the runs from a point on, and the point where they end.

        Each round adds one difference and follows every diagonal as far as it is equal; `history`
        holds how far each got. It ends at both ends, or where most was covered when it gives up.
        """
        end_x, end_y = len(self.levels_a[0]) - x0, len(self.levels_b[0]) - y0
        reach = self._follow(np.zeros(1, np.int64), np.zeros(1, np.int64), x0, y0)
        history = [reach]
        while len(history) <= _MOST_EDITS:
            if _is_done(reach, end_x, end_y):
                break
            start, _ = _next_round(reach, end_x, end_y)
            reach = self._follow(start, _diagonals(len(start)), x0, y0)
            history.append(reach)
        best = int(np.argmax(2 * reach - _diagonals(len(reach))))
        runs = _traced_back(history, best, end_x, end_y)
        x = int(reach[best])
        y = x - int(_diagonals(len(reach))[best])
        return [(x0 + at_a, y0 + at_b, length) for at_a, at_b, length in runs], x0 + x, y0 + y

    def _follow(self, x: IntArray, diagonal: IntArray, x0: int, y0: int) -> IntArray:
        """Return how far each point gets along its diagonal while both sequences are equal."""
        reach = x.copy()
        top = len(self.levels_a) - 1
        active = self._equal_at(0, reach, diagonal, np.flatnonzero(x >= 0), (x0, y0))
        moving = active
        while len(moving):
            moving = self._equal_at(top, reach, diagonal, moving, (x0, y0))
            reach[moving] += 1 << top
        for level in range(top - 1, -1, -1):
            moving = self._equal_at(level, reach, diagonal, active, (x0, y0))
            reach[moving] += 1 << level
        return reach

    def _equal_at(
        self,
        level: int,
        reach: IntArray,
        diagonal: IntArray,
        rows: IntArray,
        origin: tuple[int, int],
    ) -> IntArray:
        """Return those of the rows where the next block of this level is equal."""
        a, b = self.levels_a[level], self.levels_b[level]
        at_a = reach[rows] + origin[0]
        at_b = reach[rows] - diagonal[rows] + origin[1]
        inside = (at_a < len(a)) & (at_b < len(b))
        equal: IntArray = rows[inside][a[at_a[inside]] == b[at_b[inside]]]
        return equal


def _renumbered(a: IntArray, b: IntArray) -> tuple[IntArray, IntArray]:
    both = np.concatenate([a, b])
    _, code = numbered(both, int(both.max()) + 1)
    return code[: len(a)], code[len(a) :]


def _diagonals(count: int) -> IntArray:
    """Return the numbers of the diagonals that `count - 1` differences can reach."""
    return np.arange(1 - count, count, 2)


def _is_done(reach: IntArray, end_x: int, end_y: int) -> bool:
    return bool(((reach >= end_x) & (reach - _diagonals(len(reach)) >= end_y)).any())


def _next_round(reach: IntArray, end_x: int, end_y: int) -> tuple[IntArray, AnyArray]:
    """Return where each diagonal starts after one more difference, and whether it steps along `b`.

    Diagonals that no such step reaches within both sequences are far outside.
    """
    along_b = np.append(reach, _OUTSIDE)
    along_a = np.append(_OUTSIDE, reach + 1)
    diagonal = _diagonals(len(along_b))
    along_b[(along_b < 0) | (along_b - diagonal > end_y)] = _OUTSIDE
    along_a[(along_a < 0) | (along_a > end_x)] = _OUTSIDE
    return np.maximum(along_a, along_b), along_b > along_a


def _traced_back(
    history: list[IntArray], at: int, end_x: int, end_y: int
) -> list[tuple[int, int, int]]:
    """Return the equal runs on the way to one point of the last round, in order."""
    runs = []
    for differences in range(len(history) - 1, -1, -1):
        end = int(history[differences][at])
        diagonal = 2 * at - differences
        start, steps_along_b = 0, False
        if differences:
            starts, along_b = _next_round(history[differences - 1], end_x, end_y)
            start, steps_along_b = int(starts[at]), bool(along_b[at])
        if end > start:
            runs.append((start, start - diagonal, end - start))
        at -= 0 if steps_along_b else 1
    return runs[::-1]
