"""Hold estimates from plain traces against run folders: ``python -m benchmarks.estimates RUN…``.

Of each run folder the rich pass alone is taken, its unprofiled wall time estimated, and compared
with the one that was measured. Writes the table into ``docs/idle.md``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.measuring import run_comparison
from benchmarks.tools import CHECKOUT
from tracekit.analysis.estimated import estimated_times
from tracekit.analysis.idle import idle_pieces
from tracekit.analysis.pacing import pace_of_one_device
from tracekit.analysis.profiler_costs import COSTS
from tracekit.runfolder import RICH_PASS, TIMING

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKER: Final = "estimates"
_DOCS: Final = CHECKOUT / "docs" / "idle.md"
_MS: Final = 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the table, and return 0."""
    return run_comparison("estimates", __doc__, (MARKER, _DOCS), argv, _body)


def _body(runs: Sequence[Path]) -> str:
    return table([row for run in runs if (row := compared(run)) is not None])


def compared(run: Path) -> dict[str, Any] | None:
    """Return measured and estimated times of a run folder in ms, null where one is missing."""
    if not (run / RICH_PASS).is_file() or not (run / TIMING).is_file():
        return None
    timing = json.loads((run / TIMING).read_text())
    timing = timing.get("traced") or timing
    table = tracekit.kernels(run / RICH_PASS)
    pace = pace_of_one_device(table, COSTS)
    if pace is None:
        return None
    found = idle_pieces(table, int(pace.host.time_ns[0]))
    estimate = estimated_times(table, pace, found, 1)
    if estimate is None or timing.get("median_wall_ms") is None:
        return None
    low, high = estimate.low_ns, estimate.high_ns
    return {
        "run": run.name,
        "wall": timing["median_wall_ms"],
        "least": timing["min_wall_ms"],
        "most": timing["max_wall_ms"],
        "low": low / _MS,
        "usual": estimate.wall_ns / _MS,
        "high": high / _MS,
        "busy": estimate.busy_ns / _MS,
        "points": 100 * estimate.busy_ns * (1 / low - 1 / high) if low else 0.0,
        "holds": low <= timing["median_wall_ms"] * _MS <= high,
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the comparison in Markdown."""
    held = sum(row["holds"] for row in rows)
    lines = [
        f"The range holds the median of the unprofiled runs in {held} of {len(rows)}.",
        "",
        "| run | unprofiled ms | estimate ms | range ms | holds it | idle share, width in points |",
        "| --- | ---: | ---: | ---: | :---: | ---: |",
    ]
    for row in rows:
        wall = f"{row['wall']:.0f} ({row['least']:.0f}–{row['most']:.0f})"
        holds = "yes" if row["holds"] else "no"
        lines.append(
            f"| {row['run']} | {wall} | {row['usual']:.0f} | {row['low']:.0f}–{row['high']:.0f} | "
            f"{holds} | {row['points']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
