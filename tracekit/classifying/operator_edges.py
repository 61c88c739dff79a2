"""Finds the pieces of attention operators that were issued before or after their products.

Between the projections and an operator stand copies that lay out heads, the scale of the queries,
masks and biases of the size of the scores, and products that make such biases; before linear
attention, what makes its features. The sizes of the call tell them from all else that stands there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import ATTENTION, CONV, LINEAR
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import NULL, BoolArray, IntArray

_WINDOW: Final = 32
_MOST_LAYERS: Final = 3
"""The projections of queries, keys and values."""

_AFTER: Final = 4
_AT_FIRST: Final = 6
"""Steps at the beginning of an operator among which copies of heads may be."""

_SCALES: Final = frozenset({"mul", "div", "multiply", "divide"})
_LAYOUT: Final = frozenset({"repeat", "repeat_interleave", "expand"})
_MASKS: Final = frozenset({"masked_fill", "tril", "triu", "where", "bitwise_not", "logical_not"})
_POOLS: Final = frozenset({"sum", "mean"})
_POOLED_RANK: Final = 5
"""Batch, heads, groups of tokens, tokens of each, and the head: landmarks are sums over some."""

CASTS: Final = frozenset({"to", "to_copy", "type_as", "float", "half", "bfloat16"})
"""Casts before an operator mostly undo those of a norm or a rotation."""
_PRODUCTS: Final = frozenset({"matmul", "einsum", "bmm", "baddbmm"})
_FEATURES: Final = frozenset(
    {
        "softmax",
        "relu",
        "elu",
        "exp",
        "pad",
        "constant_pad_nd",
        "to",
        "mul",
        "div",
        "gelu",
        "sigmoid",
    }
)
_NORMALIZERS: Final = frozenset(
    {"add", "div", "mul", "to", "sum", "clamp", "clamp_min", "contiguous"}
)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What of a call tells its pieces: numbers of elements, lengths, head size."""

    sequences: int
    query_length: int
    key_length: int
    head_size: int
    is_linear: bool

    def are_scores(self, step: _Step) -> bool:
        """Say whether an op makes, masks or adds to scores, or to what will be added to them."""
        if self.is_linear or not step.tensors:
            return False
        shape = _together(step.tensors)
        count, scores = prod(shape), self.sequences * self.query_length * self.key_length
        # Parts of heads may be as long as the sequences.
        is_clear = self.head_size not in (self.key_length * part for part in (1, 2, 4))
        is_clear |= step.name in _MASKS
        if not is_clear or count in (self.queries, self.keys):
            return False
        is_plane = len(shape) >= 2 and shape[-2:] == (self.query_length, self.key_length)
        return (is_plane and scores % count == 0) or (len(shape) >= 4 and count == scores)

    def are_heads(self, shape: Shape) -> bool:
        """Say whether a shape is one of queries, keys or values with heads told apart."""
        if len(shape) < 3 or (len(shape) == 3 and shape[-1] != self.head_size):
            return False
        count = prod(shape)
        together = (self.queries, self.keys, 2 * self.keys, self.queries + 2 * self.keys)
        return self.head_size in shape and (count in together or self.keys % max(count, 1) == 0)

    @property
    def queries(self) -> int:
        """Elements of the queries."""
        return self.sequences * self.query_length * self.head_size

    @property
    def keys(self) -> int:
        """Elements of the keys, for each head of the queries."""
        return self.sequences * self.key_length * self.head_size


@dataclass(frozen=True, slots=True)
class _Step:
    """One op that was issued: what it is called, what it does, and what it was given."""

    name: str
    is_layer: bool
    is_helper: bool
    is_attention: bool
    tensors: tuple[Shape, ...]
    parts: tuple[Shape, ...]
    has_shapes: bool


