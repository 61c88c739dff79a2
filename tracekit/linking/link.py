"""Links every GPU activity to the call, the op, the modules and the annotations it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.linking.backward import Passes, forward_ops
from tracekit.linking.codes import numbered
from tracekit.linking.labels import Labels, labels_at
from tracekit.linking.launches import launches_of
from tracekit.linking.modules import ModulePaths, module_paths
from tracekit.linking.nesting import Forest, build_forest
from tracekit.trace import NULL, BoolArray, CodeArray, IntArray, Trace

PHASES: Final = ("forward", "backward", "optimizer")
"""Phases of a training step; `Linked.phase` holds positions in this tuple."""


@dataclass(frozen=True, slots=True)
class Linked:
    """A trace whose activities know where they come from.

    The columns below are as long as `activities` and in their order: the GPU activities in start
    order or, with `basis` "cpu", the ops that do the work. `launch` is a row of `trace.calls`,
    `op` the row of `trace.ops` that was innermost at the launch, `forward_op` the op of the
    forward pass that `op` serves (`op` itself outside of backward), all -1 where unknown.
    `op_is_forward` says of each op whether it is forward work, done once or again.
    `thread` and `time_ns` say where on the host the work was issued. `module` is a position in
    `modules.paths`, -1 for none; `labels` are those of collectors.
    """

    trace: Trace
    basis: str
    start_ns: IntArray
    dur_ns: IntArray
    name: CodeArray
    launch: IntArray
    op: IntArray
    forward_op: IntArray
    thread: CodeArray
    time_ns: IntArray
    module: IntArray
    phase: np.ndarray[tuple[int], np.dtype[np.int8]]
    ops: Forest
    op_path: IntArray
    op_is_forward: BoolArray
    modules: ModulePaths
    labels: Labels
    warnings: tuple[str, ...]
    unused_op_ns: int = 0
    unused_ops: int = 0

    def __len__(self) -> int:
        return len(self.start_ns)


def link(trace: Trace) -> Linked:
    """Return the trace with each GPU activity linked to what issued it.

    A trace without GPU activities is taken on its CPU ops instead: the leaf ops, and those whose
    own time outweighs that of the ops they call.
    """
    ops = build_forest(trace.ops.thread, trace.ops.start_ns, trace.ops.end_ns)
    if len(trace.activities) or not len(trace.ops):
        return _link_gpu(trace, ops)
    return _link_cpu(trace, ops)


def _link_gpu(trace: Trace, ops: Forest) -> Linked:
    activities = trace.activities
    launch, warnings = launches_of(activities, trace.calls)
    known = launch >= 0
    thread = np.full(len(activities), -1, np.int32)
    time_ns = np.full(len(activities), NULL, np.int64)
    thread[known] = trace.calls.thread[launch[known]]
    time_ns[known] = trace.calls.start_ns[launch[known]]
    op = np.full(len(activities), -1, np.int64)
    op[known] = ops.innermost_at(thread[known], time_ns[known])
    return _linked(
        trace,
        "gpu",
        ops,
        (activities.start_ns, activities.dur_ns, activities.name),
        (launch, op, thread, time_ns),
        tuple(warnings),
    )


def _link_cpu(trace: Trace, ops: Forest) -> Linked:
    own_ns = _own_time_ns(trace, ops)
    dur_ns = trace.ops.dur_ns
    is_leaf = np.ones(len(dur_ns), np.bool_)
    is_leaf[ops.parent[ops.parent >= 0]] = False
    works = is_leaf | (2 * own_ns > dur_ns)
    rows = np.flatnonzero(works)
    rows = rows[np.lexsort((rows, trace.ops.start_ns[rows]))]
    linked = _linked(
        trace,
        "cpu",
        ops,
        (trace.ops.start_ns[rows], own_ns[rows], trace.ops.name[rows]),
        (np.full(len(rows), -1), rows, trace.ops.thread[rows], trace.ops.start_ns[rows]),
        (),
    )
    return _with_unused(linked, own_ns, works)


def _linked(
    trace: Trace,
    basis: str,
    ops: Forest,
    shown: tuple[IntArray, IntArray, CodeArray],
    issued: tuple[IntArray, IntArray, CodeArray, IntArray],
    warnings: tuple[str, ...],
) -> Linked:
    launch, op, thread, time_ns = issued
    passes = forward_ops(trace, ops)
    ops = _without_nodes(ops, passes)
    has_op = op >= 0
    forward_op = np.where(has_op, passes.serves[op], -1) if len(passes.serves) else op.copy()
    paths = module_paths(trace)
    moved = (forward_op >= 0) & (forward_op != op)
    where_thread, where_ns = thread.copy(), time_ns.copy()
    where_thread[moved] = trace.ops.thread[forward_op[moved]]
    where_ns[moved] = trace.ops.start_ns[forward_op[moved]]
    phase = np.zeros(len(op), np.int8)
    if len(passes.in_backward):
        phase[has_op & passes.in_backward[op]] = PHASES.index("backward")
    phase[_in_optimizer(trace, thread, time_ns)] = PHASES.index("optimizer")
    return Linked(
        trace=trace,
        basis=basis,
        start_ns=shown[0],
        dur_ns=shown[1],
        name=shown[2],
        launch=launch,
        op=op,
        forward_op=forward_op,
        thread=thread,
        time_ns=time_ns,
        module=paths.at(where_thread, where_ns),
        phase=phase,
        ops=ops,
        op_path=_op_paths(trace, ops),
        op_is_forward=passes.is_forward,
        modules=paths,
        labels=labels_at(trace, ((thread, time_ns), (where_thread, where_ns))),
        warnings=warnings,
    )


def _without_nodes(ops: Forest, passes: Passes) -> Forest:
    """Return the forest with recomputed work on top: the node around says nothing of it."""
    recomputed = passes.in_backward & passes.is_forward
    if not recomputed.any():
        return ops
    is_top = recomputed & (ops.parent >= 0) & ~recomputed[ops.parent]
    return replace(ops, parent=np.where(is_top, -1, ops.parent))


def _with_unused(linked: Linked, own_ns: IntArray, works: BoolArray) -> Linked:
    return replace(
        linked,
        unused_op_ns=int(own_ns[~works].sum()),
        unused_ops=int(np.count_nonzero(~works)),
    )


def _own_time_ns(trace: Trace, ops: Forest) -> IntArray:
    """Return each op's duration less what its direct children cover of it."""
    child = np.flatnonzero(ops.parent >= 0)
    parent = ops.parent[child]
    inside_ns = np.minimum(ops.end_ns[child], ops.end_ns[parent]) - ops.start_ns[child]
    own_ns = trace.ops.dur_ns.copy()
    np.subtract.at(own_ns, parent, inside_ns)
    return np.maximum(own_ns, 0)


def _op_paths(trace: Trace, ops: Forest) -> IntArray:
    """Return a small integer for each op's chain of names, equal for equal chains."""
    path = np.full(len(ops.parent), -1, np.int64)
    if not len(path):
        return path
    depth = ops.depth()
    by_depth = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth[by_depth], np.arange(depth.max() + 2))
    names, name = numbered(trace.ops.name + np.int64(1), len(trace.strings) + 1)
    used = 0
    for level in range(len(bounds) - 1):
        rows = by_depth[bounds[level] : bounds[level + 1]]
        above = path[ops.parent[rows]] if level else np.full(len(rows), -1)
        distinct, code = numbered((above + 1) * names + name[rows], (used + 1) * names)
        path[rows] = used + code
        used += distinct
    return path


def _in_optimizer(trace: Trace, thread: CodeArray, time_ns: IntArray) -> BoolArray:
    steps = np.array([text.startswith("Optimizer.step#") for text in trace.strings], np.bool_)
    spans = trace.annotations
    if not len(spans) or not steps.any():
        return np.zeros(len(thread), np.bool_)
    spans = spans.take(steps[spans.name])
    forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
    return forest.innermost_at(thread, time_ns) >= 0
