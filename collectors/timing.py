"""Takes the time of work that nobody profiles: `timing.json`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.markers import TimingMarker, elapsed_ms, gpu_events, milliseconds
from tracekit.collectors.profiling import synchronize

if TYPE_CHECKING:
    from tracekit.collectors.workload import StageMarker

    Work = Callable[[StageMarker], object]

SCHEMA: Final = "tracekit.timing/1"
TRACED_REPEATS: Final = 3
"""How often the traced steps are timed by themselves, and at most the eager work."""


def measure(
    work: Work, repeats: int, *, cuda: bool, before: Callable[[int], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Run work `repeats` times and return the times of each in ms, by stage where staged.

    `before` is called ahead of each repeat, outside of the measured time, with its number.
    """
    found = []
    for number in range(repeats):
        before(number)
        synchronize(cuda=cuda)
        marker = TimingMarker(cuda=cuda)
        events = gpu_events() if cuda else None
        start_ns = time.perf_counter_ns()
        if events:
            events[0].record()
        work(marker)
        if events:
            events[1].record()
        synchronize(cuda=cuda)
        wall_ms = milliseconds(time.perf_counter_ns() - start_ns)
        found.append({"wall_ms": wall_ms, "gpu_ms": elapsed_ms(events), "stages": marker.stages()})
    return found


def summarize(repeats: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return repeats with their median, least and largest times in ms, and medians by stage."""
    return {
        "repeats": list(repeats),
        **_spread("wall_ms", [repeat["wall_ms"] for repeat in repeats]),
        **_spread("gpu_ms", [repeat["gpu_ms"] for repeat in repeats]),
        "stages": _by_stage(repeats),
    }


def _spread(name: str, values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        f"median_{name}": statistics.median(known) if known else None,
        f"min_{name}": min(known, default=None),
        f"max_{name}": max(known, default=None),
    }


def _by_stage(repeats: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the medians over the repeats of what each stage takes in all of its steps."""
    steps: dict[str, int] = {}
    for entry in repeats[0]["stages"] if repeats else ():
        steps[entry["stage"]] = steps.get(entry["stage"], 0) + 1
    return [
        {
            "stage": stage,
            "steps": count,
            "median_wall_ms": _median_sum(repeats, stage, "wall_ms"),
            "median_gpu_ms": _median_sum(repeats, stage, "gpu_ms"),
        }
        for stage, count in steps.items()
    ]


def _median_sum(repeats: Sequence[dict[str, Any]], stage: str, name: str) -> float | None:
    sums = []
    for repeat in repeats:
        values = [entry[name] for entry in repeat["stages"] if entry["stage"] == stage]
        if None in values:
            return None
        sums.append(sum(values))
    return round(float(statistics.median(sums)), 6)
