"""Finds for the nodes of a replayed graph the kernels that did the same work outside of one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

import numpy as np

from tracekit.categories import EVIDENCES, WEAK_EVIDENCES
from tracekit.classifying.kernel_kinds import kernel_kind
from tracekit.classifying.table import KernelTable
from tracekit.linking.pairing import aligned
from tracekit.linking.sequences import Elements, Index
from tracekit.trace import (
    ACTIVITY_KINDS,
    NULL,
    BoolArray,
    CodeArray,
    FloatArray,
    IntArray,
    SmallArray,
)

SURE, LIKELY, KIND, BETWEEN, NONE = range(5)
"""How a node was found, best first: by name in a row of others, by name, by kind, by what stands
around it, not at all."""

_SHORTEST: Final = 8
"""Nodes that are looked for roughly; fewer must stand there as they are."""
_TELLING: Final = {"exact": 4, "name": 32}
"""Nodes in a row that cannot well be other work if they are equal at this grain."""
_MOST_STRETCHES: Final = 64
_MOST_PLACES: Final = 16
_LEAST_EXACT: Final = 4
_SAME_SHAPE: Final = 0.6
_COVERED: Final = 0.3
_SAME_NAMES: Final = 0.85
"""Shares that tell the same work from other work: of pairs of equal names that have equal launch
configurations, of nodes that have such a partner, and of nodes with a partner of equal name. For
pairs of different diffusion models they were at most 0.52, 0.2 and 0.76, for compiled and eager
passes of one model at least 1, 0.45 and 0.45."""
_NEAR: Final = 8
_DRIFT: Final = 16
_SUPPORT: Final = 0.4
"""Share of the nodes around one that are paired likewise, from where on a pair is sure."""
_LONGEST_BETWEEN: Final = 16
_CONFIDENCE: Final = {SURE: np.nan, LIKELY: 0.85, KIND: 0.9, BETWEEN: 0.8, NONE: np.nan}
_LONE_KIND: Final = 0.7
_WEAK: Final = [EVIDENCES.index(evidence) for evidence in WEAK_EVIDENCES]
_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


class Numbers:
    """Numbers names, kinds and launch configurations alike over several tables."""

    def __init__(self) -> None:
        self._known: dict[str | None, int] = {}

    def elements(self, table: KernelTable, rows: IntArray) -> Elements:
        """Return the GPU activities of these rows as a sequence."""
        trace = table.linked.trace
        activities = trace.activities
        kinds = len(ACTIVITY_KINDS)
        what = table.linked.name[rows] * np.int64(kinds) + activities.kind[rows]
        distinct, code = np.unique(what, return_inverse=True)
        names, kind_of = [], []
        for value in distinct.tolist():
            text = trace.text(value // kinds) or ""
            names.append(self._number(text))
            kind_of.append(self._number(kernel_kind(text, ACTIVITY_KINDS[value % kinds])))
        name = np.array(names, np.int64)[code]
        exact = name.astype(np.uint64)
        for column in (activities.grid, activities.block):
            exact = exact * _MIX + self._texts(table, column[rows]).astype(np.uint64)
        exact = exact * _MIX + activities.size_bytes[rows].astype(np.uint64)
        return Elements(exact.astype(np.int64), name, np.array(kind_of, np.int64)[code])

    def _texts(self, table: KernelTable, codes: CodeArray) -> IntArray:
        distinct, code = np.unique(codes, return_inverse=True)
        numbers = [self._number(table.linked.trace.text(value)) for value in distinct.tolist()]
        return np.array(numbers, np.int64)[code]

    def _number(self, text: str | None) -> int:
        return self._known.setdefault(text, len(self._known))


@dataclass(frozen=True, slots=True)
class Found:
    """For each node of a graph the kernel that it was found to be, and how.

    `donor` is a position among the donors, `row` a row of that donor's table, both -1 for none.
    `confidence` is NaN where the pair is sure; `is_placed` says whether the module is too. `node`
    counts the nodes of the graph from 1.
    """

    node: IntArray
    donor: SmallArray
    row: IntArray
    how: SmallArray
    confidence: FloatArray
    is_placed: BoolArray

    @classmethod
    def nothing(cls, count: int) -> Self:
        """Return what is found where there is nothing."""
        return cls(
            np.arange(1, count + 1),
            np.full(count, -1, np.int8),
            np.full(count, -1, np.int64),
            np.full(count, NONE, np.int8),
            np.full(count, np.nan),
            np.zeros(count, np.bool_),
        )

    def part(self, first: int, end: int) -> Found:
        """Return what was found for some of the nodes."""
        rows = slice(first, end)
        return Found(
            self.node[rows],
            self.donor[rows],
            self.row[rows],
            self.how[rows],
            self.confidence[rows],
            self.is_placed[rows],
        )

    def improve(self, other: Found, nodes: IntArray) -> None:
        """Take over what `other` found better for these nodes."""
        better = other.how < self.how[nodes]
        at = nodes[better]
        self.donor[at], self.row[at] = other.donor[better], other.row[better]
        self.how[at], self.confidence[at] = other.how[better], other.confidence[better]
        self.is_placed[at] = other.is_placed[better]


@dataclass(frozen=True)
class Donor:
    """Kernels whose meaning is known, of one device, in the order in which they were issued."""

    number: int
    what: str
    table: KernelTable
    device: int
    rows: IntArray
    index: Index

    @classmethod
    def of(
        cls, number: int, what: str, table: KernelTable, rows: IntArray, numbers: Numbers
    ) -> Self:
        """Put rows of one device into the order of their launches."""
        issued = table.linked.time_ns[rows]
        issued = np.where(issued != NULL, issued, table.start_ns[rows])
        rows = rows[np.lexsort((rows, issued))]
        device = int(table.device[rows[0]])
        return cls(number, what, table, device, rows, Index(numbers.elements(table, rows)))

    @cached_property
    def meaning(self) -> IntArray:
        """A number for each kernel's category, attention axis and attention kind."""
        table, rows = self.table, self.rows
        axis = (table.axis[rows] + 1) + (len(table.axes) + 1) * (table.kind[rows] + 1)
        return table.category[rows] + np.int64(64) * axis

    @cached_property
    def is_direct(self) -> BoolArray:
        """Whether more than its name or neighbours says what a kernel means."""
        return ~np.isin(self.table.evidence[self.rows], _WEAK)

    def find(self, query: Elements, stage: str | None) -> Found:
        """Return what each node of a graph is here; kernels of its own stage count first."""
        places, grain = self.index.occurrences(query)
        if len(places):
            found = self._found_whole(places, len(query), stage)
            if len(query) < _TELLING[grain]:
                found.how[:] = LIKELY
                found.confidence[:] = np.fmin(found.confidence, _CONFIDENCE[LIKELY])
            return found
        if len(query) < _SHORTEST:
            return Found.nothing(len(query))
        return self._found_roughly(query, self._partners(query, self._of_stage(stage)))

    def find_here(self, query: Elements) -> Found:
        """Return what each node is where it is known that they stand here."""
        partner = np.full(len(query), -1, np.int64)
        x, y = aligned(query, self.index.elements)
        partner[x] = y
        return self._found_roughly(query, partner)

    def rest(self, found: Found) -> Donor | None:
        """Return the kernels around those found, without them: where other branches must be."""
        mine = found.row[found.donor == self.number]
        at = np.flatnonzero(np.isin(self.rows, mine))
        if not len(at):
            # Not found at all, or far from the branches before.
            return None
        slack = len(mine) // 10 + _NEAR
        near = np.arange(max(0, at[0] - slack), min(len(self.rows), at[-1] + slack + 1))
        near = near[~np.isin(near, at)]
        if not len(near):
            return None
        index = Index(self.index.elements.take(near))
        return Donor(self.number, self.what, self.table, self.device, self.rows[near], index)

    def _of_stage(self, stage: str | None) -> BoolArray | None:
        names = self.table.stages.names
        if stage is None or stage not in names:
            return None
        is_there: BoolArray = self.table.stages.stage[self.rows] == names.index(stage)
        return is_there

    def _found_whole(self, places: IntArray, count: int, stage: str | None) -> Found:
        """Take the place that means what most mean; where they differ, the share is confidence."""
        favoured = self._of_stage(stage)
        if favoured is not None and favoured[places].any():
            places = places[favoured[places]]
        if len(places) > _MOST_PLACES:
            places = places[np.linspace(0, len(places) - 1, _MOST_PLACES).astype(np.int64)]
        at = places[:, None] + np.arange(count)
        meaning, module = self.meaning[at], self.table.module[self.rows[at]]
        share = np.array([(meaning == row).mean(0) for row in meaning])
        chosen = int(np.argmax(share.sum(1)))
        agreed = share[chosen]
        return Found(
            np.arange(1, count + 1),
            np.full(count, self.number, np.int8),
            self.rows[at[chosen]],
            np.where(agreed == 1, SURE, LIKELY).astype(np.int8),
            np.where(agreed == 1, np.nan, agreed),
            (module == module[chosen]).all(0),
        )

    def _partners(self, query: Elements, favoured: BoolArray | None) -> IntArray:
        """Return the position here of each node's partner, -1 for none.

        What one place leaves over is looked for again: a graph may repeat what stands here once.
        """
        count = len(query)
        partner = np.full(count, -1, np.int64)
        tried: set[tuple[int, int]] = set()
        # What is longer than all that stands here repeats parts of it.
        fits = 2 * count <= 3 * len(self.index)
        longest = count if fits else max(len(self.index) // 2, _SHORTEST)
        stretch: tuple[int, int] | None = (0, min(count, longest))
        while stretch is not None and len(tried) < _MOST_STRETCHES:
            tried.add(stretch)
            x, y = self._aligned(query.take(slice(*stretch)), favoured)
            x += stretch[0]
            # Later stretches may stand nowhere, so what lies outside of their pairs does not count.
            within = slice(*stretch) if len(tried) == 1 else slice(*_span(x))
            if self._is_same_work(query.take(within), query.take(x), y):
                partner[x] = y
                _repeat(query, partner, x)
            edges = np.concatenate([[-1], np.flatnonzero(partner >= 0), [count]])
            wide = np.flatnonzero(np.diff(edges) > 2 * _SHORTEST)
            left = [
                (first, min(first + longest, int(edges[at + 1])))
                for at in wide
                for first in range(int(edges[at]) + 1, int(edges[at + 1]), longest)
            ]
            stretch = next((part for part in left if part not in tried), None)
        return partner

    def _is_same_work(self, part: Elements, paired: Elements, y: IntArray) -> bool:
        """Say whether pairs are more than what any two models have in common.

        Work of the same shape has the same launch configurations; of another shape, the same
        names in the same order throughout.
        """
        there = self.index.elements
        exact = np.count_nonzero(paired.exact == there.exact[y])
        names = np.count_nonzero(paired.name == there.name[y])
        if exact >= _LEAST_EXACT and exact >= _SAME_SHAPE * names:
            return bool(exact >= _COVERED * np.count_nonzero(np.isin(part.kind, there.kind)))
        return bool(names >= max(_SHORTEST, _SAME_NAMES * len(part)))

    def _aligned(self, part: Elements, favoured: BoolArray | None) -> tuple[IntArray, IntArray]:
        window = self.index.window(part, favoured)
        if window is None:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        x, y = aligned(part, self.index.elements.take(slice(*window)))
        return x, y + window[0]

    def _found_roughly(self, query: Elements, partner: IntArray) -> Found:
        found = Found.nothing(len(query))
        x = np.flatnonzero(partner >= 0)
        if not len(x):
            return found
        y = partner[x]
        by_name = query.name[x] == self.index.elements.name[y]
        support = _support(np.where(partner >= 0, partner - np.arange(len(partner)), NULL), x)
        is_near = support >= _SUPPORT
        exact = query.exact[x] == self.index.elements.exact[y]
        # Where shapes are the same, an equal name with another launch configuration is a doubt.
        is_sure = is_near & (exact | (np.count_nonzero(exact) < _SAME_SHAPE * len(x)))
        how = np.where(by_name, np.where(is_sure, SURE, LIKELY), KIND)
        found.donor[x], found.row[x], found.how[x] = self.number, self.rows[y], how
        found.confidence[x] = np.array([_CONFIDENCE[code] for code in range(NONE)])[how]
        found.confidence[x[(how == KIND) & ~is_near]] = _LONE_KIND
        found.is_placed[x] = True
        self._fill_between(found, x, y)
        return found

    def _fill_between(self, found: Found, x: IntArray, y: IntArray) -> None:
        """Nodes stand for what stands between the partners of their neighbours, if it is one."""
        missing, passed = np.diff(x) - 1, np.diff(y) - 1
        both = (missing > 0) & (missing <= _LONGEST_BETWEEN) & (passed > 0)
        for at in np.flatnonzero(both & (passed <= 4 * _LONGEST_BETWEEN)).tolist():
            here = slice(int(y[at]) + 1, int(y[at + 1]))
            meaning = self.meaning[here]
            if (meaning != meaning[0]).any() or not self.is_direct[here].all():
                continue
            nodes, modules = slice(int(x[at]) + 1, int(x[at + 1])), self.table.module
            found.donor[nodes], found.row[nodes] = self.number, self.rows[here.start]
            found.how[nodes], found.confidence[nodes] = BETWEEN, _CONFIDENCE[BETWEEN]
            found.is_placed[nodes] = len(np.unique(modules[self.rows[here]])) == 1


def _support(diagonal: IntArray, x: IntArray) -> FloatArray:
    """Return which share of the nodes near each pair is paired at about the same distance."""
    padded = np.concatenate([np.full(_NEAR, NULL), diagonal, np.full(_NEAR, NULL)])
    near = np.zeros(len(x), np.int64)
    for offset in range(2 * _NEAR + 1):
        other = padded[x + offset]
        near += (other != NULL) & (np.abs(other - diagonal[x]) <= _DRIFT)
    within = np.minimum(x + _NEAR, len(diagonal) - 1) - np.maximum(x - _NEAR, 0) + 1
    share: FloatArray = near / within
    return share


def _span(x: IntArray) -> tuple[int, int]:
    return (int(x[0]), int(x[-1]) + 1) if len(x) else (0, 0)


def _repeat(query: Elements, partner: IntArray, x: IntArray) -> None:
    """Give what stands elsewhere in a graph as it stands here the same partners."""
    begin, end = _span(x)
    length = end - begin
    if 2 * length > len(query) or (partner < 0).sum() < length:
        return
    here = partner[begin : begin + length].copy()
    end = 0
    places, _ = Index(query).occurrences(query.take(slice(begin, begin + length)))
    for place in places.tolist():
        if place >= end and (partner[place : place + length] < 0).all():
            partner[place : place + length] = here
            end = place + length
