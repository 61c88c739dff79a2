"""Finds normalizations that are written out: an RMSNorm as pow, mean, rsqrt, mul, and the like.

The root of a mean or a variance, or the length of a vector, marks one. What leads to it (casts,
squares, means, differences) and what it scales (a product or quotient, a cast, a weight and a bias
of one dimension) belong to it; scales and shifts of the whole tensor, as adaptive normalizations
have them, do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.classifying.intervals import rows_within
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.classifying.op_shapes import OpShapes, Shape
from tracekit.linking.link import Linked
from tracekit.linking.nesting import outermost_marked
from tracekit.trace import BoolArray, IntArray

_ROOTS: Final = frozenset({"rsqrt", "sqrt", "std"})
_LENGTHS: Final = frozenset({"linalg_vector_norm", "norm", "linalg_norm"})
_MEANS: Final = frozenset({"mean", "var", "var_mean", "std_mean", "sum"})
_SQUARES: Final = frozenset({"pow", "square", "mul", "multiply"})
_LEADS: Final = _MEANS | _SQUARES | {"sub", "add", "clamp", "clamp_min", "div", "abs"}
_CASTS: Final = frozenset({"to", "to_copy", "type_as", "float", "convert_element_type"})
_SCALES: Final = frozenset({"mul", "multiply", "div", "divide", "true_divide"})
_LEAD_STEPS: Final = 8
_SCALE_STEPS: Final = 6


@dataclass(frozen=True, slots=True)
class _Issued:
    """The forward ops of one thread that launch work, in order: rows and plain names."""

    thread: int
    rows: list[int]
    names: list[str]


def in_written_norm(linked: Linked, shapes: OpShapes) -> BoolArray:
    """Return which activities are pieces of a normalization that is written out."""
    found = [
        (issued.thread, issued.rows[first], issued.rows[last])
        for issued in _threads(linked)
        for first, last in _spans(issued, shapes)
    ]
    if not found:
        return np.zeros(len(linked), np.bool_)
    thread, first, last = (np.array(column, np.int64) for column in zip(*found, strict=True))
    ops = linked.trace.ops
    end_ns = ops.start_ns[last] + ops.dur_ns[last]
    within = rows_within(linked, thread.astype(np.int32), ops.start_ns[first], end_ns)
    return np.asarray(within >= 0)


def _spans(issued: _Issued, shapes: OpShapes) -> Iterator[tuple[int, int]]:
    names = issued.names
    done = -1
    for at, name in enumerate(names):
        if at <= done or name not in _ROOTS | _LENGTHS:
            continue
        first = _lead(names, at) if name in _ROOTS else at
        last = None if first is None else _scaled(issued, shapes, at)
        if first is not None and last is not None:
            done = last
            yield max(first, 0), last


def _lead(names: Sequence[str], root: int) -> int | None:
    """Return where the statistics before a root begin, null if there are none."""
    first = None
    for at in range(root - 1, max(root - 1 - _LEAD_STEPS, -1), -1):
        name = names[at]
        if name in _CASTS:
            continue
        if name not in _LEADS:
            break
        if name in _MEANS or (name in ("pow", "square")) or _squares(names, at):
            first = at
    if first is None and names[root] == "std":
        first = root
    if first is None or not _MEANS.intersection((*names[first:root], "mean" * (first == root))):
        return None
    before = first - 1
    return before if before >= 0 and names[before] in _CASTS else first


def _squares(names: Sequence[str], at: int) -> bool:
    """Say whether a product is right before a mean: a square, by itself or with a difference."""
    return names[at] in ("mul", "multiply", "sub") and names[at + 1] in _MEANS | {"pow", "mul"}


def _scaled(issued: _Issued, shapes: OpShapes, root: int) -> int | None:
    """Return where the scaling by a root ends, null if nothing is scaled."""
    last = None
    weights = 0
    for at in range(root + 1, min(root + 1 + _SCALE_STEPS, len(issued.names))):
        name = issued.names[at]
        if name in _SCALES and last is None:
            last = at
        elif name in _SCALES | {"add"} and weights < 3 and _takes_weight(issued, shapes, at):
            weights += 1
            last = at if last is not None else last
        elif name in _CASTS or (last is None and name in ("add", "clamp", "clamp_min", "sub")):
            last = at if last is not None else last
        else:
            break
    return last


def _takes_weight(issued: _Issued, shapes: OpShapes, at: int) -> bool:
    """Say whether an op takes a weight or a bias, or a number that scales.

    Without shapes the first product after the root's own is taken for a weight's.
    """
    tensors = shapes.tensors(issued.rows[at])
    if not shapes.shapes(issued.rows[at]):
        return issued.names[at] in _SCALES and issued.names[at - 1] in _SCALES | _CASTS
    is_number = len(tensors) == 1 and issued.names[at] in _SCALES
    return is_number or any(map(_is_weight, tensors))


def _is_weight(shape: Shape) -> bool:
    """Say whether a shape is `(channels,)`, `(channels, 1, 1)` or `(1, channels, 1, 1)`."""
    inner = shape[1:] if len(shape) > 1 and shape[0] == 1 else shape
    return len(shape) == 1 or (len(inner) > 1 and max(inner[1:]) == 1)


def _threads(linked: Linked) -> Iterator[_Issued]:
    ops, names = linked.trace.ops, linked.trace.strings
    if not len(ops):
        return
    plain = [plain_op_name(name)[1] if name.startswith("aten::") else "" for name in names]
    telling = [name in _ROOTS | _LENGTHS for name in plain]
    if not any(telling):
        return
    has_rule = np.array([rule_for_op(name) is not None for name in names], np.bool_)
    top = outermost_marked(linked.ops.parent, has_rule[ops.name])
    rows = np.flatnonzero((linked.op >= 0) & linked.op_is_forward[linked.op] & (linked.phase < 2))
    rows = rows[np.lexsort((linked.time_ns[rows], linked.thread[rows]))]
    op = top[linked.op[rows]]
    op = op[op >= 0]
    op = op[np.append(True, op[1:] != op[:-1])] if len(op) else op
    for thread in np.unique(ops.thread[op]).tolist():
        ours: IntArray = op[ops.thread[op] == thread]
        yield _Issued(thread, ours.tolist(), [plain[code] for code in ops.name[ours].tolist()])
