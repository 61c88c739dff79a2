"""Runs the classification passes over a linked trace."""

from __future__ import annotations

import numpy as np

from tracekit.categories import CODE_OF, EVIDENCES, TEMPORAL_ATTENTION
from tracekit.classifying.passes import TEMPORAL, decide
from tracekit.classifying.situation import distinct_situations, label_codes
from tracekit.classifying.table import KernelTable
from tracekit.classifying.written_attention import in_written_attention
from tracekit.linking.link import Linked
from tracekit.linking.stages import assign_stages
from tracekit.trace import IntArray, SmallArray


def classify(linked: Linked) -> KernelTable:
    """Return the kernel table: each activity with its category, evidence, reason and stage.

    Activities in the same situation (name, ops, module, phase) are decided once.
    """
    situations, situation_of = distinct_situations(linked, in_written_attention(linked))
    verdicts = [decide(situation) for situation in situations]
    reasons = list(dict.fromkeys(verdict.reason for verdict in verdicts))
    reason_code = {reason: code for code, reason in enumerate(reasons)}
    category = np.array([CODE_OF[v.category] for v in verdicts], np.int8)[situation_of]
    confidence = [np.nan if v.confidence is None else v.confidence for v in verdicts]
    kinds, kind = label_codes(linked, "kind")
    axes, axis = _axes(linked, category)
    return KernelTable(
        linked=linked,
        stages=assign_stages(linked),
        category=category,
        evidence=np.array([EVIDENCES.index(v.evidence) for v in verdicts], np.int8)[situation_of],
        confidence=np.array(confidence, np.float64)[situation_of],
        reason=np.array([reason_code[v.reason] for v in verdicts], np.int64)[situation_of],
        reasons=tuple(reasons),
        axis=axis,
        axes=axes,
        kind=kind,
        kinds=kinds,
    )


def _axes(linked: Linked, category: SmallArray) -> tuple[tuple[str, ...], IntArray]:
    """Return the axes, and each row's: what its label says, else what its category implies."""
    labelled, axis = label_codes(linked, "axis")
    axes = labelled if TEMPORAL in labelled else (*labelled, TEMPORAL)
    is_temporal = (axis < 0) & (category == CODE_OF[TEMPORAL_ATTENTION])
    return axes, np.where(is_temporal, axes.index(TEMPORAL), axis)
