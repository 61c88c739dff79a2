"""How fast the host was while a trace was recorded, told by the trace itself.

From the begin of an op to that of the first op that it calls there is little but the profiler and
the dispatcher, whatever the op does. A host that takes longer for it (an older one, a busy one, the
same one in a worse minute) takes longer for profiling any event.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.trace import IntArray, Trace

_USUAL_NS: Final = 470
_SHAPES_NS: Final = 475
"""The tenth percentile of that time in fast minutes of the host that costs were measured on (Intel
Xeon of an H100 machine, PyTorch 2.11), and what recording shapes adds to it: 945 ns with them."""
_PERCENTILE: Final = 10
_LEAST_OPS: Final = 50
"""Of fewer ops that call another one nothing is concluded."""
_BOUNDS: Final = (0.2, 8.0)


def slowness(trace: Trace, threads: IntArray) -> float | None:
    """Return how many times as long as the usual host this one took, as seen on some threads.

    Null where the trace holds too few ops that call others, or its clock is too coarse to tell.
    """
    nesting_ns = nesting_times(trace, threads)
    if len(nesting_ns) < _LEAST_OPS:
        return None
    took_ns = float(np.percentile(nesting_ns, _PERCENTILE))
    # Whole microseconds, which older writers have, leave nothing of a fast host's time.
    if took_ns <= 0:
        return None
    usual_ns = _USUAL_NS + _SHAPES_NS * bool((trace.ops.input_dims >= 0).any())
    return float(np.clip(took_ns / usual_ns, *_BOUNDS))


def nesting_times(trace: Trace, threads: IntArray) -> IntArray:
    """Return the time from the begin of each op to that of the first op inside it, in ns."""
    rows = np.flatnonzero(np.isin(trace.ops.thread, threads))
    start, end, thread = (
        column[rows] for column in (trace.ops.start_ns, trace.ops.end_ns, trace.ops.thread)
    )
    order = np.lexsort((-end, start, thread))
    start, end, thread = start[order], end[order], thread[order]
    calls_another = (thread[1:] == thread[:-1]) & (start[1:] < end[:-1])
    nesting_ns: IntArray = np.diff(start)[calls_another]
    return nesting_ns
