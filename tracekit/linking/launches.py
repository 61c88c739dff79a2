"""Which runtime or driver call issued each GPU activity."""

from __future__ import annotations

import numpy as np

from tracekit.linking.lookup import last_at_or_before
from tracekit.trace import NULL, Activities, Calls, IntArray


def launches_of(activities: Activities, calls: Calls) -> tuple[IntArray, list[str]]:
    """Return the row of each activity's launch (-1: none in the file), and warnings.

    Activities and launches share a correlation number; a graph launch shares it with all of its
    nodes. Where several calls hold the same number (merged files, wrapped counters), an activity
    belongs to the last of them that started before it, or else to the first.
    """
    launch = np.full(len(activities), -1, np.int64)
    rows = np.flatnonzero(calls.correlation != NULL)
    if not len(rows) or not len(activities):
        return launch, []
    rows = rows[np.lexsort((calls.start_ns[rows], calls.correlation[rows]))]
    numbers, starts = calls.correlation[rows], calls.start_ns[rows]
    first = np.searchsorted(numbers, activities.correlation, side="left")
    found = (activities.correlation != NULL) & (first < len(rows))
    found[found] = numbers[first[found]] == activities.correlation[found]
    launch[found] = rows[first[found]]
    shared = numbers[1:][numbers[1:] == numbers[:-1]]
    if not len(shared):
        return launch, []
    ambiguous = np.flatnonzero(found & np.isin(activities.correlation, shared))
    if not len(ambiguous):
        return launch, []
    before = last_at_or_before(
        numbers, starts, activities.correlation[ambiguous], activities.start_ns[ambiguous]
    )
    launch[ambiguous] = rows[np.where(before >= 0, before, first[ambiguous])]
    return launch, [
        f"{len(ambiguous):,} GPU activities have a correlation number that several calls share; "
        "each was linked to the last such call before it"
    ]
