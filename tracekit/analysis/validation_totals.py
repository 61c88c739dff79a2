"""Sums the accuracies of several runs, mode by mode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tracekit.analysis.validation import EXAMPLES, with_shares
from tracekit.categories import EVIDENCES
from tracekit.units import share_of
from tracekit.validation_results import (
    MODES,
    AttentionAccuracy,
    ConfidenceBin,
    ConfusedKernel,
    Confusion,
    EvidenceAccuracy,
    ModeAccuracy,
    ModeSummary,
    RunValidation,
)

_Part = TypeVar("_Part")
_Rated = TypeVar("_Rated", EvidenceAccuracy, ConfidenceBin)


def summaries(runs: Sequence[RunValidation]) -> tuple[ModeSummary, ...]:
    """Return for each mode that a run has: mean, worst and summed accuracy of its runs."""
    found = []
    for mode in MODES:
        parts = [(part, run.name) for run in runs for part in run.modes if part.mode == mode]
        known = [(part.accuracy, name) for part, name in parts if part.accuracy is not None]
        if not parts:
            continue
        worst = min(known, key=lambda row: row[0], default=(None, None))
        found.append(
            ModeSummary(
                mode=mode,
                runs=len(parts),
                mean_accuracy=sum(row[0] for row in known) / len(known) if known else None,
                worst_accuracy=worst[0],
                worst_run=worst[1],
                total=total([part for part, _ in parts]),
            )
        )
    return tuple(found)


def total(parts: Sequence[ModeAccuracy]) -> ModeAccuracy:
    """Return the sum of one mode's results over several runs, of which there is at least one."""
    matrix = np.sum([np.array(part.matrix, np.int64) for part in parts], axis=0)
    return with_shares(
        replace(
            parts[0],
            kernels=sum(part.kernels for part in parts),
            time_ns=sum(part.time_ns for part in parts),
            right_kernels=sum(part.right_kernels for part in parts),
            right_ns=sum(part.right_ns for part in parts),
            matrix=tuple(tuple(row) for row in matrix.tolist()),
            confusions=_confusions(row for part in parts for row in part.confusions),
            evidence=_evidence(row for part in parts for row in part.evidence),
            confidence=_bins(row for part in parts for row in part.confidence),
            attention=_attention(row for part in parts for row in part.attention),
        )
    )


def _confusions(rows: Iterable[Confusion]) -> tuple[Confusion, ...]:
    joined = [
        replace(
            group[0],
            kernels=sum(row.kernels for row in group),
            time_ns=sum(row.time_ns for row in group),
            examples=_examples(row for confusion in group for row in confusion.examples),
        )
        for group in _grouped(rows, lambda row: (row.truth, row.category))
    ]
    return tuple(sorted(joined, key=lambda row: -row.time_ns))


def _examples(rows: Iterable[ConfusedKernel]) -> tuple[ConfusedKernel, ...]:
    joined = [
        replace(
            group[0],
            kernels=sum(row.kernels for row in group),
            time_ns=sum(row.time_ns for row in group),
        )
        for group in _grouped(rows, lambda row: (row.name, row.op, row.reason))
    ]
    return tuple(sorted(joined, key=lambda row: -row.time_ns)[:EXAMPLES])


def _evidence(rows: Iterable[EvidenceAccuracy]) -> tuple[EvidenceAccuracy, ...]:
    joined = [_rated(group) for group in _grouped(rows, lambda row: row.evidence)]
    return tuple(sorted(joined, key=lambda row: EVIDENCES.index(row.evidence)))


def _bins(rows: Iterable[ConfidenceBin]) -> tuple[ConfidenceBin, ...]:
    joined = [_rated(group) for group in _grouped(rows, lambda row: row.low)]
    return tuple(sorted(joined, key=lambda row: row.low))


def _rated(group: Sequence[_Rated]) -> _Rated:
    time_ns, right_ns = sum(row.time_ns for row in group), sum(row.right_ns for row in group)
    known = [row for row in group if row.confidence is not None]
    weight = sum(row.time_ns for row in known)
    sure = sum((row.confidence or 0.0) * row.time_ns for row in known)
    return replace(
        group[0],
        kernels=sum(row.kernels for row in group),
        time_ns=time_ns,
        right_ns=right_ns,
        accuracy=share_of(right_ns, time_ns),
        confidence=sure / weight if weight else None,
    )


def _attention(rows: Iterable[AttentionAccuracy]) -> tuple[AttentionAccuracy, ...]:
    joined = []
    for group in _grouped(rows, lambda row: row.question):
        time_ns, right_ns = sum(row.time_ns for row in group), sum(row.right_ns for row in group)
        joined.append(
            replace(
                group[0],
                kernels=sum(row.kernels for row in group),
                time_ns=time_ns,
                right_ns=right_ns,
                unknown_ns=sum(row.unknown_ns for row in group),
                accuracy=share_of(right_ns, time_ns),
            )
        )
    return tuple(joined)


def _grouped(rows: Iterable[_Part], key: Callable[[_Part], Hashable]) -> list[list[_Part]]:
    groups: dict[Hashable, list[_Part]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return list(groups.values())
