"""The true category of every activity whose labels name one; the rest is undecidable.

Kernel names decide nothing here and op names only where an attention operator begins and ends, so
that truth does not depend on the rules that it judges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from tracekit.analysis.attention_core import attention_cores, in_projection
from tracekit.analysis.truth_classes import category_of_class
from tracekit.categories import (
    ATTENTION,
    CODE_OF,
    COMMUNICATION,
    CONV,
    ELEMENTWISE,
    EMBEDDING,
    LINEAR,
    MEMORY,
    NORM,
    TEMPORAL_ATTENTION,
)
from tracekit.labels import (
    AXES,
    KINDS,
    PREFIX,
    AttentionLabel,
    parse_attention,
    parse_category,
    parse_module,
)
from tracekit.linking.link import PHASES, Linked
from tracekit.linking.nesting import build_forest
from tracekit.trace import BoolArray, IntArray, SmallArray, Spans, Trace

TEMPORAL: Final = "temporal"

_WHOLE: Final = (CONV, LINEAR, NORM, EMBEDDING)
"""Categories of modules that the helpers inside them serve."""
_HELPERS: Final = (ELEMENTWISE, MEMORY)
_ATTENTION_CODES: Final = (CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION])
_CAUSAL: Final = {"core:causal": 1, "core:full": 0}
"""What the last part of a category label says of attention; a mask may be causal or not."""
_COLLECTIVES: Final = ("nccl", "rccl")


@dataclass(frozen=True, slots=True)
class Truth:
    """What the labels say of each activity.

    `category` holds positions in `CATEGORIES`, -1 where undecidable. `axis` and `kind` hold
    positions in `AXES` and `KINDS`, `causal` 1 or 0, all -1 unless the activity is attention whose
    labels say it. `label` holds the position in `labels` of the text that decided, -1 for none.
    """

    category: SmallArray
    axis: SmallArray
    kind: SmallArray
    causal: SmallArray
    label: IntArray
    labels: tuple[str, ...]

    @property
    def is_decidable(self) -> BoolArray:
        """Which activities have a true category."""
        return self.category >= 0

    @property
    def is_attention(self) -> BoolArray:
        """Which activities are attention along any axis."""
        return np.isin(self.category, _ATTENTION_CODES)


class _Meaning(NamedTuple):
    """What one label says: where its category comes from, and the attention call that it is."""

    source: str
    category: str | None
    attention: AttentionLabel | None = None
    causal: int = -1


class _State(NamedTuple):
    """What is true of work directly inside a label: a category, and which label says so."""

    category: str | None = None
    source: str = ""
    row: int = -1


_NOTHING: Final = _State()


def truth_of(linked: Linked) -> Truth:
    """Return the true category of each activity of a labelled trace.

    The innermost label that names one category counts, with these exceptions: attention keeps all
    that is inside it, and a convolution, linear layer, normalization or embedding keeps the
    pointwise work and copies inside it. Backward work has the truth of its forward op, recomputed
    work that of the labels where it is issued.
    """
    spans, meanings = _meaningful(linked.trace)
    spans, meanings = _with_cores(linked, spans, meanings)
    states = _states(spans, meanings)
    category = np.full(len(linked), -1, np.int8)
    is_core = np.zeros(len(linked), np.bool_)
    label = np.full(len(linked), -1, np.int64)
    axis, kind, causal = (np.full(len(linked), -1, np.int8) for _ in range(3))
    if len(spans):
        forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
        codes = np.array([-1 if s.category is None else CODE_OF[s.category] for s in states])
        of_core = np.array([s.source == "core" for s in states], np.bool_)
        said = np.append(spans.name, -1)[[s.row for s in states]]
        properties = _properties(forest.order, forest.parent, meanings)
        for thread, time_ns in _places(linked):
            rest = np.flatnonzero((category < 0) & (thread >= 0))
            row = forest.innermost_at(thread[rest], time_ns[rest])
            rest, row = rest[row >= 0], row[row >= 0]
            category[rest], is_core[rest], label[rest] = codes[row], of_core[row], said[row]
            axis[rest], kind[rest], causal[rest] = properties[:, row]
    category[is_core & in_projection(linked, linked.forward_op)] = -1
    _correct(linked, category)
    is_attention = np.isin(category, _ATTENTION_CODES)
    for column in (axis, kind, causal):
        column[~is_attention] = -1
    is_temporal = category == CODE_OF[TEMPORAL_ATTENTION]
    axis[is_temporal] = AXES.index(TEMPORAL)
    axis[(axis == AXES.index(TEMPORAL)) & ~is_temporal] = -1
    label[category < 0] = -1
    return Truth(category, axis, kind, causal, label, linked.trace.strings)


def has_labels(trace: Trace) -> bool:
    """Say whether a trace holds labels that can name categories."""
    return len(_meaningful(trace)[0]) > 0


def _meaningful(trace: Trace) -> tuple[Spans, list[_Meaning]]:
    """Return the labels that say something of categories, and what each says."""
    spans = trace.annotations
    by_code = {
        code: meaning
        for code in np.unique(spans.name[spans.name >= 0]).tolist()
        if trace.strings[code].startswith(PREFIX)
        and (meaning := _meaning(trace.strings[code])) is not None
    }
    rows = [row for row, code in enumerate(spans.name.tolist()) if code in by_code]
    spans = spans.take(np.array(rows, np.int64))
    return spans, [by_code[code] for code in spans.name.tolist()]


def _meaning(text: str) -> _Meaning | None:
    attention = parse_attention(text)
    if attention is not None:
        return _Meaning("attn", None, attention)
    category = parse_category(text)
    if category is not None:
        said = text.split("|")[3:]
        return _Meaning("cat", category, causal=_CAUSAL.get(said[0], -1) if said else -1)
    module = parse_module(text)
    category = category_of_class(module.class_name or "") if module is not None else None
    return None if category is None else _Meaning("mod", category)


def _with_cores(
    linked: Linked, spans: Spans, meanings: list[_Meaning]
) -> tuple[Spans, list[_Meaning]]:
    """Add what lies between the bounds of each attention operator as labels of their own.

    A trace with labels of categories says by itself where attention is.
    """
    says_itself = any(meaning.source == "cat" for meaning in meanings)
    if says_itself or not any(meaning.attention for meaning in meanings):
        return spans, meanings
    forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
    call_of = np.full(len(spans), -1, np.int64)
    for row in forest.order.tolist():
        meaning, above = meanings[row], forest.parent[row]
        if meaning.attention is not None:
            call_of[row] = row
        elif meaning.category in _HELPERS and above >= 0:
            call_of[row] = call_of[above]
    cores = attention_cores(linked, forest, call_of)
    axis_of = {None: None, TEMPORAL: TEMPORAL_ATTENTION}
    labels = [meanings[call].attention for call in cores.call.tolist()]
    added = [
        _Meaning("core", axis_of.get(label.axis, ATTENTION))
        for label in labels
        if label is not None
    ]
    joined = Spans(
        start_ns=np.concatenate([spans.start_ns, cores.start_ns]),
        dur_ns=np.concatenate([spans.dur_ns, cores.end_ns - cores.start_ns]),
        name=np.concatenate([spans.name, spans.name[cores.call]]),
        thread=np.concatenate([spans.thread, cores.thread]),
    )
    return joined, [*meanings, *added]


def _states(spans: Spans, meanings: list[_Meaning]) -> list[_State]:
    forest = build_forest(spans.thread, spans.start_ns, spans.end_ns)
    states = [_NOTHING] * len(meanings)
    for row in forest.order.tolist():
        above = int(forest.parent[row])
        states[row] = _inside(states[above] if above >= 0 else _NOTHING, meanings[row], row)
    return states


def _inside(outer: _State, label: _Meaning, row: int) -> _State:
    """Return what is true inside the label of a row, which stands where `outer` is true."""
    if outer.source == "attention":
        return outer
    if label.source == "attn":
        return _NOTHING
    if label.category in (ATTENTION, TEMPORAL_ATTENTION) and label.source == "cat":
        return _State(label.category, "attention", row)
    own = _State(label.category, label.source, row)
    if outer.source == "core":
        return outer if label.category in _HELPERS else own
    if outer.source == "mod" and outer.category in _WHOLE and label.category in _HELPERS:
        return outer
    if outer.source == "cat" and label.source == "mod" and label.category not in _WHOLE:
        return outer
    return own


def _properties(order: IntArray, parent: IntArray, meanings: list[_Meaning]) -> SmallArray:
    """Return axis, kind and causality that hold inside each label, three rows of them."""
    found = np.full((3, len(meanings)), -1, np.int8)
    for row in order.tolist():
        label, above = meanings[row].attention, parent[row]
        if label is not None:
            found[0, row] = -1 if label.axis is None else AXES.index(label.axis)
            found[1, row] = -1 if label.kind is None else KINDS.index(label.kind)
        elif above >= 0:
            found[:, row] = found[:, above]
        if meanings[row].causal >= 0:
            found[2, row] = meanings[row].causal
    return found


def _places(linked: Linked) -> list[tuple[IntArray, IntArray]]:
    """Return where the labels of each activity are: where it is issued, then its forward op."""
    ops, forward = linked.trace.ops, linked.forward_op
    moved = np.flatnonzero((forward >= 0) & (forward != linked.op))
    thread, time_ns = np.full(len(linked), -1, np.int64), np.zeros(len(linked), np.int64)
    thread[moved], time_ns[moved] = ops.thread[forward[moved]], ops.start_ns[forward[moved]]
    return [(linked.thread.astype(np.int64), linked.time_ns), (thread, time_ns)]


def _correct(linked: Linked, category: SmallArray) -> None:
    """Add the optimizer's kernels, and take out what labels around it cannot decide."""
    is_kernel = np.ones(len(linked), np.bool_)
    if linked.basis == "gpu":
        is_kernel = linked.trace.activities.kind == 0
    is_update = (linked.phase == PHASES.index("optimizer")) & (category < 0)
    category[is_update] = CODE_OF[ELEMENTWISE]
    category[~is_kernel & (category == CODE_OF[ELEMENTWISE])] = -1
    is_collective = np.array(
        [*(any(mark in text for mark in _COLLECTIVES) for text in linked.trace.strings), False]
    )
    category[is_collective[linked.name] & (category != CODE_OF[COMMUNICATION])] = -1
