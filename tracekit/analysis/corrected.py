"""What the run would have been without the profiler: measured, from a run folder's passes.

The wall time is that of the unprofiled pass, kernel durations are those of the light pass, and what
they mean comes from the rich pass. Wall time of all steps and kernels of some are never combined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.alignment import matching_rows
from tracekit.analysis.intervals import union_ns
from tracekit.analysis.stages import MARKED
from tracekit.classifying.table import KernelTable
from tracekit.results import Corrected, CorrectedStage, LeftOut, StageTime
from tracekit.runrecord import Manifest, RunRecord, Timing
from tracekit.trace import NULL, BoolArray, IntArray, Trace
from tracekit.units import format_ns, format_share, share_of

TOLERANCE: Final = 0.03
"""Share by which passes of the same work differ anyway."""
_LIGHT: Final = "light"
_EAGER: Final = "eager"


@dataclass(frozen=True, slots=True)
class RunBeside:
    """What a run folder holds beside the analyzed trace: records, and the light pass if any.

    `pass_name` is the pass that is analyzed; `warnings` tell why the light pass is missing.
    """

    pass_name: str | None
    record: RunRecord
    light: Trace | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Correction:
    """The corrected times, null if they cannot be known, with what was left out and why."""

    corrected: Corrected | None
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Work:
    """GPU activities whose durations count, with the stage of each (-1 outside of any)."""

    pass_name: str
    start_ns: IntArray
    end_ns: IntArray
    device: IntArray
    stage: IntArray

    @property
    def devices(self) -> int:
        return len(np.unique(self.device))

    def busy_ns(self, stage: int | None = None) -> int:
        """Return the time in which a device is busy, of all or of one stage; of several the mean.

        It may be compared with wall time, which all devices share.
        """
        chosen = np.ones(len(self.stage), np.bool_) if stage is None else self.stage == stage
        busy_ns = 0
        for device in np.unique(self.device[chosen]).tolist():
            rows = np.flatnonzero(chosen & (self.device == device))
            busy_ns += union_ns(self.start_ns[rows], self.end_ns[rows])
        return busy_ns // self.devices


def measured_times(
    table: KernelTable, stages: tuple[StageTime, ...], beside: RunBeside
) -> Correction:
    """Return wall, busy and idle time of the unprofiled run.

    `stages` are those of the table, with the steps that the file holds. Without GPU activity or
    timing, or where other steps were timed than traced, there is no result but a warning.
    """
    timings, warnings = beside.record.timings, [*beside.record.warnings, *beside.warnings]
    if not timings or table.linked.basis == "cpu" or not len(table):
        return Correction(None, (), tuple(warnings))
    reasons = [_why_not(timing, stages, beside) for timing in timings]
    fitting = [timing for timing, why in zip(timings, reasons, strict=True) if why is None]
    reason = None if fitting else reasons[0]
    if fitting:
        work, left_out = _work(table, beside, warnings)
        if work.pass_name == _LIGHT or not table.linked.trace.truncated:
            corrected = _corrected(table, fitting[0], work, beside, warnings)
            return Correction(corrected, left_out, tuple(warnings))
        reason = "the trace is cut off, and there is no light pass"
    warnings.append(f"Idle time is not corrected for the profiler: {reason}")
    return Correction(None, (), tuple(warnings))


def _why_not(timing: Timing, stages: tuple[StageTime, ...], beside: RunBeside) -> str | None:
    """Return why the timed work is not known to be the traced work, null if it is."""
    if (beside.pass_name == _EAGER) != (timing.work == _EAGER):
        return f"the {beside.pass_name} pass did not do the work that was timed"
    traced = {row.stage: row.traced_steps for row in stages if row.source in MARKED}
    timed = {wall.stage: wall.steps for wall in timing.stages}
    for stage, steps in timed.items():
        if traced.get(stage, steps) != steps:
            return f"{steps:,} steps of {stage} were timed, {traced[stage]:,} are in the trace"
    if timing.work in ("traced", _EAGER) or (traced and traced.keys() <= timed.keys()):
        return None
    return _why_steps_differ(beside.record.manifest)


def _why_steps_differ(manifest: Manifest | None) -> str | None:
    if manifest is None:
        return "it is not known whether as many steps were timed as are in the trace"
    for row in manifest.stages:
        if row.traced_steps < row.steps:
            return (
                f"only {row.traced_steps:,} of the {row.steps:,} steps of {row.stage} that were "
                "timed are in the trace"
            )
    return None


def _work(
    table: KernelTable, beside: RunBeside, warnings: list[str]
) -> tuple[_Work, tuple[LeftOut, ...]]:
    """Return the activities of the light pass with their stages, else those of the table."""
    light, name = beside.light, beside.pass_name or "analyzed"
    why_not = None if light is None else _why_not_light(light, beside)
    if why_not is not None:
        warnings.append(f"{why_not}: kernel durations are those of the {name} pass")
    if light is None or why_not is not None:
        start_ns, end_ns = table.start_ns, table.start_ns + table.dur_ns
        return _Work(name, start_ns, end_ns, table.device, table.stages.stage), ()
    activities = light.activities
    partner = matching_rows(table.linked.trace, light)
    found = partner >= 0
    stage = np.full(len(activities), -1, np.int64)
    stage[partner[found]] = table.stages.stage[found]
    is_matched = np.zeros(len(activities), np.bool_)
    is_matched[partner[found]] = True
    work = _Work(_LIGHT, activities.start_ns, activities.end_ns, activities.device, stage)
    left_out = (
        *_unmatched(name, "the tables count them, `corrected` does not", table.dur_ns, found),
        *_unmatched(_LIGHT, "they count as busy, in no stage", activities.dur_ns, is_matched),
    )
    total_ns = int(table.dur_ns.sum()) + int(activities.dur_ns.sum())
    share = share_of(sum(row.time_ns or 0 for row in left_out), total_ns) or 0.0
    if share > TOLERANCE:
        warnings.append(
            f"{format_share(share)} of the kernel time of the {name} and the light pass has no "
            "partner in the other pass: they may not have done the same work"
        )
    return work, left_out


def _why_not_light(light: Trace, beside: RunBeside) -> str | None:
    """Return why the light pass cannot give kernel durations, null if it can."""
    if light.truncated:
        return "The light pass is cut off"
    if not len(light.activities):
        return "The light pass holds no GPU activity"
    manifest = beside.record.manifest
    steps = {} if manifest is None else manifest.pass_steps
    own, others = steps.get(_LIGHT), steps.get(beside.pass_name or "")
    if own is not None and others is not None and own != others:
        return f"The light pass holds other steps than the {beside.pass_name} pass"
    return None


def _unmatched(
    name: str, consequence: str, dur_ns: IntArray, is_matched: BoolArray
) -> tuple[LeftOut, ...]:
    count = int(np.count_nonzero(~is_matched))
    if not count:
        return ()
    why = (
        f"{count:,} of {len(dur_ns):,} have none of the same device, stream, order and name in the "
        f"other pass; {consequence}"
    )
    what = f"GPU activities of the {name} pass without a partner"
    return (LeftOut(what, 0, int(dur_ns[~is_matched].sum()), why),)


def _corrected(
    table: KernelTable, timing: Timing, work: _Work, beside: RunBeside, warnings: list[str]
) -> Corrected:
    wall_ns, busy_ns = timing.wall_ns, work.busy_ns()
    if busy_ns > wall_ns:
        warnings.append(
            f"The GPU is busy for {format_ns(busy_ns)} in the {work.pass_name} pass, longer than "
            f"the unprofiled wall time of {format_ns(wall_ns)}: no idle time is left"
        )
    idle_ns = max(0, wall_ns - busy_ns)
    mean = f", the mean of {work.devices} devices" if work.devices > 1 else ""
    repeats = f"{timing.repeats:,} unprofiled repeats" if timing.repeats else "unprofiled repeats"
    return Corrected(
        source="measured",
        wall_ns=wall_ns,
        low_ns=timing.low_ns,
        high_ns=timing.high_ns,
        busy_ns=busy_ns,
        idle_ns=idle_ns,
        idle_share=share_of(idle_ns, wall_ns),
        dilation=share_of(_traced_wall_ns(table, beside), wall_ns),
        by_cause=None,
        method=(
            f"Wall time is the median of {repeats}; busy time is the union of GPU activity in the "
            f"{work.pass_name} pass{mean}; idle time is the difference."
        ),
        stages=_by_stage(table, timing, work, warnings),
    )


def _by_stage(
    table: KernelTable, timing: Timing, work: _Work, warnings: list[str]
) -> tuple[CorrectedStage, ...]:
    names = table.stages.names
    if not any(timed.stage in names for timed in timing.stages):
        return ()
    rows = []
    for timed in timing.stages:
        known = timed.stage in names
        busy_ns = work.busy_ns(names.index(timed.stage)) if known else 0
        idle_ns = max(0, timed.wall_ns - busy_ns)
        rows.append(CorrectedStage(timed.stage, timed.wall_ns, busy_ns, idle_ns))
    over = [row.stage for row in rows if row.busy_ns > (1 + TOLERANCE) * row.wall_ns]
    if over:
        warnings.append(
            f"The GPU is busy for longer than the unprofiled time of {', '.join(over)}: "
            "the host ran ahead, and their idle time is not known"
        )
    return tuple(rows)


def _traced_wall_ns(table: KernelTable, beside: RunBeside) -> int:
    """Return the wall time of the analyzed pass: as recorded, else from launch to last end."""
    manifest = beside.record.manifest
    if manifest is not None and beside.pass_name in manifest.pass_wall_ns:
        return manifest.pass_wall_ns[beside.pass_name]
    launched = table.linked.time_ns[table.linked.time_ns != NULL]
    first_ns = int(np.append(launched, table.start_ns).min())
    return int((table.start_ns + table.dur_ns).max()) - first_ns
