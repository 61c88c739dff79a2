"""Holds the verdicts of the classifier against the truth: accuracies, confusions, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.analysis.truth import Truth
from tracekit.categories import (
    ATTENTION,
    CATEGORIES,
    CODE_OF,
    EVIDENCES,
    OTHER,
    TEMPORAL_ATTENTION,
)
from tracekit.classifying.table import KernelTable
from tracekit.labels import AXES, KINDS
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import AnyArray, BoolArray, FloatArray, IntArray
from tracekit.units import share_of
from tracekit.validation_results import (
    AttentionAccuracy,
    ConfidenceBin,
    ConfusedKernel,
    Confusion,
    EvidenceAccuracy,
    Mode,
    ModeAccuracy,
    Question,
)

BINS: Final = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Bounds of the bins of confidence; the last one includes 1."""

EXAMPLES: Final = 10
"""Kernels that are shown of a confusion."""

_COUNT: Final = len(CATEGORIES)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The decidable rows of a table, with their truth and verdict."""

    table: KernelTable
    truth: Truth
    labelled: Linked
    rows: IntArray
    true: IntArray
    given: IntArray
    dur_ns: IntArray

    @property
    def is_right(self) -> BoolArray:
        return np.asarray(self.true == self.given)


def judge(table: KernelTable, truth: Truth, labelled: Linked, mode: Mode) -> ModeAccuracy:
    """Return how the verdicts of a table fare; its rows are those that `truth` speaks of.

    `labelled` is the trace with its labels, for the places of examples.
    """
    rows = np.flatnonzero(truth.is_decidable)
    judged = _Judged(
        table=table,
        truth=truth,
        labelled=labelled,
        rows=rows,
        true=truth.category[rows].astype(np.int64),
        given=table.category[rows].astype(np.int64),
        dur_ns=table.dur_ns[rows],
    )
    return with_shares(
        ModeAccuracy(
            mode=mode,
            kernels=len(rows),
            time_ns=int(judged.dur_ns.sum()),
            right_kernels=int(np.count_nonzero(judged.is_right)),
            right_ns=int(judged.dur_ns[judged.is_right].sum()),
            accuracy=None,
            accuracy_by_count=None,
            other_ns=0,
            other_share=None,
            matrix=_matrix(judged),
            confusions=_confusions(judged),
            evidence=_by_evidence(judged),
            confidence=_by_confidence(judged),
            attention=_attention(judged),
        )
    )


def with_shares(result: ModeAccuracy) -> ModeAccuracy:
    """Return the result with everything that follows from its sums filled in."""
    other = CODE_OF[OTHER]
    other_ns = sum(row[other] for code, row in enumerate(result.matrix) if code != other)
    return replace(
        result,
        accuracy=share_of(result.right_ns, result.time_ns),
        accuracy_by_count=share_of(result.right_kernels, result.kernels),
        other_ns=other_ns,
        other_share=share_of(other_ns, result.time_ns),
        confusions=tuple(
            replace(row, time_share=share_of(row.time_ns, result.time_ns))
            for row in result.confusions
        ),
    )


def _matrix(judged: _Judged) -> tuple[tuple[int, ...], ...]:
    sums = np.zeros((_COUNT, _COUNT), np.int64)
    np.add.at(sums, (judged.true, judged.given), judged.dur_ns)
    return tuple(tuple(row) for row in sums.tolist())


def _confusions(judged: _Judged) -> tuple[Confusion, ...]:
    wrong = np.flatnonzero(~judged.is_right)
    pair = judged.true[wrong] * _COUNT + judged.given[wrong]
    found = []
    for code in np.unique(pair).tolist():
        at = wrong[pair == code]
        found.append(
            Confusion(
                truth=CATEGORIES[code // _COUNT],
                category=CATEGORIES[code % _COUNT],
                kernels=len(at),
                time_ns=int(judged.dur_ns[at].sum()),
                time_share=None,
                examples=_examples(judged, at),
            )
        )
    return tuple(sorted(found, key=_by_time))


def _examples(judged: _Judged, at: IntArray) -> tuple[ConfusedKernel, ...]:
    """Return the kernels with the same name, place and reason, summed, the longest first."""
    table, labelled = judged.table, judged.labelled
    rows = judged.rows[at]
    op = _op_names(labelled)
    columns = (table.linked.name.astype(np.int64)[rows], op[rows], table.reason[rows])
    first, group = distinct_rows(columns)
    time_ns = np.zeros(len(first), np.int64)
    np.add.at(time_ns, group, judged.dur_ns[at])
    kernels = np.bincount(group, minlength=len(first))
    longest = np.lexsort((np.arange(len(first)), -time_ns))[:EXAMPLES]
    return tuple(
        ConfusedKernel(
            name=table.name_at(int(rows[first[which]])),
            op=labelled.trace.text(int(op[rows[first[which]]])),
            module=_module_at(labelled, int(rows[first[which]])),
            label=_label_at(judged.truth, int(rows[first[which]])),
            reason=table.reasons[int(table.reason[rows[first[which]]])],
            kernels=int(kernels[which]),
            time_ns=int(time_ns[which]),
        )
        for which in longest.tolist()
    )


def _op_names(linked: Linked) -> IntArray:
    name = linked.trace.ops.name
    if not len(name):
        return np.full(len(linked), -1, np.int64)
    return np.where(linked.op >= 0, name[linked.op], -1).astype(np.int64)


def _module_at(linked: Linked, row: int) -> str | None:
    path = int(linked.labels.path[row])
    return None if path < 0 else linked.labels.paths[path]


def _label_at(truth: Truth, row: int) -> str | None:
    label = int(truth.label[row])
    return None if label < 0 else truth.labels[label]


def _by_evidence(judged: _Judged) -> tuple[EvidenceAccuracy, ...]:
    evidence = judged.table.evidence[judged.rows]
    confidence = judged.table.confidence[judged.rows]
    found = []
    for code, name in enumerate(EVIDENCES):
        at = np.flatnonzero(evidence == code)
        if len(at):
            time_ns, right_ns = int(judged.dur_ns[at].sum()), _right_ns(judged, at)
            mean = _mean_confidence(confidence[at], judged.dur_ns[at])
            found.append(
                EvidenceAccuracy(
                    name, len(at), time_ns, right_ns, share_of(right_ns, time_ns), mean
                )
            )
    return tuple(found)


def _by_confidence(judged: _Judged) -> tuple[ConfidenceBin, ...]:
    confidence = judged.table.confidence[judged.rows]
    bins = np.clip(np.digitize(confidence, BINS[1:-1]), 0, len(BINS) - 2)
    bins[np.isnan(confidence)] = -1
    found = []
    for index in range(len(BINS) - 1):
        at = np.flatnonzero(bins == index)
        if len(at):
            time_ns, right_ns = int(judged.dur_ns[at].sum()), _right_ns(judged, at)
            mean = _mean_confidence(confidence[at], judged.dur_ns[at])
            found.append(
                ConfidenceBin(
                    low=BINS[index],
                    high=BINS[index + 1],
                    kernels=len(at),
                    time_ns=time_ns,
                    right_ns=right_ns,
                    accuracy=share_of(right_ns, time_ns),
                    confidence=mean,
                )
            )
    return tuple(found)


def _mean_confidence(confidence: FloatArray, dur_ns: IntArray) -> float | None:
    known = ~np.isnan(confidence)
    weight = int(dur_ns[known].sum())
    return None if not weight else float((confidence[known] * dur_ns[known]).sum() / weight)


def _attention(judged: _Judged) -> tuple[AttentionAccuracy, ...]:
    table, truth, rows = judged.table, judged.truth, judged.rows
    temporal = CODE_OF[TEMPORAL_ATTENTION]
    taken = np.isin(judged.given, (temporal, CODE_OF[ATTENTION]))
    both = truth.is_attention[rows] & taken
    is_split_right = (judged.true == temporal) == (judged.given == temporal)
    found = [_answered(judged, "temporal", both, is_split_right, np.zeros(len(rows), np.bool_))]
    questions: tuple[tuple[Question, AnyArray, AnyArray], ...] = (
        ("axis", truth.axis, _common(table.axes, table.axis, AXES)),
        ("kind", truth.kind, _common(table.kinds, table.kind, KINDS)),
        ("causal", truth.causal, table.causal),
    )
    for question, true, given in questions:
        asked = true[rows] >= 0
        is_right = np.asarray(true[rows] == given[rows])
        found.append(_answered(judged, question, asked, is_right, given[rows] < 0))
    return tuple(row for row in found if row.kernels)


def _common(values: Sequence[str], codes: IntArray, known: Sequence[str]) -> IntArray:
    """Return codes as positions in `known`."""
    position = [known.index(value) if value in known else -1 for value in values]
    return np.array([*position, -1], np.int64)[codes]


def _answered(
    judged: _Judged,
    question: Question,
    asked: BoolArray,
    is_right: BoolArray,
    is_unknown: BoolArray,
) -> AttentionAccuracy:
    time_ns = int(judged.dur_ns[asked].sum())
    right_ns = int(judged.dur_ns[asked & is_right].sum())
    return AttentionAccuracy(
        question=question,
        kernels=int(np.count_nonzero(asked)),
        time_ns=time_ns,
        right_ns=right_ns,
        unknown_ns=int(judged.dur_ns[asked & is_unknown].sum()),
        accuracy=share_of(right_ns, time_ns),
    )


def _right_ns(judged: _Judged, at: IntArray) -> int:
    return int(judged.dur_ns[at][judged.is_right[at]].sum())


def _by_time(row: Confusion | ConfusedKernel) -> int:
    return -row.time_ns
