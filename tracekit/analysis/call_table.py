"""The attention calls of a trace with their kernels, those inside replayed graphs too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.analysis.call_costs import Costs, costs_of
from tracekit.categories import ATTENTION, CODE_OF, TEMPORAL_ATTENTION
from tracekit.classifying.call_columns import BACKENDS, AttentionCalls
from tracekit.classifying.call_facts import backend_of_kernel
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import PHASES
from tracekit.linking.replays import replay_of
from tracekit.trace import NO_TEXT, BoolArray, IntArray, SmallArray


@dataclass(frozen=True, slots=True)
class CallTable:
    """One row an attention call that has kernels, in the order of their start.

    Forward and backward work of a call are two rows. `call` is a row of `calls`; `main` is the
    longest kernel, a row of the kernel table, whose stage, module, kind and axis are the call's.
    `of_row` has the row here of each row of the kernel table, -1 for what is in no call.
    """

    calls: AttentionCalls
    call: IntArray
    main: IntArray
    start_ns: IntArray
    kernels: IntArray
    time_ns: IntArray
    is_backward: BoolArray
    backend: SmallArray
    costs: Costs
    of_row: IntArray

    def __len__(self) -> int:
        return len(self.call)


def is_attention(table: KernelTable) -> BoolArray:
    """Return which rows of a kernel table are attention, along any axis."""
    return np.isin(table.category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])


def call_table(table: KernelTable) -> CallTable:
    """Return the attention calls of a table.

    Nodes of a replayed graph are calls as those that their donors are of were: a call's nodes in
    one replay, once for each time that the replay goes through it.
    """
    calls, call, turn = _calls_of_rows(table)
    rows = np.flatnonzero(is_attention(table) & (call >= 0))
    backward = _is_backward(table)[rows]
    first, group = distinct_rows((call[rows], turn[rows], backward.astype(np.int64)))
    count = len(first)
    dur_ns, start_ns = table.dur_ns[rows], table.start_ns[rows]
    time_ns = np.zeros(count, np.int64)
    np.add.at(time_ns, group, dur_ns)
    begun = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(begun, group, start_ns)
    main = np.full(count, -1, np.int64)
    by_length = np.argsort(dur_ns, kind="stable")
    main[group[by_length]] = rows[by_length]
    order = np.lexsort((first, begun))
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    of_row = np.full(len(table), -1, np.int64)
    of_row[rows] = place[group]
    which, is_backward = call[rows[first]][order], backward[first][order]
    backend = _backends(table, calls.backend[call[rows[first]]], rows, group)[order]
    return CallTable(
        calls=calls,
        call=which,
        main=main[order],
        start_ns=begun[order],
        kernels=np.bincount(group, minlength=count).astype(np.int64)[order],
        time_ns=time_ns[order],
        is_backward=is_backward,
        backend=backend,
        costs=costs_of(calls, which, backend, is_backward, table.causal[main[order]]),
        of_row=of_row,
    )


def _calls_of_rows(table: KernelTable) -> tuple[AttentionCalls, IntArray, IntArray]:
    """Return calls, the call of each row, and which of several passes through it the row is of."""
    turn = np.full(len(table), -1, np.int64)
    donated = table.from_donors
    if donated is None or donated.calls is None:
        return table.calls, table.call, turn
    is_node = (table.call < 0) & (donated.call >= 0)
    nodes = np.flatnonzero(is_node)
    replay = replay_of(table.linked)[nodes]
    # Where the partners of a call's nodes begin anew, the replay goes through it once more.
    order = np.lexsort((nodes, replay, donated.call[nodes]))
    partner = donated.partner[nodes][order]
    turn[nodes[order]] = np.cumsum(np.append(False, partner[1:] <= partner[:-1]))
    turn[nodes] = turn[nodes] * (int(replay.max(initial=0)) + 1) + replay
    call = np.where(is_node, len(table.calls) + donated.call, table.call)
    return table.calls.joined(donated.calls), call, turn


def _is_backward(table: KernelTable) -> BoolArray:
    """Return which rows are backward work; recomputed work is forward work done again."""
    linked, donated = table.linked, table.from_donors
    backward: BoolArray = (linked.forward_op >= 0) & (linked.forward_op != linked.op)
    if donated is not None:
        is_node = donated.partner >= 0
        backward[is_node] = donated.phase[is_node] == PHASES.index("backward")
    return backward


def _backends(
    table: KernelTable, of_ops: SmallArray, rows: IntArray, group: IntArray
) -> SmallArray:
    """Return the backend of each group of rows: what ops tell, else what kernels are named."""
    found = np.where(of_ops >= 0, of_ops, len(BACKENDS)).astype(np.int8)
    open_rows = np.flatnonzero(of_ops[group] < 0)
    names, code = np.unique(table.linked.name[rows[open_rows]], return_inverse=True)
    texts = ["" if name == NO_TEXT else table.linked.trace.strings[name] for name in names.tolist()]
    told = np.array([*map(backend_of_kernel, texts), -1], np.int8)[code]
    np.minimum.at(found, group[open_rows[told >= 0]], told[told >= 0])
    return np.where(found < len(BACKENDS), found, -1).astype(np.int8)
