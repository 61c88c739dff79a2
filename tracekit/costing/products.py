"""Costs of matrix products: `mm`, `addmm`, `bmm`, `baddbmm`, scaled, integer and grouped ones."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Final

from tracekit.costing.op_call import SCALAR_TYPES, Cost, OpCall, Shape, sized, total

Sizes = tuple[int, Shape]
"""Multiply-adds of a product and the shape of its result."""


def matrix(a: Shape, b: Shape) -> Sizes | None:
    """(m, k) by (k, n)."""
    if len(a) != 2 or len(b) != 2 or a[1] != b[0]:
        return None
    return a[0] * a[1] * b[1], (a[0], b[1])


def batched(a: Shape, b: Shape) -> Sizes | None:
    """(batch, m, k) by (batch, k, n)."""
    if len(a) != 3 or len(b) != 3 or a[0] != b[0] or a[2] != b[1]:
        return None
    return prod(a) * b[2], (*a[:2], b[2])


def vector(a: Shape, b: Shape) -> Sizes | None:
    """(m, k) by (k,), or (k,) by (k,)."""
    if len(b) != 1 or len(a) not in (1, 2) or a[-1] != b[0]:
        return None
    return prod(a), a[:-1]


def transposed(a: Shape, b: Shape) -> Sizes | None:
    """(…, k) by (n, k) as `linear` takes them."""
    if not a or len(b) != 2 or a[-1] != b[1]:
        return None
    return prod(a) * b[0], (*a[:-1], b[0])


def grouped(a: Shape, b: Shape) -> Sizes | None:
    """(tokens, k) by (groups, k, n): each token by the matrix of its group."""
    if len(a) == 2 and len(b) == 3 and a[1] == b[1]:
        return prod(a) * b[2], (a[0], b[2])
    return batched(a, b)


def broadcast(a: Shape, b: Shape) -> Sizes | None:
    """`matmul` of what is not batched on both sides."""
    if len(b) == 2 and a and a[-1] == b[0]:
        return prod(a) * b[1], (*a[:-1], b[1])
    same = len(a) == len(b) > 2 and a[:-2] == b[:-2] and a[-1] == b[-2]
    return (prod(a) * b[-1], (*a[:-1], b[-1])) if same else None


_KINDS: Final[dict[str, tuple[Callable[[Shape, Shape], Sizes | None], int]]] = {
    "mm": (matrix, 0), "addmm": (matrix, 1), "_addmm_activation": (matrix, 1),
    "bmm": (batched, 0), "baddbmm": (batched, 1), "addbmm": (batched, 1),
    "mv": (vector, 0), "addmv": (vector, 1), "dot": (vector, 0), "vdot": (vector, 0),
    "_scaled_mm": (matrix, 0), "_int_mm": (matrix, 0), "_weight_int8pack_mm": (transposed, 0),
    "_grouped_mm": (grouped, 0), "_scaled_grouped_mm": (grouped, 0),
    "linear": (transposed, 0), "matmul": (broadcast, 0), "mkldnn_linear": (transposed, 0),
}  # fmt: skip
"""How each op multiplies, and the position of its first factor (native_functions.yaml)."""

PRODUCTS: Final = frozenset(_KINDS)
_OUT_DTYPE_AT: Final = {"_scaled_mm": 6, "_scaled_grouped_mm": 7}
_BETA_AT: Final = {"addmm": 3, "baddbmm": 3, "addbmm": 3, "addmv": 3}


def product_cost(call: OpCall) -> Cost | None:
    """Return the cost of a matrix product: 2 FLOPs a multiply-add, each matrix moved once.

    What is added to the product is read unless it is multiplied by zero.
    """
    multiply, first = _KINDS[call.name]
    a, b = call.shape(first), call.shape(first + 1)
    sizes = None if a is None or b is None else multiply(a, b)
    if sizes is None:
        return None
    multiply_adds, result = sizes
    dtype = call.dtype(first)
    if call.name == "addbmm":
        result = result[1:]
    skipped = frozenset({0} if first and call.argument(_BETA_AT.get(call.name, 99)) == "0" else ())
    written = sized(result, _result_dtype(call, dtype))
    return Cost(2 * multiply_adds, total(call.size_of_inputs(skipped), written), dtype)


def _result_dtype(call: OpCall, dtype: str | None) -> str | None:
    if call.name == "_int_mm":
        return "int32"
    given = SCALAR_TYPES.get(call.argument(_OUT_DTYPE_AT.get(call.name, 99)))
    if given is None and dtype == "float8":
        return "bfloat16" if call.name == "_scaled_grouped_mm" else None
    return given or dtype
