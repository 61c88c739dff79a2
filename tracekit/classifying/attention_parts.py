"""What a kernel of attention does inside the operator: a product, the softmax, a copy, the rest."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tracekit.categories import ATTENTION, ELEMENTWISE, MEMORY
from tracekit.classifying.kernel_kinds import kernel_kind
from tracekit.classifying.kernel_names import verdict_for_kernel_name
from tracekit.classifying.triton_names import (
    fused_operations,
    is_triton_name,
    verdict_for_triton_name,
)

FUSED: Final = "fused"
GEMM: Final = "gemm"
SOFTMAX: Final = "softmax"
ELEMENTWISE_PART: Final = "elementwise"
COPY: Final = "copy"
OTHER_PART: Final = "other"
PARTS: Final = (FUSED, GEMM, SOFTMAX, ELEMENTWISE_PART, COPY, OTHER_PART)
"""The parts of attention; `fused` kernels do all of it at once."""

_GEMMS: Final = ("gemm", "gemm reduction")
_COPIES: Final = re.compile(r"_copy_kernel|copyfunctor|catarraybatchedcopy|memcpy|memset")
_MASK: Final = "masked_fill"
_BESIDE_FUSED: Final = re.compile(
    r"compute_dot_do_o|convert_dq|flash_bwd|cudnn::fusion|splitkv|combine_attn"
)
"""Passes that a fused implementation has before or after its main kernel."""
_OPS: Final = (
    (re.compile(r"scaled_dot_product|(?:flash|efficient|cudnn|flex)_?\w*attention"), FUSED),
    (re.compile(r"^aten::(?:bmm|baddbmm|addbmm|mm|addmm|matmul|einsum|linear)"), GEMM),
    (re.compile(r"soft_?max"), SOFTMAX),
    (
        re.compile(
            r"^aten::(?:copy|clone|contiguous|cat$|_?to|repeat|expand|pad|constant_pad|fill|zero|"
            r"full|empty|index|gather|transpose|reshape|slice)"
        ),
        COPY,
    ),
    (re.compile(r"^aten::"), ELEMENTWISE_PART),
)
"""Rows of CPU-only traces are ops."""
_SOFTMAX_OPERATIONS: Final = frozenset(
    {"softmax", "safe_softmax", "log_softmax", "prepare_softmax_online"}
)
_TEMPLATE: Final = re.compile(r"^triton_tem_|^triton_(?:fused_)?(?:flex_attention|b?mm)")


@lru_cache(maxsize=1 << 16)
def part_of_attention(name: str, activity: str) -> str:
    """Return which of `PARTS` a kernel of attention is, by its name; never raises.

    `activity` is `kernel`, `gpu_memcpy` or `gpu_memset`. Casts and layouts are copies; scale, mask,
    dropout and reductions that are no softmax are elementwise.
    """
    if activity != "kernel":
        return COPY
    if is_triton_name(name):
        return _of_triton(name)
    text = name.lower()
    of_op = next((part for pattern, part in _OPS if pattern.search(text)), None)
    if text.startswith("aten::") and of_op is not None:
        return of_op
    kind = kernel_kind(name, activity)
    if kind in _GEMMS:
        return GEMM
    if kind == "softmax":
        return SOFTMAX
    verdict = verdict_for_kernel_name(name, activity)
    if verdict.category == ATTENTION or _BESIDE_FUSED.search(text):
        return FUSED
    if _MASK not in text and (verdict.category == MEMORY or _COPIES.search(text)):
        return COPY
    is_elementwise = verdict.category == ELEMENTWISE or _MASK in text
    return ELEMENTWISE_PART if is_elementwise else OTHER_PART


def _of_triton(name: str) -> str:
    """Return the part of a kernel that Inductor fused: the dearest of what it lists."""
    verdict = verdict_for_triton_name(name)
    if _TEMPLATE.search(name):
        return FUSED if verdict.category == ATTENTION else GEMM
    if set(fused_operations(name)) & _SOFTMAX_OPERATIONS:
        return SOFTMAX
    return COPY if verdict.category == MEMORY else ELEMENTWISE_PART
