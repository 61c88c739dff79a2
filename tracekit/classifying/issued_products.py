"""The batched products that each thread issued, and the softmaxes and layers between them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.categories import EMBEDDING
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.op_rules import rule_for_op
from tracekit.classifying.triton_names import fused_operations, is_triton_name
from tracekit.linking.link import Linked
from tracekit.linking.nesting import nearest_marked, outermost_marked
from tracekit.trace import BoolArray, IntArray

_SOFTMAX: Final = re.compile(
    r"^aten::_?(?:safe_)?softmax(?:\.|$)|^aten::_?masked_softmax$|^aten::exp_?$"
)
"""Softmaxes, and the exponentials of those that are written out."""
_SOFTMAX_WORDS: Final = frozenset({"softmax", "safe_softmax", "prepare_softmax_online"})
_EXPONENTIAL_WORDS: Final = frozenset({"exp", "sum", "amax"})
_PRODUCT: Final = re.compile(r"^aten::(?:bmm|baddbmm)(?:_|\.|$)")
_PRODUCT_ROOT: Final = re.compile(r"^aten::(?:matmul|einsum|bmm|baddbmm|baddbmm_)(?:\.|$)")
_ACTIVATION: Final = re.compile(r"^aten::(?:silu|gelu|relu|sigmoid|tanh|glu)_?$")


@dataclass(frozen=True, slots=True)
class Product:
    """A batched product (batch, rows, inner) x (batch, inner, columns); zeros without shapes."""

    root: int
    start_ns: int
    place: int
    batch: int
    rows: int
    inner: int
    columns: int

    @property
    def scores(self) -> int:
        """Elements of the result."""
        return self.batch * self.rows * self.columns

    @property
    def taken(self) -> int:
        """Elements of the first factor."""
        return self.batch * self.rows * self.inner


@dataclass(frozen=True, slots=True)
class Softmax:
    """A softmax over the last dimension of a shape, which is empty where it is not known.

    Where it was fused with other work, `tensors` holds the shapes of all that the kernel takes and
    returns.
    """

    start_ns: int
    place: int
    shape: tuple[int, ...]
    is_compiled: bool
    tensors: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Thread:
    """What one host thread issued, in order.

    `layers` and `activations` are the starts, in ns, of layers and of the pointwise functions that
    stand between the products of experts.
    """

    number: int
    products: list[Product]
    softmaxes: list[Softmax]
    layers: list[int]
    activations: list[int]

    def is_interrupted(self, from_ns: int, to_ns: int, but_for: int = 0) -> bool:
        """Say whether more than so many layers were issued between two times."""
        return bisect_left(self.layers, to_ns) - bisect_right(self.layers, from_ns) > but_for


def issued_products(linked: Linked, shapes: OpIndex) -> Iterator[Thread]:
    """Yield what each thread issued: products, softmaxes and the layers between them."""
    ops, forward = linked.trace.ops, linked.op_is_forward
    is_product = shapes.named(lambda name: _PRODUCT.search(name) is not None)
    if not is_product.any():
        return
    is_layer = shapes.named(_is_layer)
    free = forward & (nearest_marked(linked.ops.parent, is_layer) < 0)
    product = _tops(linked, is_product & free)
    softmax = _tops(linked, shapes.named(_is_softmax_name) & free)
    layer = np.flatnonzero(is_layer & forward)
    active = np.flatnonzero(
        shapes.named(lambda name: _ACTIVATION.search(name) is not None) & forward
    )
    is_root = shapes.named(lambda name: _PRODUCT_ROOT.search(name) is not None)
    roots = outermost_marked(linked.ops.parent, is_root | is_product)
    # Views are rows of their own on a CPU, and no distance.
    works = np.append(shapes.named(lambda name: rule_for_op(name) is not None), False)[linked.op]
    for thread in np.unique(ops.thread[product]).tolist():
        issued = np.sort(linked.time_ns[works & (linked.thread == thread)])
        ours = product[ops.thread[product] == thread]
        soft = softmax[ops.thread[softmax] == thread]
        places = np.searchsorted(issued, ops.start_ns[ours])
        between = np.searchsorted(issued, ops.start_ns[soft])
        yield Thread(
            thread,
            [
                _product(linked, shapes, row, int(roots[row]), place)
                for row, place in zip(ours.tolist(), places.tolist(), strict=True)
            ],
            [
                one
                for row, place in zip(soft.tolist(), between.tolist(), strict=True)
                if (one := _softmax(linked, shapes, row, place)) is not None
            ],
            np.sort(ops.start_ns[layer[ops.thread[layer] == thread]]).tolist(),
            np.sort(ops.start_ns[active[ops.thread[active] == thread]]).tolist(),
        )


def _product(linked: Linked, shapes: OpIndex, row: int, root: int, place: int) -> Product:
    start_ns = int(linked.trace.ops.start_ns[row])
    name = linked.trace.text(int(linked.trace.ops.name[row])) or ""
    # What is added comes first; where the result is to go comes last.
    first = "baddbmm" in name
    factors = [shape for shape in shapes.tensors(row) if len(shape) == 3][first : first + 2]
    if len(factors) < 2:
        return Product(root, start_ns, place, 0, 0, 0, 0)
    left, right = factors
    return Product(root, start_ns, place, left[0], left[1], left[2], right[2])


def _softmax(linked: Linked, shapes: OpIndex, row: int, place: int) -> Softmax | None:
    """Return a softmax; null for one over fewer dimensions than scores have."""
    start_ns = int(linked.trace.ops.start_ns[row])
    tensors = shapes.tensors(row)
    is_compiled = is_triton_name(linked.trace.text(int(linked.trace.ops.name[row])) or "")
    if not tensors or is_compiled:
        return Softmax(start_ns, place, (), is_compiled, tensors)
    return Softmax(start_ns, place, tensors[0], is_compiled) if len(tensors[0]) >= 3 else None


def _tops(linked: Linked, marked: BoolArray) -> IntArray:
    """Return the outermost of the marked rows, by start."""
    top = outermost_marked(linked.ops.parent, marked)
    rows = np.flatnonzero(marked & (top == np.arange(len(top))))
    return rows[np.argsort(linked.trace.ops.start_ns[rows], kind="stable")]


def _is_softmax_name(name: str) -> bool:
    """Say whether an op of this name is a softmax, alone or fused by Inductor."""
    if is_triton_name(name):
        operations = frozenset(fused_operations(name))
        return bool(operations & _SOFTMAX_WORDS) or operations >= _EXPONENTIAL_WORDS
    return _SOFTMAX.search(name) is not None


def _is_layer(name: str) -> bool:
    """Say whether an op is a layer of its own, which no attention operator has inside."""
    rule = rule_for_op(name)
    if rule is None or not rule.decisive or rule.category == EMBEDDING:
        return False
    return not is_triton_name(name)
