"""Finds ops whose meaning is that of the op after them: halves of rotary embeddings, padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracekit.categories import CONV
from tracekit.classifying.issued_ops import IssuedOps, work_of
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import rule_for_op
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray

_JOINS: Final = frozenset({"cat", "stack"})
_PADS: Final = frozenset(
    {"pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
     "replication_pad1d", "replication_pad2d", "replication_pad3d"}
)  # fmt: skip
_REACH: Final = 3


def in_rotary(linked: Linked, issued: Sequence[IssuedOps]) -> BoolArray:
    """Return which activities join a half to a negated one that is multiplied right after.

    `torch.cat((-x2, x1))` and `torch.stack([-x_imag, x_real])` are how rotary embeddings that are
    written out turn a head (Su et al., arXiv 2104.09864, eq. 34).
    """
    return work_of(linked, [span for ops in issued for span in _rotations(ops)])


def _rotations(ops: IssuedOps) -> Iterator[tuple[int, int, int]]:
    for at, name in enumerate(ops.names):
        if name not in _JOINS or "neg" not in ops.names[max(at - 2, 0) : at]:
            continue
        after = ops.names[at + 1 : at + 1 + _REACH]
        if "mul" in after:
            last = at
            while last + 1 < len(ops.names) and ops.names[last + 1] in ("reshape", "clone"):
                last += 1
            yield ops.thread, ops.rows[at], ops.rows[last]


def before_convolution(linked: Linked, issued: Sequence[IssuedOps], shapes: OpIndex) -> BoolArray:
    """Return which activities pad, or extend in time, what the convolution right after takes."""
    spans = [span for ops in issued for span in _inputs(linked, ops, shapes)]
    return work_of(linked, spans)


def _inputs(linked: Linked, ops: IssuedOps, shapes: OpIndex) -> Iterator[tuple[int, int, int]]:
    names = linked.trace.strings
    for at, row in enumerate(ops.rows):
        rule = rule_for_op(names[linked.trace.ops.name[row]])
        if rule is None or not rule.decisive or rule.category != CONV:
            continue
        first = at
        while first > 0 and _prepares(ops, first - 1, shapes, shapes.tensors(row)[:1]):
            first -= 1
        if first < at:
            yield ops.thread, ops.rows[first], ops.rows[at - 1]


def _prepares(ops: IssuedOps, at: int, shapes: OpIndex, taken: tuple[Shape, ...]) -> bool:
    """Say whether an op pads, or joins frames to, what a convolution takes."""
    if ops.names[at] in _PADS:
        return True
    parts = shapes.tensor_list(ops.rows[at])
    if ops.names[at] != "cat" or len(parts) < 2 or not taken or len(taken[0]) != 5:
        return False
    # Frames of a cache come before those of the clip; joined channels are another matter.
    return all(part[:2] == taken[0][:2] for part in parts if len(part) == 5)
