"""Costs of convolutions: 1 to 3 dimensions, grouped, transposed, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from tracekit.costing.op_call import Cost, OpCall, Shape, sized, total


@dataclass(frozen=True, slots=True)
class _Signature:
    """Positions of arguments; null where an op has none."""

    stride: int
    padding: int
    dilation: int
    transposed: int | bool
    output_padding: int | None
    groups: int
    input_: int = 0


_GENERAL: Final = _Signature(3, 4, 5, 6, 7, 8)
_LIBRARY: Final = _Signature(4, 3, 5, False, None, 6)
_SIGNATURES: Final[dict[str, _Signature]] = {
    "convolution": _GENERAL,
    "_convolution": _GENERAL,
    "convolution_overrideable": _GENERAL,
    "cudnn_convolution": _Signature(3, 2, 4, False, None, 5),
    "cudnn_convolution_transpose": _Signature(4, 2, 5, True, 3, 6),
    "cudnn_convolution_relu": _Signature(3, 4, 5, False, None, 6),
    "miopen_convolution": _LIBRARY,
    "mkldnn_convolution": _LIBRARY,
    "convolution_backward": _Signature(4, 5, 6, 7, 8, 9, input_=1),
    "convolution_backward_overrideable": _Signature(3, 4, 5, 6, 7, 8, input_=1),
    "conv1d": _Signature(3, 4, 5, False, None, 6),
    "conv2d": _Signature(3, 4, 5, False, None, 6),
    "conv3d": _Signature(3, 4, 5, False, None, 6),
}
"""Where each op takes what (aten/src/ATen/native/native_functions.yaml)."""

CONVOLUTIONS: Final = frozenset(_SIGNATURES)
_MASK_AT: Final = {"convolution_backward": 10, "convolution_backward_overrideable": 9}


def convolution_cost(call: OpCall) -> Cost | None:
    """Return the cost of a convolution: 2 FLOPs a multiply-add, each tensor moved once.

    Every position of the result (of the input, if it is transposed) takes part in a product with
    the whole weight, padding included, as `torch.utils.flop_counter` counts it. The gradients of
    input and weight cost as much as the convolution each; the counter takes that of the weight
    times the groups.
    """
    signature = _SIGNATURES[call.name]
    first = signature.input_
    image, weight = call.shape(first), call.shape(first + 1)
    turned = signature.transposed
    is_transposed = turned if isinstance(turned, bool) else call.flag(turned)
    if image is None or weight is None or is_transposed is None:
        return None
    if len(image) != len(weight) or len(image) < 3:
        return None
    if first:
        return _backward(call, is_transposed)
    result = _result(call, signature, image, weight, is_transposed)
    if result is None:
        return None
    positions = prod((image if is_transposed else result)[2:])
    flops = 2 * image[0] * positions * prod(weight)
    dtype = call.dtype(0)
    return Cost(flops, total(call.size_of_inputs(), sized(result, dtype)), dtype)


def _backward(call: OpCall, is_transposed: bool) -> Cost | None:
    """`grad_output`, input and weight tell all sizes; the mask says which gradients are made."""
    gradient, image, weight = call.shape(0), call.shape(1), call.shape(2)
    mask = call.argument(_MASK_AT[call.name]).strip("[]").split(",")
    if gradient is None or image is None or weight is None or len(mask) < 3:
        return None
    wants_image, wants_weight = mask[0].strip() == "True", mask[1].strip() == "True"
    positions = prod((image if is_transposed else gradient)[2:])
    once = 2 * image[0] * positions * prod(weight)
    dtype = call.dtype(0)
    moved = total(
        call.size(0),
        *((call.size(1), call.size_of_like(1)) if wants_image and wants_weight else [call.size(1)]),
        *((call.size(2), call.size_of_like(2)) if wants_image and wants_weight else [call.size(2)]),
    )
    return Cost(once * (wants_image + wants_weight), moved, dtype)


def _result(
    call: OpCall, at: _Signature, image: Shape, weight: Shape, is_transposed: bool
) -> Shape | None:
    """Return the shape of what a convolution returns (the formulas of torch.nn.Conv2d)."""
    count = len(image) - 2
    stride, padding = _each(call, at.stride, count), _each(call, at.padding, count)
    dilation, groups = _each(call, at.dilation, count), call.integers(at.groups)
    if stride is None or padding is None or dilation is None or not groups or min(stride) < 1:
        return None
    extra: tuple[int, ...] | None = (0,) * count
    if is_transposed and at.output_padding is not None:
        extra = _each(call, at.output_padding, count)
    if extra is None:
        return None
    sizes = []
    for axis in range(count):
        reach = dilation[axis] * (weight[2 + axis] - 1)
        size = image[2 + axis]
        if is_transposed:
            sizes.append((size - 1) * stride[axis] - 2 * padding[axis] + reach + extra[axis] + 1)
        else:
            sizes.append((size + 2 * padding[axis] - reach - 1) // stride[axis] + 1)
    if min(sizes) < 0:
        return None
    channels = weight[1] * groups[0] if is_transposed else weight[0]
    return (image[0], channels, *sizes)


def _each(call: OpCall, at: int, count: int) -> tuple[int, ...] | None:
    """Return an argument for each dimension; one number stands for all."""
    values = call.integers(at)
    if not values:
        return None
    return values * count if len(values) == 1 else values if len(values) == count else None
