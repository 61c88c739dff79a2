"""Minimum bytes of ops whose arithmetic is not counted: pointwise, norms, reductions, look-ups.

Each input is read once and each result written once, at the size of its shape. An input that was
expanded lies in memory once, which the strides of a trace tell; without them it counts in full.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Final

from tracekit.costing.op_call import DTYPE_BYTES, Cost, OpCall, Shape, sized, total


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_COMPARISONS: Final = _names(
    """
    eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isfinite isneginf
    isposinf
    """
)
_POINTWISE: Final = _COMPARISONS | _names(
    """
    add sub rsub mul div true_divide floor_divide remainder fmod pow neg abs sign exp exp2 expm1
    log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan atan2 sinh cosh tanh erf
    erfc sigmoid relu relu6 leaky_relu elu selu celu gelu silu mish hardtanh hardswish hardsigmoid
    softplus log_sigmoid clamp clamp_min clamp_max floor ceil round trunc frac maximum minimum fmax
    fmin sgn lerp addcmul addcdiv where masked_fill bitwise_and bitwise_or bitwise_xor bitwise_not
    threshold square nan_to_num tril triu flip roll gelu_backward silu_backward tanh_backward
    sigmoid_backward threshold_backward leaky_relu_backward elu_backward hardtanh_backward
    hardswish_backward softplus_backward native_dropout_backward xlogy polar angle
    """
)
_LIKE_FIRST: Final = _names(
    """
    _softmax _log_softmax _softmax_backward_data _log_softmax_backward_data cumsum cumprod
    native_layer_norm native_group_norm native_batch_norm cudnn_batch_norm miopen_batch_norm
    _batch_norm_with_update _native_batch_norm_legit _fused_rms_norm native_layer_norm_backward
    native_group_norm_backward native_batch_norm_backward cudnn_batch_norm_backward
    _fused_rms_norm_backward logcumsumexp
    """
)
"""The largest result has the shape of the first input; statistics are left out."""
_REDUCTIONS: Final = _names(
    """
    sum mean max min amax amin prod norm linalg_vector_norm var std argmax argmin any all
    logsumexp nansum
    """
)
_WRITES: Final = _names(
    "fill_ zero_ normal_ uniform_ random_ bernoulli_ exponential_ log_normal_ geometric_"
)
_UPSAMPLING: Final = frozenset(
    f"{'_' * aa}upsample_{kind}{'_aa' * aa}"
    for kind in (
        "nearest1d", "nearest2d", "nearest3d", "bilinear2d", "bicubic2d", "linear1d", "trilinear3d"
    )
    for aa in (False, True)
)  # fmt: skip


def traffic(call: OpCall) -> Cost | None:
    """Return the bytes of an op that only moves data, null for one that is not known."""
    find = _FINDERS.get(call.name) or _FINDERS.get(call.name.removesuffix("_"))
    moved = None if find is None else find(call)
    dtype = next((dtype for dtype in call.dtypes if dtype is not None), None)
    return None if moved is None else Cost(None, moved, dtype)


def traffic_of_triton(call: OpCall) -> Cost | None:
    """Return the bytes of the tensors that a kernel of Inductor was given, results among them.

    The last arguments are the sizes of its grid of elements. A tensor that is larger, as one that
    is sliced or looked up in, is read for no more elements than that.
    """
    numbers = [call.integers(at) for at in range(len(call.shapes)) if call.dtype(at) is None]
    grid = [number[0] for number in numbers if number and len(number) == 1]
    most = prod(grid) if grid and min(grid) > 0 else None
    sizes = [
        sized(
            (_stored(call, at) if most is None else min(_stored(call, at), most),), call.dtype(at)
        )
        for at, shape in enumerate(call.shapes)
        if shape or call.dtype(at)
    ]
    moved = total(*sizes)
    return None if not moved else Cost(None, moved, call.dtype(0))


def _stored(call: OpCall, at: int) -> int:
    return call.stored[at] if at < len(call.stored) else prod(call.shapes[at])


def _pointwise(call: OpCall) -> int | None:
    shape = _broadcast([shape for shape in call.shapes if shape])
    if shape is None:
        return None
    in_place = call.name.endswith("_")
    dtype = call.dtype(0) if in_place or call.name == "masked_fill" else _promoted(call)
    if call.name.removesuffix("_") in _COMPARISONS:
        dtype = "bool"
    return total(call.size_of_inputs(), sized(shape, dtype))


def _broadcast(shapes: list[Shape]) -> Shape | None:
    if not shapes:
        return ()
    count = max(map(len, shapes))
    sizes = []
    for axis in range(1, count + 1):
        found = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(found) > 1:
            return None
        sizes.append(found.pop() if found else 1)
    return tuple(reversed(sizes))


def _promoted(call: OpCall) -> str | None:
    """Return the widest type; single numbers count only among themselves, as in PyTorch."""
    start = 1 if call.name == "where" else 0
    pairs = list(zip(call.shapes, call.dtypes, strict=False))[start:]
    typed = [(shape, dtype) for shape, dtype in pairs if dtype is not None]
    chosen = [dtype for shape, dtype in typed if shape] or [dtype for _, dtype in typed]
    kinds = set(chosen)
    if {"float16", "bfloat16"} <= kinds:
        return "float32"
    return next((dtype for dtype in DTYPE_BYTES if dtype in kinds), None)


def _like_first(call: OpCall) -> int | None:
    return total(call.size_of_inputs(), call.size_of_like(0)) if call.shape(0) else None


def _reduction(call: OpCall) -> int | None:
    """Read everything, write what is left of the dimensions."""
    shape = call.shape(0)
    if shape is None:
        return None
    at = 2 if call.name in ("linalg_vector_norm", "norm") else 1
    if call.shape(at):
        return _pointwise(call)
    axes = call.integers(at) if len(call.dtypes) > at and not call.dtype(at) else None
    if axes and not all(-len(shape) <= axis < len(shape) for axis in axes):
        return None
    reduced = {axis % len(shape) for axis in axes} if axes else set(range(len(shape)))
    left = prod(size for axis, size in enumerate(shape) if axis not in reduced)
    dtype = call.dtype(0)
    return total(call.size(0), sized((left,), dtype))


def _writes(call: OpCall) -> int | None:
    return call.size(0)


def _copy(call: OpCall) -> int | None:
    return total(call.size(0), call.size(1)) if call.dtype(1) else None


def _embedding(call: OpCall) -> int | None:
    table, indices = call.shape(0), call.shape(1)
    if table is None or len(table) != 2 or indices is None:
        return None
    rows = sized((prod(indices), table[1]), call.dtype(0))
    return total(call.size(1), rows, rows)


def _index_select(call: OpCall) -> int | None:
    table, axis, index = call.shape(0), call.integers(1), call.shape(2)
    if table is None or not axis or index is None or not -len(table) <= axis[0] < len(table):
        return None
    kept = prod(size for at, size in enumerate(table) if at != axis[0] % len(table))
    rows = sized((kept, prod(index)), call.dtype(0))
    return total(call.size(2), rows, rows)


def _gather(call: OpCall) -> int | None:
    index = call.shape(2)
    taken = None if index is None else sized(index, call.dtype(0))
    return total(call.size(2), taken, taken)


def _upsampling(call: OpCall) -> int | None:
    """Read all, write the size that is given as the second argument; factors are not looked at."""
    shape, sizes = call.shape(0), call.integers(1)
    if shape is None or not sizes or len(sizes) != len(shape) - 2:
        return None
    return total(call.size(0), sized((*shape[:2], *sizes), call.dtype(0)))


def _padding(call: OpCall) -> int | None:
    shape, pads = call.shape(0), call.integers(1)
    if shape is None or pads is None or len(pads) > 2 * len(shape) or len(pads) % 2:
        return None
    sizes = list(shape)
    for at in range(len(pads) // 2):
        sizes[-1 - at] = max(0, sizes[-1 - at] + pads[2 * at] + pads[2 * at + 1])
    return total(call.size(0), sized(tuple(sizes), call.dtype(0)))


def _dropout(call: OpCall) -> int | None:
    shape = call.shape(0)
    return (
        None if shape is None else total(call.size(0), call.size_of_like(0), sized(shape, "bool"))
    )


_FINDERS: Final[dict[str, Callable[[OpCall], int | None]]] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_LIKE_FIRST, _like_first),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(_WRITES, _writes),
    **dict.fromkeys(_UPSAMPLING, _upsampling),
    "copy_": _copy,
    "embedding": _embedding,
    "index_select": _index_select,
    "gather": _gather,
    "constant_pad_nd": _padding,
    "native_dropout": _dropout,
}

MOVERS: Final = frozenset(_FINDERS)
