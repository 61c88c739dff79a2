"""What convolutions say of images and videos: batches, frames and positions before and after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import CONV
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.classifying.ops_beside import OpsBeside, by_thread, outermost_rows
from tracekit.linking.link import Linked

_NUMBERS: Final = re.compile(r"-?\d+")
_RANKS: Final = (4, 5)
_IS_TRANSPOSED: Final = 6
"""Position of `transposed` in the arguments of `aten::convolution`."""


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution over `batch` images or clips: its depths (1 in 2-D) and positions a plane.

    Both are those before it and after it; padding that is an op of its own is in those before.
    """

    batch: int
    depths: tuple[int, ...]
    planes: tuple[int, ...]
    volumes: tuple[tuple[int, int], ...]
    """Depth and positions that belong together."""

    @property
    def cuts_patches(self) -> bool:
        """Whether nothing is left of an image but one position: its batch is of patches."""
        return self.planes[-1] == 1 and self.planes[0] > 1


@dataclass(frozen=True, slots=True)
class Convolutions:
    """The convolutions of a trace, by the row of their op, and in their order on each thread."""

    of: dict[int, Convolution]
    beside: dict[int, OpsBeside]


def convolutions(linked: Linked, index: OpIndex) -> Convolutions:
    """Return the outermost forward convolution ops whose shapes are known."""
    found = _by_row(linked, index)
    return Convolutions(found, by_thread(linked, np.fromiter(found, np.int64, len(found))))


def _by_row(linked: Linked, index: OpIndex) -> dict[int, Convolution]:
    ops = linked.trace.ops
    is_conv = index.named(_is_convolution)
    if not is_conv.any():
        return {}
    known: dict[tuple[int, int, int], Convolution | None] = {}
    found: dict[int, Convolution] = {}
    for row in outermost_rows(linked, is_conv & linked.op_is_forward).tolist():
        code = index.code(row)
        if code not in known:
            name = linked.trace.text(int(ops.name[row])) or ""
            known[code] = _convolution(name, index.tensors(row), index.arguments(row))
        convolution = known[code]
        if convolution is not None:
            found[row] = convolution
    return found


def _convolution(
    name: str, tensors: tuple[Shape, ...], arguments: tuple[str, ...]
) -> Convolution | None:
    if len(tensors) < 2 or len(tensors[0]) != len(tensors[1]) or len(tensors[0]) not in _RANKS:
        return None
    image, window = tensors[0][2:], tensors[1][2:]
    after = _output(plain_op_name(name)[1], image, window, arguments)
    sizes = [image, after if after is not None else _in_patches(image, window)]
    volumes = tuple(
        dict.fromkeys((size[0] if len(size) == 3 else 1, prod(size[-2:])) for size in sizes if size)
    )
    return Convolution(
        tensors[0][0],
        tuple(dict.fromkeys(depth for depth, _ in volumes)),
        tuple(dict.fromkeys(plane for _, plane in volumes)),
        volumes,
    )


def _output(plain: str, image: Shape, window: Shape, arguments: tuple[str, ...]) -> Shape | None:
    """Return the size of the result, null where stride and padding are not told."""
    is_transposed = "transpose" in plain or arguments[_IS_TRANSPOSED : _IS_TRANSPOSED + 1] == (
        "True",
    )
    dilation_at = 7 if "conv_transpose" in plain else 5
    if len(arguments) <= dilation_at or plain.startswith(("cudnn", "miopen", "mps")):
        return None
    rank = len(image)
    stride, padding, dilation = (_for_each(arguments[at], rank) for at in (3, 4, dilation_at))
    if stride is None or padding is None or dilation is None or min(stride) < 1:
        return None
    sides = zip(image, window, stride, padding, dilation, strict=True)
    if is_transposed:
        result = tuple((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in sides)
    else:
        result = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
    return result if min(result) > 0 else None


def _for_each(text: str, rank: int) -> tuple[int, ...] | None:
    """Return the numbers of an argument like `[1, 1]`, one for each dimension."""
    numbers = tuple(int(number) for number in _NUMBERS.findall(text)) if len(text) < 64 else ()
    return numbers * rank if len(numbers) == 1 else numbers if len(numbers) == rank else None


def _in_patches(image: Shape, window: Shape) -> Shape:
    """Return the size after an image is cut into patches, if the window divides it."""
    sides = zip(image[-2:], window[-2:], strict=True)
    if not all(size > 1 and side % size == 0 for side, size in sides):
        return ()
    return tuple(max(side // size, 1) for side, size in zip(image, window, strict=True))


def _is_convolution(name: str) -> bool:
    rule = rule_for_op(name)
    return rule is not None and rule.decisive and rule.category == CONV
