"""Finds attention that is written out: a batched product, a softmax, and a second product."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.classifying.op_rules import rule_for_op
from tracekit.linking.link import Linked
from tracekit.linking.nesting import nearest_marked
from tracekit.trace import BoolArray, CodeArray, IntArray

_SOFTMAX: Final = re.compile(r"^aten::_?(?:safe_)?softmax(?:\.|$)")
_BATCHED_PRODUCT: Final = re.compile(r"^aten::(?:bmm|baddbmm)(?:_|\.|$)")
_PRODUCT_ROOT: Final = re.compile(r"^aten::(?:matmul|einsum|bmm|baddbmm|baddbmm_)(?:\.|$)")
_REACH: Final = 24
"""Launches between a product and its softmax: scale, bias, mask, casts and copies are fewer."""


def in_written_attention(linked: Linked) -> BoolArray:
    """Return which activities belong to an attention operator that is written out.

    On each thread, in the order of the launches, everything from the batched product before a
    softmax to the one after it belongs to one operator, with the copies and casts that the two
    products make of their inputs. Ops that are something by themselves (a linear layer, a
    normalization) keep their own category wherever they stand.
    """
    marked = np.zeros(len(linked), np.bool_)
    issue = _issue_order(linked)
    if issue is None:
        return marked
    for first, last in issue.spans():
        rows = issue.rows[first : last + 1]
        marked[rows[~issue.is_decisive[first : last + 1]]] = True
    in_backward = linked.forward_op != linked.op
    served = np.zeros(len(linked.trace.ops), np.bool_)
    served[linked.op[marked]] = True
    marked[in_backward] = served[linked.forward_op[in_backward]]
    return marked


@dataclass(frozen=True, slots=True)
class _IssueOrder:
    """Forward activities with a known op, by thread and launch, and what their ops are.

    `softmax` and `root` hold the op row of the softmax and of the outermost product around each
    activity, -1 where there is none.
    """

    rows: IntArray
    thread: CodeArray
    softmax: IntArray
    is_product: BoolArray
    root: IntArray
    is_decisive: BoolArray

    def spans(self) -> Iterator[tuple[int, int]]:
        """Yield the first and last position of each operator that is written out."""
        products = np.flatnonzero(self.is_product)
        softmaxes = np.flatnonzero(self.softmax >= 0)
        starts = softmaxes[np.diff(self.softmax[softmaxes], prepend=-1) != 0]
        ends = np.append(softmaxes[np.flatnonzero(np.diff(self.softmax[softmaxes]))], softmaxes[-1])
        before = np.searchsorted(products, starts) - 1
        after = np.searchsorted(products, ends)
        for index in np.flatnonzero((before >= 0) & (after < len(products))).tolist():
            first, last = products[before[index]], products[after[index]]
            near = starts[index] - first <= _REACH and last - ends[index] <= _REACH
            alone = (index == 0 or ends[index - 1] < first) and (
                index + 1 == len(starts) or starts[index + 1] > last
            )
            if near and alone and self.thread[first] == self.thread[last]:
                yield self._root_edge(first, -1), self._root_edge(last, 1)

    def _root_edge(self, position: int, direction: int) -> int:
        """Follow the activities of one product's call to its first or last."""
        beyond = position + direction
        while 0 <= beyond < len(self.rows) and self.root[beyond] == self.root[position] >= 0:
            beyond += direction
        return beyond - direction


def _issue_order(linked: Linked) -> _IssueOrder | None:
    ops, names = linked.trace.ops, linked.trace.strings
    if not len(ops):
        return None
    is_softmax = [_SOFTMAX.search(name) is not None for name in names]
    is_product = [_BATCHED_PRODUCT.search(name) is not None for name in names]
    if not any(is_softmax) or not any(is_product):
        return None
    softmax, product = _named(linked, is_softmax), _named(linked, is_product)
    rules = [rule_for_op(name) for name in names]
    decisive = _named(linked, [rule is not None and rule.decisive for rule in rules])
    roots = _named(linked, [_PRODUCT_ROOT.search(name) is not None for name in names])
    rows = np.flatnonzero((linked.op >= 0) & (linked.op == linked.forward_op))
    rows = rows[np.lexsort((rows, linked.time_ns[rows], linked.thread[rows]))]
    op = linked.op[rows]
    is_decisive = decisive[op] >= 0
    found = np.where(is_decisive, -1, softmax[op])
    if not (found >= 0).any():
        return None
    return _IssueOrder(
        rows=rows,
        thread=linked.thread[rows],
        softmax=found,
        is_product=~is_decisive & (product[op] >= 0),
        root=_outermost(linked, roots)[op],
        is_decisive=is_decisive,
    )


def _named(linked: Linked, is_name: list[bool]) -> IntArray:
    """Return each op's nearest op of such a name, itself included, -1 if none."""
    flags = np.array(is_name, np.bool_)
    code = linked.trace.ops.name
    return nearest_marked(linked.ops.parent, flags[code] & (code >= 0))


def _outermost(linked: Linked, nearest: IntArray) -> IntArray:
    """Return the outermost ancestor that `nearest` leads to."""
    outermost = nearest.copy()
    active = np.flatnonzero(outermost >= 0)
    while len(active):
        above = linked.ops.parent[outermost[active]]
        higher = np.where(above >= 0, nearest[above], -1)
        active, higher = active[higher >= 0], higher[higher >= 0]
        outermost[active] = higher
    return outermost
