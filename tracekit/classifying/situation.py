"""What a classification pass sees: one distinct situation, however many activities share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from tracekit.categories import EVIDENCES
from tracekit.classifying.module_names import module_hint
from tracekit.classifying.neighbours import WEIGHTED
from tracekit.labels import AXES
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import PHASES, Linked
from tracekit.trace import ACTIVITY_KINDS, BoolArray, IntArray, SmallArray

_COPIES: Final = ("aten::copy_",)
"""Ops whose first two inputs are where data goes and where it comes from."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of an activity that can decide its category.

    `op_stack` holds the names of the enclosing ops, outermost first: those of the forward pass
    for backward work, with the backward ops themselves in `backward_stack`. `module_hint` is what
    the innermost telling module says ("norm", "temporal_attention"), `module` its class, and
    `module_evidence` whether the trace itself or a label names that class.
    `category_label` is the category that a label around it names. `attention_axis` is the axis of
    the attention that it belongs to, and `axis_evidence` what says so: a label, the class of a
    module, or the shapes of the calls. `in_attention` says that it was issued within an attention
    operator.
    `only_repeats` and `only_lays_out` say that it is a kernel of Inductor's that does no more.
    `converts` says whether a copy changes the type of its data, null where types are not known.
    """

    kernel: str | None
    activity: str
    op_stack: tuple[str, ...] = ()
    backward_stack: tuple[str, ...] = ()
    module_hint: str | None = None
    module: str | None = None
    module_evidence: str = "module"
    category_label: str | None = None
    attention_axis: str | None = None
    axis_evidence: str = "annotation"
    in_attention: bool = False
    in_norm: bool = False
    in_rotary: bool = False
    in_gate: bool = False
    before_convolution: bool = False
    makes_weight_of: str | None = None
    only_repeats: bool = False
    only_lays_out: bool = False
    converts: bool | None = None
    phase: str = "forward"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A category and what decided it; `confidence` (0 to 1) is null for direct evidence."""

    category: str
    evidence: str
    reason: str
    confidence: float | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What each activity stands in, found by looking at several of them.

    `in_attention` and `in_norm` say that it belongs to an attention operator, or to a
    normalization that is written out; `in_rotary` that it joins parts for a rotary embedding,
    `in_gate` that it joins gradients of a gate's halves,
    `before_convolution` that it pads what a convolution takes, `only_repeats` and
    `only_lays_out` that it is a kernel of Inductor's that does no more. `weight` is a position in
    `WEIGHTED`, `axis` one in `AXES`, -1 for neither, and `axis_evidence` one in `EVIDENCES`.
    """

    in_attention: BoolArray
    in_norm: BoolArray
    in_rotary: BoolArray
    in_gate: BoolArray
    before_convolution: BoolArray
    only_repeats: BoolArray
    only_lays_out: BoolArray
    weight: SmallArray
    axis: SmallArray
    axis_evidence: SmallArray


def distinct_situations(linked: Linked, around: Surroundings) -> tuple[list[Situation], IntArray]:
    """Return the distinct situations of a trace, and the one that each activity is in."""
    count = len(linked)
    kinds = linked.trace.activities.kind if linked.basis == "gpu" else np.zeros(count, np.int8)
    stack = _path_of(linked, linked.forward_op)
    backward = np.where(linked.forward_op != linked.op, _path_of(linked, linked.op), -1)
    hints, hint = module_hints(linked)
    converts = _conversions(linked)
    columns = (
        linked.name.astype(np.int64),
        kinds.astype(np.int64),
        stack,
        backward,
        hint,
        around.axis.astype(np.int64),
        around.axis_evidence.astype(np.int64),
        around.in_attention.astype(np.int64),
        around.in_norm.astype(np.int64),
        around.in_rotary
        + 2 * around.before_convolution
        + 4 * around.in_gate
        + 8 * around.only_repeats
        + 16 * around.only_lays_out.astype(np.int64),
        around.weight.astype(np.int64),
        linked.labels.category,
        linked.phase.astype(np.int64),
        converts,
    )
    first, situation_of = distinct_rows(columns)
    names = _stack_names(linked)
    labels = (*linked.labels.categories, None)
    situations = [
        Situation(
            kernel=linked.trace.text(int(linked.name[row])),
            activity=ACTIVITY_KINDS[kinds[row]] if linked.basis == "gpu" else "cpu_op",
            op_stack=names(int(linked.forward_op[row])),
            backward_stack=names(int(linked.op[row])) if backward[row] >= 0 else (),
            module_hint=hints[hint[row]][0],
            module=hints[hint[row]][1],
            module_evidence=hints[hint[row]][2],
            category_label=labels[linked.labels.category[row]],
            attention_axis=AXES[around.axis[row]] if around.axis[row] >= 0 else None,
            axis_evidence=EVIDENCES[around.axis_evidence[row]],
            in_attention=bool(around.in_attention[row]),
            in_norm=bool(around.in_norm[row]),
            in_rotary=bool(around.in_rotary[row]),
            in_gate=bool(around.in_gate[row]),
            before_convolution=bool(around.before_convolution[row]),
            makes_weight_of=WEIGHTED[around.weight[row]] if around.weight[row] >= 0 else None,
            only_repeats=bool(around.only_repeats[row]),
            only_lays_out=bool(around.only_lays_out[row]),
            converts=None if converts[row] < 0 else bool(converts[row]),
            phase=PHASES[linked.phase[row]],
        )
        for row in first.tolist()
    ]
    return situations, situation_of


def module_hints(linked: Linked) -> tuple[list[tuple[str | None, str | None, str]], IntArray]:
    """Return what modules say of the work inside them, and the position of each activity's.

    A hint is told with the class that says so and the evidence that it is.

    The modules that the trace itself names count first, then the classes that labels name.
    """
    labels = linked.labels
    of_path = [(*module_hint(path), "module") for path in linked.modules.paths]
    of_class = [(*module_hint(name), "annotation") for name in labels.module_classes]
    hints = list(dict.fromkeys([(None, None, "module"), *of_path, *of_class]))
    by_path = np.array([*map(hints.index, of_path), 0], np.int64)
    by_class = np.array([*map(hints.index, of_class), 0], np.int64)
    is_known = linked.module >= 0
    return hints, np.where(is_known, by_path[linked.module], by_class[labels.module_class])


def _conversions(linked: Linked) -> IntArray:
    """Return 1 where an activity's op copies into another type, 0 into the same, else -1."""
    ops, texts = linked.trace.ops, linked.trace.strings
    unknown = np.full(len(linked), -1, np.int64)
    if not len(ops):
        return unknown
    is_copy = np.array([*(text in _COPIES for text in texts), False], np.bool_)
    codes = np.unique(ops.input_types[is_copy[ops.name] & (ops.input_types >= 0)])
    by_types = np.full(len(texts) + 1, -1, np.int64)
    for code in codes.tolist():
        types = msgspec.json.decode(texts[code])
        if isinstance(types, list) and len(types) > 1 and all(types[:2]):
            by_types[code] = types[0] != types[1]
    copies = (linked.op >= 0) & is_copy[ops.name[linked.op]]
    return np.where(copies, by_types[ops.input_types[linked.op]], -1)


def _path_of(linked: Linked, op: IntArray) -> IntArray:
    if not len(linked.op_path):
        return np.full(len(op), -1, np.int64)
    return np.where(op >= 0, linked.op_path[op], -1)


class _stack_names:  # noqa: N801 - used as a function with a memory
    def __init__(self, linked: Linked) -> None:
        self._linked = linked
        self._known: dict[int, tuple[str, ...]] = {}

    def __call__(self, op: int) -> tuple[str, ...]:
        if op < 0:
            return ()
        path = int(self._linked.op_path[op])
        if path not in self._known:
            trace = self._linked.trace
            above = self(int(self._linked.ops.parent[op]))
            self._known[path] = (*above, trace.text(int(trace.ops.name[op])) or "")
        return self._known[path]
