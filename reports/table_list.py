"""The list of tables: name, what a row is, its record, and where the rows are in an analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from tracekit import attention_results as attention
from tracekit import results, roofline_results
from tracekit.results import Analysis


@dataclass(frozen=True, slots=True)
class TimeOf:
    """Time in ns of one category, cause or the like."""

    name: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class RatioOf:
    """The ratio of one part."""

    part: str
    ratio: float


@dataclass(frozen=True, slots=True)
class PeakOf:
    """The peak FLOP/s of one type."""

    dtype: str
    flops_per_s: float


@dataclass(frozen=True, slots=True)
class Point:
    """One length of a profile, and where in it that is."""

    position: int
    length: int


@dataclass(frozen=True, slots=True)
class Warned:
    """One sentence about what to know before trusting the rest."""

    warning: str


@dataclass(frozen=True, slots=True)
class TableSpec:
    """One table: its rows are keys, then a `record` whose fields are the other columns."""

    name: str
    about: str
    record: type
    rows: Callable[[Analysis], Iterable[tuple[Any, ...]]]
    keys: tuple[tuple[str, type], ...] = ()
    renamed: dict[str, str] = field(default_factory=dict)


_STAGE: Final = (("stage", str),)
_AXIS: Final = (("axis", str),)


def _each(records: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    return ((record,) for record in records)


def _maybe(record: Any | None) -> Iterable[tuple[Any, ...]]:
    return () if record is None else ((record,),)


def _times(times: dict[str, int]) -> Iterable[TimeOf]:
    return (TimeOf(name, time_ns) for name, time_ns in times.items())


def _inside(run: Analysis) -> attention.AttentionInside:
    return run.attention.inside


def _levels(run: Analysis) -> Iterable[tuple[Any, ...]]:
    ratio = run.attention.length_ratio
    return _each(() if ratio is None else ratio.by_stage)


def _cached(run: Analysis) -> tuple[attention.AxisCache, ...]:
    return () if run.attention.cache is None else run.attention.cache.by_axis


def _corrected(run: Analysis, part: str) -> Iterable[Any]:
    return () if run.corrected is None else getattr(run.corrected, part) or ()


def _roofline(run: Analysis, part: str) -> Iterable[Any]:
    return () if run.roofline is None else getattr(run.roofline, part)


def _peaks(run: Analysis) -> Iterable[tuple[Any, ...]]:
    rates = {} if run.roofline is None else run.roofline.peaks.flops_per_s
    return _each(PeakOf(*item) for item in rates.items())


_RUN: Final = (
    TableSpec("runs", "input: what was traced", results.TraceInfo, lambda r: [(r.trace,)],
              renamed={"pass_": "pass"}),
    TableSpec("warnings", "sentence to know before trusting the rest", Warned,
              lambda r: _each(map(Warned, r.trace.warnings))),
    TableSpec("time", "input: span, busy, idle and kernel time", results.TimeTotals,
              lambda r: [(r.time,)]),
    TableSpec("devices", "device", results.DeviceTime, lambda r: _each(r.devices)),
    TableSpec("categories", "category", results.CategoryTime, lambda r: _each(r.categories)),
    TableSpec("evidence", "kind of evidence", results.EvidenceTime, lambda r: _each(r.evidence)),
    TableSpec("top_kernels", "kernel name and category", results.KernelTime,
              lambda r: _each(r.top_kernels)),
    TableSpec("stages", "stage", results.StageTime, lambda r: _each(r.stages)),
    TableSpec("stage_categories", "stage and category", TimeOf,
              lambda r: ((s.stage, t) for s in r.stages for t in _times(s.categories)), _STAGE,
              {"name": "category"}),
    TableSpec("steps", "stage and step", results.StepTime,
              lambda r: ((s.stage, step) for s in r.stages for step in s.per_step), _STAGE),
    TableSpec("step_categories", "stage, step and category", TimeOf,
              lambda r: ((s.stage, p.step, t) for s in r.stages for p in s.per_step
                         for t in _times(p.categories)),
              (*_STAGE, ("step", int)), {"name": "category"}),
    TableSpec("outlier_steps", "step that stands out", results.OutlierStep,
              lambda r: ((s.stage, step) for s in r.stages for step in s.outlier_steps), _STAGE),
)  # fmt: skip

_ATTENTION: Final = (
    TableSpec("attention_calls", "attention call", attention.AttentionCall,
              lambda r: _each(r.attention.calls)),
    TableSpec("attention_by_axis", "axis", attention.AttentionShare,
              lambda r: _each(r.attention.by_axis), renamed={"key": "axis"}),
    TableSpec("attention_by_kind", "kind", attention.AttentionShare,
              lambda r: _each(r.attention.by_kind), renamed={"key": "kind"}),
    TableSpec("sequence_lengths", "query length, key length, kind and axis",
              attention.SequenceLength, lambda r: _each(r.attention.sequence_lengths)),
    TableSpec("length_ratio", "input with self-attention: its stage of most attention time",
              attention.LengthRatio, lambda r: _maybe(r.attention.length_ratio)),
    TableSpec("length_levels", "stage and axis", attention.LengthLevels, _levels),
    TableSpec("length_profiles", "stage and axis", attention.LengthProfile,
              lambda r: _each(r.attention.profile)),
    TableSpec("length_points", "stage, axis and place in the profile", Point,
              lambda r: ((p.stage, p.axis, Point(*point)) for p in r.attention.profile
                         for point in enumerate(p.lengths)), (*_STAGE, *_AXIS)),
    TableSpec("attention_inside", "axis", attention.AxisInside,
              lambda r: _each(_inside(r).by_axis)),
    TableSpec("attention_parts", "axis and part", attention.PartTime,
              lambda r: ((a.axis, part) for a in _inside(r).by_axis for part in a.parts), _AXIS),
    TableSpec("temporal_to_spatial", "kind of attention (null: all)", attention.AxisRatio,
              lambda r: _each(_inside(r).temporal_to_spatial)),
    TableSpec("temporal_to_spatial_parts", "kind of attention and part", RatioOf,
              lambda r: ((a.kind, RatioOf(*item)) for a in _inside(r).temporal_to_spatial
                         for item in a.parts.items()), (("kind", str),)),
    TableSpec("likeness", "stage", attention.StageLikeness, lambda r: _each(r.attention.likeness)),
    TableSpec("attention_cache", "input with hardware counters", attention.AttentionCache,
              lambda r: _maybe(r.attention.cache)),
    TableSpec("attention_cache_by_axis", "axis", attention.AxisCache, lambda r: _each(_cached(r))),
    TableSpec("attention_cache_parts", "axis and part", attention.PartCache,
              lambda r: ((a.axis, part) for a in _cached(r) for part in a.parts), _AXIS),
)  # fmt: skip

_IDLE: Final = (
    TableSpec("idle_by_cause", "cause of idle time", results.CauseTime,
              lambda r: _each(r.idle.by_cause)),
    TableSpec("idle_blame", "cause, stage and place on the host", results.Blame,
              lambda r: _each(r.idle.blame)),
    TableSpec("gaps", "gap", results.Gap, lambda r: _each(r.idle.gaps)),
    TableSpec("gap_causes", "gap and cause", TimeOf,
              lambda r: ((g.device, g.start_ns, t) for g in r.idle.gaps for t in _times(g.causes)),
              (("device", int), ("start_ns", int)), {"name": "cause"}),
    TableSpec("corrected", "input of which the time without the profiler is known",
              results.Corrected, lambda r: _maybe(r.corrected)),
    TableSpec("corrected_by_cause", "cause of idle time without the profiler", results.CauseTime,
              lambda r: _each(_corrected(r, "by_cause"))),
    TableSpec("corrected_blame", "cause, stage and place, without the profiler", results.Blame,
              lambda r: _each(_corrected(r, "blame"))),
    TableSpec("corrected_stages", "stage without the profiler", results.CorrectedStage,
              lambda r: _each(_corrected(r, "stages"))),
    TableSpec("corrected_stage_causes", "stage and cause, without the profiler", results.CauseTime,
              lambda r: ((s.stage, c) for s in _corrected(r, "stages") for c in s.by_cause or ()),
              _STAGE),
    TableSpec("overlap", "device", results.Overlap, lambda r: _each(r.overlap)),
    TableSpec("overlap_work", "device and kind of work", results.WorkTime,
              lambda r: ((o.device, work) for o in r.overlap for work in o.work),
              (("device", int),)),
)  # fmt: skip

_ROOFLINE: Final = (
    TableSpec("roofline", "input: all of it", roofline_results.RooflineRow,
              lambda r: ((r.roofline.device, r.roofline.total),) if r.roofline else (),
              # The total has no key of its own: the device stands in its place.
              (("device_name", str),), {"key": "device_name"}),
    TableSpec("roofline_by_category", "category", roofline_results.RooflineRow,
              lambda r: _each(_roofline(r, "by_category")), renamed={"key": "category"}),
    TableSpec("roofline_by_stage", "stage", roofline_results.RooflineRow,
              lambda r: _each(_roofline(r, "by_stage")), renamed={"key": "stage"}),
    TableSpec("roofline_above", "reason to be above the roof", roofline_results.AboveRoof,
              lambda r: _each(_roofline(r, "above_roof"))),
    TableSpec("peaks", "input: memory of its device", roofline_results.DevicePeaks,
              lambda r: _maybe(None if r.roofline is None else r.roofline.peaks)),
    TableSpec("peak_flops", "type", PeakOf, _peaks),
)  # fmt: skip

_ENDS: Final = (
    TableSpec("what_if", "bound and what it is of", results.WhatIf, lambda r: _each(r.what_if)),
    TableSpec("advice", "thing to do", results.Advice, lambda r: _each(r.advice)),
    TableSpec("left_out", "kind of event that is in no table", results.LeftOut,
              lambda r: _each(r.left_out)),
)  # fmt: skip

TABLES: Final = tuple(chain(_RUN, _ATTENTION, _IDLE, _ROOFLINE, _ENDS))
"""All tables of one analysis; `about` completes "a row a …"."""
