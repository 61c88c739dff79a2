"""Every row of a trace in the order of a drawn timeline, with its gaps and attention calls."""

from __future__ import annotations

from typing import Final

import numpy as np

from tracekit.analysis.call_table import CallTable
from tracekit.analysis.causes import CAUSES, sums
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.kernel_sums import Kinds
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.report_results import Band, Lane, Place, Timeline, TimelineCalls, TimelineGaps
from tracekit.trace import NULL, IntArray

_STRAY_ROWS: Final = 8
"""Rows of another step within a step that do not cut it in two: work on several streams overlaps
where steps meet."""


def timeline(
    table: KernelTable, kinds: Kinds, idle: IdlePieces, calls: CallTable
) -> Timeline | None:
    """Return the timeline of a table with its idle time and calls, null where it has no row."""
    if not len(table):
        return None
    order, lanes = _lanes(table)
    places, place = _places(table)
    bands, band = _bands(table)
    end_ns = table.start_ns + table.dur_ns
    origin_ns = int(table.start_ns.min())
    return Timeline(
        origin_ns=origin_ns,
        span_ns=int(end_ns.max()) - origin_ns,
        lanes=lanes,
        start_ns=table.start_ns[order],
        dur_ns=table.dur_ns[order],
        kind=kinds.of_row[order],
        place=place[order],
        band=band[order],
        kinds=kinds.kinds,
        places=places,
        bands=bands,
        gaps=_gaps(table, idle.without_lead(), order),
        attention=_calls(table, calls),
    )


def _lanes(table: KernelTable) -> tuple[IntArray, tuple[Lane, ...]]:
    """Return the rows lane by lane, and the lanes."""
    is_cpu = table.linked.basis == "cpu"
    device = np.zeros(len(table), np.int64) if is_cpu else table.device
    stream = table.linked.thread.astype(np.int64) if is_cpu else table.stream
    order = np.lexsort((np.arange(len(table)), table.start_ns, stream, device))
    key = np.stack((device[order], stream[order]))
    first = np.flatnonzero(np.append(True, (key[:, 1:] != key[:, :-1]).any(axis=0)))
    ends = np.append(first[1:], len(table))
    lanes = []
    for at, end in zip(first.tolist(), ends.tolist(), strict=True):
        row = int(order[at])
        if is_cpu:
            pid, tid = table.linked.trace.threads[int(stream[row])]
            lanes.append(Lane(f"Process {pid} · thread {tid}", None, None, at, end - at))
            continue
        number, lane = _or_none(int(device[row])), _or_none(int(stream[row]))
        label = f"GPU {'?' if number is None else number} · stream {'?' if lane is None else lane}"
        lanes.append(Lane(label, number, lane, at, end - at))
    return order, tuple(lanes)


def _places(table: KernelTable) -> tuple[tuple[Place, ...], IntArray]:
    """Return the places that work comes from, by their first row, and that of each row."""
    first, group = distinct_rows([table.module, table.op])
    order = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[order] = np.arange(len(first))
    module, op = table.module[first[order]].tolist(), table.op[first[order]].tolist()
    places = tuple(
        Place(
            None if a < 0 else table.module_paths[a],
            None if b < 0 else table.op_names[b],
        )
        for a, b in zip(module, op, strict=True)
    )
    return places, rank[group]


def _bands(table: KernelTable) -> tuple[tuple[Band, ...], IntArray]:
    """Return when each step of each stage ran, in order, and the band of each row.

    A step that comes again, in a repeated run, has a band each time.
    """
    stages = table.stages
    staged = np.flatnonzero(stages.stage >= 0)
    of_row = np.full(len(table), -1, np.int64)
    if not len(staged):
        return (), of_row
    number = np.where(stages.step == NULL, -1, stages.step)
    _, step = distinct_rows([stages.stage[staged].astype(np.int64), number[staged]])
    # Rows of one step stand together here, in start order; a band ends where rows of others come
    # between them.
    order = np.lexsort((np.arange(len(staged)), step))
    is_new = np.append(True, (np.diff(step[order]) != 0) | (np.diff(order) > _STRAY_ROWS + 1))
    band = np.cumsum(is_new) - 1
    rows = staged[order]
    first = np.flatnonzero(is_new)
    start = np.minimum.reduceat(table.start_ns[rows], first)
    end = np.maximum.reduceat(table.start_ns[rows] + table.dur_ns[rows], first)
    by_start = np.lexsort((rows[first], start))
    place = np.empty(len(first), np.int64)
    place[by_start] = np.arange(len(first))
    of_row[rows] = place[band]
    bands = []
    for at in by_start.tolist():
        row = int(rows[first[at]])
        stage = int(stages.stage[row])
        bands.append(
            Band(
                stage=stages.names[stage],
                step=_or_none(int(stages.step[row])),
                start_ns=int(start[at]),
                end_ns=int(end[at]),
                source=stages.sources[stage],
            )
        )
    return tuple(bands), of_row


def _gaps(table: KernelTable, idle: IdlePieces, order: IntArray) -> TimelineGaps:
    """Return the gaps of all devices, where `order` has the rows of the table lane by lane."""
    gaps = idle.gaps
    cause = sums(idle.pieces, len(gaps)).argmax(axis=1)
    place = np.empty(len(table), np.int64)
    place[order] = np.arange(len(table))
    by_start = np.argsort(gaps.start_ns, kind="stable")
    device = table.device[gaps.after[by_start]]
    return TimelineGaps(
        device=np.where(device == NULL, -1, device),
        before=place[gaps.before[by_start]],
        after=place[gaps.after[by_start]],
        cause=cause[by_start].astype(np.int64),
        causes=CAUSES,
    )


def _calls(table: KernelTable, calls: CallTable) -> TimelineCalls:
    end_ns = calls.start_ns.copy()
    inside = np.flatnonzero(calls.of_row >= 0)
    ends = table.start_ns[inside] + table.dur_ns[inside]
    np.maximum.at(end_ns, calls.of_row[inside], ends)
    query, key = (
        column[calls.call] if len(calls) else np.empty(0, np.int64)
        for column in (calls.calls.query_length, calls.calls.key_length)
    )
    return TimelineCalls(
        start_ns=calls.start_ns,
        dur_ns=end_ns - calls.start_ns,
        time_ns=calls.time_ns,
        query_length=np.maximum(query, 0),
        key_length=np.maximum(key, 0),
        axis=table.axis[calls.main],
        kind=table.kind[calls.main],
        axes=table.axes,
        kinds=table.kinds,
    )


def _or_none(value: int) -> int | None:
    return None if value == NULL else value
