"""Finds ops whose meaning is that of the op after them.

The padding of a convolution's input, weights that are normalized anew for each call, and halves
that an activation gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import CONV, LINEAR
from tracekit.classifying.issued_ops import IssuedOps, gradients_of_views, work_of
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import rule_for_op
from tracekit.classifying.written_norms import LENGTHS
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray, SmallArray

_GATES: Final = frozenset({"silu", "gelu", "relu", "sigmoid", "tanh"})
_HALVES: Final = frozenset({"split", "chunk"})
_PADS: Final = frozenset(
    {"pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
     "replication_pad1d", "replication_pad2d", "replication_pad3d"}
)  # fmt: skip
_WEIGHT_NORMS: Final = frozenset({"weight_norm", "weight_norm_interface"})
_MARKS: Final = LENGTHS | _WEIGHT_NORMS
_MOST_WEIGHT_STEPS: Final = 10
_WEIGHT_STEPS: Final = frozenset({"clamp", "clamp_min", "add", "mul", "div", "maximum"})
_LEAST_WEIGHTS: Final = 8
_MOST_LAYERS: Final = 0.8
"""The share of convolutions whose weights have to be divided by their lengths."""

WEIGHTED: Final = (CONV, LINEAR)
"""The categories of layers whose weights may be made anew for each call."""


def before_convolution(linked: Linked, issued: Sequence[IssuedOps], shapes: OpIndex) -> BoolArray:
    """Return which activities pad, or extend in time, what the convolution right after takes."""
    return work_of(
        linked,
        [
            (ops.thread, ops.rows[first], ops.rows[at - 1])
            for ops in issued
            for at, first in _inputs(linked, ops, shapes)
            if first < at
        ],
    )


def making_weights(linked: Linked, issued: Sequence[IssuedOps], shapes: OpIndex) -> SmallArray:
    """Return the layer whose weight each activity normalizes: a position in `WEIGHTED`, or -1.

    Weight normalization (Salimans and Kingma, arXiv 1602.07868, eq. 2) scales a weight by its
    lengths before each use; so do the layers of Karras et al. (arXiv 2312.02696, section 2.3).
    """
    spans: dict[str, list[tuple[int, int, int]]] = {category: [] for category in WEIGHTED}
    for ops in issued:
        for category in WEIGHTED:
            spans[category].extend(_weights(linked, ops, shapes, category))
    found = np.full(len(linked), -1, np.int8)
    for position, category in enumerate(WEIGHTED):
        found[work_of(linked, spans[category])] = position
    return found


def in_gate(linked: Linked, issued: Sequence[IssuedOps], index: OpIndex) -> BoolArray:
    """Return which activities put gradients of a gate's halves together.

    `a, b = x.chunk(2)` launches nothing forward; where an activation of one half scales the other
    right after it, as in SwiGLU (Shazeer, arXiv 2002.05202), it is part of the activation.
    """
    gates = [
        row
        for ops in issued
        for row, name, after in zip(ops.rows, ops.names, ops.names[1:], strict=False)
        if name in _GATES and after == "mul"
    ]
    return gradients_of_views(linked, index, issued, gates, _HALVES)


def _weights(
    linked: Linked, ops: IssuedOps, shapes: OpIndex, category: str
) -> Iterator[tuple[int, int, int]]:
    """Return the ops right before layers that make their weights, as far as a length is taken."""
    if _MARKS.isdisjoint(ops.names):
        return
    if not any(shapes.shapes(row) for row in ops.rows):
        yield from _weights_by_order(linked, ops, category)
    layers = ((at, at) for at in _layers(linked, ops, category))
    for at, last in _inputs(linked, ops, shapes) if category == CONV else layers:
        earliest = max(last - _MOST_WEIGHT_STEPS, 0)
        if _MARKS.isdisjoint(ops.names[earliest:last]):
            continue
        first = last
        while first > earliest and _is_of_weight(
            ops, first - 1, shapes, shapes.tensors(ops.rows[at])
        ):
            first -= 1
        if not _MARKS.isdisjoint(ops.names[first:last]):
            yield ops.thread, ops.rows[first], ops.rows[last - 1]


def _weights_by_order(
    linked: Linked, ops: IssuedOps, category: str
) -> Iterator[tuple[int, int, int]]:
    """Tell the same without shapes, where lengths are taken right before nearly every convolution.

    Between a norm of vectors of what a network works on and the next convolution stands an
    activation; where it does not, it is a weight that is divided by its lengths.
    """
    lengths = {at: _length_before(ops, at) for at in _layers(linked, ops, CONV)}
    scaled = sum(first is not None for first in lengths.values())
    if scaled < max(_LEAST_WEIGHTS, _MOST_LAYERS * len(lengths)):
        return
    if category != CONV:
        lengths = {at: _length_before(ops, at) for at in _layers(linked, ops, category)}
    for at, first in lengths.items():
        if first is not None:
            yield ops.thread, ops.rows[first], ops.rows[at - 1]


def _length_before(ops: IssuedOps, layer: int) -> int | None:
    """Return where lengths are taken that scale what a layer takes, with no more between."""
    for at in range(layer - 1, max(layer - 1 - _MOST_WEIGHT_STEPS, -1), -1):
        if ops.names[at] in LENGTHS:
            is_packed = at > 0 and ops.names[at - 1] == "cat"
            return at - is_packed if at < layer - 1 else None
        if ops.names[at] not in _WEIGHT_STEPS:
            return None
    return None


def _is_of_weight(ops: IssuedOps, at: int, shapes: OpIndex, layer: tuple[Shape, ...]) -> bool:
    """Say whether an op works on as many numbers as a layer's weight has, or on their lengths."""
    tensors = (*shapes.tensors(ops.rows[at]), *shapes.tensor_list(ops.rows[at]))
    if not shapes.shapes(ops.rows[at]) or len(layer) < 2:
        return ops.names[at] in _WEIGHT_NORMS
    weight = layer[1]
    sizes = {prod(tensor) for tensor in tensors}
    is_like_input = prod(layer[0]) == prod(weight) and layer[0] in tensors
    return bool(sizes) and not is_like_input and sizes <= {prod(weight), weight[0], weight[-1], 1}


