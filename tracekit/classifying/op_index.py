"""What the classification asks of the ops of a trace: by name, by shape, by the op around."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeAlias

import msgspec
import numpy as np

from tracekit.classifying.op_rules import rule_for_op
from tracekit.linking.link import Linked
from tracekit.linking.nesting import outermost_marked
from tracekit.trace import NO_TEXT, BoolArray, IntArray

Shape: TypeAlias = tuple[int, ...]


class OpIndex:
    """Answers questions on the ops of one trace; each distinct text is looked at once."""

    def __init__(self, linked: Linked) -> None:
        self._linked = linked
        self._trace = linked.trace
        self._shapes: dict[int, tuple[Any, ...]] = {}
        self._tensors: dict[int, tuple[Shape, ...]] = {}
        self._arguments: dict[int, tuple[str, ...]] = {}

    @cached_property
    def _codes(self) -> IntArray:
        return np.unique(self._trace.ops.name)

    def named(self, holds: Callable[[str], bool]) -> BoolArray:
        """Return which ops have a name that something holds for."""
        names = self._trace.ops.name
        flags = np.zeros(len(self._trace.strings) + 1, np.bool_)
        for code in self._codes.tolist():
            flags[code] = holds(self._trace.text(code) or "")
        return np.asarray(flags[names])

    @cached_property
    def ruled_tops(self) -> IntArray:
        """For each op the outermost one around it that a rule knows, itself where none does.

        Compiled regions and the functions of users, which hold operations of all kinds, are no
        tops.
        """
        has_rule = self.named(lambda name: rule_for_op(name) is not None)
        top = outermost_marked(self._linked.ops.parent, has_rule)
        return np.where(top >= 0, top, np.arange(len(top)))

    def code(self, op: int) -> tuple[int, int, int]:
        """Return a number for the name, the shapes and the arguments of an op."""
        ops = self._trace.ops
        return int(ops.name[op]), int(ops.input_dims[op]), int(ops.concrete_inputs[op])

    def shapes(self, op: int) -> tuple[Any, ...]:
        """Return the shape of each input: a `Shape`, several of a tensor list, or `()`."""
        code = int(self._trace.ops.input_dims[op])
        found = self._shapes.get(code)
        if found is None:
            found = self._shapes[code] = tuple(map(_shape, self._decoded(code)))
        return found

    def tensors(self, op: int) -> tuple[Shape, ...]:
        """Return the shapes of the inputs that are tensors with dimensions, in their order."""
        code = int(self._trace.ops.input_dims[op])
        found = self._tensors.get(code)
        if found is None:
            shapes = self.shapes(op)
            found = tuple(shape for shape in shapes if shape and isinstance(shape[0], int))
            self._tensors[code] = found
        return found

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


def _shape(value: Any) -> Any:
    """Return the shape of a tensor, or those of a list of tensors, and nothing for anything else.

    What holds more than whole numbers is no shape: a file may say anything.
    """
    if not isinstance(value, list):
        return ()
    if value and all(isinstance(part, list) for part in value):
        return tuple(_sizes(part) for part in value)
    return _sizes(value)


def _sizes(value: list[Any]) -> Shape:
    return tuple(value) if all(type(size) is int for size in value) else ()
