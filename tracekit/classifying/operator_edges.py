"""Finds the pieces of attention operators that were issued before or after their products.

Between the projections and an operator stand copies that lay out heads, the scale of the queries,
masks and biases of the size of the scores, and products that make such biases; before linear
attention, what makes its features. The sizes of the call tell them from all else that stands there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.categories import ATTENTION, CONV, LINEAR
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.fused_copies import lays_out
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.classifying.operator_pieces import (
    CASTS,
    Sizes,
    Step,
    folded_heads,
    pieces_after,
    pieces_before,
    words_of,
)
from tracekit.classifying.triton_names import is_triton_name
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import NULL, BoolArray, IntArray

_WINDOW: Final = 32
_AFTER: Final = 4
_ACTIVATIONS: Final = frozenset({"silu", "gelu", "relu", "leaky_relu", "tanh", "sigmoid", "mish"})
_FLOAT32: Final = ("6",)
"""PyTorch's number of the type, in `aten::to` (c10/core/ScalarType.h)."""

_AT_FIRST: Final = 6
"""Steps at the beginning of an operator among which copies of heads may be."""


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
    seen: dict[tuple[bytes, int, int, int], _Edges] = {}
    size_code = {size: number for number, size in enumerate(dict.fromkeys(sizes))}
    for call in range(len(calls)):
        first, last = issued.first[call], issued.last[call]
        if first < 0:
            continue
        low = max(first - _WINDOW, issued.begin[first])
        low = max(low, issued.free_from[first])
        high = min(last + 1 + _AFTER, issued.end[last])
        outside = _outside(issued.label[low : first + 1])
        key = (issued.code[low:high].tobytes(), first - low, size_code[sizes[call]], outside)
        if key not in seen:
            around = [steps[code] for code in issued.code[low:high].tolist()]
            before = pieces_before(around[: first - low], sizes[call], outside)
            seen[key] = _Edges(
                before,
                pieces_after(around[last + 1 - low :], sizes[call]),
                folded_heads(
                    [*(around[at] for at in before), *around[first - low :][:_AT_FIRST]],
                    sizes[call],
                ),
            )
        edges = seen[key]
        op_call[issued.top[[low + at for at in edges.before]]] = call
        op_call[issued.top[[last + 1 + at for at in edges.after]]] = call
        if batch[call] == NULL and edges.heads is not None:
            batch[call], heads[call] = edges.heads
    op_call[issued.top[_in_bias_networks(issued, steps)]] = NULL
    spread = _spread(linked, calls, issued, op_call)
    return replace(calls, call=spread, batch=batch, heads=heads)


def _in_bias_networks(issued: _Issued, steps: list[Step]) -> IntArray:
    """Return the places of activations right before a layer.

    Networks that make position biases stand between the products of an operator (Swin v2: Liu et
    al., arXiv 2111.09883, equation 4); no operator has a layer inside.
    """
    is_active = np.array([step.name in _ACTIVATIONS for step in steps], np.bool_)
    is_layer = np.array([step.is_layer for step in steps], np.bool_)
    found = is_active[issued.code[:-1]] & is_layer[issued.code[1:]]
    return np.flatnonzero(found & (issued.begin[:-1] == issued.begin[1:]))


def _outside(labels: IntArray) -> int:
    """Return how many places stand before the label of the last one, 0 if it has none."""
    others = np.flatnonzero(labels != labels[-1]) if labels[-1] >= 0 else labels[:0]
    return int(others[-1]) + 1 if len(others) else 0


@dataclass(frozen=True, slots=True)
class _Edges:
    """Places before and after an operator that are its own, and its batch and heads, if told."""

    before: list[int]
    after: list[int]
    heads: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class _Issued:
    """Distinct outermost ops with work, by thread and time.

    `top` are op rows, `code` numbers of what they are, `label` those of the attention labels
    around them, -1 where there is none; `begin` and `end` delimit the thread of each
    place, `free_from` is the place after the last that belongs to an earlier call. `first` and
    `last` are the places of each call, -1 where it has none.
    """

    top: IntArray
    code: IntArray
    label: IntArray
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
    told = (ops.name, ops.input_dims, ops.concrete_inputs)
    _, code = distinct_rows(tuple(column[top].astype(np.int64) for column in told))
    label = linked.labels.attention[rows[first_row]].astype(np.int64)
    places_of = (first.tolist(), last.tolist())
    return _Issued(top, code, label, begin, end, free_from, *places_of, outermost)


def _steps(linked: Linked, shapes: OpIndex, issued: _Issued) -> list[Step]:
    """Return what each distinct code stands for."""
    found: dict[int, Step] = {}
    first = np.unique(issued.code, return_index=True)[1]
    for place in first.tolist():
        row = int(issued.top[place])
        name = linked.trace.text(int(linked.trace.ops.name[row])) or ""
        rule = rule_for_op(name)
        is_layer = rule is not None and rule.decisive and rule.category in (LINEAR, CONV)
        tensors = shapes.tensors(row)
        is_copy = is_triton_name(name) and lays_out(name, tensors)
        found[int(issued.code[place])] = Step(
            name=plain_op_name(name)[1],
            words=words_of(name),
            is_layer=is_layer and not is_copy,
            is_helper=rule is None or rule.helper or is_copy,
            is_attention=rule is not None and rule.decisive and rule.category == ATTENTION,
            tensors=tensors,
            parts=tuple(shapes.tensor_list(row)),
            has_shapes=bool(shapes.shapes(row)),
            widens=plain_op_name(name)[1] in CASTS and shapes.arguments(row)[1:2] == _FLOAT32,
            result=_without_ones(tensors[-1]) if is_copy else (),
        )
    return [found[code] for code in range(len(found))]


def _without_ones(shape: Shape) -> Shape:
    """Return a shape without the dimensions of one at its end."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def _sizes(calls: AttentionCalls, is_linear: BoolArray) -> list[Sizes]:
    columns = (calls.sequences, calls.query_length, calls.key_length, calls.head_size)
    return [
        Sizes(count, queries, keys, size, linear)
        for count, queries, keys, size, linear in zip(
            *(column.tolist() for column in columns), is_linear.tolist(), strict=True
        )
    ]


def _spread(linked: Linked, calls: AttentionCalls, issued: _Issued, op_call: IntArray) -> IntArray:
    """Give the calls of ops to the activities that serve them, forward and backward."""
    served = np.where(linked.forward_op >= 0, issued.outermost[linked.forward_op], -1)
    found = np.where(served >= 0, op_call[served], -1)
    return np.where((calls.call >= 0) & (found != NULL), calls.call, np.maximum(found, -1))