def _together(tensors: tuple[Shape, ...]) -> Shape:
    """Return the shape that tensors have together, if they are spread over one another."""
    rank = max(map(len, tensors))
    padded = [(1,) * (rank - len(shape)) + shape for shape in tensors]
    return tuple(max(sides) for sides in zip(*padded, strict=True))


def with_edges(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, is_linear: BoolArray
) -> AttentionCalls:
    """Return the calls with the activities at the edges of operators.

    Batch and heads, which a product of three dimensions folds, are told by the copies that lay out
    heads before it.
    """
    issued = _issued(linked, shapes, calls) if len(calls) else None
    if issued is None:
        return calls
    steps = _steps(linked, shapes, issued)
    sizes = _sizes(calls, is_linear)
    op_call = np.full(len(linked.trace.ops), -1, np.int64)
    batch, heads = calls.batch.copy(), calls.heads.copy()
    seen: dict[tuple[bytes, int, int], _Edges] = {}
    size_code = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
    for call in range(len(calls)):
        first, last = issued.first[call], issued.last[call]
        if first < 0:
            continue
        low = max(first - _WINDOW, issued.begin[first])
        low = max(low, issued.free_from[first])
        high = min(last + 1 + _AFTER, issued.end[last])
        key = (issued.code[low:high].tobytes(), first - low, size_code[sizes[call]])
        if key not in seen:
            around = [steps[code] for code in issued.code[low:high].tolist()]
            before = _before(around[: first - low], sizes[call])
            seen[key] = _Edges(
                before,
                _after(around[last + 1 - low :], sizes[call]),
                _folded_heads(
                    [*(around[at] for at in before), *around[first - low :][:_AT_FIRST]],
                    sizes[call],
                ),
            )
        edges = seen[key]
        op_call[issued.top[[low + at for at in edges.before]]] = call
        op_call[issued.top[[last + 1 + at for at in edges.after]]] = call
        if batch[call] == NULL and edges.heads is not None:
            batch[call], heads[call] = edges.heads
    spread = _spread(linked, calls, issued, op_call)
    return replace(calls, call=spread, batch=batch, heads=heads)


def _folded_heads(steps: list[_Step], sizes: _Sizes) -> tuple[int, int] | None:
    """Return batch and heads from a copy of queries of four dimensions."""
    for step in steps:
        for shape in step.tensors[:1]:
            if len(shape) != 4 or shape[3] != sizes.head_size:
                continue
            for batch, heads, length in (
                (shape[0], shape[1], shape[2]),
                (shape[0], shape[2], shape[1]),
            ):
                if batch * heads == sizes.sequences and length == sizes.query_length:
                    return batch, heads
    return None


@dataclass(frozen=True, slots=True)
class _Edges:
    """Places before and after an operator that are its own, and its batch and heads, if told."""

    before: list[int]
    after: list[int]
    heads: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Issued:
    """Distinct outermost ops with work, by thread and time.

    `top` are op rows, `code` numbers of what they are; `begin` and `end` delimit the thread of each
    place, `free_from` is the place after the last that belongs to an earlier call. `first` and
    `last` are the places of each call, -1 where it has none.
    """

    top: IntArray
    code: IntArray
    begin: IntArray
    end: IntArray
    free_from: IntArray
    first: list[int]
    last: list[int]
    outermost: IntArray


