"""The gaps of a device as a track: each piece of one cause is a slice."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.causes import CAUSES
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.track_columns import in_lanes
from tracekit.classifying.table import KernelTable
from tracekit.trace import IntArray
from tracekit.track_results import IDLE, Column, Numbers, SliceTrack, Texts


def idle_track(table: KernelTable, found: IdlePieces, rows: IntArray) -> list[SliceTrack]:
    """Return what idle time there is of one device, whose rows of the table are given.

    Pieces of a gap that follow each other and have one cause are one slice; it says what the
    launching thread was in for the longest of them.
    """
    on_device = np.isin(found.gaps.after, rows)
    order = np.lexsort((found.pieces.host.start_ns, found.pieces.host.gap))
    order = order[on_device[found.pieces.host.gap[order]]]
    if not len(order):
        return []
    found = IdlePieces(found.gaps, found.pieces.take(order), found.places.take(order), False)
    host, cause = found.pieces.host, found.pieces.cause.astype(np.int64)
    begins = np.append(True, (np.diff(host.gap) != 0) | (np.diff(cause) != 0))
    first = np.flatnonzero(begins)
    longest = _longest(host.dur_ns, np.cumsum(begins) - 1)
    end_ns = host.end_ns[np.append(first[1:], len(order)) - 1]
    return in_lanes(
        "Idle",
        IDLE,
        host.start_ns[first],
        end_ns,
        np.arange(len(first)),
        lambda at: (Texts(cause[first[at]], CAUSES), _details(table, found, longest[at])),
    )


def _longest(dur_ns: IntArray, group: IntArray) -> IntArray:
    """Return the row of the longest piece of each group."""
    chosen = np.empty(int(group[-1]) + 1, np.int64)
    by_length = np.argsort(dur_ns, kind="stable")
    chosen[group[by_length]] = by_length
    return chosen


def _details(table: KernelTable, found: IdlePieces, at: IntArray) -> dict[str, Column]:
    trace, gaps, places = table.linked.trace, found.gaps, found.places
    gap = found.pieces.host.gap[at]
    return {
        "gap_ns": Numbers(gaps.dur_ns[gap]),
        "before": Texts(table.linked.name[gaps.before[gap]], trace.strings),
        "after": Texts(table.linked.name[gaps.after[gap]], trace.strings),
        "stage": Texts(places.stage[at], table.stages.names),
        "op": Texts(places.op[at], trace.strings),
        "module": Texts(places.module[at], places.modules),
        "annotation": Texts(places.annotation[at], trace.strings),
        "python": Texts(places.python[at], trace.strings),
    }