def _layers(linked: Linked, ops: IssuedOps, category: str) -> Iterator[int]:
    """Return where layers of a category stand."""
    names = linked.trace.strings
    for at, row in enumerate(ops.rows):
        rule = rule_for_op(names[linked.trace.ops.name[row]])
        if rule is not None and rule.decisive and rule.category == category:
            yield at


def _inputs(linked: Linked, ops: IssuedOps, shapes: OpIndex) -> Iterator[tuple[int, int]]:
    """Return where convolutions stand, and where the ops that pad their inputs begin."""
    for at in _layers(linked, ops, CONV):
        first = at
        while first > 0 and _prepares(ops, first - 1, shapes):
            first -= 1
        yield at, first


def _prepares(ops: IssuedOps, at: int, shapes: OpIndex) -> bool:
    """Say whether an op pads, or joins frames to, what the op after it takes."""
    parts, taken = shapes.tensor_list(ops.rows[at]), shapes.tensors(ops.rows[at + 1])
    if ops.names[at] in _PADS:
        # Masks and offsets of sequences are padded, too.
        padded = shapes.tensors(ops.rows[at])
        return not padded or not taken or abs(len(padded[0]) - len(taken[0])) <= 1
    if ops.names[at] != "cat" or len(parts) < 2 or not taken or len(taken[0]) != 5:
        return False
    # Frames of a cache come before those of the clip; joined channels are another matter, and so
    # are frames that are joined for the next cache.
    is_of_frames = all(len(part) == 5 and part[:2] == taken[0][:2] for part in parts)
    return is_of_frames and sum(part[2] for part in parts) == taken[0][2]
