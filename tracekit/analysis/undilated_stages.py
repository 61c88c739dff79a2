"""Idle time by cause without the profiler, stage by stage: each has a dilation of its own.

Where the unprofiled run was timed by stage, the idle time of each stage is known, and of what is
outside of all. Each part is paced at the scale of the profiler's costs at which it has the idle
time that was measured.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.analysis.causes import CAUSES, launch_points
from tracekit.analysis.corrected import TOLERANCE
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.intervals import union_ns
from tracekit.analysis.pacing import Pace
from tracekit.analysis.undilated import at_most, by_cause, time_of, told, undilated
from tracekit.classifying.table import KernelTable
from tracekit.labels import parse_stage
from tracekit.linking.nesting import build_forest
from tracekit.results import Corrected, CorrectedStage
from tracekit.trace import NULL, BoolArray, IntArray
from tracekit.units import share_of

_GRID: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 16.0)
"""Scales that are tried, as multiples of the whole run's; between two of them it is a mixture."""


def with_causes(
    table: KernelTable,
    pace: Pace,
    scale: float,
    found: IdlePieces,
    measured: Corrected,
    limit: int | None,
) -> Corrected:
    """Return measured times with causes and culprits, by stage where its unprofiled time is known.

    `found` are the pieces of the trace with the lead, `scale` is that of the whole run. Stages are
    those of collectors' labels, where the host was. Without labels, or where the stages' times do
    not add up, there are no parts.
    """
    part = _stage_of(table, found)
    names = table.stages.names
    if part is None or not _add_up(measured):
        whole = undilated(table, pace, scale, found, measured.idle_ns, limit)
        return replace(measured, by_cause=whole.by_cause, blame=whole.blame)
    tried = _tried(pace, found, scale)
    time_ns = np.zeros(len(part), np.int64)
    told_stages = np.zeros(len(part), np.bool_)
    rows: list[CorrectedStage] = []
    for row in measured.stages:
        inside = (
            part == names.index(row.stage) if row.stage in names else np.zeros_like(told_stages)
        )
        time_ns[inside] = _fitted(tried, inside, row.idle_ns)
        told_stages |= inside
        rows.append(_stage(table, found, row, inside, time_ns))
    rest_ns = measured.idle_ns - sum(row.idle_ns for row in rows)
    time_ns[~told_stages] = _fitted(tried, ~told_stages, max(0, rest_ns))
    result = told(table, found, time_ns, measured.idle_ns, limit)
    return replace(measured, by_cause=result.by_cause, blame=result.blame, stages=tuple(rows))


def _add_up(measured: Corrected) -> bool:
    """Say whether stages were timed on their own: no busier than long, together in the run."""
    rows, most = measured.stages, 1 + TOLERANCE
    together = sum(row.wall_ns for row in rows) <= most * measured.wall_ns
    return bool(rows) and together and all(row.busy_ns <= most * row.wall_ns for row in rows)


def _tried(pace: Pace, found: IdlePieces, scale: float) -> list[IntArray]:
    """Return the pieces' times at each scale of the grid, the trace's own first."""
    base = scale or 1.0
    return [time_of(pace, found, factor * base) for factor in (0.0, *_GRID)]


def _fitted(tried: list[IntArray], inside: BoolArray, idle_ns: int) -> IntArray:
    """Return the times of the pieces of a part, at the scale at which they add up to its idle time.

    They add up to less where the trace itself has less, and the largest scale is made to fit.
    """
    sums = [int(times[inside].sum()) for times in tried]
    if sums[0] <= idle_ns:
        return tried[0][inside]
    for more, less, above, below in zip(tried, tried[1:], sums, sums[1:], strict=False):
        if below <= idle_ns:
            share = (above - idle_ns) / (above - below)
            mixed = np.rint((1 - share) * more[inside] + share * less[inside]).astype(np.int64)
            return at_most(mixed, idle_ns)
    return at_most(tried[-1][inside], idle_ns)


def _stage(
    table: KernelTable,
    found: IdlePieces,
    row: CorrectedStage,
    inside: BoolArray,
    time_ns: IntArray,
) -> CorrectedStage:
    if not inside.any():
        return row
    rows = np.flatnonzero(table.stages.stage == table.stages.names.index(row.stage))
    start_ns = table.start_ns[rows]
    busy_ns = union_ns(start_ns, start_ns + table.dur_ns[rows]) if len(rows) else 0
    traced_ns = busy_ns + int(found.pieces.host.dur_ns[inside].sum())
    chosen = np.flatnonzero(inside)
    return replace(
        row,
        dilation=share_of(traced_ns, row.wall_ns),
        by_cause=by_cause(found.pieces.take(chosen), time_ns[chosen], row.idle_ns),
    )


def _stage_of(table: KernelTable, found: IdlePieces) -> IntArray | None:
    """Return the stage that the host was in at each piece, -1 for none; null without labels.

    Launch latency is of the stage of the launch. On threads without labels, as that of autograd is,
    it is the stage of the activity that was waited for.
    """
    trace, names = table.linked.trace, list(table.stages.names)
    stages = [parse_stage(text) for text in trace.strings]
    number = [names.index(one[0]) if one and one[0] in names else -1 for one in stages]
    code = np.array([*number, -1], np.int64)
    spans = trace.annotations.take(np.flatnonzero(code[trace.annotations.name] >= 0))
    if not len(spans):
        return None
    gaps, pieces = found.gaps, found.pieces
    thread, time_ns = pieces.host.thread, pieces.host.start_ns.copy()
    launch_thread, launched_ns = launch_points(table, gaps)
    waited = pieces.cause == CAUSES.index("launch_latency")
    time_ns[waited] = launched_ns[pieces.host.gap[waited]]
    thread = np.where(waited, launch_thread[pieces.host.gap], thread).astype(np.int32)
    is_labelled = np.isin(thread, np.unique(spans.thread)) & (time_ns != NULL)
    row = build_forest(spans.thread, spans.start_ns, spans.end_ns).innermost_at(thread, time_ns)
    host = np.where(row >= 0, code[spans.name][row], -1)
    return np.where(is_labelled, host, table.stages.stage[gaps.after[pieces.host.gap]])
