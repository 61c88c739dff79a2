"""How time grows with size: a power law, fitted to logarithms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.compare import MB
from benchmarks.tools import PEERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.compare import Row
    from benchmarks.tools import Tool

FROM_MB: Final = 50.0
"""Below this size, what a process does before it reads anything is too large a part of its time."""

_STAGES: Final = ("load", "link", "classify", "analyze")
_PROCESSES: Final[dict[Tool, str]] = {
    "tracekit": "process",
    "warm": "process, warm cache",
    **PEERS,
}


@dataclass(frozen=True, slots=True)
class Fit:
    """Time is proportional to size to the power of `exponent`, from `low` to `high`.

    `error` is the standard error of the exponent, null where `points` are only two.
    """

    exponent: float
    error: float | None
    points: int
    low: float
    high: float


def fit_power(sizes: Sequence[float], seconds: Sequence[float]) -> Fit | None:
    """Return the least-squares fit of log time over log size, null with fewer than two sizes.

    Raises
    ------
    ValueError
        If a size or a time is not positive, or the two differ in length.
    """
    x = [math.log(size) for size in sizes]
    y = [math.log(time) for time in seconds]
    n = len(x)
    if len(set(x)) < 2:
        return None
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    pairs = [(a - mean_x, b - mean_y) for a, b in zip(x, y, strict=True)]
    spread = math.fsum(a * a for a, _ in pairs)
    slope = math.fsum(a * b for a, b in pairs) / spread
    left = math.fsum((b - slope * a) ** 2 for a, b in pairs)
    error = math.sqrt(left / (n - 2) / spread) if n > 2 else None
    return Fit(slope, error, n, min(sizes), max(sizes))


def growth(rows: Sequence[Row], from_mb: float = FROM_MB) -> dict[str, Fit]:
    """Return the fits over the scaled traces from a size in MB on, by what was timed.

    Medians are fitted: the repeats of one size tell its noise, not its growth.
    """
    scaled = [row for row in rows if row.case.target_mb and row.case.json_bytes >= from_mb * MB]
    timed: dict[str, list[tuple[float, float]]] = {}
    for row in scaled:
        size = row.case.json_bytes / MB
        if stages := row.tools.get("stages"):
            for stage in _STAGES:
                timed.setdefault(stage, []).append((size, stages.stages_s[stage].median))
        for tool, name in _PROCESSES.items():
            if measured := row.tools.get(tool):
                timed.setdefault(name, []).append((size, measured.wall_s.median))
    fits = {
        name: fit_power([size for size, _ in points], [time for _, time in points])
        for name, points in timed.items()
    }
    return {name: fit for name, fit in fits.items() if fit is not None}
