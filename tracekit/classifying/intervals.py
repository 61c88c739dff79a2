"""Which interval of the host's time each activity was issued in, or its forward op was."""

from __future__ import annotations

import numpy as np

from tracekit.linking.link import Linked
from tracekit.linking.nesting import build_forest
from tracekit.trace import CodeArray, IntArray


def rows_within(
    linked: Linked, thread: CodeArray, start_ns: IntArray, end_ns: IntArray
) -> IntArray:
    """Return the innermost of the intervals that each activity is in, -1 for none.

    Backward work is where its forward op started.
    """
    found = np.full(len(linked), -1, np.int64)
    if not len(thread):
        return found
    forest = build_forest(thread, start_ns, end_ns)
    ops = linked.trace.ops
    moved = (linked.forward_op >= 0) & (linked.forward_op != linked.op)
    where, time_ns = linked.thread.copy(), linked.time_ns.copy()
    where[moved] = ops.thread[linked.forward_op[moved]]
    time_ns[moved] = ops.start_ns[linked.forward_op[moved]]
    known = where >= 0
    found[known] = forest.innermost_at(where[known], time_ns[known])
    return found
