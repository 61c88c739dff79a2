"""What collectors write beside the traces of a run, `run.json` and `timing.json`, read tolerantly.

A file that is missing or broken costs what it would have said, and a warning; never the analysis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracekit.runfolder import MANIFEST, TIMING, TraceFile, beside

RUN_SCHEMA: Final = "tracekit.run/1"
TIMING_SCHEMA: Final = "tracekit.timing/1"
"""Names and versions of the two files."""

_COST: Final = {
    MANIFEST: "how many steps the run has is not known",
    TIMING: "idle time is not corrected for the profiler",
}
"""What is lost with each of them."""

_MOST_BYTES: Final = 64 * 2**20
_MOST_MS: Final = 1e12
_MOST_STEPS: Final = 2**31
_NS_IN_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class StageCount:
    """How many steps of a stage the run has, and how many its traces hold."""

    stage: str
    steps: int
    traced_steps: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `run.json` says: the counts of each stage, and of each pass its wall time and steps."""

    stages: tuple[StageCount, ...]
    pass_wall_ns: dict[str, int]
    pass_steps: dict[str, dict[str, int]]
    complete: bool


@dataclass(frozen=True, slots=True)
class StageWall:
    """A stage in the unprofiled run: how many steps were timed, and their wall time in ns.

    The time is the median over the repeats, by GPU events where there are some: the host may be
    ahead of the device when a stage ends.
    """

    stage: str
    steps: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Unprofiled repeats of one work: median, smallest and largest wall time in ns.

    `work` says what was timed: the "true" steps, only those that are "traced", or the "eager" form
    of these; null where the file does not say.
    """

    work: str | None
    repeats: int
    wall_ns: int
    low_ns: int
    high_ns: int
    stages: tuple[StageWall, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What both files of a run say, null and nothing where they do not, and sentences about that.

    `timings` holds the whole run first, then what was timed beside it.
    """

    manifest: Manifest | None
    timings: tuple[Timing, ...]
    warnings: tuple[str, ...]


def read_run_record(file: TraceFile) -> RunRecord:
    """Return what stands beside a trace of a run folder."""
    warnings: list[str] = []
    run = _read(file, MANIFEST, RUN_SCHEMA, warnings)
    timing = _read(file, TIMING, TIMING_SCHEMA, warnings)
    manifest = None if run is None else _manifest(run)
    timings = () if timing is None else _timings(timing)
    if manifest is not None and not manifest.complete:
        warnings.append(f"{MANIFEST} says that collecting did not finish: passes may be missing")
    if timing is not None and not timings:
        warnings.append(f"{TIMING} holds no wall time of a repeat: {_COST[TIMING]}")
    return RunRecord(manifest, timings, tuple(warnings))


def read_manifest(file: TraceFile) -> dict[str, Any] | None:
    """Return what `run.json` beside a trace holds, null where there is none that can be used."""
    return None if beside(file, MANIFEST) is None else _read(file, MANIFEST, RUN_SCHEMA, [])


def _read(file: TraceFile, name: str, schema: str, warnings: list[str]) -> dict[str, Any] | None:
    import msgspec

    path = beside(file, name)
    if path is None:
        warnings.append(f"The run folder holds no {name}: {_COST[name]}")
        return None
    try:
        with Path(path).open("rb") as source:
            data = source.read(_MOST_BYTES + 1)
        value = msgspec.json.decode(data) if len(data) <= _MOST_BYTES else None
    except (OSError, ValueError, RecursionError, msgspec.DecodeError):
        value = None
    if not isinstance(value, dict):
        warnings.append(f"{name} is broken: {_COST[name]}")
        return None
    if value.get("schema", schema) != schema:
        warnings.append(f"{name} does not follow {schema}: {_COST[name]}")
        return None
    return value


def _manifest(run: dict[str, Any]) -> Manifest:
    stages: dict[str, StageCount] = {}
    for row in _rows(run.get("stages")):
        name, true = row.get("stage"), _count(row.get("steps"))
        if isinstance(name, str) and true is not None:
            traced = _count(row.get("traced_steps"))
            stages[name] = StageCount(name, true, true if traced is None else traced)
    walls: dict[str, int] = {}
    steps: dict[str, dict[str, int]] = {}
    for row in _rows(run.get("passes")):
        name, wall_ns, held = row.get("pass"), _ns(row.get("wall_ms")), row.get("steps")
        if isinstance(name, str) and wall_ns is not None:
            walls[name] = wall_ns
        if isinstance(name, str) and isinstance(held, dict):
            counts = {stage: _count(count) for stage, count in held.items()}
            steps[name] = {stage: count for stage, count in counts.items() if count is not None}
    return Manifest(tuple(stages.values()), walls, steps, run.get("complete") is not False)


def _timings(timing: dict[str, Any]) -> tuple[Timing, ...]:
    said = timing.get("steps")
    found = [_timing(timing, said if said in ("true", "traced") else None)]
    for work in ("traced", "eager"):
        part = timing.get(work)
        found.append(_timing(part, work) if isinstance(part, dict) else None)
    return tuple(one for one in found if one is not None)


def _timing(timing: dict[str, Any], work: str | None) -> Timing | None:
    repeats = [row for row in _rows(timing.get("repeats")) if _ns(row.get("wall_ms")) is not None]
    walls = sorted(wall for row in repeats if (wall := _ns(row["wall_ms"])) is not None)
    median, low, high = (_ns(timing.get(f"{which}_wall_ms")) for which in ("median", "min", "max"))
    if walls:
        low, high = walls[0], walls[-1]
        if median is None or not low <= median <= high:
            median = _median(walls)
    if median is None:
        return None
    return Timing(
        work=work,
        repeats=len(walls),
        wall_ns=median,
        low_ns=median if low is None else min(low, median),
        high_ns=median if high is None else max(high, median),
        stages=_stage_walls(repeats),
    )


def _stage_walls(repeats: Iterable[dict[str, Any]]) -> tuple[StageWall, ...]:
    """Sum the steps of each stage in every repeat, and take the median of the sums."""
    sums: dict[str, list[int]] = {}
    steps: dict[str, int] = {}
    for repeat in repeats:
        wall_ns: dict[str, int] = {}
        numbers: dict[str, set[int]] = {}
        for row in _rows(repeat.get("stages")):
            name, time_ns = row.get("stage"), _ns(row.get("gpu_ms"))
            time_ns = _ns(row.get("wall_ms")) if time_ns is None else time_ns
            if not isinstance(name, str) or time_ns is None:
                continue
            wall_ns[name] = wall_ns.get(name, 0) + time_ns
            step = _count(row.get("step"))
            numbers.setdefault(name, set()).update(() if step is None else (step,))
        for name, time_ns in wall_ns.items():
            sums.setdefault(name, []).append(time_ns)
            steps[name] = max(steps.get(name, 1), len(numbers[name]))
    return tuple(StageWall(name, steps[name], _median(sorted(sums[name]))) for name in sums)


def _median(ordered: list[int]) -> int:
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_STEPS
    return value if is_count else None


def _ns(value: Any) -> int | None:
    """Return milliseconds as ns; null for what is no length of time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * _NS_IN_MS) if math.isfinite(value) and 0 <= value < _MOST_MS else None
