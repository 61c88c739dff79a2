"""Which op of the forward pass each backward op belongs to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.lookup import last_at_or_before
from tracekit.linking.nesting import Forest, nearest_marked
from tracekit.trace import NULL, BoolArray, IntArray, Trace

_BACKWARD_NAME: Final = re.compile(r"^autograd::engine::evaluate_function: |Backward\d*$")
"""Names that the autograd engine gives to its nodes (torch/csrc/autograd/engine.cpp)."""


@dataclass(frozen=True, slots=True)
class Passes:
    """Which pass of training each op belongs to.

    `serves` is the forward op that an op works for, itself outside of backward. `in_backward` says
    that it runs in backward; `is_forward` that it is forward work all the same: outside of
    backward, or recomputed there.
    """

    serves: IntArray
    in_backward: BoolArray
    is_forward: BoolArray


def forward_ops(trace: Trace, ops: Forest) -> Passes:
    """Return for each op the forward op that it serves, and in which pass it runs.

    A backward op serves the op of the same sequence number that ran before it as forward work,
    innermost where several share the number; itself, if there is none. Ops in backward that have
    a sequence number of their own without being a node of the engine run with gradients enabled:
    they are forward work that checkpointing does again, and serve themselves.
    """
    count = len(trace.ops)
    own = np.arange(count)
    is_node = _has_name(trace, _BACKWARD_NAME)
    if not is_node.any():
        return Passes(own, np.zeros(count, np.bool_), np.ones(count, np.bool_))
    in_backward = nearest_marked(ops.parent, is_node) >= 0
    has_number = (trace.ops.sequence_number != NULL) & (trace.ops.sequence_number >= 0)
    telling = nearest_marked(ops.parent, has_number)
    is_recomputed = in_backward & (telling >= 0) & ~is_node[telling]
    is_forward = ~in_backward | is_recomputed
    asking = np.flatnonzero(~is_forward & (telling >= 0))
    serves = own.copy()
    found = _match(trace, is_forward, telling[asking])
    serves[asking[found >= 0]] = found[found >= 0]
    return Passes(serves, in_backward, is_forward)


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
