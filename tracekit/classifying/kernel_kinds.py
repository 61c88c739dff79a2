"""The kind of a GPU activity: what another library or algorithm would do in its place."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from tracekit.categories import (
    ATTENTION,
    COMMUNICATION,
    CONV,
    ELEMENTWISE,
    EMBEDDING,
    LINEAR,
    NORM,
    OTHER,
)
from tracekit.classifying.kernel_names import verdict_for_kernel_name
from tracekit.classifying.triton_names import is_triton_name

_SOFTMAX: Final = re.compile(r"soft_?max")
_REDUCTION: Final = re.compile(r"split_?k|epilogue|streamk|reduce")
_LAYOUT: Final = re.compile(
    r"nchw_?(?:to|2)|nhwc_?(?:to|2)|transpose|tensortransform|offsets|scalepacked|im2_?col"
)
_SCAN: Final = re.compile(r"reduce_kernel|scan|cumsum|dropout|upsampl|pool|multi_tensor")
_WHOLE: Final = (ATTENTION, NORM, EMBEDDING, COMMUNICATION)


@lru_cache(maxsize=1 << 16)
def kernel_kind(name: str, activity: str) -> str:
    """Return a word that is equal for kernels which may do the same work under other names.

    A GEMM of cuBLAS and one of CUTLASS are of one kind, a copy and a GEMM are not. A Triton kernel
    that Inductor fused, and one whose name says nothing, is like no other.
    """
    if activity != "kernel":
        return activity
    if is_triton_name(name):
        return name
    verdict, text = verdict_for_kernel_name(name, activity), name.lower()
    if _SOFTMAX.search(text):
        return "softmax"
    if verdict.category == LINEAR:
        return "gemm reduction" if _REDUCTION.search(text) else "gemm"
    if verdict.category == CONV:
        return "convolution layout" if _LAYOUT.search(text) else "convolution"
    if verdict.category == ELEMENTWISE:
        found = _SCAN.search(text)
        return "pointwise" if found is None else found[0]
    if verdict.category in _WHOLE:
        return verdict.category
    return name if verdict.category == OTHER else verdict.reason
