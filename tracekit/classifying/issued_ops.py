"""The forward ops that launched work, thread by thread, in the order of their issue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracekit.classifying.intervals import rows_within
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray

_OPTIMIZER = 2


@dataclass(frozen=True, slots=True)
class IssuedOps:
    """The ops of one thread: `rows` of the trace's ops, and their plain names.

    An op counts by the outermost one around it that a rule knows, once for all that it launches.
    """

    thread: int
    rows: list[int]
    names: list[str]


def issued_ops(linked: Linked, index: OpIndex) -> list[IssuedOps]:
    """Return the ops of each thread that has some; the optimizer's are left out."""
    ops, names = linked.trace.ops, linked.trace.strings
    if not len(ops):
        return []
    rows = np.flatnonzero(
        (linked.op >= 0) & linked.op_is_forward[linked.op] & (linked.phase != _OPTIMIZER)
    )
    rows = rows[np.lexsort((linked.time_ns[rows], linked.thread[rows]))]
    op = index.ruled_tops[linked.op[rows]]
    # Views are rows of their own on a CPU; they do no work.
    op = op[index.named(lambda name: rule_for_op(name) is not None)[op]]
    op = op[np.append(True, op[1:] != op[:-1])] if len(op) else op
    used = np.unique(ops.name[op]).tolist()
    plain = {code: plain_op_name(names[code])[1] for code in used}
    found = []
    for thread in np.unique(ops.thread[op]).tolist():
        ours = op[ops.thread[op] == thread]
        named = [plain[code] for code in ops.name[ours].tolist()]
        found.append(IssuedOps(thread, ours.tolist(), named))
    return found


def work_of(linked: Linked, spans: Sequence[tuple[int, int, int]]) -> BoolArray:
    """Return which activities spans of ops issued, forward and backward.

    A span is a thread and the first and last of the op rows that it holds.
    """
    if not spans:
        return np.zeros(len(linked), np.bool_)
    thread, first, last = (np.array(column, np.int64) for column in zip(*spans, strict=True))
    ops = linked.trace.ops
    end_ns = ops.start_ns[last] + ops.dur_ns[last]
    within = rows_within(linked, thread.astype(np.int32), ops.start_ns[first], end_ns)
    return np.asarray(within >= 0)


def gradients_of_views(
    linked: Linked,
    index: OpIndex,
    issued: Sequence[IssuedOps],
    before: Sequence[int],
    views: frozenset[str],
) -> BoolArray:
    """Return which activities are backward of views that stand right before some ops.

    `before` are op rows of `issued`, `views` plain names. A view launches nothing forward, but
    backward puts the gradients of its parts together.
    """
    found = np.zeros(len(linked), np.bool_)
    rows = np.flatnonzero((linked.forward_op >= 0) & (linked.forward_op != linked.op))
    if not len(before) or not len(rows):
        return found
    ops = linked.trace.ops
    is_view = index.named(lambda name: plain_op_name(name)[1] in views)
    rows = rows[is_view[linked.forward_op[rows]]]
    view = linked.forward_op[rows]
    is_target = np.zeros(len(ops), np.bool_)
    is_target[np.array(before, np.int64)] = True
    for one in issued:
        order = np.array(one.rows, np.int64)
        order = order[np.argsort(ops.start_ns[order], kind="stable")]
        at = np.searchsorted(ops.start_ns[order], ops.start_ns[view])
        is_before = (ops.thread[view] == one.thread) & (at < len(order))
        found[rows[is_before]] |= is_target[order[at[is_before]]]
    return found
