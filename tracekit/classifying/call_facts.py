"""What each attention call says of itself beside its sizes: implementation and element type."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import numpy as np

from tracekit.classifying.call_columns import BACKENDS, DTYPES
from tracekit.linking.link import Linked
from tracekit.linking.nesting import nearest_marked
from tracekit.trace import NO_TEXT, BoolArray, IntArray, SmallArray

_OPS: Final = (
    (re.compile(r"^aten::_?scaled_dot_product_flash|^aten::_flash_attention"), "flash"),
    (re.compile(r"^_?flash_attn\w*::|^flash_attn|^FlashAttn"), "flash"),
    (re.compile(r"scaled_dot_product_efficient|efficient_attention"), "memory_efficient"),
    (re.compile(r"scaled_dot_product_cudnn|cudnn_attention"), "cudnn"),
    (re.compile(r"^aten::_scaled_dot_product_attention_math"), "math"),
    (re.compile(r"^aten::_scaled_dot_product_fused"), "fused"),
    (re.compile(r"sage_?attention", re.IGNORECASE), "sage"),
    (re.compile(r"flex_attention"), "flex"),
)
"""Ops of each implementation (aten/src/ATen/native/native_functions.yaml, and the libraries)."""

_KERNELS: Final = (
    (re.compile(r"cudnn\w*sdpa|cudnn_generated_fort"), "cudnn"),
    (re.compile(r"fmha_cutlass|AttentionKernel|attention_kernel_batched"), "memory_efficient"),
    (re.compile(r"flash|fmha_fwd|attn_fwd", re.IGNORECASE), "flash"),
    (re.compile(r"soft_?max", re.IGNORECASE), "math"),
)
"""Kernels of each implementation, for calls whose inner ops the trace does not hold."""

_DTYPE_OF: Final = {
    "double": "float64",
    "float": "float32",
    "c10::BFloat16": "bfloat16",
    "c10::Half": "float16",
    "c10::Float8_e4m3fn": "float8_e4m3fn",
    "c10::Float8_e5m2": "float8_e5m2",
    "signed char": "int8",
}
"""C++ types as Kineto writes them, and PyTorch's names of them."""

_NAMES: Final = tuple(DTYPES)


def call_backends(linked: Linked, op: IntArray, is_written: BoolArray) -> SmallArray:
    """Return the implementation of each call, by the innermost ops that name one.

    `op` holds the outermost op of each call; the result positions in `BACKENDS`, -1 for unknown.
    """
    found = np.full(len(op), -1, np.int8)
    found[is_written] = BACKENDS.index("written_out")
    texts, name = linked.trace.strings, linked.trace.ops.name
    code = np.array([*map(_backend_of_op, texts), -1], np.int8)[name]
    own = _call_around(linked, op)
    rows = np.flatnonzero((code >= 0) & (own >= 0))
    rows = rows[~is_written[own[rows]]]
    # Ops that start later lie deeper, and what runs is the deepest.
    rows = rows[np.argsort(linked.trace.ops.start_ns[rows], kind="stable")]
    found[own[rows]] = code[rows]
    return found


def backend_of_kernel(name: str) -> int:
    """Return the implementation that a kernel is of, a position in `BACKENDS`, -1 for unknown."""
    return _first(_KERNELS, name)


def call_dtypes(linked: Linked, op: IntArray) -> SmallArray:
    """Return the element type of each call's queries: of its first op that has a tensor.

    The result holds positions in `DTYPES`, -1 for unknown.
    """
    found = np.full(len(op), -1, np.int8)
    ops, texts = linked.trace.ops, linked.trace.strings
    used = np.unique(ops.input_types)
    code = np.full(len(texts) + 1, -1, np.int8)
    for number in used[used != NO_TEXT].tolist():
        code[number] = _dtype_of(texts[number])
    types = code[ops.input_types]
    own = _call_around(linked, op)
    rows = np.flatnonzero((types >= 0) & (own >= 0))
    rows = rows[np.argsort(-ops.start_ns[rows], kind="stable")]
    found[own[rows]] = types[rows]
    return found


def _call_around(linked: Linked, op: IntArray) -> IntArray:
    """Return for each op of the trace the call whose outermost op is around it, -1 for none."""
    count = len(linked.trace.ops)
    if not count or not len(op):
        return np.full(count, -1, np.int64)
    number = np.full(count + 1, -1, np.int64)
    number[op] = np.arange(len(op))
    nearest = nearest_marked(linked.ops.parent, number[:-1] >= 0)
    return np.where(nearest >= 0, number[nearest], -1)


def _backend_of_op(name: str) -> int:
    return _first(_OPS, name)


def _first(table: tuple[tuple[re.Pattern[str], str], ...], name: str) -> int:
    return next((BACKENDS.index(what) for pattern, what in table if pattern.search(name)), -1)


def _dtype_of(text: str) -> int:
    """Return the first type of a list that is one of tensors' elements."""
    try:
        types = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return -1
    if not isinstance(types, list):
        return -1
    names = [_DTYPE_OF.get(one, "") for one in types if isinstance(one, str)]
    return next((_NAMES.index(name) for name in names if name), -1)
