"""Which GPU activities are nodes of a replayed CUDA or HIP graph."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from tracekit.linking.link import Linked
from tracekit.trace import NULL, IntArray

_GRAPH_LAUNCH: Final = re.compile(r"^(?:cuda|cu|hip)GraphLaunch(?:_|$)")


def replay_of(linked: Linked) -> IntArray:
    """Return the replay that each activity is a node of, numbered from 0, -1 for none.

    The nodes of a replay share the correlation of one `cudaGraphLaunch`. Where the file begins
    after that call, several activities of one correlation without a call in the file are one too.
    """
    replay = np.full(len(linked), -1, np.int64)
    if linked.basis != "gpu" or not len(linked):
        return replay
    calls, correlation = linked.trace.calls, linked.trace.activities.correlation
    known = linked.launch >= 0
    is_graph = np.array([*map(_is_graph_launch, linked.trace.strings), False], np.bool_)
    node = np.zeros(len(linked), np.bool_)
    if len(calls) and is_graph.any():
        node[known] = is_graph[calls.name[linked.launch[known]]]
    orphan = np.flatnonzero(~known & (correlation != NULL))
    if not node.any() and not len(orphan):
        return replay
    _, of_orphan, shared = np.unique(correlation[orphan], return_inverse=True, return_counts=True)
    orphan, of_orphan = orphan[shared[of_orphan] > 1], of_orphan[shared[of_orphan] > 1]
    owner = linked.launch.copy()
    owner[orphan] = len(calls) + of_orphan
    node[orphan] = True
    _, replay[node] = np.unique(owner[node], return_inverse=True)
    return replay


def _is_graph_launch(name: str) -> bool:
    return _GRAPH_LAUNCH.match(name) is not None
