"""When each device has nothing to do, why, and what the host was doing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.analysis.blame import Places, blame_for, places_of
from tracekit.analysis.causes import CAUSES, Gaps, Pieces, cut_by_cause, find_gaps, sums
from tracekit.classifying.table import KernelTable
from tracekit.results import CauseTime, Gap, IdleResult
from tracekit.trace import NULL, IntArray
from tracekit.units import share_of

LISTED_GAPS = 1000
"""How many gaps, and how many culprits, a result holds unless all are asked for."""


@dataclass(frozen=True, slots=True)
class IdlePieces:
    """The gaps of a trace, cut into pieces, and where on the host each was spent.

    With a lead (`has_lead`) the last gap is the time before the first activity. It is part of a
    run's wall time, and not of the device's span.
    """

    gaps: Gaps
    pieces: Pieces
    places: Places
    has_lead: bool

    def without_lead(self) -> IdlePieces:
        """Return what lies between the first and the last activity."""
        if not self.has_lead:
            return self
        inside = np.flatnonzero(self.pieces.host.gap < len(self.gaps) - 1)
        return IdlePieces(
            self.gaps.take(slice(-1)), self.pieces.take(inside), self.places.take(inside), False
        )


def idle_pieces(table: KernelTable, begin_ns: int | None = None) -> IdlePieces:
    """Return the idle time of a trace piece by piece, with a lead from `begin_ns` unless null."""
    gaps = find_gaps(table)
    if begin_ns is not None:
        start_ns = int(table.start_ns[0])
        gaps = gaps.followed_by(min(begin_ns, start_ns), start_ns, row=0)
    pieces = cut_by_cause(table, gaps)
    return IdlePieces(gaps, pieces, places_of(table, gaps, pieces), begin_ns is not None)


def idle_time(table: KernelTable, found: IdlePieces, limit: int | None = LISTED_GAPS) -> IdleResult:
    """Return idle time by cause and culprit, and the gaps of every device, largest first.

    `limit` is how many gaps and culprits are listed, null for all; causes count all gaps.
    """
    inside = found.without_lead()
    gaps, pieces, places = inside.gaps, inside.pieces, inside.places
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
