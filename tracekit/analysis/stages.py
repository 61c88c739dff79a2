"""Time by stage and by step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracekit.analysis.breakdown import sums_by_code
from tracekit.analysis.intervals import union_ns
from tracekit.categories import CATEGORIES
from tracekit.classifying.table import KernelTable
from tracekit.results import StageTime, StepTime
from tracekit.runrecord import Manifest
from tracekit.trace import NULL, IntArray


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
        if traced is not None and traced != count.traced_steps:
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
    start_ns, end_ns, busy_ns = _extent(table, rows)
    return StageTime(
        stage=None if outside else table.stages.names[code],
        source=None if outside else table.stages.sources[code],
        steps=repetitions,
        traced_steps=repetitions,
        kernels=len(rows),
        start_ns=start_ns,
        end_ns=end_ns,
        busy_ns=busy_ns,
        time_ns=int(table.dur_ns[rows].sum()),
        categories=_by_category(table, rows),
        per_step=steps,
    )


def _steps(table: KernelTable, rows: IntArray) -> tuple[StepTime, ...]:
    rows = rows[table.stages.step[rows] != NULL]
    if not len(rows):
        return ()
    order = rows[np.argsort(table.stages.step[rows], kind="stable")]
    numbers, first = np.unique(table.stages.step[order], return_index=True)
    steps = []
    for number, of_step in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        start_ns, end_ns, busy_ns = _extent(table, of_step)
        steps.append(
            StepTime(
                step=number,
                kernels=len(of_step),
                start_ns=start_ns,
                end_ns=end_ns,
                busy_ns=busy_ns,
                time_ns=int(table.dur_ns[of_step].sum()),
                categories=_by_category(table, of_step),
            )
        )
    return tuple(steps)


def _extent(table: KernelTable, rows: IntArray) -> tuple[int, int, int]:
    """Return first start, last end and busy time; busy time sums over devices."""
    start, end = table.start_ns[rows], table.start_ns[rows] + table.dur_ns[rows]
    device = table.device[rows]
    busy_ns = sum(
        union_ns(start[device == one], end[device == one]) for one in np.unique(device).tolist()
    )
    return int(start.min()), int(end.max()), busy_ns


def _by_category(table: KernelTable, rows: IntArray) -> dict[str, int]:
    _, time_ns = sums_by_code(table.category[rows], table.dur_ns[rows], len(CATEGORIES))
    return dict(zip(CATEGORIES, time_ns.tolist(), strict=True))
