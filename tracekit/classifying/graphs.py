"""Attributes the nodes of replayed CUDA and HIP graphs to the kernels of an eager pass.

A replay launches hundreds of kernels by one call, so no op, label or module is known for them. The
same kernels ran eagerly elsewhere: in the eager pass of the run, or earlier in the trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.categories import ATTENTION, CODE_OF, EVIDENCES, TEMPORAL_ATTENTION, WEAK_EVIDENCES
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.donated_costs import DonatedCosts
from tracekit.classifying.donors import BETWEEN, KIND, NONE, SURE, Donor, Found, Numbers
from tracekit.classifying.graph_reasons import graph_reason
from tracekit.classifying.table import FromDonors, KernelTable
from tracekit.linking.replays import replay_of
from tracekit.linking.sequences import Elements
from tracekit.trace import NULL, BoolArray, FloatArray, IntArray, SmallArray

_GRAPH: Final = EVIDENCES.index("graph")
_ANNOTATION: Final = EVIDENCES.index("annotation")
_WEAK: Final = [EVIDENCES.index(evidence) for evidence in WEAK_EVIDENCES]
_MOST_BETWEEN: Final = 0.6
"""Confidence of a name up to which what stands around the node says more."""
_SHORTEST_REST: Final = 8
_MOST_KNOWN: Final = 32
_HOW: Final = {
    SURE: "is",
    KIND: "is of the kind of",
    BETWEEN: "stands in place of",
}


def attribute_graphs(table: KernelTable, donors: Sequence[KernelTable] = ()) -> KernelTable:
    """Return the table with nodes of replayed graphs attributed to the kernels of donors.

    Donors are eager passes of the same work; eager parts of the table itself serve too. A node has
    its partner's category, attention kind and axis, module, op and phase, with evidence `graph`
    and a confidence where the pair is not sure. What has no partner, and what a label around the
    replay decides, stays as it is.
    """
    replay = replay_of(table.linked)
    if not (replay >= 0).any():
        return table
    numbers = Numbers()
    known = [*_donors(table, replay, donors, numbers)]
    if not known:
        return table
    graphs = _Graphs(table, known, numbers)
    for branches in _branches(table, replay):
        graphs.add(branches)
    return graphs.attributed()


def _donors(
    table: KernelTable, replay: IntArray, others: Sequence[KernelTable], numbers: Numbers
) -> Iterator[Donor]:
    """Yield each device of each donor that knows what its kernels mean; the table itself last."""
    number = 0
    for donor in (*others, table):
        if donor.linked.basis != "gpu":
            continue
        what = "this trace" if donor is table else "the eager pass"
        is_eager = (replay if donor is table else replay_of(donor.linked)) < 0
        for device in np.unique(donor.device[is_eager]).tolist():
            rows = np.flatnonzero(is_eager & (donor.device == device))
            if not np.isin(donor.evidence[rows], _WEAK).all():
                yield Donor.of(number, what, donor, rows, numbers)
                number += 1


def _branches(table: KernelTable, replay: IntArray) -> Iterator[list[IntArray]]:
    """Yield for each replay the rows of its streams, each in start order, the longest first.

    Node numbers that rise along every stream are the order of capture, in which streams need not
    be told apart.
    """
    activities = table.linked.trace.activities
    rows = np.flatnonzero(replay >= 0)
    order = rows[np.lexsort((rows, activities.stream[rows], replay[rows]))]
    new_replay = np.diff(replay[order]) != 0
    new_stream = new_replay | (np.diff(activities.stream[order]) != 0)
    for part in np.split(np.arange(len(order)), np.flatnonzero(new_replay) + 1):
        cuts = np.flatnonzero(new_stream[part[:-1]]) + 1
        nodes = order[part]
        if not len(cuts):
            yield [nodes]
            continue
        node = activities.graph_node[nodes]
        rising = np.diff(node) > 0
        rising[cuts - 1] = True
        if (node != NULL).all() and rising.all() and len(np.unique(node)) == len(node):
            yield [nodes[np.argsort(node)]]
        else:
            yield sorted(np.split(nodes, cuts), key=len, reverse=True)


@dataclass(frozen=True, slots=True)
class _Distinct:
    """Replays of one sequence of kernels: its branches, and the rows of each replay."""

    branches: list[Elements]
    device: int
    stage: str | None
    rows: list[IntArray]

    def __len__(self) -> int:
        return sum(map(len, self.branches))


class _Graphs:
    """The distinct graphs of a table, each looked for once."""

    def __init__(self, table: KernelTable, donors: list[Donor], numbers: Numbers) -> None:
        self._table = table
        self._donors = donors
        self._elements = numbers.elements(table, np.arange(len(table)))
        self._distinct: dict[tuple[object, ...], _Distinct] = {}
        self._reasons: list[str] = []

    def add(self, branches: list[IntArray]) -> None:
        """Add one replay."""
        rows = np.concatenate(branches) if len(branches) > 1 else branches[0]
        first = int(rows[0])
        device, stage = int(self._table.device[first]), self._table.stage_at(first)
        codes = self._elements.exact
        key = (device, stage, *(codes[branch].tobytes() for branch in branches))
        if key not in self._distinct:
            elements = [self._elements.take(branch) for branch in branches]
            self._distinct[key] = _Distinct(elements, device, stage, [])
        self._distinct[key].rows.append(rows)

    def attributed(self) -> KernelTable:
        """Return the table with what was found for each replay."""
        rows, found, reason = [], [], []
        for graph, what in self._found():
            rows += graph.rows
            found += [what] * len(graph.rows)
            reason += [self._reasons_of(what)] * len(graph.rows)
        changed = _Changed.of(self._table, np.concatenate(rows))
        everything = _joined(found)
        for donor in self._donors:
            changed.take(donor, everything)
        own, taken = self._table.reasons, changed.is_taken
        changed.reason[changed.nodes[taken]] = len(own) + np.concatenate(reason)[taken]
        return changed.table((*own, *self._reasons))

    def _found(self) -> Iterator[tuple[_Distinct, Found]]:
        """Look for the longest first: what a cut-off replay holds is the end of a whole one."""
        known: list[tuple[_Distinct, Found]] = []
        for graph in sorted(self._distinct.values(), key=len, reverse=True):
            found = next((part for whole in known if (part := _cut_off(graph, *whole))), None)
            if found is None:
                found = self._find(graph)
                if len(graph.branches) == 1 and len(known) < _MOST_KNOWN:
                    known.append((graph, found))
            yield graph, found

    def _find(self, graph: _Distinct) -> Found:
        best = Found.nothing(len(graph))
        donors = [donor for donor in self._donors if donor.device == graph.device]
        for donor in donors or self._donors:
            if (best.how == SURE).all():
                break
            first, around = 0, None
            for branch in graph.branches:
                nodes = np.arange(first, first + len(branch))
                first += len(branch)
                found = None if around is None else around.find_here(branch)
                if found is None or (found.how == NONE).all():
                    found = donor.find(branch, graph.stage)
                around = donor.rest(found) if around is None else around.rest(found) or around
                best.improve(found, nodes)
        return best

    def _reasons_of(self, found: Found) -> IntArray:
        """Return the position of each node's reason; those not found have none that counts."""
        first = len(self._reasons)
        columns = (found.node, found.donor, found.row, found.how)
        for node, number, row, how in zip(*(c.tolist() for c in columns), strict=True):
            if number < 0:
                self._reasons.append("")
                continue
            donor = self._donors[number]
            why = donor.table.reasons[donor.table.reason[row]]
            self._reasons.append(graph_reason(node, _HOW.get(how, "is"), row + 1, donor.what, why))
        return np.arange(first, len(self._reasons))


