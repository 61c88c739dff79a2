"""What a trace would be if less had been recorded: labels, shapes, modules, ops taken out of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from tracekit.labels import PREFIX
from tracekit.trace import NO_TEXT, CodeArray, Table, Trace

_Table = TypeVar("_Table", bound=Table)


def without_labels(trace: Trace) -> Trace:
    """Return the trace without the labels of collectors, nor any text of them."""
    is_label = np.array([text.startswith(PREFIX) for text in trace.strings], np.bool_)
    if not is_label.any() and not any(PREFIX in text for text in trace.strings):
        return trace
    spans, ops = trace.annotations, trace.ops
    kept = np.flatnonzero(~(is_label[spans.name] & (spans.name != NO_TEXT)))
    # What opens an annotation can be an op, with the label among its inputs.
    quotes = np.array([PREFIX in text for text in trace.strings], np.bool_)
    used = np.zeros(len(quotes), np.bool_)
    used[ops.concrete_inputs[ops.concrete_inputs != NO_TEXT]] = True
    gone = is_label | (quotes & used)
    inputs = np.where(gone[ops.concrete_inputs], NO_TEXT, ops.concrete_inputs).astype(np.int32)
    return replace(
        trace,
        annotations=spans.take(kept),
        ops=replace(ops, concrete_inputs=inputs),
        strings=tuple(
            "" if is_gone else text
            for text, is_gone in zip(trace.strings, gone.tolist(), strict=True)
        ),
    )


def without_shapes(trace: Trace) -> Trace:
    """Return the trace as if recorded without shapes: nothing is known of the inputs of ops."""
    none = np.full(len(trace.ops), NO_TEXT, np.int32)
    ops = replace(
        trace.ops, input_dims=none, input_types=none, input_strides=none, concrete_inputs=none
    )
    return replace(trace, ops=ops)


def without_modules(trace: Trace) -> Trace:
    """Return the trace as if recorded without Python frames, which name the modules."""
    return replace(trace, frames=_emptied(trace.frames))


def kernels_alone(trace: Trace) -> Trace:
    """Return the trace as if recorded with CUDA activities alone: these, and runtime calls."""
    return replace(
        trace,
        ops=_emptied(trace.ops),
        frames=_emptied(trace.frames),
        annotations=_emptied(trace.annotations),
    )


def has_shapes(trace: Trace) -> bool:
    """Say whether anything is known of the inputs of ops."""
    columns: tuple[CodeArray, ...] = (
        trace.ops.input_dims,
        trace.ops.input_types,
        trace.ops.concrete_inputs,
    )
    return any(bool((column != NO_TEXT).any()) for column in columns)


def _emptied(table: _Table) -> _Table:
    return table.take(np.empty(0, np.int64))
