"""Shapes and arguments of ops, decoded from their JSON text when somebody asks."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from tracekit.trace import NO_TEXT, Trace

Shape: TypeAlias = tuple[int, ...]


class OpShapes:
    """Decodes what the ops of one trace were given; equal texts are decoded once."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._shapes: dict[int, tuple[Any, ...]] = {}
        self._arguments: dict[int, tuple[str, ...]] = {}

    def code(self, op: int) -> tuple[int, int, int]:
        """Return a number for the name, the shapes and the arguments of an op."""
        ops = self._trace.ops
        return int(ops.name[op]), int(ops.input_dims[op]), int(ops.concrete_inputs[op])

    def shapes(self, op: int) -> tuple[Any, ...]:
        """Return the shape of each input: a `Shape`, several of a tensor list, or `()`."""
        code = int(self._trace.ops.input_dims[op])
        found = self._shapes.get(code)
        if found is None:
            found = self._shapes[code] = tuple(map(_frozen, self._decoded(code)))
        return found

    def tensors(self, op: int) -> tuple[Shape, ...]:
        """Return the shapes of the inputs that are tensors with dimensions, in their order."""
        return tuple(shape for shape in self.shapes(op) if shape and isinstance(shape[0], int))

    def tensor_list(self, op: int) -> tuple[Shape, ...]:
        """Return the shapes of the first input that is a list of tensors."""
        for shapes in self.shapes(op):
            if shapes and isinstance(shapes[0], tuple):
                return tuple(shapes)
        return ()

    def arguments(self, op: int) -> tuple[str, ...]:
        """Return the text of each input that is no tensor, empty for tensors."""
        code = int(self._trace.ops.concrete_inputs[op])
        found = self._arguments.get(code)
        if found is None:
            found = self._arguments[code] = tuple(str(part) for part in self._decoded(code))
        return found

    def _decoded(self, code: int) -> list[Any]:
        if code == NO_TEXT:
            return []
        try:
            value = msgspec.json.decode(self._trace.strings[code])
        except (msgspec.DecodeError, RecursionError):
            return []
        return value if isinstance(value, list) else []


def _frozen(value: Any) -> Any:
    """Return nested lists of whole numbers as tuples, anything else as nothing."""
    if isinstance(value, list):
        return tuple(_frozen(part) for part in value)
    return value if isinstance(value, int) and not isinstance(value, bool) else ()
