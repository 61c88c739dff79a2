"""Finds what activities stand in together: attention calls, their axes and kinds, norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tracekit.categories import EVIDENCES, TEMPORAL_ATTENTION
from tracekit.classifying.attention_axes import call_traits
from tracekit.classifying.attention_calls import attention_calls
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.call_heads import with_heads
from tracekit.classifying.fused_copies import copying
from tracekit.classifying.issued_ops import issued_ops
from tracekit.classifying.neighbours import before_convolution, in_gate, making_weights
from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.rotations import in_rotary
from tracekit.classifying.situation import Surroundings, module_hints
from tracekit.classifying.written_norms import in_written_norm
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked
from tracekit.linking.stages import Stages
from tracekit.trace import IntArray, SmallArray

_TEMPORAL: Final = AXES.index("temporal")


@dataclass(frozen=True, slots=True)
class AttentionRows:
    """What is known of the attention that each activity belongs to, -1 where nothing is.

    `axis` and `kind` are positions in `AXES` and `KINDS`, `causal` is 1 or 0, `call` a row of
    `calls`. A label speaks for all work of its module, a call for its own.
    """

    calls: AttentionCalls
    call: IntArray
    axis: SmallArray
    kind: SmallArray
    causal: SmallArray


def surroundings(linked: Linked, stages: Stages) -> tuple[Surroundings, AttentionRows]:
    """Return what each activity stands in, and the attention that it belongs to."""
    shapes = OpIndex(linked)
    calls = attention_calls(linked, shapes)
    traits = call_traits(linked, shapes, calls, _stage_of(calls, stages))
    call = calls.call
    axis, evidence = _axes(linked, call, traits.axis)
    rows = AttentionRows(
        calls=with_heads(linked, shapes, calls),
        call=call,
        axis=axis,
        kind=_either(_labelled(linked, "kind", KINDS), _of_call(traits.kind, call)),
        causal=_of_call(calls.causal, call),
    )
    issued = issued_ops(linked, shapes)
    only_repeats, only_lays_out = copying(linked, shapes)
    around = Surroundings(
        in_attention=call >= 0,
        in_norm=in_written_norm(linked, issued, shapes),
        in_rotary=in_rotary(linked, issued, shapes),
        in_gate=in_gate(linked, issued, shapes),
        before_convolution=before_convolution(linked, issued, shapes),
        only_repeats=only_repeats,
        only_lays_out=only_lays_out,
        weight=making_weights(linked, issued, shapes),
        axis=axis,
        axis_evidence=evidence,
    )
    return around, rows


def _axes(linked: Linked, call: IntArray, of_calls: SmallArray) -> tuple[SmallArray, SmallArray]:
    """Return the axis of each row and what says so: a label, a module's class, or shapes."""
    hints, hint = module_hints(linked)
    is_temporal = np.array([name == TEMPORAL_ATTENTION for name, _, _ in hints], np.bool_)[hint]
    by_module = np.where(is_temporal, _TEMPORAL, -1).astype(np.int8)
    by_label, by_shape = _labelled(linked, "axis", AXES), _of_call(of_calls, call)
    evidence = np.full(len(call), EVIDENCES.index("shape"), np.int8)
    evidence[by_module >= 0] = EVIDENCES.index("module")
    of_label = np.array([told == "annotation" for _, _, told in hints], np.bool_)[hint]
    evidence[(by_label >= 0) | (is_temporal & of_label)] = EVIDENCES.index("annotation")
    return _either(by_label, _either(by_module, by_shape)), evidence


def _stage_of(calls: AttentionCalls, stages: Stages) -> IntArray:
    """Return the stage of each call, -1 outside of any: calls of one stage are of one model."""
    found = np.full(len(calls), -1, np.int64)
    rows = np.flatnonzero(calls.call >= 0)
    found[calls.call[rows]] = stages.stage[rows]
    return found


def _of_call(values: SmallArray, call: IntArray) -> SmallArray:
    return np.append(values, np.int8(-1))[call]


def _either(first: SmallArray, second: SmallArray) -> SmallArray:
    return np.where(first >= 0, first, second).astype(np.int8)


def _labelled(linked: Linked, what: str, values: tuple[str, ...]) -> SmallArray:
    """Return what the attention labels around each activity name, as positions in `values`."""
    named: list[Any] = [getattr(label, what) for label in linked.labels.attentions]
    codes = [-1 if value is None else values.index(value) for value in named]
    return np.array([*codes, -1], np.int8)[linked.labels.attention]
