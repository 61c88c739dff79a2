"""What a study says of its sweeps: points, how each part grows, crossovers, memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from tracekit.study.fits import crossover, fits
from tracekit.study.memory import MemoryOptions, study_memory
from tracekit.study.plan import BASELINE, FLASH, SWEEPS
from tracekit.study.reading import ATTENTION, MeasuredCase
from tracekit.study_results import (
    Crossover,
    MemoryPoint,
    PowerFit,
    StudyMemory,
    SweepPoint,
    SweepResult,
)

CONV, ALL_ATTENTION, TEMPORAL, SPATIAL = "conv", "attention", "temporal", "spatial"
SHARE = "temporal share of attention"
_PARTS = ("conv", "linear")
MEMORY_SWEEP = "image-size"


def sweeps(cases: Sequence[MeasuredCase]) -> Iterator[SweepResult]:
    """Yield the sweeps of which points were recorded."""
    for name, sweep in SWEEPS.items():
        found = [case for case in cases if case.entry["sweep"] == name]
        points = tuple(
            sorted(
                (_point(case, sweep.stage) for case in found),
                key=lambda point: (point.attention != FLASH, point.value),
            )
        )
        if points:
            yield SweepResult(
                name=name,
                title=sweep.title,
                model=sweep.model,
                stage=sweep.stage,
                points=points,
                fits=tuple(_fits(points)),
                crossovers=tuple(_crossovers(points)) if name == "frames" else (),
            )


def _point(case: MeasuredCase, stage: str) -> SweepPoint:
    rows = [row for row in case.rows if row.stage == stage]
    times = case.times(rows)
    axes = case.by_axis(stage)
    parts = {name: times[name] for name in _PARTS if times.get(name)}
    parts[ALL_ATTENTION] = sum(times.get(name, 0) for name in ATTENTION)
    flops = {ALL_ATTENTION: sum(count for _, count in axes.values())}
    if axes.get(TEMPORAL, (0, 0))[0]:
        for axis in (TEMPORAL, SPATIAL):
            parts[axis], flops[axis] = axes.get(axis, (0, 0))
    peaks = case.entry.get("peak_bytes") or {}
    return SweepPoint(
        value=case.entry["value"],
        attention=case.entry["attention"],
        wall_ns=case.stage_ns(stage),
        kernel_ns=sum(times.values()),
        times=parts,
        flops=flops,
        peak_bytes=peaks.get(stage),
    )


def _fits(points: Sequence[SweepPoint]) -> Iterator[PowerFit]:
    for attention in (FLASH, BASELINE):
        ours = [point for point in points if point.attention == attention]
        for part in dict.fromkeys(name for point in ours for name in point.times):
            yield from fits(part, attention, [(one.value, one.times.get(part, 0)) for one in ours])
        yield from fits("kernels", attention, [(one.value, one.kernel_ns) for one in ours])
        shares = [(one.value, _share(one)) for one in ours if one.times.get(TEMPORAL)]
        yield from fits(SHARE, attention, shares)


def _share(point: SweepPoint) -> float:
    return point.times[TEMPORAL] / point.times[ALL_ATTENTION]


def _crossovers(points: Sequence[SweepPoint]) -> Iterator[Crossover]:
    """Yield where temporal attention takes as long as spatial, and as many FLOPs."""
    for attention in (FLASH, BASELINE):
        ours = [point for point in points if point.attention == attention]
        for what, read in (("time", _times), ("FLOPs", _flops)):
            found = crossover(what, attention, list(_ratios(ours, read)))
            if found is not None:
                yield found


def _times(point: SweepPoint) -> dict[str, int]:
    return point.times


def _flops(point: SweepPoint) -> dict[str, int]:
    return point.flops


def _ratios(
    points: Iterable[SweepPoint], read: Callable[[SweepPoint], dict[str, int]]
) -> Iterator[tuple[int, float]]:
    for point in points:
        parts = read(point)
        if parts.get(TEMPORAL) and parts.get(SPATIAL):
            yield point.value, parts[TEMPORAL] / parts[SPATIAL]


def memory(found: Sequence[SweepResult], dtype: str, *, tiny: bool) -> StudyMemory | None:
    """Return the memory of scores over the image side, by the model and as it was measured.

    What is measured is the most that a step of the denoiser allocated. The model is of published
    sizes: without points of those there is none.
    """
    sweep = next((one for one in found if one.name == MEMORY_SWEEP), None)
    if sweep is None or tiny:
        return None
    peaks = {(point.value, point.attention): point.peak_bytes for point in sweep.points}
    rows = []
    for value in sorted({point.value for point in sweep.points}):
        held = _held(sweep.model, value, dtype)
        eager, flash = peaks.get((value, BASELINE)), peaks.get((value, FLASH))
        rows.append(MemoryPoint(value, held, eager, flash, eager / held if eager else None))
    eager_points = [(row.value, row.eager_bytes or 0) for row in rows]
    # Over the same sizes; all of them where nothing was measured.
    known = [row for row in rows if row.eager_bytes is not None] or rows
    model = fits("model", BASELINE, [(row.value, row.model_bytes) for row in known])
    measured = fits("measured", BASELINE, eager_points)
    return StudyMemory(
        model=sweep.model,
        points=tuple(rows),
        model_fit=model[-1] if model else None,
        measured_fit=measured[-1] if measured else None,
    )


def _held(model: str, side: int, dtype: str) -> int:
    options = MemoryOptions(sizes=((side, side),), dtype=dtype)  # type: ignore[arg-type]
    return study_memory([model], options).models[0].held_bytes
