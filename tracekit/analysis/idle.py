"""When each device has nothing to do."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.intervals import gaps_between
from tracekit.classifying.table import KernelTable
from tracekit.results import Gap, IdleResult
from tracekit.trace import NULL

LISTED_GAPS = 1000
"""How many gaps a result holds unless all are asked for."""


def idle_gaps(table: KernelTable, limit: int | None = LISTED_GAPS) -> IdleResult:
    """Return the gaps of every device, largest first; causes are not computed.

    `limit` is how many gaps are listed, null for all; the total is told in any case.
    """
    end_ns = table.start_ns + table.dur_ns
    starts, lengths, rows_after, rows_before = [], [], [], []
    for device in np.unique(table.device).tolist():
        rows = np.flatnonzero(table.device == device)
        start, length, after = gaps_between(table.start_ns[rows], end_ns[rows])
        by_end = rows[np.argsort(end_ns[rows], kind="stable")]
        before = by_end[np.searchsorted(end_ns[by_end], start, side="right") - 1]
        starts.append(start)
        lengths.append(length)
        rows_after.append(rows[after])
        rows_before.append(before)
    if not starts:
        return IdleResult(None, (), (), 0, 0)
    start, length = np.concatenate(starts), np.concatenate(lengths)
    after, before = np.concatenate(rows_after), np.concatenate(rows_before)
    largest = np.lexsort((start, -length))[:limit]
    gaps = tuple(
        Gap(
            device=None if table.device[after[at]] == NULL else int(table.device[after[at]]),
            start_ns=int(start[at]),
            time_ns=int(length[at]),
            stage=table.stage_at(int(after[at])),
            before=table.name_at(int(before[at])),
            after=table.name_at(int(after[at])),
        )
        for at in largest.tolist()
    )
    return IdleResult(None, (), gaps, gaps_total=len(start), gaps_listed=len(gaps))
