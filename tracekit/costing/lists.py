"""Minimum bytes of ops that take lists of tensors: `cat`, `_foreach_…`, fused optimizers.

A trace has the shapes of such tensors and not their type, which the kernels' template arguments
tell (aten/src/ATen/native/cuda: Shape.cu, MultiTensorApply.cuh, ForeachFunctors.cuh). Step counters
and what is left of a reduction are left out.
"""

from __future__ import annotations

import re
from typing import Final

from tracekit.costing.op_call import Cost, OpCall, total

_JOINS: Final = frozenset({"cat", "concat", "concatenate", "stack"})
_FOREACH: Final = "_foreach_"
_UNSCALE: Final = "_amp_foreach_non_finite_check_and_unscale_"
_REDUCTIONS: Final = frozenset({"norm", "max", "powsum"})

_OPTIMIZERS: Final[dict[str, tuple[tuple[int, ...], tuple[int, ...], int]]] = {
    "_fused_adam_": ((0, 1, 2, 3, 4), (0, 2, 3, 4), 13),
    "_fused_adamw_": ((0, 1, 2, 3, 4), (0, 2, 3, 4), 13),
    "_fused_sgd_": ((0, 1, 2), (0, 2), 10),
    "_fused_adagrad_": ((0, 1, 2), (0, 2), 9),
}
"""Lists that are read, and written, and where the scale of the gradients is given, which are then
written as well (aten/src/ATen/native/native_functions.yaml)."""
_MOMENTUM, _IS_FIRST_STEP_AT = 2, 9

_C_BYTES: Final = {
    "double": 8, "float": 4, "c10::Half": 2, "c10::BFloat16": 2, "long": 8, "int": 4, "short": 2,
    "signed char": 1, "unsigned char": 1, "bool": 1, "c10::complex<float>": 8,
    "c10::complex<double>": 16,
}  # fmt: skip
_TYPE: Final = r"((?:c10::complex<\w+>|[\w:]+|(?:un)?signed char))"
_JOIN_KERNEL: Final = re.compile(
    r"\bCatArrayBatchedCopy\w*<(?:[^<>,]*\bOpaqueType<(\d+)u?l?>|" + _TYPE + r")\s*,"
)
_PLAIN_KERNEL: Final = re.compile(
    r"\bgpu_kernel_impl_nocast<[^<>]*\bdirect_copy_kernel_cuda\b[^<>]*?\{lambda\(" + _TYPE + r"\)"
    r"|\blpnorm_cleanup<" + _TYPE + r"\s*,"
)
"""What `cat` copies tensors with that are too many-dimensional, or laid out otherwise, without a
cast, and the end of norms."""
_MULTI_KERNEL: Final = re.compile(r"\bmulti_tensor_apply_kernel<.*?Functor<" + _TYPE + r"\s*,")
_COPY_KERNEL: Final = re.compile(
    r"\bmulti_tensor_apply_kernel<.*?CopyFunctor<" + _TYPE + r"\s*,\s*" + _TYPE + r"\s*,"
)


def takes_lists(plain: str) -> bool:
    """Say whether an op of a plain name takes lists of tensors."""
    return plain in _JOINS or plain in _OPTIMIZERS or plain.startswith((_FOREACH, _UNSCALE))


def list_cost(call: OpCall) -> Cost | None:
    """Return the bytes of an op that takes lists, null where their type is not known.

    Each tensor is read once and each that is made or changed written once.
    """
    if 0 not in call.lists or call.list_bytes is None:
        return None
    if call.name in _JOINS:
        moved = total(call.size(0), call.size_of_like(0))
    elif call.name in _OPTIMIZERS:
        moved = _optimizer(call)
    else:
        moved = _foreach(call)
    return None if moved is None else Cost(None, moved, None)


def _foreach(call: OpCall) -> int | None:
    in_place = call.name.endswith("_")
    what = call.name.removeprefix(_FOREACH).removesuffix("_")
    if what in _REDUCTIONS:
        return call.size(0)
    if what == "zero":
        return call.size_of_like(0)
    if what == "copy":
        return total(call.size(1), call.size_of_like(0)) if in_place else None
    return total(call.size_of_inputs(), call.size_of_like(0))


def _optimizer(call: OpCall) -> int | None:
    read, written, scale_at = _OPTIMIZERS[call.name]
    if call.name == "_fused_sgd_" and call.flag(_IS_FIRST_STEP_AT):
        # Momentum is set to the gradients then.
        read = tuple(at for at in read if at != _MOMENTUM)
    grads = (1,) if call.dtype(scale_at) is not None else ()
    return total(
        *(call.size(at) for at in read), *(call.size_of_like(at) for at in (*written, *grads))
    )


def list_bytes(kernel: str) -> tuple[int, int] | None:
    """Return the bytes of an element in the first list and in the others, by a kernel's name."""
    join = _JOIN_KERNEL.search(kernel)
    if join is not None:
        size = int(join[1]) if join[1] else _C_BYTES.get(join[2])
        return None if size is None else (size, size)
    copy = _COPY_KERNEL.search(kernel)
    if copy is not None:
        sizes = _C_BYTES.get(copy[1]), _C_BYTES.get(copy[2])
        return None if None in sizes else (sizes[0] or 0, sizes[1] or 0)
    functor = _MULTI_KERNEL.search(kernel) or _PLAIN_KERNEL.search(kernel)
    size = None if functor is None else _C_BYTES.get(next(filter(None, functor.groups()), ""))
    return None if size is None else (size, size)
