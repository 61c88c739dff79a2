"""Runs the classification passes over a linked trace."""

from __future__ import annotations

import numpy as np

from tracekit.categories import CODE_OF, EVIDENCES, TEMPORAL_ATTENTION
from tracekit.classifying.passes import decide
from tracekit.classifying.situation import distinct_situations
from tracekit.classifying.table import KernelTable
from tracekit.classifying.written_attention import in_written_attention
from tracekit.linking.link import Linked
from tracekit.linking.stages import assign_stages


def classify(linked: Linked) -> KernelTable:
    """Return the kernel table: each activity with its category, evidence, reason and stage.

    Activities in the same situation (name, ops, module, phase) are decided once.
    """
    situations, situation_of = distinct_situations(linked, in_written_attention(linked))
    verdicts = [decide(situation) for situation in situations]
    reasons = list(dict.fromkeys(verdict.reason for verdict in verdicts))
    reason_code = {reason: code for code, reason in enumerate(reasons)}
    category = np.array([CODE_OF[v.category] for v in verdicts], np.int8)
    confidence = [np.nan if v.confidence is None else v.confidence for v in verdicts]
    is_temporal = np.array([v.category == TEMPORAL_ATTENTION for v in verdicts], np.bool_)
    return KernelTable(
        linked=linked,
        stages=assign_stages(linked),
        category=category[situation_of],
        evidence=np.array([EVIDENCES.index(v.evidence) for v in verdicts], np.int8)[situation_of],
        confidence=np.array(confidence, np.float64)[situation_of],
        reason=np.array([reason_code[v.reason] for v in verdicts], np.int64)[situation_of],
        reasons=tuple(reasons),
        axis=np.where(is_temporal, 0, -1).astype(np.int8)[situation_of],
        axes=("temporal",),
    )
