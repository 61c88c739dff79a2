"""Batch and heads of attention calls whose own ops see the two as one dimension."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import CONV, LINEAR
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.op_rules import rule_for_op
from tracekit.classifying.ops_beside import (
    OpsBeside,
    by_thread,
    named_tops,
    outermost_rows,
)
from tracekit.classifying.triton_names import is_triton_name
from tracekit.linking.link import Linked
from tracekit.trace import NULL, BoolArray

_LAYERS: Final = 2
"""Layers after a call that are asked."""

_VIEWS: Final = frozenset({"reshape", "view"})
_RANK: Final = 4
"""Batch, heads, length and head size."""


def with_heads(linked: Linked, shapes: OpIndex, calls: AttentionCalls) -> AttentionCalls:
    """Return the calls with batch and heads told by the layers beside them.

    The result of a call has as many elements as the layer after it takes, and the width of that is
    heads times head size: its last dimension, or the channels that a convolution takes. What is
    written out, or has more dimensions than batch, heads, length and size, may have windows or
    frames where others have heads, or lengths before them; there the layer decides, too.
    """
    asked = np.flatnonzero((calls.sequences != NULL) & _may_be_others(shapes, calls))
    if not len(asked):
        return calls
    named = [shapes.named(partial(_is_of, category)) for category in (LINEAR, CONV)]
    is_conv = named[1]
    layers = by_thread(linked, outermost_rows(linked, (named[0] | is_conv) & linked.op_is_forward))
    views = by_thread(linked, named_tops(linked, shapes, _VIEWS))
    batch, heads, length = calls.batch.copy(), calls.heads.copy(), calls.query_length.copy()
    sequences = calls.sequences.copy()
    for row in asked.tolist():
        thread, count = int(calls.thread[row]), int(sequences[row])
        beside = layers.get(thread)
        found = None if beside is None else _heads(shapes, calls, row, beside, is_conv)
        if found is not None and count % found == 0:
            heads[row], batch[row] = found, count // found
        elif found is not None and found == length[row] and heads[row] != NULL:
            # Scores were laid out as (batch, queries, heads, keys).
            length[row], heads[row] = heads[row], found
            sequences[row] = int(batch[row]) * found
        elif found is None and thread in views and _are_windows(shapes, calls, row, views[thread]):
            heads[row] = batch[row] = NULL
    return replace(calls, batch=batch, heads=heads, query_length=length, sequences=sequences)


def _may_be_others(shapes: OpIndex, calls: AttentionCalls) -> BoolArray:
    """Return of which calls batch and heads are unknown, or may be something else."""
    found: BoolArray = (calls.heads == NULL) | calls.is_written
    for row in np.flatnonzero(~found).tolist():
        found[row] = len(next(iter(shapes.tensors(int(calls.op[row]))), ())) > _RANK
    return found


def _heads(
    shapes: OpIndex, calls: AttentionCalls, row: int, layers: OpsBeside, is_conv: BoolArray
) -> int | None:
    """Return the heads that a layer after a call tells, with which it has as many elements."""
    sequences, length = int(calls.sequences[row]), int(calls.query_length[row])
    size = _size(calls, row)
    if NULL in (size, length) or size <= 0:
        return None
    for layer in layers.after(int(calls.end_ns[row]), _LAYERS):
        tensors = shapes.tensors(layer)
        if not tensors or len(tensors[0]) < 2 or prod(tensors[0]) != sequences * length * size:
            continue
        heads, rest = divmod(tensors[0][1 if is_conv[layer] else -1], size)
        if heads and not rest and (sequences % heads == 0 or heads == length):
            return heads
    return None


def _are_windows(shapes: OpIndex, calls: AttentionCalls, row: int, views: OpsBeside) -> bool:
    """Say whether what stands where heads do goes on as tokens, with the lengths behind it."""
    if calls.heads[row] == NULL:
        return False
    batch, heads, length = (int(of[row]) for of in (calls.batch, calls.heads, calls.query_length))
    size = _size(calls, row)
    result, whole = (batch, heads, length, size), f"[{batch}, {heads * length}, {size}]"
    near = views.between(int(calls.start_ns[row]), int(calls.end_ns[row]))
    near += views.after(int(calls.end_ns[row]), _LAYERS)
    return any(
        shapes.tensors(view)[:1] == (result,) and shapes.arguments(view)[1:2] == (whole,)
        for view in near
    )


def _size(calls: AttentionCalls, row: int) -> int:
    size = int(calls.value_size[row])
    return int(calls.head_size[row]) if size == NULL else size


def _is_of(category: str, name: str) -> bool:
    rule = rule_for_op(name)
    # What Inductor fused only lays out the input of a layer.
    return (
        rule is not None
        and rule.decisive
        and rule.category == category
        and not is_triton_name(name)
    )
