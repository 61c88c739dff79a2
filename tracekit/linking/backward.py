"""Which op of the forward pass each backward op belongs to."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from tracekit.linking.lookup import last_at_or_before
from tracekit.linking.nesting import Forest, nearest_marked
from tracekit.trace import NULL, BoolArray, IntArray, Trace

_BACKWARD_NAME: Final = re.compile(r"^autograd::engine::evaluate_function: |Backward\d*$")
"""Names that the autograd engine gives to its nodes (torch/csrc/autograd/engine.cpp)."""


def forward_ops(trace: Trace, ops: Forest) -> tuple[IntArray, BoolArray]:
    """Return for each op the forward op that it serves, and which ops run in backward.

    An op outside of backward serves itself. A backward op serves the op of the same sequence
    number that ran before it outside of backward, innermost where several share the number;
    itself, if there is none.
    """
    count = len(trace.ops)
    own = np.arange(count)
    is_node = _has_name(trace, _BACKWARD_NAME)
    if not is_node.any():
        return own, np.zeros(count, np.bool_)
    node = nearest_marked(ops.parent, is_node)
    in_backward = node >= 0
    numbered = nearest_marked(ops.parent, is_node & (trace.ops.sequence_number >= 0))
    asking = np.flatnonzero(in_backward & (numbered >= 0))
    forward = own.copy()
    found = _match(trace, ~in_backward, numbered[asking])
    forward[asking[found >= 0]] = found[found >= 0]
    return forward, in_backward


def _match(trace: Trace, is_forward: BoolArray, nodes: IntArray) -> IntArray:
    """Return for each backward node the last forward op of its number, -1 if none."""
    number, start_ns = trace.ops.sequence_number, trace.ops.start_ns
    rows = np.flatnonzero(is_forward & (number != NULL) & (number >= 0))
    if not len(rows):
        return np.full(len(nodes), -1, np.int64)
    found = last_at_or_before(number[rows], start_ns[rows], number[nodes], start_ns[nodes])
    return np.where(found >= 0, rows[found], -1)


def _has_name(trace: Trace, pattern: re.Pattern[str]) -> BoolArray:
    matches = np.array([pattern.search(text) is not None for text in trace.strings], np.bool_)
    if not len(matches):
        return np.zeros(len(trace.ops), np.bool_)
    return matches[trace.ops.name] & (trace.ops.name >= 0)
