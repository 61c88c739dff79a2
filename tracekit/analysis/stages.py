"""Time by stage and by step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from tracekit.analysis.breakdown import sums_by_code
from tracekit.analysis.intervals import union_ns
from tracekit.analysis.step_outliers import outlier_steps
from tracekit.categories import CATEGORIES
from tracekit.classifying.table import KernelTable
from tracekit.results import StageTime, StepTime
from tracekit.runrecord import Manifest
from tracekit.trace import NULL, IntArray
from tracekit.units import share_of

MARKED: Final = ("label", "annotation")
"""Sources of stages that something marks; steps that were found do not contradict a manifest."""


@dataclass(frozen=True, slots=True)
class _Extent:
    """First start, last end, busy time (summed over devices), and length of a set of rows."""

    start_ns: int
    end_ns: int
    busy_ns: int
    span_ns: int
    busy_share: float | None


def stage_times(table: KernelTable) -> tuple[StageTime, ...]:
    """Return the stages in the order in which they start on the device.

    What no stage encloses comes last, as a stage without a name. A trace without any stage gives
    an empty result.
    """
    stage = table.stages.stage
    if not (stage >= 0).any():
        return ()
    order = np.argsort(stage, kind="stable")
    codes, first = np.unique(stage[order], return_index=True)
    groups = [
        _stage(table, int(code), rows)
        for code, rows in zip(codes, np.split(order, first[1:]), strict=True)
    ]
    groups.sort(key=lambda group: (group.stage is None, group.start_ns))
    return tuple(groups)


def with_true_steps(
    stages: tuple[StageTime, ...], manifest: Manifest | None
) -> tuple[tuple[StageTime, ...], tuple[str, ...]]:
    """Return the stages with the steps of the run, as its manifest counts them, and warnings.

    `traced_steps` stays what the file holds; only where the file does not number the steps of a
    stage it is what the manifest says.
    """
    counts = {} if manifest is None else {row.stage: row for row in manifest.stages}
    counted, warnings = [], []
    for row in stages:
        count = counts.get(row.stage or "")
        if row.stage is None or count is None:
            counted.append(row)
            continue
        traced = row.traced_steps if row.per_step else count.traced_steps
        if row.source in MARKED and traced is not None and traced != count.traced_steps:
            warnings.append(
                f"run.json says that {count.traced_steps:,} steps of {row.stage} are traced; the "
                f"file holds {traced:,}"
            )
        steps = max(count.steps, traced or 0)
        counted.append(replace(row, steps=steps, traced_steps=traced))
    return tuple(counted), tuple(warnings)


def _stage(table: KernelTable, code: int, rows: IntArray) -> StageTime:
    outside = code < 0
    steps = () if outside else _steps(table, rows)
    repetitions = None if outside else max(1, len(steps))
    extent = _extent(table, rows, _occurrence(table)[rows])
    return StageTime(
        stage=None if outside else table.stages.names[code],
        source=None if outside else table.stages.sources[code],
        steps=repetitions,
        traced_steps=repetitions,
        kernels=len(rows),
        start_ns=extent.start_ns,
        end_ns=extent.end_ns,
        busy_ns=extent.busy_ns,
        time_ns=int(table.dur_ns[rows].sum()),
        categories=_by_category(table, rows),
        per_step=steps,
        span_ns=0 if outside else extent.span_ns,
        busy_share=None if outside else extent.busy_share,
        outlier_steps=outlier_steps(steps),
    )


def _steps(table: KernelTable, rows: IntArray) -> tuple[StepTime, ...]:
    rows = rows[table.stages.step[rows] != NULL]
    if not len(rows):
        return ()
    order = rows[np.argsort(table.stages.step[rows], kind="stable")]
    numbers, first = np.unique(table.stages.step[order], return_index=True)
    occurrence = _occurrence(table)
    steps = []
    for number, of_step in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        extent = _extent(table, of_step, occurrence[of_step])
        steps.append(
            StepTime(
                step=number,
                kernels=len(of_step),
                start_ns=extent.start_ns,
                end_ns=extent.end_ns,
                busy_ns=extent.busy_ns,
                time_ns=int(table.dur_ns[of_step].sum()),
                categories=_by_category(table, of_step),
                span_ns=extent.span_ns,
                busy_share=extent.busy_share,
            )
        )
    return tuple(steps)


def _occurrence(table: KernelTable) -> IntArray:
    """Return a number for each stretch of rows of one stage, rows of none left aside.

    A stage that comes again has several, and what is between them is not its time.
    """
    stage = table.stages.stage
    staged = np.flatnonzero(stage >= 0)
    number = np.zeros(len(stage), np.int64)
    number[staged] = np.cumsum(np.diff(stage[staged], prepend=stage[staged[:1]]) != 0)
    return number


def _extent(table: KernelTable, rows: IntArray, occurrence: IntArray) -> _Extent:
    start, end = table.start_ns[rows], table.start_ns[rows] + table.dur_ns[rows]
    devices, device = np.unique(table.device[rows], return_inverse=True)
    busy_ns = sum(union_ns(start[device == one], end[device == one]) for one in range(len(devices)))
    cuts = np.flatnonzero(np.diff(occurrence, prepend=occurrence[0] - 1))
    last = np.maximum.reduceat(end, cuts)
    # Work on several streams may reach into the next stage; no time is counted twice.
    first = np.maximum(start[cuts], np.append(start[0], np.maximum.accumulate(last)[:-1]))
    span_ns = int(np.maximum(last - first, 0).sum())
    share = share_of(busy_ns, span_ns * len(devices))
    share = None if share is None else min(1.0, share)
    return _Extent(int(start.min()), int(end.max()), busy_ns, span_ns, share)


def _by_category(table: KernelTable, rows: IntArray) -> dict[str, int]:
    _, time_ns = sums_by_code(table.category[rows], table.dur_ns[rows], len(CATEGORIES))
    return dict(zip(CATEGORIES, time_ns.tolist(), strict=True))
