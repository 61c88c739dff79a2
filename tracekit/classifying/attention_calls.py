"""The attention calls of a trace: where each was issued, what it was given, what is its work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.categories import ATTENTION, CONV, LINEAR, MEMORY
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.call_facts import call_backends, call_dtypes
from tracekit.classifying.fused_attention import Geometry, fused_geometry
from tracekit.classifying.intervals import rows_within
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.classifying.op_table import RULES
from tracekit.classifying.operator_edges import with_edges
from tracekit.classifying.operator_pieces import CASTS, VIEWS
from tracekit.classifying.ops_beside import outermost_rows
from tracekit.classifying.triton_names import (
    fused_operations,
    is_triton_name,
    is_triton_template,
)
from tracekit.classifying.written_attention import Span, written_spans
from tracekit.linking.link import Linked
from tracekit.linking.nesting import nearest_marked, outermost_marked
from tracekit.trace import NULL, BoolArray, CodeArray, IntArray

_CASTS_AND_SCALES: Final = frozenset({"to_copy", "to", "mul", "div", "convert_element_type"})
_QUANTIZES: Final = re.compile(
    r"(?:^|_)(?:quant(?:ize)?|per_(?:block|warp|channel)_(?:int8|fp8))(?:_|$)"
)
_MOST_HELPERS: Final = 8
"""Copies and casts in a row that are taken for those of the operator next to them."""

_PROJECTIONS: Final = 3
"""Layers before an operator that make its queries, keys and values."""

_JOINT_PROJECTIONS: Final = 6
"""The same where two kinds of tokens have projections of their own."""

_SIZES: Final = (
    "sequences",
    "query_length",
    "key_length",
    "head_size",
    "batch",
    "heads",
    "key_heads",
    "value_size",
)


@dataclass(frozen=True, slots=True)
class _Found:
    thread: int
    start_ns: int
    end_ns: int
    op: int
    is_written: bool
    geometry: Geometry


def attention_calls(linked: Linked, shapes: OpIndex) -> AttentionCalls:
    """Return the attention calls that the ops of a trace show, fused and written out.

    The copies and casts directly before and after an operator are its own: they lay out what it
    takes and what it gives. So are masks, biases, scales and head-wise copies before it that its
    sizes tell. Backward work belongs to the call of its forward op.
    """
    ops = linked.trace.ops
    found = _fused(linked, shapes) + [
        _Found(
            span.thread,
            int(ops.start_ns[span.first]),
            _end_of(linked, span),
            span.first,
            True,
            span.geometry,
        )
        for span in written_spans(linked, shapes)
    ]
    found.sort(key=lambda one: (one.thread, one.start_ns, -one.end_ns))
    thread = np.array([one.thread for one in found], np.int32)
    start_ns = np.array([one.start_ns for one in found], np.int64)
    end_ns = np.array([one.end_ns for one in found], np.int64)
    if found:
        start_ns, end_ns = _with_helpers(linked, shapes, (thread, start_ns, end_ns))
    sizes = {name: _column(found, name) for name in _SIZES}
    causal = [one.geometry.causal for one in found]
    is_linear = np.array([one.geometry.is_linear for one in found], np.bool_)
    op = np.array([one.op for one in found], np.int64)
    is_written = np.array([one.is_written for one in found], np.bool_)
    calls = AttentionCalls(
        thread=thread,
        start_ns=start_ns,
        end_ns=end_ns,
        op=op,
        is_written=is_written,
        is_linear=is_linear,
        backend=call_backends(linked, op, is_written),
        dtype=call_dtypes(linked, op),
        causal=np.array([-1 if value is None else int(value) for value in causal], np.int8),
        is_top_left=np.array([one.geometry.is_top_left for one in found], np.bool_),
        call=rows_within(linked, thread, start_ns, end_ns),
        **sizes,
    )
    calls = with_edges(linked, shapes, calls, is_linear)
    return replace(calls, call=_with_views(linked, shapes, calls))


def _with_views(linked: Linked, shapes: OpIndex, calls: AttentionCalls) -> IntArray:
    """Return the calls with backward copies whose forward op is a view beside an operator.

    A view launches nothing forward and copies backward. It is beside the operator if it stands
    between the projections before it and the layer after it.
    """
    moved = (linked.forward_op >= 0) & (linked.forward_op != linked.op) & (calls.call < 0)
    if not moved.any() or not len(calls):
        return calls.call
    layer = outermost_rows(linked, shapes.named(_is_layer) & linked.op_is_forward)
    is_work = shapes.named(_works)
    rows = np.flatnonzero(moved)
    rows = rows[_is_helper(linked, shapes, rows) & ~is_work[linked.forward_op[rows]]]
    found = calls.call.copy()
    for most in (_PROJECTIONS, _JOINT_PROJECTIONS):
        beside = rows_within(linked, calls.thread, *_between_layers(linked, calls, layer, most))
        chosen = rows[(beside[rows] >= 0) & (found[rows] < 0)]
        if most > _PROJECTIONS:
            chosen = chosen[_split_heads(linked, shapes, calls, chosen, beside[chosen])]
        found[chosen] = beside[chosen]
    return found


def _between_layers(
    linked: Linked, calls: AttentionCalls, layer: IntArray, most: int
) -> tuple[IntArray, IntArray]:
    """Return starts and ends of calls from so many layers before each to the layer after it."""
    ops = linked.trace.ops
    start_ns, end_ns = calls.start_ns.copy(), calls.end_ns.copy()
    for thread in np.unique(calls.thread).tolist():
        ours = np.flatnonzero(calls.thread == thread)
        layers = np.sort(ops.start_ns[layer[ops.thread[layer] == thread]])
        if not len(layers):
            continue
        before = np.searchsorted(layers, start_ns[ours]) - most
        ended = np.append(np.iinfo(np.int64).min, end_ns[ours][:-1])
        first = np.maximum(layers[np.maximum(before, 0)], ended)
        after = np.searchsorted(layers, end_ns[ours])
        last = np.where(after < len(layers), layers[np.minimum(after, len(layers) - 1)], 0)
        start_ns[ours] = np.minimum(first, start_ns[ours])
        end_ns[ours] = np.maximum(last, end_ns[ours])
    return start_ns, end_ns


def _split_heads(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, rows: IntArray, call: IntArray
) -> BoolArray:
    """Return which activities have a forward op that splits tokens into the heads of a call."""
    found = np.zeros(len(rows), np.bool_)
    for at, (op, of) in enumerate(
        zip(linked.forward_op[rows].tolist(), call.tolist(), strict=True)
    ):
        heads, size = int(calls.heads[of]), int(calls.head_size[of])
        tensors, arguments = shapes.tensors(op), shapes.arguments(op)
        if not tensors or len(arguments) < 2 or NULL in (heads, size):
            continue
        is_whole = tensors[0][-1] == heads * size
        found[at] = is_whole and arguments[1].endswith((f", {heads}, {size}]", f", -1, {size}]"))
    return found


def _is_layer(name: str) -> bool:
    rule = rule_for_op(name)
    return rule is not None and rule.decisive and rule.category in (LINEAR, CONV)


def _works(name: str) -> bool:
    """Say whether an op does more than a view, which launches nothing, or a copy."""
    rule = rule_for_op(name)
    return plain_op_name(name)[1] in CASTS or (rule is not None and not rule.helper)


def _column(found: Sequence[_Found], name: str) -> IntArray:
    values = [getattr(one.geometry, name) for one in found]
    return np.array([NULL if value is None else value for value in values], np.int64)


def _end_of(linked: Linked, span: Span) -> int:
    ops = linked.trace.ops
    return int(ops.start_ns[span.last] + ops.dur_ns[span.last])


def _fused(linked: Linked, shapes: OpIndex) -> list[_Found]:
    """Return the fused calls: the outermost attention op, with the first geometry inside it."""
    ops, names = linked.trace.ops, linked.trace.strings
    marked = shapes.named(_is_fused) & linked.op_is_forward
    if not marked.any():
        return []
    top = outermost_marked(linked.ops.parent, marked)
    rows = np.flatnonzero(marked)
    rows = rows[np.lexsort((ops.start_ns[rows], top[rows]))]
    geometries: dict[tuple[int, int, int], Geometry | None] = {}
    told: dict[int, Geometry] = {}
    for row in rows.tolist():
        root = int(top[row])
        if root in told:
            continue
        code = shapes.code(row)
        if code not in geometries:
            geometries[code] = fused_geometry(shapes, row, names[code[0]])
        geometry = geometries[code]
        if geometry is not None:
            told[root] = geometry
    unknown = Geometry(None, None, None, None)
    return [
        _Found(
            int(ops.thread[root]),
            int(ops.start_ns[root]),
            int(ops.start_ns[root] + ops.dur_ns[root]),
            root,
            False,
            told.get(root, unknown),
        )
        for root in np.unique(top[rows]).tolist()
    ]


def _is_fused(name: str) -> bool:
    return _is_attention(name) and not _only_prepares(name)


def _is_attention(name: str) -> bool:
    rule = rule_for_op(name)
    return rule is not None and rule.decisive and rule.category == ATTENTION


def _only_prepares(name: str) -> bool:
    """Say whether an op of attention lays out, pads or quantizes what its operator takes.

    Inductor names what it fuses around the call of an operator after that operator; what is one
    itself is a template.
    """
    if is_triton_name(name):
        return not is_triton_template(name)
    return _QUANTIZES.search(plain_op_name(name)[1]) is not None


def _with_helpers(
    linked: Linked, shapes: OpIndex, spans: tuple[CodeArray, IntArray, IntArray]
) -> tuple[IntArray, IntArray]:
    """Widen each call by the copies and casts that were issued right before and after it.

    `spans` are threads, starts and ends; the latter two are returned.
    """
    thread, start_ns, end_ns = spans
    ops = linked.trace.ops
    rows = np.flatnonzero((linked.op >= 0) & linked.op_is_forward[linked.op])
    rows = rows[np.lexsort((linked.time_ns[rows], linked.thread[rows]))]
    helps = np.append(_is_helper(linked, shapes, rows), False)
    # A cast before mostly undoes that of a norm or a rotation; one after is the operator's own.
    lays_out = helps & ~np.append(_is_cast(linked, shapes, rows), False)
    top = shapes.ruled_tops[linked.op[rows]]
    owner, time_ns = linked.thread[rows], linked.time_ns[rows]
    low, high = start_ns.copy(), end_ns.copy()
    span = int(time_ns.max() - time_ns.min() + 1) if len(rows) else 1
    first_ns = int(time_ns.min()) if len(rows) else 0
    keys = owner.astype(np.int64) * (span + 1) + (time_ns - first_ns)

    def place(at_ns: IntArray) -> IntArray:
        inside = np.clip(at_ns - first_ns, 0, span)
        found: IntArray = np.searchsorted(keys, thread.astype(np.int64) * (span + 1) + inside)
        return found

    before, after = place(start_ns) - 1, place(end_ns)
    for _ in range(_MOST_HELPERS):
        reached = (before >= 0) & lays_out[before] & (_at(owner, before) == thread)
        low[reached] = ops.start_ns[top[before[reached]]]
        before = np.where(reached, before - 1, -1)
        reached = (after < len(rows)) & helps[np.minimum(after, len(rows))]
        reached &= _at(owner, after) == thread
        high[reached] = time_ns[after[reached]] + 1
        after = np.where(reached, after + 1, len(rows))
    return np.minimum(low, start_ns), np.maximum(high, end_ns)


def _is_cast_name(name: str) -> bool:
    return plain_op_name(name)[1] in CASTS


def _is_cast(linked: Linked, shapes: OpIndex, rows: IntArray) -> BoolArray:
    named = shapes.named(_is_cast_name)
    return np.asarray(nearest_marked(linked.ops.parent, named)[linked.op[rows]] >= 0)


def _helps(name: str) -> bool:
    rule = rule_for_op(name)
    if _is_attention(name):
        return _only_prepares(name)
    if rule is not None and is_triton_name(name):
        return rule.category == MEMORY or _names_a_layout(name)
    return rule is not None and rule.helper


def _names_a_layout(name: str) -> bool:
    """Say whether Inductor fused a change of layout with a cast or a scale, and nothing else.

    It may name the attention operator that takes the result.
    """
    operations = frozenset(fused_operations(name))
    operators = {
        one for one in operations if (rule := RULES.get(one)) and rule.category == ATTENTION
    }
    is_copy = "clone" in operations or bool(operators)
    return is_copy and operations - operators <= VIEWS | _CASTS_AND_SCALES


def _at(values: CodeArray, rows: IntArray) -> CodeArray:
    return values[np.clip(rows, 0, len(values) - 1)] if len(values) else np.full(len(rows), -1)


def _is_helper(linked: Linked, shapes: OpIndex, rows: IntArray) -> BoolArray:
    """Return which activities copy, cast or fill, under ops that do nothing else."""
    is_helper = shapes.named(_helps)
    is_other = shapes.named(lambda name: rule_for_op(name) is not None) & ~is_helper
    op = linked.op[rows]
    other = nearest_marked(linked.ops.parent, is_other) >= 0
    helper = nearest_marked(linked.ops.parent, is_helper) >= 0
    kernels = np.ones(len(rows), np.bool_)
    if linked.basis == "gpu":
        kernels = linked.trace.activities.kind[rows] == 0
    return np.asarray(helper[op] & ~other[op] & kernels)
