"""The operations of a trace: which op each activity works for, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.costing.lists import list_bytes, takes_lists
from tracekit.costing.op_call import DTYPE_BYTES, Cost, InputTexts
from tracekit.costing.op_costs import WRAPPERS, base_name, op_cost
from tracekit.linking.link import Linked
from tracekit.linking.nesting import nearest_marked, outermost_marked
from tracekit.trace import NULL, BoolArray, CodeArray, IntArray, SmallArray

DTYPES: Final = tuple(DTYPE_BYTES)
"""Types of arithmetic; `Operations.dtype` holds positions in this tuple."""


@dataclass(frozen=True, slots=True)
class Operations:
    """Columns as long as the activities.

    `op` is the row of `trace.ops` of the operation that an activity works for, -1 where none with
    a known cost encloses it. `flops`, `bytes_` and `dtype` stand on the longest kernel of each
    operation and are `NULL` (-1) on its others. Copies and memsets have their own size.
    """

    op: IntArray
    flops: IntArray
    bytes_: IntArray
    dtype: SmallArray


@dataclass(frozen=True, slots=True)
class _OpCosts:
    """The cost of each op: `NULL`, `NULL`, -1 where it is unknown."""

    flops: IntArray
    bytes_: IntArray
    dtype: SmallArray
    wraps: BoolArray


def operations(linked: Linked) -> Operations:
    """Return the operation of each activity with its FLOPs and minimum bytes.

    An operation is the outermost op with known FLOPs around an activity, else the outermost with
    known bytes; so nested ops are counted once, and what runs inside a convolution is its own.
    """
    costs = _op_costs(linked)
    owner = _owners(linked, costs)
    has_op = linked.op >= 0
    of_row = np.full(len(linked), -1, np.int64)
    if len(owner):
        of_row[has_op] = owner[linked.op[has_op]]
    own_bytes = np.full(len(linked), NULL, np.int64)
    is_kernel = np.ones(len(linked), np.bool_)
    if linked.basis == "gpu":
        own_bytes = linked.trace.activities.size_bytes
        is_kernel = linked.trace.activities.kind == 0
    longest = _longest(of_row, linked.dur_ns, is_kernel)
    chosen = of_row[longest]
    flops = np.full(len(linked), NULL, np.int64)
    dtype = np.full(len(linked), -1, np.int8)
    bytes_ = np.where(is_kernel & (own_bytes == NULL), NULL, own_bytes)
    flops[longest], dtype[longest] = costs.flops[chosen], costs.dtype[chosen]
    bytes_[longest] = costs.bytes_[chosen]
    return Operations(of_row, flops, bytes_, dtype)


def _longest(owner: IntArray, dur_ns: IntArray, is_kernel: BoolArray) -> IntArray:
    """Return the row of the longest kernel of each operation, the first of several."""
    rows = np.flatnonzero((owner >= 0) & is_kernel)
    rows = rows[np.lexsort((rows, -dur_ns[rows], owner[rows]))]
    first = np.ones(len(rows), np.bool_)
    first[1:] = owner[rows[1:]] != owner[rows[:-1]]
    return rows[first]


def _owners(linked: Linked, costs: _OpCosts) -> IntArray:
    """Return for each op the operation that it is a part of, -1 for none."""
    parent = linked.ops.parent
    counted = outermost_marked(parent, (costs.flops != NULL) & ~costs.wraps)
    above = _ancestors(parent, np.unique(counted[counted >= 0]))
    wrapper = outermost_marked(parent, (costs.flops != NULL) & costs.wraps & ~above)
    moved = outermost_marked(parent, (costs.bytes_ != NULL) & (costs.flops == NULL))
    return np.where(counted >= 0, counted, np.where(wrapper >= 0, wrapper, moved))


def _ancestors(parent: IntArray, rows: IntArray) -> BoolArray:
    """Return which rows enclose one of these."""
    found = np.zeros(len(parent), np.bool_)
    rows = parent[rows]
    rows = np.unique(rows[rows >= 0])
    while len(rows):
        found[rows] = True
        rows = parent[rows]
        rows = np.unique(rows[rows >= 0])
        rows = rows[~found[rows]]
    return found


def _op_costs(linked: Linked) -> _OpCosts:
    """Return the costs of all ops; each distinct call is looked at once."""
    ops, strings = linked.trace.ops, linked.trace.strings
    names = np.unique(ops.name).tolist()
    bases = {code: base_name(linked.trace.text(code) or "") for code in names}
    is_known = np.zeros(len(strings) + 1, np.bool_)
    is_known[[code for code, base in bases.items() if base is not None]] = True
    rows = np.flatnonzero(is_known[ops.name] & (ops.input_dims >= 0))
    inputs = (ops.input_dims, ops.input_types, ops.concrete_inputs, ops.input_strides)
    elements = _list_elements(linked, bases)
    first, which = _distinct(
        (ops.name[rows], *(column[rows] for column in inputs), elements.of_op[rows]),
        len(strings) + 1,
    )
    found: list[Cost | None] = []
    wraps = []
    for row in rows[first].tolist():
        base = bases[int(ops.name[row])] or ""
        texts = InputTexts(*(linked.trace.text(int(column[row])) for column in inputs))
        code = int(elements.of_op[row])
        found.append(op_cost(base, texts, elements.sizes[code] if code >= 0 else None))
        wraps.append(base in WRAPPERS)
    return _spread(found, wraps, rows, which, len(ops))


@dataclass(frozen=True, slots=True)
class _ListElements:
    """Bytes of elements of lists: of each op a position in `sizes`, -1 where unknown."""

    sizes: tuple[tuple[int, int], ...]
    of_op: CodeArray


def _list_elements(linked: Linked, bases: Mapping[int, str | None]) -> _ListElements:
    """Return the bytes of an element of the lists that ops take, by the kernels that they launch.

    They are unknown where kernels of one op do not agree, or one of them does not tell.
    """
    ops = linked.trace.ops
    takes = np.zeros(len(linked.trace.strings) + 1, np.bool_)
    takes[[code for code, base in bases.items() if base is not None and takes_lists(base)]] = True
    of_op = np.full(len(ops), -1, np.int32)
    rows = np.flatnonzero(linked.op >= 0)
    if linked.basis == "cpu" or not takes[ops.name].any():
        return _ListElements((), of_op)
    owner = nearest_marked(linked.ops.parent, takes[ops.name])[linked.op[rows]]
    is_kernel = linked.trace.activities.kind[rows] == 0
    rows, owner = rows[is_kernel & (owner >= 0)], owner[is_kernel & (owner >= 0)]
    codes, which = np.unique(linked.name[rows], return_inverse=True)
    told = [list_bytes(linked.trace.text(code) or "") for code in codes.tolist()]
    sizes = tuple(dict.fromkeys(size for size in told if size is not None))
    code = np.array([-1 if size is None else sizes.index(size) for size in told], np.int32)[which]
    of_op[owner] = code
    of_op[owner[of_op[owner] != code]] = -1
    return _ListElements(sizes, of_op)


def _spread(
    found: list[Cost | None], wraps: list[bool], rows: IntArray, which: IntArray, count: int
) -> _OpCosts:
    flops, bytes_ = np.full(count, NULL, np.int64), np.full(count, NULL, np.int64)
    dtype, is_wrapper = np.full(count, -1, np.int8), np.zeros(count, np.bool_)
    if len(rows):
        costs = [cost or Cost(None, None, None) for cost in found]
        flops[rows] = np.array([_or_null(cost.flops) for cost in costs], np.int64)[which]
        bytes_[rows] = np.array([_or_null(cost.bytes_) for cost in costs], np.int64)[which]
        codes = [-1 if cost.dtype is None else DTYPES.index(cost.dtype) for cost in costs]
        dtype[rows] = np.array(codes, np.int8)[which]
        is_wrapper[rows] = np.array(wraps, np.bool_)[which]
    return _OpCosts(flops, bytes_, dtype, is_wrapper)


def _or_null(value: int | None) -> int:
    return NULL if value is None else value


def _distinct(columns: tuple[CodeArray, ...], texts: int) -> tuple[IntArray, IntArray]:
    """Return the first row of each distinct combination, and which one each row has."""
    code = np.zeros(len(columns[0]), np.int64)
    first = code[:0]
    for column in columns:
        code = code * (texts + 1) + column + 1
        _, first, code = np.unique(code, return_index=True, return_inverse=True)
    return first, code
