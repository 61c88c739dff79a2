"""Which attention and module labels of collectors stand around each activity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from tracekit.labels import (
    PREFIX,
    AttentionLabel,
    ModuleLabel,
    parse_attention,
    parse_category,
    parse_module,
)
from tracekit.linking.nesting import build_forest
from tracekit.trace import NO_TEXT, CodeArray, IntArray, Spans, Trace

Points: TypeAlias = tuple[CodeArray, IntArray]
"""Threads and times in ns: where on the host something happened."""

_Label = TypeVar("_Label")


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels around each activity.

    `attention` holds positions in `attentions`, `module_class` in `module_classes`, `path` in
    `paths`, `category` in `categories`, all -1 where there is none. The innermost label that says
    it gives each of them.
    """

    attentions: tuple[AttentionLabel, ...]
    attention: IntArray
    module_classes: tuple[str, ...]
    module_class: IntArray
    paths: tuple[str, ...]
    path: IntArray
    categories: tuple[str, ...]
    category: IntArray


def labels_at(trace: Trace, places: Sequence[Points]) -> Labels:
    """Return the labels of each activity, looked for at its places in their order.

    `places` are where it was issued and where the forward op that it serves ran: recomputed work
    is labelled where it is issued, backward work only at its forward op.
    """
    spans = _labelled(trace)
    attentions, attention = _around(trace, spans, places, parse_attention)
    classes, module_class = _around(trace, spans, places, _class_of)
    paths, path = _around(trace, spans, places, _path_of)
    categories, category = _around(trace, spans, places, parse_category)
    return Labels(
        attentions=attentions,
        attention=attention,
        module_classes=classes,
        module_class=module_class,
        paths=paths,
        path=path,
        categories=categories,
        category=category,
    )


def _labelled(trace: Trace) -> Spans:
    spans = trace.annotations
    is_label = np.array([text.startswith(PREFIX) for text in trace.strings], np.bool_)
    if not len(spans) or not is_label.any():
        return spans.take(np.empty(0, np.int64))
    return spans.take(np.flatnonzero(is_label[spans.name] & (spans.name != NO_TEXT)))


def _around(
    trace: Trace,
    spans: Spans,
    places: Sequence[Points],
    read: Callable[[str], _Label | None],
) -> tuple[tuple[_Label, ...], IntArray]:
    """Return what `read` finds in labels, and the innermost finding around each activity."""
    found = np.full(len(places[0][0]), -1, np.int64)
    position: dict[_Label, int] = {}
    number = np.full(len(trace.strings) + 1, -1, np.int64)
    for code in np.unique(spans.name).tolist():
        value = read(trace.strings[code])
        if value is not None:
            number[code] = position.setdefault(value, len(position))
    spans = spans.take(np.flatnonzero(number[spans.name] >= 0))
    if not len(spans):
        return (), found
    forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
    for thread, time_ns in places:
        rest = np.flatnonzero((found < 0) & (thread >= 0))
        row = forest.innermost_at(thread[rest], time_ns[rest])
        found[rest] = np.where(row >= 0, number[spans.name[row]], -1)
    return tuple(position), found


def _class_of(text: str) -> str | None:
    label = parse_module(text)
    return None if label is None else label.class_name


def _path_of(text: str) -> str | None:
    label: AttentionLabel | ModuleLabel | None = parse_attention(text) or parse_module(text)
    return None if label is None else label.path
