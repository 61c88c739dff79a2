"""Puts the analyses of one trace, and of several, together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracekit.analysis.advice import advice
from tracekit.analysis.attention import LISTED_CALLS, attention_times
from tracekit.analysis.attention_cache import attention_cache
from tracekit.analysis.breakdown import (
    category_times,
    device_times,
    evidence_times,
    top_kernels,
    total_time,
)
from tracekit.analysis.call_table import CallTable, call_table
from tracekit.analysis.corrected import Correction, RunBeside, measured_times
from tracekit.analysis.device_peaks import peaks_of, with_override
from tracekit.analysis.estimated import estimated_scale, estimated_times
from tracekit.analysis.fused_attention import FusedCalls, fused_calls
from tracekit.analysis.idle import LISTED_GAPS, IdlePieces, idle_pieces, idle_time
from tracekit.analysis.overlap import overlaps
from tracekit.analysis.pacing import pace_of_one_device
from tracekit.analysis.profiler_costs import COSTS
from tracekit.analysis.roofline import roofline
from tracekit.analysis.stages import stage_times, with_true_steps
from tracekit.analysis.undilated import scale_for
from tracekit.analysis.undilated_stages import with_causes
from tracekit.analysis.what_if import what_if
from tracekit.classifying.table import KernelTable
from tracekit.counters import CountedLaunch
from tracekit.linking.replays import replay_of
from tracekit.results import (
    Analysis,
    AnalysisSet,
    Basis,
    CategoryTime,
    Corrected,
    IdleResult,
    LeftOut,
    Overall,
    TimeTotals,
    TraceInfo,
    UnreadableInput,
    WhatIf,
)
from tracekit.units import share_of

_TOP_KERNELS = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """What an analysis is made from and a report draws as well."""

    idle: IdlePieces
    calls: CallTable


def analyze_table(
    table: KernelTable,
    *,
    beside: RunBeside | None = None,
    list_all: bool = False,
    peaks: Mapping[str, float] | None = None,
    counted: Sequence[CountedLaunch] | None = None,
) -> tuple[Analysis, Parts]:
    """Return everything that is known of one classified trace, and what it was made from.

    `beside` is what its run folder holds beside it, null outside of one; `list_all` lists every
    gap and attention call instead of the largest; `peaks` stand for those of the device (as
    `parse_peaks` has them); `counted` are launches with hardware counters, null without any.
    """
    limit = None if list_all else LISTED_GAPS
    devices, stages = device_times(table), stage_times(table)
    correction = Correction(None, (), ())
    warnings: tuple[str, ...] = ()
    if beside is not None:
        correction = measured_times(table, stages, beside)
        stages, warnings = with_true_steps(stages, beside.record.manifest)
    trace = _trace_info(table, None if beside is None else beside.pass_name)
    calls = call_table(table)
    roof = roofline(table, trace.device_name, peaks or {})
    known = with_override(peaks_of(trace.device_name), peaks or {})
    fused = fused_calls(table.dur_ns, calls, known)
    found, idle, corrected, bounds = _idle(
        table, correction.corrected, beside is None, limit, fused
    )
    attention = attention_times(table, calls, None if list_all else LISTED_CALLS, roof)
    if counted is not None and trace.basis == "gpu":
        attention = replace(attention, cache=attention_cache(table, counted))
    analysis = Analysis(
        trace=replace(trace, warnings=(*trace.warnings, *correction.warnings, *warnings)),
        time=total_time(devices),
        devices=devices,
        corrected=corrected,
        categories=category_times(table),
        evidence=evidence_times(table),
        top_kernels=top_kernels(table, _TOP_KERNELS),
        stages=stages,
        attention=attention,
        idle=idle,
        roofline=roof,
        overlap=overlaps(table),
        what_if=bounds,
        advice=advice(bounds, idle, corrected, _replayed_share(table)),
        left_out=(*_left_out(table), *correction.left_out),
    )
    return analysis, Parts(found, calls)


def _replayed_share(table: KernelTable) -> float:
    """Return the share of the kernels' time that is of replayed graphs."""
    replayed_ns = int(table.dur_ns[replay_of(table.linked) >= 0].sum())
    return share_of(replayed_ns, int(table.dur_ns.sum())) or 0.0


