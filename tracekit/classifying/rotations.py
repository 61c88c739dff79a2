"""Finds what serves rotary embeddings that are written out (Su et al., arXiv 2104.09864)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracekit.classifying.issued_ops import IssuedOps, gradients_of_views, work_of
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray

_JOINS: Final = frozenset({"cat", "stack"})
_PARTS: Final = frozenset({"slice", "unbind", "select"})
_HALVES: Final = _PARTS | {"chunk", "split"}
"""Right before a negation a head is cut in halves; elsewhere queries are cut from keys, too."""

_COMPLEX: Final = ("mul", "mul", "sub", "mul", "mul", "add")
"""The real and the imaginary part of a product of complex numbers."""

_MATRIX: Final = ("mul", "mul", "add")
"""A turn as the product of a 2 × 2 matrix and a pair, column by column."""

_MATRIX_RANK: Final = 4
_PAIR: Final = 2
_TABLES: Final = frozenset({"embedding", "repeat", "repeat_interleave"})
"""What takes sines and cosines from a table, or once more for each half of a head."""

_REACH: Final = 3
_MOST_TURN_STEPS: Final = 8
_SINE_AND_COSINE: Final = 2


def in_rotary(linked: Linked, issued: Sequence[IssuedOps], shapes: OpIndex) -> BoolArray:
    """Return which activities lay out parts of heads for a rotation, or join what it turned.

    `torch.cat((-x2, x1))` and `torch.stack([-x_imag, x_real])` are how rotary embeddings turn a
    head (eq. 34), or both parts of a complex product are joined. What looks up sines and cosines
    right before, and joins the turned parts of a head to others right after, serves them too; so do
    the gradients of the slices that are turned.
    """
    spans: list[tuple[int, int, int]] = []
    negated: list[int] = []
    multiplied: list[int] = []
    for ops in issued:
        for at in _rotations(ops):
            spans.extend(_turn(ops, at, shapes))
            negated.extend(ops.rows[_negation(ops, at) : at + 1])
        for at in _complex_products(ops, shapes):
            spans.append((ops.thread, ops.rows[at], ops.rows[_end_of_join(ops, at)]))
            multiplied.append(ops.rows[at - len(_COMPLEX)])
        multiplied.extend(ops.rows[at] for at in _matrix_products(ops, shapes))
    halves = gradients_of_views(linked, shapes, issued, negated, _HALVES)
    parts = gradients_of_views(linked, shapes, issued, multiplied, _PARTS)
    return work_of(linked, spans) | halves | parts


def _rotations(ops: IssuedOps) -> Iterator[int]:
    """Return where halves are joined to be multiplied."""
    for at, name in enumerate(ops.names):
        is_join = name in _JOINS and "neg" in ops.names[max(at - 2, 0) : at]
        if is_join and "mul" in ops.names[at + 1 : at + 1 + _REACH]:
            yield at


def _negation(ops: IssuedOps, at: int) -> int:
    """Return where the half that a join takes is negated."""
    return at - 1 - ops.names[max(at - 2, 0) : at][::-1].index("neg")


def _complex_products(ops: IssuedOps, shapes: OpIndex) -> Iterator[int]:
    """Return where both parts of a complex product are joined, and nothing else is."""
    for at, name in enumerate(ops.names):
        first = at - len(_COMPLEX)
        if name not in _JOINS or first < 0 or tuple(ops.names[first:at]) != _COMPLEX:
            continue
        parts = shapes.tensor_list(ops.rows[at])
        made = (shapes.tensors(ops.rows[first + 2])[:1], shapes.tensors(ops.rows[at - 1])[:1])
        if not parts or (len(parts) == len(made) and made == (parts[:1], parts[1:])):
            yield at


def _matrix_products(ops: IssuedOps, shapes: OpIndex) -> Iterator[int]:
    """Return where a column of turns is multiplied by one element of each pair."""
    for at in range(len(ops.names) - len(_MATRIX) + 1):
        if tuple(ops.names[at : at + len(_MATRIX)]) == _MATRIX:
            both = [shapes.tensors(row) for row in ops.rows[at : at + 2]]
            if all(map(_is_column_by_element, both)):
                yield from (at, at + 1)


def _is_column_by_element(tensors: tuple[Shape, ...]) -> bool:
    """Say whether one of two tensors has pairs where the other has one element."""
    ranks = {len(shape) for shape in tensors}
    is_deep = len(tensors) == _PAIR and len(ranks) == 1 and min(ranks) >= _MATRIX_RANK
    return is_deep and {shape[-1] for shape in tensors} == {1, _PAIR}


def _end_of_join(ops: IssuedOps, at: int) -> int:
    """Return the last of the copies that lay out what a join made."""
    while at + 1 < len(ops.names) and ops.names[at + 1] in ("reshape", "clone"):
        at += 1
    return at


def _turn(ops: IssuedOps, at: int, shapes: OpIndex) -> Iterator[tuple[int, int, int]]:
    """Return the spans that serve the rotation around a join of halves."""
    last = _end_of_join(ops, at)
    yield ops.thread, ops.rows[at], ops.rows[last]
    negation = _negation(ops, at)
    # The half that the cosine scales may come first.
    lookup = first = negation - (ops.names[max(negation - 1, 0)] == "mul")
    while lookup - first < _SINE_AND_COSINE and first and ops.names[first - 1] in _TABLES:
        first -= 1
    if first < lookup:
        yield ops.thread, ops.rows[first], ops.rows[lookup - 1]
    after = range(last + 1, min(last + 1 + _MOST_TURN_STEPS, len(ops.names)))
    join = next((step for step in after if ops.names[step] in _JOINS), None)
    sums = [shapes.tensors(ops.rows[step])[:1] for step in after if ops.names[step] == "add"]
    if join is not None and sums and _joins_parts(shapes, ops.rows[join], sums[0]):
        yield ops.thread, ops.rows[join], ops.rows[join]


def _joins_parts(shapes: OpIndex, join: int, turned: tuple[Shape, ...]) -> bool:
    """Say whether an op joins what was turned to parts of the same heads; caches are longer."""
    parts = shapes.tensor_list(join)
    if not turned or turned[0] not in parts or len({part[:-1] for part in parts}) > 1:
        return False
    axis = next((text for text in reversed(shapes.arguments(join)) if text), None)
    return axis in (None, "-1", str(len(turned[0]) - 1))
