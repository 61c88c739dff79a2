"""The sentences of ``docs/study.md`` that hold figures of the kept study.

What they say of it was written by hand, once it was measured; every figure in them is read from the
report, so that none is typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from benchmarks.tools import UnusableError
from tracekit.units import format_bytes, format_ns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracekit.cause_results import GraphedSteps, GraphSpeedup, Projection, StudyVariant
    from tracekit.study_results import (
        Speedup,
        StudyIdle,
        StudyReport,
        StudyRun,
        SweepPoint,
        TemporalAttention,
    )

FLASH: Final = "flash"
Found = TypeVar("Found")


class Facts:
    """Looks up figures of a report, as texts; what is not there is an error."""

    def __init__(self, report: StudyReport) -> None:
        self._report = report

    def run(self, model: str, attention: str = FLASH) -> StudyRun:
        """Return one model with one attention."""
        return self._one(
            (one for one in self._report.runs if (one.model, one.attention) == (model, attention)),
            f"{model} {attention}",
        )

    def share(self, model: str, *categories: str, attention: str = FLASH) -> float:
        """Return the share of categories in a model's kernel time."""
        run = self.run(model, attention)
        return sum(run.categories.get(name, 0) for name in categories) / run.kernel_ns

    def shares(self, models: Iterable[str], *categories: str) -> str:
        """Return the least and the greatest of these shares, as "27% to 40%"."""
        found = sorted(self.share(model, *categories) for model in models)
        low, high = f"{found[0]:.0%}", f"{found[-1]:.0%}"
        return low if low == high else f"{low} to {high}"

    def speedup(self, model: str) -> Speedup:
        """Return what Flash Attention gives over attention written out."""
        found = (one for one in self._report.speedups if (one.model, one.base) == (model, "eager"))
        return self._one(found, f"speedup of {model}")

    def kernels(self, model: str) -> str:
        """Return the speedup of kernel time."""
        return _times(self.speedup(model).kernels)

    def wall(self, model: str) -> str:
        """Return the speedup of wall time."""
        wall = self.speedup(model).wall
        return _times(None if wall is None else wall.value)

    def idle(self, model: str, attention: str = FLASH) -> StudyIdle:
        """Return idle time without the profiler."""
        found = self._report.idle
        return self._one(
            (one for one in found if (one.model, one.attention) == (model, attention)),
            f"idle time of {model}",
        )

    def idle_share(self, model: str) -> str:
        """Return the share of idle time with Flash Attention."""
        return f"{self.idle(model).idle_share or 0:.0%}"

    def point(self, sweep: str, value: int, attention: str = FLASH) -> SweepPoint:
        """Return a point of a sweep."""
        points = (p for one in self._report.sweeps if one.name == sweep for p in one.points)
        return self._one(
            (one for one in points if (one.value, one.attention) == (value, attention)),
            f"{sweep} {value}",
        )

    def part(self, sweep: str, value: int, name: str) -> str:
        """Return the time of a part of a point, with Flash Attention."""
        return format_ns(self.point(sweep, value).times[name])

    def temporal(self, model: str, stage: str | None = None) -> TemporalAttention:
        """Return temporal attention with Flash Attention."""
        found = self._report.temporal
        key = (model, FLASH, stage)
        return self._one(
            (one for one in found if (one.model, one.attention, one.stage) == key),
            f"temporal attention of {model}",
        )

    def variant(self, model: str, name: str) -> StudyVariant:
        """Return a variant of a model."""
        found = self._report.variants
        return self._one(
            (one for one in found if (one.model, one.variant) == (model, name)),
            f"variant of {model}: {name}",
        )

    def varied(self, model: str, name: str, category: str) -> str:
        """Return the share of a category in a variant."""
        one = self.variant(model, name)
        return f"{one.categories.get(category, 0) / one.kernel_ns:.0%}"

    def projection(self, model: str) -> Projection:
        """Return a model's projection to the paper's device."""
        found = (one for one in self._report.projections if one.model == model)
        return self._one(found, f"projection of {model}")

    def projected(self, model: str, category: str) -> str:
        """Return the share of a category on the paper's device."""
        times = self.projection(model).projected
        return f"{times.get(category, 0) / sum(times.values()):.0%}"

    def layout(self, model: str) -> str:
        """Return the share of changes of layout in a model's kernel time."""
        one = self.projection(model)
        return f"{one.layout_ns / sum(one.categories.values()):.0%}"

    def graphed(self, model: str, attention: str = FLASH) -> GraphedSteps:
        """Return the steps of a model as CUDA graphs."""
        found = self._report.graphed
        return self._one(
            (one for one in found if (one.model, one.attention) == (model, attention)),
            f"graphs of {model}",
        )

    def graphs_give(self, model: str, attention: str = FLASH) -> str:
        """Return how many times as fast steps are as CUDA graphs."""
        one = self.graphed(model, attention)
        return _times(one.launched_ns.median / one.graph_ns.median if one.graph_ns else None)

    def graph_speedup(self, model: str) -> GraphSpeedup:
        """Return what Flash Attention gives with the host and without."""
        found = (one for one in self._report.graph_speedups if one.model == model)
        return self._one(found, f"graphs of {model}")

    def peak(self, sweep: str, value: int, attention: str) -> str:
        """Return the most that a step of a point allocated."""
        return format_bytes(self.point(sweep, value, attention).peak_bytes)

    @staticmethod
    def _one(rows: Iterable[Found], what: str) -> Found:
        for one in rows:
            return one
        raise UnusableError(f"the study has no {what}")


def _times(value: float | None) -> str:
    if value is None:
        raise UnusableError("the study has no such ratio")
    return f"{value:.2f}x"
