"""Where in the call of a labelled attention module the attention operator itself runs.

Nothing of the classifier is used: only the labels and the names of fused attention ops, batched
products and softmaxes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.link import Linked
from tracekit.linking.nesting import Forest, nearest_marked
from tracekit.trace import BoolArray, CodeArray, IntArray

_FUSED: Final = re.compile(
    r"scaled_dot_product_|_(?:flash|efficient|cudnn|fused_sdp)\w*_attention|_attention_forward"
    r"|^flash_attn|^xformers|memory_efficient_attention|flex_attention|^sageattention"
)
_SOFTMAX: Final = re.compile(r"^aten::_?(?:safe_)?softmax(?:\.|$)")
_PRODUCT: Final = re.compile(r"^aten::(?:bmm|baddbmm)(?:_|\.|$)")
_PRODUCT_ROOT: Final = re.compile(r"^aten::(?:matmul|einsum|bmm|baddbmm_?)(?:\.|$)")
_PROJECTION: Final = re.compile(r"^aten::(?:linear|conv\w*|_?convolution\w*)(?:\.|$)")


@dataclass(frozen=True, slots=True)
class Cores:
    """Intervals of host threads in which an attention operator runs, and the call each is of.

    `call` holds rows of the label spans that were given.
    """

    thread: CodeArray
    start_ns: IntArray
    end_ns: IntArray
    call: IntArray


def attention_cores(linked: Linked, spans: Forest, call_of: IntArray) -> Cores:
    """Return the attention operators inside labelled calls, one for each call that has any.

    `call_of` names for each span of the forest the attention call that its work belongs to, -1
    where it belongs to none. An operator lasts from the first product before a softmax, or fused
    op, to the last after one; without either, from the first product to the last of several.
    """
    ops, parent = linked.trace.ops, linked.ops.parent
    kinds = [_named(linked, pattern) for pattern in (_FUSED, _PRODUCT, _SOFTMAX)]
    of_projection = nearest_marked(parent, _named(linked, _PROJECTION)) >= 0
    chosen = np.flatnonzero((kinds[0] | kinds[1] | kinds[2]) & ~of_projection)
    span = spans.innermost_at(ops.thread[chosen], ops.start_ns[chosen])
    call = np.where(span >= 0, call_of[span], -1) if len(call_of) else span
    chosen, call = chosen[call >= 0], call[call >= 0]
    order = np.lexsort((ops.start_ns[chosen], call))
    chosen, call = chosen[order], call[order]
    root = _outermost(parent, _named(linked, _PRODUCT_ROOT))
    found: list[tuple[int, int, int, int]] = []
    for part in np.split(np.arange(len(call)), np.flatnonzero(np.diff(call)) + 1):
        rows = chosen[part]
        anchors = _anchors(rows, *(kind[rows] for kind in kinds))
        if len(anchors):
            around = np.where(root[anchors] >= 0, root[anchors], anchors)
            begin, end = int(ops.start_ns[around].min()), int(ops.end_ns[around].max())
            found.append((int(ops.thread[around[0]]), begin, end, int(call[part[0]])))
    columns = np.array(found, np.int64).reshape(-1, 4).T
    return Cores(columns[0].astype(np.int32), columns[1], columns[2], columns[3])


def in_projection(linked: Linked, op: IntArray) -> BoolArray:
    """Return which ops belong to a linear layer or a convolution, wherever they run."""
    if not len(linked.ops.parent):
        return np.zeros(len(op), np.bool_)
    inside = nearest_marked(linked.ops.parent, _named(linked, _PROJECTION)) >= 0
    return (op >= 0) & inside[op]


def _anchors(
    rows: IntArray, is_fused: BoolArray, is_product: BoolArray, is_softmax: BoolArray
) -> IntArray:
    """Return those ops of one call, in the order of their start, that bound its operator."""
    products = np.flatnonzero(is_product)
    anchors = [rows[is_fused]]
    for softmax in np.flatnonzero(is_softmax).tolist():
        after = int(np.searchsorted(products, softmax))
        if 0 < after < len(products):
            anchors.append(rows[products[after - 1 : after + 1]])
    found = np.concatenate(anchors)
    return rows[products] if not len(found) and len(products) > 1 else found


def _outermost(parent: IntArray, marked: BoolArray) -> IntArray:
    """Return each op's outermost marked ancestor, itself included, -1 if none."""
    nearest = nearest_marked(parent, marked)
    outermost = nearest.copy()
    active = np.flatnonzero(outermost >= 0)
    while len(active):
        above = parent[outermost[active]]
        higher = np.where(above >= 0, nearest[above], -1)
        active, higher = active[higher >= 0], higher[higher >= 0]
        outermost[active] = higher
    return outermost


def _named(linked: Linked, pattern: re.Pattern[str]) -> BoolArray:
    texts, name = linked.trace.strings, linked.trace.ops.name
    matches = np.array([*(pattern.search(text) is not None for text in texts), False], np.bool_)
    return matches[name]
