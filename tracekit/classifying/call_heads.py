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
from tracekit.classifying.ops_beside import OpsBeside, by_thread, outermost_rows
from tracekit.classifying.triton_names import is_triton_name
from tracekit.linking.link import Linked
from tracekit.trace import NULL, BoolArray

_LAYERS: Final = 2
"""Layers after a call that are asked."""


def with_heads(linked: Linked, shapes: OpIndex, calls: AttentionCalls) -> AttentionCalls:
    """Return the calls with batch and heads told by the layers beside them.

    The result of a call has as many elements as the layer after it takes, and the width of that is
    heads times head size: its last dimension, or the channels that a convolution takes.
    """
    unknown = np.flatnonzero((calls.heads == NULL) & (calls.sequences != NULL))
    if not len(unknown):
        return calls
    named = [shapes.named(partial(_is_of, category)) for category in (LINEAR, CONV)]
    is_conv = named[1]
    layers = by_thread(linked, outermost_rows(linked, (named[0] | is_conv) & linked.op_is_forward))
    batch, heads = calls.batch.copy(), calls.heads.copy()
    for row in unknown.tolist():
        beside = layers.get(int(calls.thread[row]))
        found = None if beside is None else _heads(shapes, calls, row, beside, is_conv)
        if found is not None:
            heads[row], batch[row] = found, int(calls.sequences[row]) // found
    return replace(calls, batch=batch, heads=heads)


def _heads(
    shapes: OpIndex, calls: AttentionCalls, row: int, layers: OpsBeside, is_conv: BoolArray
) -> int | None:
    sequences, length = int(calls.sequences[row]), int(calls.query_length[row])
    size = int(calls.value_size[row])
    size = int(calls.head_size[row]) if size == NULL else size
    if NULL in (size, length) or size <= 0:
        return None
    for layer in layers.after(int(calls.end_ns[row]), _LAYERS):
        tensors = shapes.tensors(layer)
        if not tensors or len(tensors[0]) < 2 or prod(tensors[0]) != sequences * length * size:
            continue
        heads, rest = divmod(tensors[0][1 if is_conv[layer] else -1], size)
        if heads and not rest and sequences % heads == 0:
            return heads
    return None


def _is_of(category: str, name: str) -> bool:
    rule = rule_for_op(name)
    # What Inductor fused only lays out the input of a layer.
    return (
        rule is not None
        and rule.decisive
        and rule.category == category
        and not is_triton_name(name)
    )
