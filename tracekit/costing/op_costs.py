"""The cost of one op, by its name and what it was given."""

from __future__ import annotations

from typing import Final

from tracekit.costing.attention import ATTENTIONS, attention_cost
from tracekit.costing.convolution import CONVOLUTIONS, convolution_cost
from tracekit.costing.lists import list_cost, takes_lists
from tracekit.costing.op_call import LARGEST, Cost, InputTexts, OpCall, op_call
from tracekit.costing.products import PRODUCTS, product_cost
from tracekit.costing.traffic import MOVERS, traffic, traffic_of_triton

WRAPPERS: Final = frozenset(
    {"linear", "matmul", "conv1d", "conv2d", "conv3d", "scaled_dot_product_attention"}
)
"""Ops that call the ones that do the work: they count only where no such op is below them."""

_NAMESPACES: Final = ("aten", "flash_attn", "xformers", "xformers_flash", "flash_attn_3")
_TRITON: Final = "triton_"
_TEMPLATES: Final = ("triton_tem", "triton_for")
"""Kernels of Inductor that hold products, or whole lists of tensors."""


def base_name(name: str) -> str | None:
    """Return the name that costs are known by, null for an op that none can be known of."""
    if name.startswith(_TRITON):
        return None if name.startswith(_TEMPLATES) else _TRITON
    namespace, _, plain = name.partition("::")
    if namespace not in _NAMESPACES:
        return None
    plain = plain.partition(".")[0]
    bare = plain.removesuffix("_")
    if takes_lists(plain):
        return plain
    if bare in ATTENTIONS or bare in CONVOLUTIONS or bare in PRODUCTS:
        return bare
    return plain if plain in MOVERS or bare in MOVERS else None


def op_cost(
    base: str, inputs: InputTexts, list_bytes: tuple[int, int] | None = None
) -> Cost | None:
    """Return what an op of a base name costs, null where its shapes do not say.

    `list_bytes` are the bytes of an element of the tensors in its first list, and in its others:
    traces have no types of lists.
    """
    call = op_call(base, inputs, list_bytes)
    cost = None if call is None else _cost(call)
    if cost is None:
        return None
    sizes = (cost.flops or 0, cost.bytes_ or 0)
    return None if max(sizes) > LARGEST else cost


def _cost(call: OpCall) -> Cost | None:
    if call.name == _TRITON:
        return traffic_of_triton(call)
    if call.name in ATTENTIONS:
        return attention_cost(call)
    if call.name in CONVOLUTIONS:
        return convolution_cost(call)
    if call.name in PRODUCTS:
        return product_cost(call)
    if takes_lists(call.name):
        return list_cost(call)
    return traffic(call)
