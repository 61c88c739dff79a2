"""Tells from shapes which of Inductor's kernels only lay out anew what they are given.

Names list what the result was made from, not what a kernel does: the copy of keys that a norm and a
rotation returned is named after both, and the copy that a convolution takes after the convolution.
"""

from __future__ import annotations

from math import prod
from typing import Final

import numpy as np

from tracekit.categories import CONV, LINEAR
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_table import RULES
from tracekit.classifying.operator_pieces import CASTS, VIEWS
from tracekit.classifying.triton_names import fused_operations, is_triton_name
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray

_POINTWISE: Final = "triton_poi_"
_IN_AND_OUT: Final = 2
_EDGES: Final = frozenset(
    name for name, rule in RULES.items() if rule is not None and rule.category in (CONV, LINEAR)
)
"""Products and convolutions, which Inductor leaves to libraries: here they are only named."""


def spreads_one(name: str, tensors: tuple[Shape, ...]) -> bool:
    """Say whether a pointwise kernel repeats the one tensor that it reads, as heads of keys.

    `tensors` are the shapes that it was given, the result among them; without shapes this is false.
    """
    if not _takes_two(name, tensors):
        return False
    times, rest = divmod(prod(tensors[-1]), max(prod(tensors[0]), 1))
    return times > 1 and not rest


def lays_out(name: str, tensors: tuple[Shape, ...]) -> bool:
    """Say whether a pointwise kernel of one input does nothing but views, copies and casts.

    It adds no bias: of the convolution or product that its name may list it makes the input.
    """
    own = frozenset(fused_operations(name)) - VIEWS - CASTS
    # A second tensor of one dimension is a bias that is added in place.
    return _takes_two(name, tensors) and own <= _EDGES and len(tensors[-1]) > 1


def _takes_two(name: str, tensors: tuple[Shape, ...]) -> bool:
    return name.startswith(_POINTWISE) and len(tensors) == _IN_AND_OUT


def copying(linked: Linked, shapes: OpIndex) -> tuple[BoolArray, BoolArray]:
    """Return which activities `spreads_one` holds for, and which `lays_out`."""
    ops = linked.trace.ops
    flags = np.zeros((2, len(ops) + 1), np.bool_)
    rows = np.unique(linked.op[linked.op >= 0])
    rows = rows[shapes.named(is_triton_name)[rows]]
    columns = tuple(column[rows].astype(np.int64) for column in (ops.name, ops.input_dims))
    first, which = distinct_rows(columns)
    told = np.zeros((2, len(first)), np.bool_)
    for at, row in enumerate(rows[first].tolist()):
        name, tensors = linked.trace.text(int(ops.name[row])) or "", shapes.tensors(row)
        told[:, at] = spreads_one(name, tensors), lays_out(name, tensors)
    flags[:, rows] = told[:, which]
    spreads, laid_out = flags[:, linked.op]
    return spreads, laid_out
