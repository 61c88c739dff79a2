"""When each device has nothing to do, why, and what the host was doing."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.blame import blame_for, places_of
from tracekit.analysis.causes import CAUSES, Gaps, cut_by_cause, find_gaps, sums
from tracekit.classifying.table import KernelTable
from tracekit.results import CauseTime, Gap, IdleResult
from tracekit.trace import NULL, IntArray
from tracekit.units import share_of

LISTED_GAPS = 1000
"""How many gaps, and how many culprits, a result holds unless all are asked for."""


def idle_time(table: KernelTable, limit: int | None = LISTED_GAPS) -> IdleResult:
    """Return idle time by cause and culprit, and the gaps of every device, largest first.

    `limit` is how many gaps and culprits are listed, null for all; causes count all gaps.
    """
    gaps = find_gaps(table)
    pieces = cut_by_cause(table, gaps)
    places = places_of(table, gaps, pieces)
    by_gap = sums(pieces, len(gaps))
    return IdleResult(
        by_cause=_by_cause(by_gap),
        blame=blame_for(table, pieces, places, limit),
        gaps=_listed(table, gaps, by_gap, limit),
        gaps_total=len(gaps),
        gaps_listed=len(gaps) if limit is None else min(limit, len(gaps)),
    )


def _by_cause(by_gap: IntArray) -> tuple[CauseTime, ...]:
    total = by_gap.sum(axis=0)
    whole = int(total.sum())
    count = np.count_nonzero(by_gap, axis=0)
    return tuple(
        CauseTime(cause, int(total[at]), share_of(int(total[at]), whole), int(count[at]))
        for at, cause in enumerate(CAUSES)
    )


def _listed(table: KernelTable, gaps: Gaps, by_gap: IntArray, limit: int | None) -> tuple[Gap, ...]:
    largest = np.lexsort((gaps.start_ns, -gaps.dur_ns))[:limit]
    device, before, after = table.device, gaps.before, gaps.after
    cause = by_gap.argmax(axis=1) if len(gaps) else np.empty(0, np.int64)
    return tuple(
        Gap(
            device=None if device[after[at]] == NULL else int(device[after[at]]),
            start_ns=int(gaps.start_ns[at]),
            time_ns=int(gaps.dur_ns[at]),
            stage=table.stage_at(int(after[at])),
            before=table.name_at(int(before[at])),
            after=table.name_at(int(after[at])),
            cause=CAUSES[cause[at]],
            causes={CAUSES[one]: int(by_gap[at, one]) for one in np.flatnonzero(by_gap[at])},
        )
        for at in largest.tolist()
    )
