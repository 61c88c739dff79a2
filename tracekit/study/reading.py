"""Reads the runs of a study, and scales what was sampled to the whole work."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import TraceFormatError
from tracekit.runfolder import TIMING
from tracekit.spread_results import Ratio, Spread
from tracekit.study.folder import DONE, StudyFolder
from tracekit.study.kept import KeptRun, read_kept
from tracekit.study_results import Sampling

if TYPE_CHECKING:
    from tracekit.results import Analysis

NS_IN_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """Kernels of one stage, category and axis of attention, summed as they were recorded."""

    stage: str | None
    category: str
    axis: str | None
    time_ns: int
    flops: int


@dataclass(frozen=True)
class MeasuredCase:
    """A case that was recorded: what the manifest says of it, its timing and what was kept."""

    entry: Mapping[str, Any]
    timing: Mapping[str, Any]
    kept: KeptRun

    @property
    def analysis(self) -> Analysis:
        """What was found in the traces."""
        return self.kept.analysis

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The kernel table, summed."""
        table = self.kept.kernels().select(
            ["stage", "category", "attention_axis", "dur_ns", "flops"]
        )
        keys = ["stage", "category", "attention_axis"]
        sums = table.group_by(keys).aggregate([("dur_ns", "sum"), ("flops", "sum")])
        return tuple(
            Row(one["stage"], one["category"], one["attention_axis"], time, one["flops_sum"] or 0)
            for one in sums.to_pylist()
            if (time := one["dur_ns_sum"]) is not None
        )

    @cached_property
    def sampled(self) -> tuple[Sampling, ...]:
        """Steps of each stage."""
        return tuple(
            Sampling(stage, steps["timed"] or 0, steps["recorded"] or 0, steps["whole"] or 0)
            for stage, steps in self.entry["sampled"].items()
        )

    def scale(self, stage: str | None, *, timed: bool = False) -> float:
        """Return how many times the steps that were recorded (or timed) make the whole."""
        for one in self.sampled:
            if one.stage == stage:
                count = one.timed if timed else one.recorded
                return one.whole / count if count else 1.0
        return 1.0

    def times(self, rows: Iterable[Row] | None = None) -> dict[str, int]:
        """Return the time by category in the whole work, in ns."""
        found: dict[str, float] = {}
        for row in self.rows if rows is None else rows:
            found[row.category] = found.get(row.category, 0) + row.time_ns * self.scale(row.stage)
        return {name: round(time) for name, time in found.items()}

    def by_axis(self, stage: str | None = None) -> dict[str, tuple[int, int]]:
        """Return time in ns and FLOPs of attention by axis, of one stage where it is named."""
        found: dict[str, list[float]] = {}
        for row in self.rows:
            if row.category not in ATTENTION or stage not in (None, row.stage):
                continue
            axis = "temporal" if row.category == "temporal_attention" else row.axis or "unknown"
            sums = found.setdefault(axis, [0.0, 0.0])
            sums[0] += row.time_ns * self.scale(row.stage)
            sums[1] += row.flops * self.scale(row.stage)
        return {axis: (round(time), round(flops)) for axis, (time, flops) in found.items()}

    def wall_ns(self) -> Spread | None:
        """Return the unprofiled time of the whole work."""
        return spread([self._scaled_wall(repeat) for repeat in self.timing.get("repeats") or ()])

    def stage_ns(self, stage: str) -> Spread | None:
        """Return the unprofiled time of one stage of the whole work."""
        found = []
        for repeat in self.timing.get("repeats") or ():
            times = [_time(one) for one in repeat["stages"] if one["stage"] == stage]
            if times:
                found.append(sum(times) * self.scale(stage, timed=True) * NS_IN_MS)
        return spread(found)

    def _scaled_wall(self, repeat: Mapping[str, Any]) -> float:
        """Return the time of a repeat in ns; what is in no stage is there once."""
        wall, extra = float(repeat["wall_ms"]), 0.0
        for one in repeat["stages"]:
            extra += _time(one) * (self.scale(one["stage"], timed=True) - 1)
        return (wall + extra) * NS_IN_MS


ATTENTION: Final = ("attention", "temporal_attention")


def read_cases(study: StudyFolder) -> tuple[MeasuredCase, ...]:
    """Return the cases of a study that were recorded, in their order.

    Raises
    ------
    InputError
        One of them is missing from the folder, or broken.
    """
    return tuple(
        MeasuredCase(entry, _timing(study, entry), read_kept(study.path / entry["folder"]))
        for entry in study.cases.values()
        if entry["status"] == DONE and not entry.get("is_graphed")
    )


def _timing(study: StudyFolder, entry: Mapping[str, Any]) -> Mapping[str, Any]:
    path = study.path / entry["folder"] / TIMING
    try:
        body: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TraceFormatError(f"{path}: cannot be read; record the case again") from error
    return body


def _time(entry: Mapping[str, Any]) -> float:
    """Return the time of a stage's step in ms: between GPU events where there are some."""
    gpu = entry.get("gpu_ms")
    return float(entry["wall_ms"] if gpu is None else gpu)


def spread(values: Iterable[float]) -> Spread | None:
    """Return the median of values and their range, null without any."""
    known = list(values)
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))


def ratio_of(over: Spread, under: Spread) -> Ratio:
    """Return the ratio of two medians, and whether it is a difference.

    It is one where the ranges do not touch; what ran once has no range, so nothing is known.
    """
    low, high = over.low / under.high, over.high / under.low
    is_known = min(over.runs, under.runs) > 1
    return Ratio(over.median / under.median, low, high, is_known and (low > 1 or high < 1))
