"""Decides by the kernels around one where only its name is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.categories import (
    ATTENTION,
    CATEGORIES,
    CODE_OF,
    EVIDENCES,
    OTHER,
    TEMPORAL_ATTENTION,
)
from tracekit.classifying.attention_parts import (
    COPY,
    ELEMENTWISE_PART,
    FUSED,
    GEMM,
    PARTS,
    SOFTMAX,
    part_of_attention,
)
from tracekit.classifying.decisions import Decisions
from tracekit.classifying.kernel_sequences import KernelSequences, kernel_sequences
from tracekit.classifying.launch_grids import axes_by_grid, calls_in_order
from tracekit.classifying.sequence_model import sequence_model
from tracekit.classifying.situation import Verdict
from tracekit.classifying.surroundings import AttentionRows
from tracekit.classifying.twins import CERTAIN
from tracekit.labels import AXES
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import ACTIVITY_KINDS, NULL, BoolArray, FloatArray, IntArray, SmallArray

_ATTENTIONS: Final = [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]]

_NEAR: Final = 128
"""Kernels within which there must be attention for others to serve it: backward it takes dozens."""

_BESIDE_FUSED: Final = 3
_BESIDE_SOFTMAX: Final = 4
"""Of 34 ms of products within 3 kernels of a fused operator, and of no softmax within 4, in 405
labelled runs, none belong to attention."""

_BETWEEN: Final = 4
_OF_SCORES: Final = 0.95
"""Of 51 ms of products around a softmax, with at most 3 pointwise kernels or copies on either
side, in 405 labelled runs 99% are attention."""

_OVERRULED: Final = 0.8
"""So they are, unless the network is sure of something else."""

_TINY: Final = float(np.finfo(np.float64).tiny)

_LEAST: Final = 0.35
"""Below this the network does not know either."""

_LEAST_UNKNOWN: Final = 0.8
"""The same for names that say nothing at all."""

_TELLING: Final = 0.7
"""From here on a name says what most such kernels serve: a GEMM a linear layer."""

_LEAST_NAMED: Final = 0.2
"""What the network must leave to the category of a telling name, where it knows no better."""

_CLEAR: Final = 0.8
"""Share of attention's probability from which on its axis is told by the kernels around."""

_CLEAR_CALL: Final = 0.7
"""The same where all kernels of a call are known to have one axis, and tell it together."""

_TEMPORAL: Final = AXES.index("temporal")


def refined_by_sequence(
    linked: Linked, decided: Decisions, attention: AttentionRows
) -> tuple[Decisions, SmallArray]:
    """Return decisions with those by name refined, and the axes that kernels tell, -1 for none.

    A name that is certain by itself stands. Else the network decides: with the name's evidence
    where both agree, with `sequence` where the kernels around say something else. Grids tell the
    axis of attention whose shapes are not known, or else the kernels around a whole call do.
    """
    if linked.basis != "gpu":
        return decided, np.full(len(linked), -1, np.int8)
    by_name = decided.are_by("name")
    is_open = ~(decided.confidence >= CERTAIN) | (decided.category == CODE_OF[ATTENTION])
    rows = np.flatnonzero(by_name & is_open)
    if len(rows):
        decided = decided.replaced(rows, _by_network(linked, decided, rows))
    return _on_axes(linked, decided, attention)


