"""Finds where a sequence of kernels stands in a long one, roughly.

The place is voted for: runs of 32 and of 8 kernels that the sequence holds once are looked up in
the long one, and each tells where the whole would begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tracekit.trace import AnyArray, BoolArray, FloatArray, IntArray

Grain = Literal["exact", "name"]
GRAINS: Final[tuple[Grain, ...]] = ("exact", "name")
"""The grains at which sequences are compared, the finest first."""

_VOTING: Final = ((32, 8), (4,), (2,))
"""Lengths of the runs that vote; the next ones are asked where those before say too little."""
_MOST_PLACES: Final = 1024
"""Places of one run in the long sequence; a run with more says little."""
_MOST_VOTES: Final = 1 << 21
_MIX: Final = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


@dataclass(frozen=True, slots=True)
class Elements:
    """A sequence at three grains, as numbers that are equal where elements are.

    `exact` is the name together with the launch configuration, `kind` the kind of kernel: elements
    of different kinds are never partners.
    """

    exact: IntArray
    name: IntArray
    kind: IntArray

    def __len__(self) -> int:
        return len(self.name)

    def take(self, rows: IntArray | slice) -> Elements:
        """Return the elements at these positions."""
        return Elements(self.exact[rows], self.name[rows], self.kind[rows])

    def at(self, grain: Grain) -> IntArray:
        """Return the numbers of one grain."""
        return self.exact if grain == "exact" else self.name


class Index:
    """A long sequence in which others are looked for; each length of run is hashed once."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self._hashes: dict[tuple[Grain, int], AnyArray] = {}
        self._sorted: dict[tuple[Grain, int], tuple[AnyArray, IntArray]] = {}

    def __len__(self) -> int:
        return len(self.elements)

    def occurrences(self, query: Elements) -> IntArray:
        """Return where the whole of a sequence stands, with launch configurations if it does."""
        count = len(query)
        if not 0 < count <= len(self):
            return np.empty(0, np.int64)
        length = 1 << (count.bit_length() - 1)
        for grain in GRAINS:
            codes, hashes = query.at(grain), self._run_hashes(grain, length)
            last = len(self) - count + 1
            found = hashes[:last] == run_hashes(codes[:length], length)[0]
            tail = run_hashes(codes[count - length :], length)[0]
            found &= hashes[count - length : count - length + last] == tail
            places = np.flatnonzero(found)
            if len(places):
                return places
        return np.empty(0, np.int64)

    def window(self, query: Elements, favoured: BoolArray | None) -> tuple[int, int] | None:
        """Return the first and the end of the part in which a sequence stands, null if in none.

        Places that begin at `favoured` elements count half as much again.
        """
        count = len(query)
        starts, weights = np.empty(0, np.int64), np.empty(0, np.float64)
        for lengths in _VOTING:
            for grain in GRAINS:
                for length in lengths:
                    places = self._votes(query.at(grain), grain, length)
                    weight = np.ones(len(places))
                    if favoured is not None:
                        weight += 0.5 * favoured[np.clip(places, 0, len(self) - 1)]
                    starts = np.concatenate([starts, places])
                    weights = np.concatenate([weights, weight])
            found = _densest(starts, weights, count // 4 + 8)
            if found is not None and found[2] >= max(4, count / 20):
                break
        else:
            found = self._by_longest_run(query)
        if found is None:
            return None
        slack = count // 10 + 16
        return max(0, found[0] - slack), min(len(self), found[1] + count + slack)

    def _votes(self, codes: IntArray, grain: Grain, length: int) -> IntArray:
        """Return where the whole would begin by each run that the sequence holds once."""
        if length > min(len(codes), len(self)):
            return np.empty(0, np.int64)
        runs, at, times = np.unique(
            run_hashes(codes, length), return_index=True, return_counts=True
        )
        runs, at = runs[times == 1], at[times == 1]
        hashes, order = self._sorted_hashes(grain, length)
        low, high = np.searchsorted(hashes, runs, "left"), np.searchsorted(hashes, runs, "right")
        places = high - low
        rarest = np.argsort(places, kind="stable")
        rarest = rarest[(places[rarest] > 0) & (places[rarest] <= _MOST_PLACES)]
        rarest = rarest[np.cumsum(places[rarest]) <= _MOST_VOTES]
        low, at, places = low[rarest], at[rarest], places[rarest]
        within = np.arange(places.sum()) - np.repeat(np.cumsum(places) - places, places)
        starts: IntArray = order[np.repeat(low, places) + within] - np.repeat(at, places)
        return starts

    def _by_longest_run(self, query: Elements) -> tuple[int, int, float] | None:
        """Return where the whole would begin by the longest run that both hold."""
        length = 1 << (min(len(query), len(self)).bit_length() - 1)
        while length >= 4:
            for grain in GRAINS:
                hashes, order = self._sorted_hashes(grain, length)
                runs = run_hashes(query.at(grain), length)
                low = np.searchsorted(hashes, runs, "left")
                hit = np.flatnonzero(hashes[np.minimum(low, len(hashes) - 1)] == runs)
                if len(hit):
                    start = int(order[low[hit[0]]] - hit[0])
                    return start, start, float(len(hit))
            length //= 2
        return None

    def _run_hashes(self, grain: Grain, length: int) -> AnyArray:
        key = (grain, length)
        if key not in self._hashes:
            self._hashes[key] = run_hashes(self.elements.at(grain), length)
        return self._hashes[key]

    def _sorted_hashes(self, grain: Grain, length: int) -> tuple[AnyArray, IntArray]:
        key = (grain, length)
        if key not in self._sorted:
            hashes = self._run_hashes(grain, length)
            order = np.argsort(hashes, kind="stable")
            self._sorted[key] = hashes[order], order
        return self._sorted[key]


def run_hashes(codes: IntArray, length: int) -> AnyArray:
    """Return a hash of each run of this length, a power of two; of none where it is too long."""
    hashes = codes.astype(np.uint64) * _MIX[0]
    half = 1
    while half < length:
        hashes = (hashes[:-half] * _MIX[0] + hashes[half:]) * _MIX[1]
        hashes ^= hashes >> np.uint64(29)
        half *= 2
    return hashes


def _densest(starts: IntArray, weights: FloatArray, width: int) -> tuple[int, int, float] | None:
    """Return the first and last start within the width that holds most weight, and that weight."""
    if not len(starts):
        return None
    order = np.argsort(starts, kind="stable")
    starts, sums = starts[order], np.append(0.0, np.cumsum(weights[order]))
    ends = np.searchsorted(starts, starts + width, "right")
    held = sums[ends] - sums[:-1]
    best = int(np.argmax(held))
    return int(starts[best]), int(starts[ends[best] - 1]), float(held[best])