def _cut_off(graph: _Distinct, whole: _Distinct, found: Found) -> Found | None:
    """Return what was found for a graph that is the end or the beginning of another."""
    same = (graph.device, graph.stage) == (whole.device, whole.stage)
    if len(graph.branches) > 1 or len(graph) < _SHORTEST_REST or not same:
        return None
    mine, codes = graph.branches[0].exact, whole.branches[0].exact
    count = len(mine)
    if np.array_equal(codes[-count:], mine):
        return found.part(len(codes) - count, len(codes))
    return found.part(0, count) if np.array_equal(codes[:count], mine) else None


def _joined(found: list[Found]) -> Found:
    return Found(
        np.concatenate([one.node for one in found]),
        np.concatenate([one.donor for one in found]),
        np.concatenate([one.row for one in found]),
        np.concatenate([one.how for one in found]),
        np.concatenate([one.confidence for one in found]),
        np.concatenate([one.is_placed for one in found]),
    )


@dataclass(slots=True)
class _Changed:
    """Columns of a table while nodes take over what their partners mean."""

    old: KernelTable
    nodes: IntArray
    is_taken: BoolArray
    category: SmallArray
    evidence: SmallArray
    confidence: FloatArray
    reason: IntArray
    causal: SmallArray
    phase: SmallArray
    call: IntArray
    calls: AttentionCalls | None
    partner: IntArray
    texts: dict[str, tuple[str, ...]]
    codes: dict[str, IntArray]
    costs: DonatedCosts

    @classmethod
    def of(cls, table: KernelTable, nodes: IntArray) -> _Changed:
        """Begin with what the table says."""
        nothing = np.full(len(table), -1, np.int64)
        before = table.from_donors or FromDonors(
            module=nothing,
            modules=(),
            op=nothing,
            ops=(),
            phase=nothing.astype(np.int8),
            call=nothing,
            calls=None,
            partner=nothing,
        )
        return cls(
            old=table,
            nodes=nodes,
            is_taken=np.zeros(len(nodes), np.bool_),
            category=table.category.copy(),
            evidence=table.evidence.copy(),
            confidence=table.confidence.copy(),
            reason=table.reason.copy(),
            causal=table.causal.copy(),
            phase=before.phase.copy(),
            call=before.call.copy(),
            calls=before.calls,
            partner=before.partner.copy(),
            texts={
                "axis": table.axes,
                "kind": table.kinds,
                "module": before.modules,
                "op": before.ops,
            },
            codes={
                "axis": table.axis.copy(),
                "kind": table.kind.copy(),
                "module": before.module.copy(),
                "op": before.op.copy(),
            },
            costs=DonatedCosts.nothing(len(table)),
        )

    def take(self, donor: Donor, found: Found) -> None:
        """Take over what one donor says of the nodes that were found there."""
        at = np.flatnonzero(found.donor == donor.number)
        taken, confidence = self._judged(donor.table, at, found)
        at, confidence = at[taken], confidence[taken]
        self.is_taken[at] = True
        rows, partner, given = self.nodes[at], found.row[at], donor.table
        is_direct = ~np.isin(given.evidence[partner], _WEAK)
        self.category[rows] = given.category[partner]
        self.evidence[rows] = np.where(is_direct, _GRAPH, given.evidence[partner])
        self.confidence[rows] = confidence
        self.phase[rows] = given.phase[partner]
        self._take_calls(given, rows, partner)
        causal = given.causal[partner]
        self.causal[rows] = np.where(causal >= 0, causal, self.causal[rows])
        is_one = found.how[at] != BETWEEN
        everywhere = np.ones(len(at), np.bool_)
        for name, texts, code, known in (
            ("axis", given.axes, given.axis, everywhere),
            ("kind", given.kinds, given.kind, everywhere),
            ("module", given.module_paths, given.module, found.is_placed[at]),
            ("op", given.op_names, given.op, is_one),
        ):
            self._take_text(name, texts, np.where(known, code[partner], -1), rows)
        # Copies have their own size, whatever stood in their place.
        is_one &= self.old.linked.trace.activities.kind[rows] == 0
        self.costs.take(donor.number, given.operations, rows[is_one], partner[is_one])

    def _take_calls(self, given: KernelTable, rows: IntArray, partner: IntArray) -> None:
        known = 0 if self.calls is None else len(self.calls)
        self.calls = given.calls if self.calls is None else self.calls.joined(given.calls)
        call = given.call[partner]
        self.call[rows] = np.where(call >= 0, known + call, -1)
        self.partner[rows] = partner

    def _judged(
        self, given: KernelTable, at: IntArray, found: Found
    ) -> tuple[BoolArray, FloatArray]:
        """Return which nodes a partner says more of than they do themselves, and how surely."""
        old, rows, partner, how = self.old, self.nodes[at], found.row[at], found.how[at]
        is_weak = np.isin(old.evidence[rows], _WEAK)
        own = np.where(is_weak, old.confidence[rows], 0.0)
        theirs = np.where(
            np.isin(given.evidence[partner], _WEAK), given.confidence[partner], np.nan
        )
        confidence = np.fmin(found.confidence[at], theirs)
        agrees = _agrees(old.category[rows], given.category[partner])
        taken = agrees | np.isnan(confidence) | (confidence > own)
        taken &= old.evidence[rows] != _ANNOTATION
        taken &= (how != BETWEEN) | (is_weak & (agrees | (own <= _MOST_BETWEEN)))
        return taken, np.where(agrees, np.maximum(confidence, own), confidence)

    def _take_text(self, name: str, texts: tuple[str, ...], code: IntArray, rows: IntArray) -> None:
        is_known = code >= 0
        used, place = np.unique(code[is_known], return_inverse=True)
        merged = dict.fromkeys(self.texts[name])
        merged.update(dict.fromkeys(texts[position] for position in used.tolist()))
        position = {text: number for number, text in enumerate(merged)}
        self.texts[name] = tuple(merged)
        shared = np.array([position[texts[old]] for old in used.tolist()], np.int64)
        self.codes[name][rows[is_known]] = shared[place]

    def table(self, reasons: tuple[str, ...]) -> KernelTable:
        """Return the table as it is now."""
        return replace(
            self.old,
            category=self.category,
            evidence=self.evidence,
            confidence=self.confidence,
            reason=self.reason,
            reasons=reasons,
            axis=self.codes["axis"],
            axes=self.texts["axis"],
            kind=self.codes["kind"],
            kinds=self.texts["kind"],
            causal=self.causal,
            from_donors=FromDonors(
                module=self.codes["module"],
                modules=self.texts["module"],
                op=self.codes["op"],
                ops=self.texts["op"],
                phase=self.phase,
                call=self.call,
                calls=self.calls,
                partner=self.partner,
                operations=self.costs.numbered(self.old.linked.trace.activities.correlation),
            ),
        )


def _agrees(own: SmallArray, given: SmallArray) -> BoolArray:
    """Say where a partner's category is a node's own, or tells its axis in addition."""
    is_axis = (own == CODE_OF[ATTENTION]) & (given == CODE_OF[TEMPORAL_ATTENTION])
    agrees: BoolArray = (own == given) | is_axis
    return agrees