def _by_network(linked: Linked, decided: Decisions, rows: IntArray) -> Decisions:
    sequences = kernel_sequences(linked)
    wanted = sequences.place[rows]
    found = sequence_model().probabilities(sequences.features, sequences.kernels, wanted)
    named = decided.category[rows].astype(np.int64)
    parts = _parts(linked)
    is_none = _is_alone(sequences, decided, rows, found, parts)
    projects = _projects(sequences, rows, parts)
    for attention in _ATTENTIONS:
        found[is_none | projects, attention] = 0
    found[projects] /= np.maximum(found[projects].sum(axis=1, keepdims=True), _TINY)
    code, probability = _chosen(found)
    scores = _multiplies_scores(sequences, rows, parts) & (probability < _OVERRULED)
    scores &= ~np.isin(code, _ATTENTIONS)
    code = np.where(scores, CODE_OF[ATTENTION], code)
    probability = np.where(scores, _OF_SCORES, probability)
    certain = decided.confidence[rows] >= CERTAIN
    unknown = (named == CODE_OF[OTHER]) & (decided.confidence[rows] < _LEAST)
    unsure = probability < np.where(unknown, _LEAST_UNKNOWN, _LEAST)
    code = np.where(unsure, CODE_OF[OTHER], code)
    # Of attention that is certain by name only the axis is open.
    stays = certain & (code != CODE_OF[TEMPORAL_ATTENTION])
    code = np.where(stays, named, code)
    probability = np.where(stays, decided.confidence[rows], probability)
    # Among kernels that it never saw the network spreads out; a GEMM by name is still one.
    by_name = found[np.arange(len(rows)), named]
    keeps = unsure & (decided.confidence[rows] >= _TELLING) & (by_name >= _LEAST_NAMED)
    code = np.where(keeps, named, code)
    probability = np.where(keeps, by_name, probability)
    unsure &= ~(stays | keeps)
    agrees = (code == named) & ~unsure
    first, which = distinct_rows(
        (decided.reason[rows], code, agrees.astype(np.int64), unsure.astype(np.int64))
    )
    verdicts = [
        _verdict(
            decided.reasons[decided.reason[rows[at]]],
            CATEGORIES[code[at]],
            agrees=bool(agrees[at]),
            unsure=bool(unsure[at]),
        )
        for at in first.tolist()
    ]
    return replace(Decisions.of(verdicts, which), confidence=np.round(probability, 3))


def _is_alone(
    sequences: KernelSequences,
    decided: Decisions,
    rows: IntArray,
    found: FloatArray,
    parts: SmallArray,
) -> BoolArray:
    """Return which rows have no work of attention near that they could serve, nor are some.

    That is what ops or names say is attention, and products and softmaxes that the network takes
    for some: copies and sums of other layers look like those beside attention.
    """
    is_work = np.isin(decided.category, _ATTENTIONS)
    is_likely = np.isin(found.argmax(axis=1), _ATTENTIONS)
    is_work[rows[is_likely]] |= _are(parts[rows[is_likely]], FUSED, GEMM, SOFTMAX)
    return ~_near(sequences, is_work, rows, _NEAR)


def _projects(sequences: KernelSequences, rows: IntArray, parts: SmallArray) -> BoolArray:
    """Return which rows are products beside a fused operator, where no softmax is.

    They project what it takes or gives; it has its own products inside.
    """
    is_beside = _near(sequences, _are(parts, FUSED), rows, _BESIDE_FUSED)
    is_written = _near(sequences, _are(parts, SOFTMAX), rows, _BESIDE_SOFTMAX)
    return is_beside & ~is_written & _are(parts[rows], GEMM)


def _multiplies_scores(sequences: KernelSequences, rows: IntArray, parts: SmallArray) -> BoolArray:
    """Return which rows are the products right before and after a softmax.

    Only copies and pointwise kernels, a few of them, stand between.
    """
    is_product, is_softmax = _are(parts, GEMM), _are(parts, SOFTMAX)
    works = np.flatnonzero(~_are(parts, COPY, ELEMENTWISE_PART))
    place = sequences.place
    works = works[np.argsort(place[works])]
    first, middle, last = works[:-2], works[1:-1], works[2:]
    is_close = np.maximum(place[middle] - place[first], place[last] - place[middle]) <= _BETWEEN
    is_whole = is_product[first] & is_softmax[middle] & is_product[last] & is_close
    found = np.zeros(len(parts), np.bool_)
    found[first[is_whole]] = found[last[is_whole]] = True
    return np.asarray(found[rows])


def _near(sequences: KernelSequences, marked: BoolArray, rows: IntArray, reach: int) -> BoolArray:
    """Return which rows have a marked activity within so many kernels on their stream."""
    counts = np.zeros(len(sequences.kernels) + 1, np.int64)
    counts[sequences.place[marked] + 1] = 1
    before = np.cumsum(counts)
    place = sequences.place[rows]
    low, high = np.maximum(place - reach, 0), np.minimum(place + reach + 1, len(before) - 1)
    return np.asarray(before[high] > before[low])


def _parts(linked: Linked) -> SmallArray:
    """Return which part of attention each activity is by its name, or could be: one of `PARTS`."""
    activities = linked.trace.activities
    columns = (activities.name.astype(np.int64), activities.kind.astype(np.int64))
    first, which = distinct_rows(columns)
    parts = [
        PARTS.index(
            part_of_attention(
                linked.trace.text(int(activities.name[row])) or "",
                ACTIVITY_KINDS[activities.kind[row]],
            )
        )
        for row in first.tolist()
    ]
    return np.array(parts, np.int8)[which]


