"""What was decided for each activity: columns that later passes refine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracekit.categories import CODE_OF, EVIDENCES
from tracekit.classifying.situation import Verdict
from tracekit.trace import BoolArray, FloatArray, IntArray, SmallArray


@dataclass(frozen=True, slots=True)
class Decisions:
    """Category, evidence, confidence and reason of each activity, as in the kernel table."""

    category: SmallArray
    evidence: SmallArray
    confidence: FloatArray
    reason: IntArray
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], which: IntArray) -> Decisions:
        """Return the decisions of activities, `which` of these verdicts each."""
        reasons = tuple(dict.fromkeys(verdict.reason for verdict in verdicts))
        code = {reason: at for at, reason in enumerate(reasons)}
        confidence = [np.nan if v.confidence is None else v.confidence for v in verdicts]
        return cls(
            category=np.array([CODE_OF[v.category] for v in verdicts], np.int8)[which],
            evidence=np.array([EVIDENCES.index(v.evidence) for v in verdicts], np.int8)[which],
            confidence=np.array(confidence, np.float64)[which],
            reason=np.array([code[v.reason] for v in verdicts], np.int64)[which],
            reasons=reasons,
        )

    def are_by(self, *evidences: str) -> BoolArray:
        """Return which activities these kinds of evidence decided."""
        return np.isin(self.evidence, [EVIDENCES.index(evidence) for evidence in evidences])

    def replaced(self, rows: IntArray, other: Decisions) -> Decisions:
        """Return these decisions with those of `rows` taken from `other`, which has no more."""
        merged = tuple(dict.fromkeys((*self.reasons, *other.reasons)))
        place = {reason: at for at, reason in enumerate(merged)}
        category, evidence = self.category.copy(), self.evidence.copy()
        confidence = self.confidence.copy()
        category[rows], evidence[rows] = other.category, other.evidence
        confidence[rows] = other.confidence
        reason = self.reason.copy()
        reason[rows] = np.array([place[text] for text in other.reasons], np.int64)[other.reason]
        return Decisions(category, evidence, confidence, reason, merged)
