"""How fast this machine can be at all: ``python -m benchmarks.limits TRACE``.

Beside tracekit's own loading it measures what loading cannot beat: decompressing, walking over the
JSON without keeping anything, and decoding it into typed events. All take turns, each in a process
of its own, on the same trace.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.compare import MB
from benchmarks.measure import Spread
from benchmarks.table import machine, render_table
from benchmarks.tools import UnusableError, child_env

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = {
    "gunzip": "gunzip (isal)",
    "simdjson": "walk over the events (simdjson)",
    "msgspec": "typed events (msgspec)",
    "load1": "tracekit load, 1 worker",
    "load2": "tracekit load, 2 workers",
}
_UNIT: Final = "msgspec"
_MISSING: Final = 4


@dataclass(frozen=True, slots=True)
class Limit:
    """MB of JSON a second of one job; null, with the reason in `missing`, where it cannot run."""

    job: str
    mb_per_s: Spread | None
    missing: str = ""


def measure_limits(trace: Path, repeats: int) -> list[Limit]:
    """Measure every job `repeats` times on one trace, plain or gzip.

    Gunzip reads the gzip form, all others the plain one; the form that is not there is made in a
    temporary folder.

    Raises
    ------
    UnusableError
        If a job fails for another reason than a package that is not installed.
    """
    speeds: dict[str, list[float]] = {job: [] for job in NAMES}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as folder:
        plain, packed = _forms(trace, Path(folder))
        for _ in range(repeats):
            for job in NAMES:
                if job in missing:
                    continue
                done = _child(job, packed if job == "gunzip" else plain)
                if done.returncode == _MISSING:
                    missing[job] = done.stderr.strip()
                    continue
                result = json.loads(done.stdout)
                speeds[job].append(result["bytes"] / MB / result["seconds"])
    return [
        Limit(job, None if job in missing else Spread.of(speeds[job]), missing.get(job, ""))
        for job in NAMES
    ]


def render_limits(limits: Sequence[Limit], markdown: bool) -> str:
    """Return the table of limits, with ratios to typed decoding alone; ends in a newline."""
    unit = next((each.mb_per_s.median for each in limits if _is_unit(each) and each.mb_per_s), None)
    lines = [_cells(each, unit) for each in limits]
    return render_table(("what", "MB/s", "to msgspec alone"), lines, markdown)


def _is_unit(limit: Limit) -> bool:
    return limit.job == _UNIT


def _cells(limit: Limit, unit: float | None) -> tuple[str, ...]:
    speed = limit.mb_per_s
    if speed is None:
        return (NAMES[limit.job], limit.missing, "-")
    return (
        NAMES[limit.job],
        f"{speed.median:.0f} ({speed.low:.0f}-{speed.high:.0f})",
        f"{speed.median / unit:.2f}" if unit else "-",
    )


def _forms(trace: Path, folder: Path) -> tuple[Path, Path]:
    """Return the plain and the gzip form of a trace."""
    is_packed = trace.suffix == ".gz"
    made = folder / ("trace.json" if is_packed else "trace.json.gz")
    _child("unpack" if is_packed else "pack", trace, made)
    return (made, trace) if is_packed else (trace, made)


def _child(job: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.limit_job", job, *map(str, paths)],
        env=child_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, _MISSING):
        lines = done.stderr.strip().splitlines()
        said = lines[-1] if lines else f"exit code {done.returncode}"
        raise UnusableError(f"{job}: {paths[0].name}: {said}")
    return done


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the limits on one trace and print them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("trace", type=Path, metavar="TRACE", help="a trace, .json or .json.gz")
    parser.add_argument("--repeats", type=int, default=3, help="how often each (%(default)s)")
    parser.add_argument("--format", choices=("text", "markdown"), default="text")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error("--repeats must be positive")
    if not args.trace.is_file():
        print(f"benchmarks.limits: {args.trace}: no such trace", file=sys.stderr)
        return 3
    try:
        limits = measure_limits(args.trace, args.repeats)
    except UnusableError as error:
        print(f"benchmarks.limits: {error}", file=sys.stderr)
        return error.code
    table = render_limits(limits, args.format == "markdown")
    sys.stdout.write(f"{table}\n{machine(args.repeats)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