def _are(parts: SmallArray, *wanted: str) -> BoolArray:
    return np.isin(parts, [PARTS.index(part) for part in wanted])


def _chosen(found: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the category of each row and its probability; temporal attention must be clear."""
    temporal, attention = CODE_OF[TEMPORAL_ATTENTION], CODE_OF[ATTENTION]
    together = found[:, temporal] + found[:, attention]
    share = found[:, temporal] / np.maximum(together, _TINY)
    joined = found.copy()
    joined[:, attention], joined[:, temporal] = together, 0
    code = joined.argmax(axis=1)
    probability: FloatArray = joined.max(axis=1)
    along_time = (code == attention) & (share >= _CLEAR)
    probability = np.where(along_time, found[:, temporal], probability)
    return np.where(along_time, temporal, code), probability


def _verdict(reason: str, category: str, *, agrees: bool, unsure: bool) -> Verdict:
    if unsure:
        return Verdict(OTHER, "sequence", f"{reason}; the kernels around it do not decide", 0.0)
    if agrees:
        return Verdict(category, "name", reason, 0.0)
    return Verdict(category, "sequence", f"{reason}; it stands among kernels of {category}", 0.0)


def _on_axes(
    linked: Linked, decided: Decisions, attention: AttentionRows
) -> tuple[Decisions, SmallArray]:
    """Move attention along time to temporal attention, by its grids or the kernels around it."""
    call = attention.call
    has_shape = np.append(attention.calls.sequences != NULL, False)[call]
    open_rows = (decided.category == CODE_OF[ATTENTION]) & ~has_shape & (attention.axis < 0)
    axes = np.full(len(linked), -1, np.int8)
    if not open_rows.any():
        return decided, axes
    axes = axes_by_grid(linked, calls_in_order(linked, open_rows, call))
    rows = np.flatnonzero(axes == _TEMPORAL)
    weak = decided.are_by("name", "sequence")
    evidence = np.where(weak[rows], EVIDENCES.index("sequence"), EVIDENCES.index("shape"))
    rest = np.flatnonzero(open_rows & (axes < 0) & ~weak)
    decided = _along_time(decided, rows, "the grids of the calls", evidence)
    rest, share = _by_kernels_around(linked, rest, call)
    axes[rest] = _TEMPORAL
    evidence = np.full(len(rest), EVIDENCES.index("sequence"))
    return _along_time(decided, rest, "the kernels around it", evidence, share), axes


def _by_kernels_around(
    linked: Linked, rows: IntArray, call: IntArray
) -> tuple[IntArray, FloatArray]:
    """Return which of some rows of attention run along time, as the network has it, and how surely.

    All kernels of a call have one axis, which they tell together, each as loudly as it is long.
    """
    if not len(rows):
        return rows, np.zeros(0)
    sequences = kernel_sequences(linked)
    found = sequence_model().probabilities(
        sequences.features, sequences.kernels, sequences.place[rows]
    )
    # What is in no call stands for itself.
    _, number = np.unique(np.where(call[rows] >= 0, call[rows], -1 - rows), return_inverse=True)
    dur_ns = linked.dur_ns[rows]
    temporal = np.bincount(number, found[:, CODE_OF[TEMPORAL_ATTENTION]] * dur_ns)
    other = np.bincount(number, found[:, CODE_OF[ATTENTION]] * dur_ns)
    share = (temporal / np.maximum(temporal + other, _TINY))[number]
    clear = share >= _CLEAR_CALL
    return rows[clear], np.round(share[clear], 3)


def _along_time(
    decided: Decisions,
    rows: IntArray,
    what: str,
    evidence: IntArray,
    confidence: FloatArray | None = None,
) -> Decisions:
    """Return decisions with those of some rows moved to temporal attention."""
    if not len(rows):
        return decided
    moved = Decisions(
        category=np.full(len(rows), CODE_OF[TEMPORAL_ATTENTION], np.int8),
        evidence=evidence.astype(np.int8),
        confidence=decided.confidence[rows] if confidence is None else confidence,
        reason=decided.reason[rows],
        reasons=tuple(f"{reason}, along time, as {what} say" for reason in decided.reasons),
    )
    return decided.replaced(rows, moved)