def _issued(linked: Linked, index: OpIndex, calls: AttentionCalls) -> _Issued | None:
    ops = linked.trace.ops
    rows = np.flatnonzero((linked.op >= 0) & linked.op_is_forward[linked.op])
    if not len(rows):
        return None
    rows = rows[np.lexsort((linked.time_ns[rows], linked.thread[rows]))]
    outermost = index.ruled_tops
    top, call = outermost[linked.op[rows]], calls.call[rows]
    is_new = np.append(True, top[1:] != top[:-1])
    first_row = np.flatnonzero(is_new)
    # A call counts for an op if any of its work belongs to it.
    call = np.maximum.reduceat(call, first_row)
    top = top[first_row]
    thread = ops.thread[top]
    places = np.arange(len(top))
    starts = np.append(True, thread[1:] != thread[:-1])
    begin = np.maximum.accumulate(np.where(starts, places, 0))
    ends = np.append(np.flatnonzero(starts)[1:], len(top))
    end = ends[np.cumsum(starts) - 1]
    owned = np.where(call >= 0, places + 1, 0)
    free_from = np.append(0, np.maximum.accumulate(owned)[:-1])
    first, last = np.full(len(calls), -1), np.full(len(calls), -1)
    with_call = np.flatnonzero(call >= 0)
    first[call[with_call][::-1]] = with_call[::-1]
    last[call[with_call]] = with_call
    _, code = distinct_rows((ops.name[top].astype(np.int64), ops.input_dims[top].astype(np.int64)))
    return _Issued(top, code, begin, end, free_from, first.tolist(), last.tolist(), outermost)


def _steps(linked: Linked, shapes: OpIndex, issued: _Issued) -> list[_Step]:
    """Return what each distinct code stands for."""
    found: dict[int, _Step] = {}
    first = np.unique(issued.code, return_index=True)[1]
    for place in first.tolist():
        row = int(issued.top[place])
        name = linked.trace.text(int(linked.trace.ops.name[row])) or ""
        rule = rule_for_op(name)
        found[int(issued.code[place])] = _Step(
            name=plain_op_name(name)[1],
            is_layer=rule is not None and rule.decisive and rule.category in (LINEAR, CONV),
            is_helper=rule is None or rule.helper,
            is_attention=rule is not None and rule.decisive and rule.category == ATTENTION,
            tensors=shapes.tensors(row),
            parts=tuple(shapes.tensor_list(row)),
            has_shapes=bool(shapes.shapes(row)),
        )
    return [found[code] for code in range(len(found))]


def _sizes(calls: AttentionCalls, is_linear: BoolArray) -> list[_Sizes]:
    columns = (calls.sequences, calls.query_length, calls.key_length, calls.head_size)
    return [
        _Sizes(count, queries, keys, size, linear)
        for count, queries, keys, size, linear in zip(
            *(column.tolist() for column in columns), is_linear.tolist(), strict=True
        )
    ]


def _before(steps: list[_Step], sizes: _Sizes) -> list[int]:
    """Return which steps before an operator are pieces of it."""
    found: list[int] = []
    layers = 0
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if step.is_attention:
            break
        layers += step.is_layer
        if layers == _MOST_LAYERS:
            break
        if step.is_layer:
            continue
        if (
            _is_piece(step, sizes, layers, is_followed=at + 1 in found)
            or (step.name in CASTS and _casts_heads(steps, at, sizes))
            or (not step.has_shapes and _is_between_layers(steps, at))
            or (not step.has_shapes and not layers and _lays_out_heads(steps, at))
            or (not step.has_shapes and not layers and _scales_queries(steps, at))
        ):
            found.append(at)
    return found


def _follows_layer(steps: list[_Step], at: int) -> bool:
    """Say whether only copies and casts stand between the last layer and a step."""
    while at > 0 and (steps[at].is_helper or steps[at].name in CASTS):
        at -= 1
    return steps[at].is_layer


def _lays_out_heads(steps: list[_Step], at: int) -> bool:
    """Say whether a step copies what the last projection returned."""
    is_copy = steps[at].is_helper and steps[at].name not in CASTS
    return is_copy and _follows_layer(steps, at)


def _scales_queries(steps: list[_Step], at: int) -> bool:
    """Say whether nothing but a scale and copies stands between a projection and an operator."""
    is_last = all(step.is_helper for step in steps[at + 1 :])
    return is_last and steps[at].name in _SCALES and at > 0 and _follows_layer(steps, at - 1)


