"""One call of an op as a trace describes it: the shapes, types and arguments of its inputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, Final, TypeAlias

import msgspec

Shape: TypeAlias = tuple[int, ...]

DTYPE_BYTES: Final[dict[str, int]] = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int64": 8, "int32": 4,
    "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "complex64": 8, "complex128": 16,
}  # fmt: skip
"""Bytes of an element, widest floating type first: what a sum of two types becomes."""

_DTYPE_OF: Final[dict[str, str]] = {
    "double": "float64", "float": "float32", "c10::Half": "float16", "c10::BFloat16": "bfloat16",
    "c10::Float8_e4m3fn": "float8", "c10::Float8_e5m2": "float8", "c10::Float8_e4m3fnuz": "float8",
    "c10::Float8_e5m2fnuz": "float8", "long int": "int64", "long": "int64", "__int64": "int64",
    "int": "int32", "short int": "int16", "short": "int16", "signed char": "int8",
    "unsigned char": "uint8", "bool": "bool", "c10::complex<float>": "complex64",
    "c10::complex<double>": "complex128",
}  # fmt: skip
"""C++ names in `Input type` (caffe2::TypeMeta names, c10/core/ScalarType.h)."""

SCALAR_TYPES: Final[dict[str, str]] = {
    "0": "uint8", "1": "int8", "2": "int16", "3": "int32", "4": "int64", "5": "float16",
    "6": "float32", "7": "float64", "11": "bool", "15": "bfloat16", "23": "float8", "24": "float8",
}  # fmt: skip
"""Numbers of types among concrete inputs (c10/core/ScalarType.h)."""

LARGEST: Final = 2**62
"""Sizes beyond this are no sizes of a run: they count as unknown."""


@dataclass(frozen=True, slots=True)
class Cost:
    """FLOPs (2 a multiply-add) and bytes of an operation, null where its shapes do not say.

    `dtype` is the type that its arithmetic is done in, by the inputs.
    """

    flops: int | None
    bytes_: int | None
    dtype: str | None


@dataclass(frozen=True, slots=True)
class OpCall:
    """The inputs of an op by position.

    `shapes` has a shape for each tensor, one of all elements for a list of tensors, and `()` for
    anything else, `dtypes` null for what is no single tensor, `arguments` the text of what is no
    tensor. All may be shorter than the signature. `stored` has the elements that lie in memory: an
    expanded tensor has fewer than its shape, if the trace has strides. `lists` are the positions of
    lists of tensors, `list_bytes` the bytes of their elements, of the first and of the last list.
    """

    name: str
    shapes: tuple[Shape, ...]
    dtypes: tuple[str | None, ...]
    arguments: tuple[str, ...]
    stored: tuple[int, ...] = ()
    lists: frozenset[int] = frozenset()
    list_bytes: tuple[int, int] | None = None

    def shape(self, at: int) -> Shape | None:
        """Return the shape of a tensor with dimensions, null where there is none."""
        return self.shapes[at] if at < len(self.shapes) and self.shapes[at] else None

    def dtype(self, at: int) -> str | None:
        """Return the type of a tensor, null where there is none."""
        return self.dtypes[at] if at < len(self.dtypes) else None

    def size(self, at: int) -> int | None:
        """Return the bytes of a tensor in memory, 0 where the input is none, null if unknown.

        What is expanded lies there once.
        """
        return self._size(at, self.stored[at] if at < len(self.stored) else None)

    def size_of_like(self, at: int) -> int | None:
        """Return the bytes of a new tensor of the shape and type of an input, as `size` does."""
        return self._size(at, None)

    def _size(self, at: int, elements: int | None) -> int | None:
        if at >= len(self.shapes):
            return 0
        count = prod(self.shapes[at]) if elements is None else elements
        if at in self.lists:
            return None if self.list_bytes is None else count * self.list_bytes[at > 0]
        dtype = self.dtype(at)
        if dtype is None:
            return None if self.shapes[at] else 0
        return count * DTYPE_BYTES[dtype]

    def size_of_inputs(self, skipped: frozenset[int] = frozenset()) -> int | None:
        """Return the bytes of all tensors, null if one has no type."""
        return total(*(self.size(at) for at in range(len(self.shapes)) if at not in skipped))

    def argument(self, at: int) -> str:
        """Return the text of an argument, empty where there is none."""
        return self.arguments[at] if at < len(self.arguments) else ""

    def integers(self, at: int) -> tuple[int, ...] | None:
        """Return a whole number or a list of them, null where the argument is neither."""
        try:
            value = msgspec.json.decode(self.argument(at))
        except (msgspec.DecodeError, RecursionError):
            return None
        values = value if isinstance(value, list) else [value]
        whole = all(isinstance(v, int) and not isinstance(v, bool) for v in values)
        return tuple(values) if whole else None

    def flag(self, at: int) -> bool | None:
        """Return a truth value, null where the argument is none."""
        return {"True": True, "False": False}.get(self.argument(at))


def total(*sizes: int | None) -> int | None:
    """Return a sum, null where a part is unknown."""
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def sized(shape: Shape, dtype: str | None) -> int | None:
    """Return the bytes of a tensor, null without a type."""
    return None if dtype is None else prod(shape) * DTYPE_BYTES[dtype]


@dataclass(frozen=True, slots=True)
class InputTexts:
    """What a trace holds of the inputs of an op, as JSON texts; null is unknown."""

    dims: str | None
    types: str | None
    concrete: str | None
    strides: str | None = None


def op_call(
    name: str, inputs: InputTexts, list_bytes: tuple[int, int] | None = None
) -> OpCall | None:
    """Return a call from the texts of a trace; null where it has no shapes, or impossible ones."""
    shapes = _decoded(inputs.dims)
    if not shapes:
        return None
    kinds = [kind if isinstance(kind, str) else "" for kind in _decoded(inputs.types)]
    dtypes = tuple(_DTYPE_OF.get(kind) for kind in kinds)
    arguments = tuple(str(part) for part in _decoded(inputs.concrete))
    frozen = tuple(_shape(value) for value in shapes)
    if any(size < 0 for shape in frozen for size in shape):
        return None
    strides = _decoded(inputs.strides)
    steps = [strides[at] if at < len(strides) else None for at in range(len(shapes))]
    stored = tuple(_stored(value, step) for value, step in zip(shapes, steps, strict=True))
    lists = frozenset(at for at, value in enumerate(shapes) if _is_list(value))
    return OpCall(name, frozen, dtypes, arguments, stored, lists, list_bytes)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(part, list) for part in value)


def _stored(shape: Any, strides: Any) -> int:
    """Return the elements in memory of a tensor, or of all tensors of a list.

    Along a dimension with stride 0 all elements are one; what overlaps otherwise, as windows do,
    is no more than there is from its first to its last element.
    """
    if _is_list(shape):
        parts = strides if isinstance(strides, list) and len(strides) == len(shape) else None
        steps = [None] * len(shape) if parts is None else parts
        return sum(_stored(part, step) for part, step in zip(shape, steps, strict=True))
    sizes = _shape(shape)
    count = prod(sizes)
    if not isinstance(strides, list) or len(strides) != len(sizes) or not count:
        return count
    if not all(isinstance(step, int) and step >= 0 for step in strides):
        return count
    pairs = list(zip(sizes, strides, strict=True))
    reach: int = 1 + sum((size - 1) * step for size, step in pairs)
    return min(prod(size for size, step in pairs if step), reach)


def _shape(value: Any) -> Shape:
    """Return a shape; a list of tensors, which has no type, as one of all their elements."""
    if not isinstance(value, list):
        return ()
    if all(isinstance(part, int) and not isinstance(part, bool) for part in value):
        return tuple(value)
    parts = [_shape(part) for part in value if isinstance(part, list)]
    return (sum(prod(part) for part in parts),) if parts else ()


def _decoded(text: str | None) -> list[Any]:
    if not text:
        return []
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return []
    return value if isinstance(value, list) else []
