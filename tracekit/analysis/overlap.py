"""What of a device's work overlaps: computing, copying, communicating."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.analysis.intervals import union_ns
from tracekit.categories import CATEGORIES, COMMUNICATION
from tracekit.classifying.table import KernelTable
from tracekit.results import Overlap, WorkTime
from tracekit.trace import ACTIVITY_KINDS, NULL, BoolArray, IntArray

KINDS: Final = ("compute", "copy", "communication")
"""Kinds of work, in the order in which results list them."""
_COMPUTE, _COPY, _COMMUNICATION = range(len(KINDS))


def overlaps(table: KernelTable) -> tuple[Overlap, ...]:
    """Return for each device how long it did each kind of work, and how long nothing else.

    Copies are memcpy and memset activities, communication is its category (peer copies too), the
    rest computes. Nothing without GPU activity.
    """
    if table.linked.basis == "cpu":
        return ()
    kind = _kinds(table)
    return tuple(
        _of_device(table, int(device), np.flatnonzero(table.device == device), kind)
        for device in np.unique(table.device).tolist()
    )


def _kinds(table: KernelTable) -> IntArray:
    is_copy = table.linked.trace.activities.kind != ACTIVITY_KINDS.index("kernel")
    kind = np.where(is_copy, _COPY, _COMPUTE)
    kind[table.category == CATEGORIES.index(COMMUNICATION)] = _COMMUNICATION
    return kind


def _of_device(table: KernelTable, device: int, rows: IntArray, kind: IntArray) -> Overlap:
    start, end = table.start_ns[rows], table.start_ns[rows] + table.dur_ns[rows]
    of_row = kind[rows]

    def covered(chosen: BoolArray) -> int:
        return union_ns(start[chosen], end[chosen])

    busy_ns = covered(np.ones(len(rows), np.bool_))
    work = tuple(
        WorkTime(
            kind=name,
            busy_ns=covered(of_row == code),
            exposed_ns=busy_ns - covered(of_row != code),
        )
        for code, name in enumerate(KINDS)
    )
    several_ns = int(table.dur_ns[rows].sum()) - busy_ns
    return Overlap(None if device == NULL else device, busy_ns, several_ns, work)
