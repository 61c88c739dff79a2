"""Finds where a sequence of kernels stands in a long one, roughly.

Some runs of 32 and of 8 kernels that the sequence holds once are looked up in the long one. The
best chain of them, in one order and about equally far apart, tells where the whole stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from tracekit.trace import AnyArray, BoolArray, FloatArray, IntArray

Grain = Literal["exact", "name"]
GRAINS: Final[tuple[Grain, ...]] = ("exact", "name")
"""The grains at which sequences are compared, the finest first."""

_LENGTHS: Final = ((32, 8), (4,), (2,))
"""Lengths of the runs that are looked up; the next ones where those before say too little."""
_SHORTEST_RUN: Final = 4
_PARTS: Final = 24
"""Parts of a sequence, each of which has one run looked up."""
_MOST_PLACES: Final = 64
_LOOK_BACK: Final = 256
_DRIFT_COST: Final = 1.5
"""What it costs, in runs, if two runs are further apart in one sequence by the whole's length."""
_LEAST_STRETCH, _MOST_STRETCH = 2.0, 4.0
"""How many kernels there may be for each one here, beyond the first and the last run."""
_SLACK: Final = 16
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

    def occurrences(self, query: Elements) -> tuple[IntArray, Grain]:
        """Return where the whole of a sequence stands, with launch configurations if it does."""
        count = len(query)
        if not 0 < count <= len(self):
            return np.empty(0, np.int64), "name"
        length = 1 << (count.bit_length() - 1)
        for grain in GRAINS:
            codes, hashes = query.at(grain), self._run_hashes(grain, length)
            last = len(self) - count + 1
            found = hashes[:last] == run_hashes(codes[:length], length)[0]
            tail = run_hashes(codes[count - length :], length)[0]
            found &= hashes[count - length : count - length + last] == tail
            places = np.flatnonzero(found)
            if len(places):
                return places, grain
        return np.empty(0, np.int64), "name"

    def window(self, query: Elements, favoured: BoolArray | None) -> tuple[int, int] | None:
        """Return the first and the end of the part in which a sequence stands, null if in none.

        Runs that begin at `favoured` elements count half as much again.
        """
        count = len(query)
        for lengths in _LENGTHS:
            x, y = self._runs_in_common(query, lengths)
            chain = _best_chain(x, y, None if favoured is None else favoured[y], count)
            if len(chain) > 2:
                break
        else:
            chain, x, y = self._longest_run(query)
        if not len(chain):
            return None
        x, y = x[chain], y[chain]
        before, after = int(x[0]), int(count - x[-1])
        stretch = _LEAST_STRETCH
        if len(chain) > 2:
            slope = 1.1 * (y[-1] - y[0]) / (x[-1] - x[0])
            stretch = min(max(slope, _LEAST_STRETCH), _MOST_STRETCH)
        first = int(y[0] - stretch * before) - _SLACK
        return max(0, first), min(len(self), int(y[-1] + stretch * after) + _SLACK)

    def _runs_in_common(self, query: Elements, lengths: Sequence[int]) -> tuple[IntArray, IntArray]:
        """Return where runs stand that the sequence holds once, here and there.

        Of each part of the sequence it is the run that stands in the fewest places.
        """
        count = len(query)
        columns = [np.empty((4, 0), np.int64)]
        orders: list[IntArray] = []
        for grain, length in ((grain, length) for grain in GRAINS for length in lengths):
            if length > min(count, len(self)):
                continue
            runs, at, times = np.unique(
                run_hashes(query.at(grain), length), return_index=True, return_counts=True
            )
            runs, at = runs[times == 1], at[times == 1]
            hashes, order = self._sorted_hashes(grain, length)
            low = np.searchsorted(hashes, runs, "left")
            places = np.searchsorted(hashes, runs, "right") - low
            columns.append(
                np.stack([at, places, low, np.full(len(at), len(orders))])[:, places > 0]
            )
            orders.append(order)
        at, places, low, which = np.concatenate(columns, axis=1)
        part = at * _PARTS // count
        rarest = np.lexsort((places, part))
        rarest = rarest[np.diff(part[rarest], prepend=-1) > 0]
        x, y = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for one in rarest.tolist():
            first = int(low[one])
            y.append(orders[which[one]][first : first + min(int(places[one]), _MOST_PLACES)])
            x.append(np.full(len(y[-1]), at[one]))
        return np.concatenate(x), np.concatenate(y)

    def _longest_run(self, query: Elements) -> tuple[IntArray, IntArray, IntArray]:
        """Return the longest run that both hold, as a chain of one."""
        length = 1 << (min(len(query), len(self)).bit_length() - 1)
        while length >= _SHORTEST_RUN:
            for grain in GRAINS:
                hashes, order = self._sorted_hashes(grain, length)
                runs = run_hashes(query.at(grain), length)
                low = np.searchsorted(hashes, runs, "left")
                hit = np.flatnonzero(hashes[np.minimum(low, len(hashes) - 1)] == runs)
                if len(hit):
                    return np.zeros(1, np.int64), hit[:1], order[low[hit[:1]]]
            length //= 2
        return (np.empty(0, np.int64),) * 3

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


def _best_chain(x: IntArray, y: IntArray, favoured: BoolArray | None, count: int) -> IntArray:
    """Return the positions of the runs that say most together, in order.

    They stand in one order in both sequences; to be further apart in one than in the other costs.
    """
    order = np.lexsort((x, y))
    x, y = x[order], y[order]
    best: FloatArray = np.ones(len(x))
    if favoured is not None:
        best += 0.5 * favoured[order]
    before = np.full(len(x), -1, np.int64)
    for at in range(1, len(x)):
        near = slice(max(0, at - _LOOK_BACK), at)
        along_x, along_y = x[at] - x[near], y[at] - y[near]
        gain = best[near] - _DRIFT_COST / count * np.abs(along_y - along_x)
        gain[(along_x <= 0) | (along_y <= 0)] = 0
        last = int(np.argmax(gain))
        if gain[last] > 0:
            best[at] += gain[last]
            before[at] = near.start + last
    chain = [int(np.argmax(best))] if len(x) else []
    while chain and before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return order[np.array(chain[::-1], np.int64)]
