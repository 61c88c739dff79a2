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
from tracekit.classifying.decisions import Decisions
from tracekit.classifying.kernel_sequences import kernel_sequences
from tracekit.classifying.launch_grids import axes_by_grid
from tracekit.classifying.sequence_model import CLASSES, sequence_model
from tracekit.classifying.situation import Verdict
from tracekit.labels import AXES
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import FloatArray, IntArray, SmallArray

_CERTAIN: Final = 0.9
"""Names that say this much need no context."""

_LEAST: Final = 0.35
"""Below this the network does not know either."""

_LEAST_UNKNOWN: Final = 0.8
"""The same for names that say nothing at all."""

_TEMPORAL: Final = AXES.index("temporal")


def refined_by_sequence(linked: Linked, decided: Decisions) -> tuple[Decisions, SmallArray]:
    """Return decisions with those by name refined, and the axes that grids tell, -1 for none.

    A name that is certain by itself stands. Else the network decides: with the name's evidence
    where both agree, with `sequence` where the kernels around say something else.
    """
    axes = np.full(len(linked), -1, np.int8)
    by_name = decided.are_by("name")
    if linked.basis != "gpu" or not by_name.any():
        return decided, axes
    rows = np.flatnonzero(by_name & ~(decided.confidence >= _CERTAIN))
    if len(rows):
        decided = decided.replaced(rows, _by_network(linked, decided, rows))
    return _on_axes(linked, decided, axes)


def _by_network(linked: Linked, decided: Decisions, rows: IntArray) -> Decisions:
    sequences = kernel_sequences(linked)
    wanted = sequences.place[rows]
    found = sequence_model().probabilities(sequences.features, sequences.kernels, wanted)
    code = np.array([CODE_OF[slug] for slug in CLASSES])[found.argmax(axis=1)]
    probability: FloatArray = found.max(axis=1)
    named = decided.category[rows].astype(np.int64)
    unknown = (named == CODE_OF[OTHER]) & (decided.confidence[rows] < _LEAST)
    unsure = probability < np.where(unknown, _LEAST_UNKNOWN, _LEAST)
    code = np.where(unsure, CODE_OF[OTHER], code)
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


def _verdict(reason: str, category: str, *, agrees: bool, unsure: bool) -> Verdict:
    if unsure:
        return Verdict(OTHER, "sequence", f"{reason}; the kernels around it do not decide", 0.0)
    if agrees:
        return Verdict(category, "name", reason, 0.0)
    return Verdict(category, "sequence", f"{reason}; it stands among kernels of {category}", 0.0)


def _on_axes(linked: Linked, decided: Decisions, axes: SmallArray) -> tuple[Decisions, SmallArray]:
    """Move fused attention that runs along time, by its grids, to temporal attention."""
    weak = decided.are_by("name", "sequence")
    attention = weak & (decided.category == CODE_OF[ATTENTION])
    axes = axes_by_grid(linked, attention)
    rows = np.flatnonzero(axes == _TEMPORAL)
    if not len(rows):
        return decided, axes
    reasons = [f"{reason}, along time, as the grids of the calls say" for reason in decided.reasons]
    moved = Decisions(
        category=np.full(len(rows), CODE_OF[TEMPORAL_ATTENTION], np.int8),
        evidence=np.full(len(rows), EVIDENCES.index("sequence"), np.int8),
        confidence=decided.confidence[rows],
        reason=decided.reason[rows],
        reasons=tuple(reasons),
    )
    return decided.replaced(rows, moved), axes