def _is_between_layers(steps: list[_Step], at: int) -> bool:
    """Say whether a step is of copies between two projections, with a scale of the queries or not.

    Those of heads are; a product without a copy may be a gate.
    """

    def is_of_heads(step: _Step) -> bool:
        return step.is_helper or step.name in _SCALES

    first = last = at
    while first > 0 and is_of_heads(steps[first]):
        first -= 1
    while last + 1 < len(steps) and is_of_heads(steps[last]):
        last += 1
    is_copied = any(step.is_helper for step in steps[first + 1 : last])
    return first < at < last and is_copied and steps[first].is_layer and steps[last].is_layer


def _casts_heads(steps: list[_Step], at: int, sizes: _Sizes) -> bool:
    """Say whether a step casts heads that a projection returned, and nothing turns them then.

    A rotation is often computed in a wider type than the model's.
    """
    is_turned = any(step.name == "mul" and len(step.tensors) > 1 for step in steps[at + 1 :])
    return not is_turned and _follows_layer(steps, at) and _is_of_heads(steps[at], sizes)


def _is_of_heads(step: _Step, sizes: _Sizes) -> bool:
    return bool(step.tensors) and sizes.are_heads(step.tensors[0])


def _is_piece(step: _Step, sizes: _Sizes, layers: int, *, is_followed: bool) -> bool:
    if sizes.are_scores(step):
        return True
    if not layers and step.name in _PRODUCTS:
        return True
    if sizes.is_linear and not layers and step.name in _FEATURES:
        return True
    if not step.tensors:
        return step.is_helper and is_followed and step.has_shapes
    if (step.is_helper and step.name not in CASTS) or step.name in _LAYOUT:
        return sizes.are_heads(step.tensors[0])
    if step.name in _POOLS:
        shape = step.tensors[0]
        is_pooled = not layers and len(shape) >= _POOLED_RANK and sizes.head_size in shape
        return is_pooled and prod(shape) in (sizes.queries, sizes.keys)
    is_scale = step.name in _SCALES and len(step.tensors) == 1
    return is_scale and prod(step.tensors[0]) in (sizes.queries, sizes.keys)


def _after(steps: list[_Step], sizes: _Sizes) -> list[int]:
    """Return which steps after an operator are pieces of it.

    They are the normalizer of linear attention, what joins the parts of attention in chunks, and
    the copy that merges heads for the projection of the output.
    """
    if steps and not sizes.is_linear and _joins_chunks(steps[0], sizes):
        others = (at for at, step in enumerate(steps) if at and not step.is_helper)
        return list(range(next(others, len(steps))))
    found = [at for at in range(len(steps) - 1) if _merges_heads(steps, at, sizes)]
    for at, step in enumerate(steps):
        if not sizes.is_linear or (step.name not in _NORMALIZERS and not step.is_helper):
            break
        found.append(at)
    return found


def _merges_heads(steps: list[_Step], at: int, sizes: _Sizes) -> bool:
    """Say whether a step copies heads for the first layer after an operator."""
    step = steps[at]
    is_copy = step.is_helper and step.name not in CASTS and bool(step.tensors)
    is_last = steps[at + 1].is_layer and not any(before.is_layer for before in steps[:at])
    return is_copy and is_last and len(step.tensors[0]) >= 4 and sizes.are_heads(step.tensors[0])


def _joins_chunks(step: _Step, sizes: _Sizes) -> bool:
    is_join = step.name in ("cat", "stack") and len(step.parts) > 1
    return is_join and all(
        prod(part) == sizes.queries and sizes.are_heads(part) for part in step.parts
    )


def _spread(linked: Linked, calls: AttentionCalls, issued: _Issued, op_call: IntArray) -> IntArray:
    """Give the calls of ops to the activities that serve them, forward and backward."""
    served = np.where(linked.forward_op >= 0, issued.outermost[linked.forward_op], -1)
    found = np.where(served >= 0, op_call[served], -1)
    return np.where(calls.call >= 0, calls.call, found)