def _idle(
    table: KernelTable,
    measured: Corrected | None,
    is_alone: bool,
    limit: int | None,
    fused: FusedCalls | None,
) -> tuple[IdlePieces, IdleResult, Corrected | None, tuple[WhatIf, ...]]:
    """Return idle time piece by piece, its sums as it is and without the profiler, and bounds.

    Bounds say what removing a cause would give. Only the work of a single device is paced anew.
    What nothing was measured of is estimated if the trace is alone, not where a run folder lacks
    its times.
    """
    pace = pace_of_one_device(table, COSTS)
    if pace is None:
        found = idle_pieces(table)
        return found, idle_time(table, found, limit), measured, ()
    found = idle_pieces(table, int(pace.host.time_ns[0]))
    scale, corrected = 0.0, measured
    if measured is not None:
        scale = scale_for(pace, measured.wall_ns)
        corrected = with_causes(table, pace, scale, found, measured, limit)
    elif is_alone and (estimated := estimated_scale(table)) is not None:
        scale = estimated
        corrected = estimated_times(table, pace, scale, found, limit)
    bounds = what_if(table, pace, scale, fused)
    return found, idle_time(table, found, limit), corrected, bounds


def alone_or_combined(
    analyses: Sequence[Analysis], unreadable: Sequence[UnreadableInput]
) -> Analysis | AnalysisSet:
    """Return the analysis of the only input, or those of several with their sums."""
    is_alone = len(analyses) + len(unreadable) == 1
    return analyses[0] if is_alone else combine(analyses, unreadable)


def combine(analyses: Iterable[Analysis], unreadable: Iterable[UnreadableInput]) -> AnalysisSet:
    """Return several analyses with the sums of their times and categories."""
    runs = tuple(analyses)
    total_ns = sum(run.time.kernel_ns for run in runs)
    categories = tuple(
        CategoryTime(
            category=rows[0].category,
            kernels=sum(row.kernels for row in rows),
            time_ns=sum(row.time_ns for row in rows),
            time_share=share_of(sum(row.time_ns for row in rows), total_ns),
        )
        for rows in zip(*(run.categories for run in runs), strict=True)
    )
    time = TimeTotals(
        span_ns=sum(run.time.span_ns for run in runs),
        busy_ns=sum(run.time.busy_ns for run in runs),
        idle_ns=sum(run.time.idle_ns for run in runs),
        kernel_ns=total_ns,
    )
    return AnalysisSet(runs, Overall(time, categories, tuple(unreadable)))


def _trace_info(table: KernelTable, pass_name: str | None) -> TraceInfo:
    trace, metadata = table.linked.trace, table.linked.trace.metadata
    basis: Basis = "gpu" if table.linked.basis == "gpu" else "cpu"
    return TraceInfo(
        path=trace.path,
        pass_=pass_name,
        rank=trace.rank,
        world_size=_world_size(metadata),
        device_name=device_name(table),
        torch=_text(metadata.get("torch_version") or metadata.get("pytorch_version")),
        basis=basis,
        events=trace.events,
        gpu_events=len(trace.activities),
        truncated=trace.truncated,
        warnings=(*trace.warnings, *table.linked.warnings),
    )


def device_name(table: KernelTable) -> str | None:
    """Return the name of the device that ran the kernels (the first one, of several)."""
    properties = table.linked.trace.metadata.get("deviceProperties")
    if not isinstance(properties, list) or table.linked.basis == "cpu" or not len(table):
        return None
    used = set(table.device.tolist())
    for device in properties:
        identity = device.get("id") if isinstance(device, dict) else None
        if isinstance(identity, int) and identity in used:
            return _text(device.get("name"))
    return None


def _left_out(table: KernelTable) -> tuple[LeftOut, ...]:
    linked = table.linked
    left_out = [
        LeftOut(count.what, count.events, count.time_ns, count.why)
        for count in linked.trace.left_out
    ]
    if linked.unused_ops:
        left_out.append(
            LeftOut(
                what="own time of ops that mostly call other ops",
                events=0,
                time_ns=linked.unused_op_ns,
                why=f"{linked.unused_ops:,} ops only dispatch; the ops that they call are counted",
            )
        )
    return tuple(left_out)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _world_size(metadata: dict[str, Any]) -> int | None:
    info = metadata.get("distributedInfo")
    size = info.get("world_size") if isinstance(info, dict) else None
    is_count = isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**31
    return size if is_count else None
