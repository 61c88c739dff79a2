"""Hold estimates from plain traces against unprofiled runs: ``python -m benchmarks.estimates``.

``record -o FILE [--traces FILE]`` times the paper's eight models with and without a profiler in
turn and estimates each trace, on a GPU (``--tiny --device cpu`` tries it without); ``document
FILE`` writes the table of medians. ``runs RUN…`` takes run folders: of each the rich pass alone is
taken, its unprofiled wall time estimated, and compared with the one that was measured. The tables
are in ``docs/idle.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.collecting_document import machine
from benchmarks.document import write_measured
from benchmarks.estimates_job import OPTIONS
from benchmarks.estimates_recording import estimate_anew, measured
from benchmarks.measuring import run_comparison, run_document, run_measurement
from benchmarks.tools import CHECKOUT
from tracekit.analysis.estimated import estimated_scale, estimated_times
from tracekit.analysis.idle import idle_pieces
from tracekit.analysis.pacing import pace_of_one_device
from tracekit.analysis.profiler_costs import COSTS
from tracekit.runfolder import RICH_PASS, TIMING

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKER: Final = "estimates"
MEDIANS: Final = "estimates-medians"
_DOCS: Final = CHECKOUT / "docs" / "idle.md"
_MS: Final = 1e6
_YES: Final = ("no", "yes")
_WIDEST: Final = 20
"""Points of idle share that a range may be wide."""


def main(argv: Sequence[str] | None = None) -> int:
    """Record, or compare and write a table; return 0."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["runs"]:
        about = "Estimates of the rich passes of run folders"
        return run_comparison("estimates runs", about, (MARKER, _DOCS), arguments[1:], _body)
    args = _parser().parse_args(arguments)
    if args.what == "record":
        return run_measurement("benchmarks.estimates", lambda: measured(args), args.output)
    return run_document("benchmarks.estimates", lambda: _write(args))


def _write(args: argparse.Namespace) -> None:
    if args.traces is not None:
        estimate_anew(args.file, args.traces)
    write_measured(args.file, args.docs, MEDIANS, medians_table)


def _body(runs: Sequence[Path]) -> str:
    return table([row for run in runs if (row := compared(run)) is not None])


def compared(run: Path) -> dict[str, Any] | None:
    """Return measured and estimated times of a run folder in ms, null where one is missing."""
    if not (run / RICH_PASS).is_file() or not (run / TIMING).is_file():
        return None
    timing = json.loads((run / TIMING).read_text())
    timing = timing.get("traced") or timing
    table = tracekit.kernels(run / RICH_PASS)
    pace, scale = pace_of_one_device(table, COSTS), estimated_scale(table)
    if pace is None or scale is None or timing.get("median_wall_ms") is None:
        return None
    found = idle_pieces(table, int(pace.host.time_ns[0]))
    estimate = estimated_times(table, pace, scale, found, 1)
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


def medians_table(body: dict[str, Any]) -> str:
    """Return the table of medians, in Markdown."""
    rows = [found for row in body["rows"] if (found := _medians(row)) is not None]
    held = sum(row["holds"] for row in rows)
    before = sum(row["holds_before"] for row in rows)
    narrow = sum(row["points"] <= _WIDEST for row in rows)
    lines = [
        f"{machine(body)}; runs without and with a profiler (CPU and GPU activities, shapes) in "
        "turn, in one process a model. Unprofiled: median (least–greatest); before: median of the "
        "runs before the process had ever profiled; estimate and range: medians over the traces. "
        f"The range of medians holds the median of the unprofiled runs in {held} of {len(rows)} "
        f"models, that of the runs before in {before}, and is at most {_WIDEST} points of idle "
        f"share wide in {narrow}.",
        "",
        "| model | runs, traces | before ms | unprofiled ms | traced ms | estimate ms | range ms | "
        "holds before, unprofiled | width in points | traces that hold it |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | :---: | ---: | ---: |",
    ]
    for row in rows:
        wall = f"{row['wall']:.0f} ({row['least']:.0f}–{row['most']:.0f})"
        lines.append(
            f"| {row['model']} | {row['runs']}, {row['traces']} | {row['before']:.0f} | {wall} | "
            f"{row['traced']:.0f} | {row['usual']:.0f} | {row['low']:.0f}–{row['high']:.0f} | "
            f"{_YES[row['holds_before']]}, {_YES[row['holds']]} | {row['points']:.0f} | "
            f"{row['held']} |"
        )
    return "\n".join(lines)


def _medians(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return the medians of a model over its runs and traces in ms, null where it has none."""
    found = [each["estimate"] for each in row.get("traces", ()) if each.get("estimate")]
    walls = row.get("unprofiled_ms")
    if not found or not walls:
        return None
    low, usual, high, busy = (
        median(each[name] for each in found) / _MS
        for name in ("low_ns", "wall_ns", "high_ns", "busy_ns")
    )
    wall, before = median(walls), median(row["before_ms"])
    return {
        "model": row["model"],
        "runs": len(walls),
        "traces": len(found),
        "wall": wall,
        "least": min(walls),
        "most": max(walls),
        "traced": median(row["traced_ms"]),
        "low": low,
        "usual": usual,
        "high": high,
        "before": before,
        "holds_before": low <= before <= high,
        "holds": low <= wall <= high,
        "points": 100 * busy * (1 / low - 1 / high) if low else 0.0,
        "held": sum(each["low_ns"] <= wall * _MS <= each["high_ns"] for each in found),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    record = commands.add_parser("record", help="measure on a GPU")
    add = record.add_argument
    add("-o", "--output", type=Path, required=True, help="file to write")
    add("--traces", type=Path, help="file for what an estimate reads of the traces")
    add("--models", nargs="+", choices=list(OPTIONS), default=list(OPTIONS), help="(all)")
    add("--rounds", type=int, default=5, help="traces of each model (%(default)s)")
    add("--seconds", type=float, default=240, help="time of all models (%(default)s)")
    add("--jobs", type=int, default=12, help="traces analyzed at a time (%(default)s)")
    add("--scratch", type=Path, help="folder for traces until they are analyzed")
    add("--device", default="cuda", help="(%(default)s)")
    add("--tiny", action="store_true", help="tiny models")
    write = commands.add_parser("document", help="write the table of medians")
    write.add_argument("file", type=Path, help="what record wrote")
    write.add_argument("--traces", type=Path, help="estimate these traces of it anew before")
    write.add_argument("--docs", type=Path, default=_DOCS)
    commands.add_parser("runs", help="write the table of run folders")
    return parser


if __name__ == "__main__":
    sys.exit(main())
