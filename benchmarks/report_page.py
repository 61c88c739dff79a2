"""Time, memory and size of an HTML report: ``python -m benchmarks.report_page --kernels 1000000``.

A real trace is repeated until it holds so many GPU activities. Copies of one run are alike to the
nanosecond, which no run is, and would compress to nothing. So each activity is shortened by up to
a fifth, at random, half of it at either end: none overlaps another that did not before.

With ``--browser`` the long report is opened in headless Chromium (Playwright's, or the one on the
path), and the time until it can be used is measured as well.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
from isal import igzip

from benchmarks.measure import Run, measure
from benchmarks.scale import MB, Template, read_template, scaled
from benchmarks.table import machine, render_table
from benchmarks.tools import CHECKOUT, child_env

if TYPE_CHECKING:
    from collections.abc import Sequence


SOURCE: Final = CHECKOUT / "examples" / "traces" / "sdxl_flash.json.gz"
_ACTIVITY: Final = re.compile(
    rb'("cat": "(?:kernel|gpu_memcpy|gpu_memset)", [^\n]*\n? *"ts": )(\d+)\.(\d{3}), "dur": '
    rb"(\d+)\.(\d{3})"
)
_PAGE: Final = "out.html"
_MOST_CUT: Final = 0.1
_SEED: Final = 9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return 0, or 1 where a command failed."""
    args = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "long.json.gz"
        kernels = write_varied(read_template(args.source), trace, args.kernels)
        cases = [("analyze", args.source), ("report", args.source)]
        cases += [("analyze", trace), ("report", trace)]
        lines = []
        for command, path in cases:
            runs, size = measured(command, path, Path(folder), args.repeats)
            if any(run.returncode for run in runs):
                print(f"benchmarks.report_page: {runs[-1].stderr}", file=sys.stderr)
                return 1
            held = kernels if path == trace else activities(read_template(args.source))
            lines.append(_line(f"tracekit {command}", held, runs, size))
        headings = ("command", "kernels", "seconds", "peak MB", "written MB")
        print(render_table(headings, lines, markdown=True))
        print(machine(args.repeats))
        if args.browser:
            seconds = sorted(ready_seconds(Path(folder) / _PAGE, args.repeats))
            print(
                f"Ready in Chromium after {statistics.median(seconds):.2f} s "
                f"({seconds[0]:.2f}-{seconds[-1]:.2f}), {len(seconds)} openings."
            )
    return 0


def ready_seconds(page: Path, openings: int) -> list[float]:
    """Return how long after each opening, in a new context, a report says that it can be used."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("TRACEKIT_CHROMIUM") or shutil.which("chromium")
    found = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for _ in range(openings):
            context = chromium.new_context()
            shown = context.new_page()
            shown.goto(page.resolve().as_uri())
            shown.evaluate("tracekit.ready")
            # The mark counts from the start of the navigation, by the browser's own clock.
            marked = shown.evaluate("performance.getEntriesByName('tracekit-ready')[0].startTime")
            found.append(marked / 1000)
            context.close()
        chromium.close()
    return found


def measured(command: str, trace: Path, folder: Path, repeats: int) -> tuple[list[Run], int]:
    """Return runs of a command on a trace that its cache knows, and the bytes that it wrote."""
    out = folder / (_PAGE if command == "report" else "out.json")
    format_ = [] if command == "report" else ["--format", "json"]
    call = [sys.executable, "-m", "tracekit", command, str(trace), "-o", str(out), "--force"]
    env = child_env(folder / "cache")
    # The first run fills the cache.
    runs = [measure([*call, *format_], env) for _ in range(repeats + 1)]
    return runs[1:], out.stat().st_size if out.exists() else 0


def activities(template: Template) -> int:
    """Return how many GPU activities one copy of a trace holds."""
    return len(_ACTIVITY.findall(template.copy(0)))


def write_varied(template: Template, out: Path, kernels: int) -> int:
    """Write copies until there are so many GPU activities or a few more; return how many.

    Raises
    ------
    ValueError
        If the trace holds no GPU activity as Kineto writes them.
    """
    each = activities(template)
    if not each:
        raise ValueError("the trace holds no GPU activity")
    copies = -(-kernels // each)
    random = np.random.default_rng(_SEED)
    gzip_file: Any = igzip.IGzipFile  # which is untyped
    with gzip_file(str(out), mode="wb", compresslevel=1) as file:
        for piece in scaled(template, copies):
            file.write(varied(piece, random))
    return copies * each


def varied(events: bytes, random: np.random.Generator) -> bytes:
    """Return events as text, each GPU activity a little shorter, within its time."""
    cuts = random.random((len(_ACTIVITY.findall(events)), 2)) * _MOST_CUT
    each = iter(cast("list[list[float]]", cuts.tolist()))

    def shorter(found: re.Match[bytes]) -> bytes:
        start_ns, dur_ns = (int(found[at] + found[at + 1]) for at in (2, 4))
        before, after = (int(share * dur_ns) for share in next(each))
        start_ns, dur_ns = start_ns + before, dur_ns - before - after
        return b'%s%d.%03d, "dur": %d.%03d' % (
            found[1], start_ns // 1000, start_ns % 1000, dur_ns // 1000, dur_ns % 1000,
        )  # fmt: skip

    return _ACTIVITY.sub(shorter, events)


def _line(name: str, kernels: int, runs: list[Run], size: int) -> tuple[str, ...]:
    walls = [run.wall_s for run in runs]
    spread = f"{statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})"
    peak = max(max(run.peak_bytes, run.maxrss_bytes) for run in runs)
    return name, f"{kernels:,}", spread, f"{peak / MB:.0f}", f"{size / MB:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_page", description=__doc__)
    add = parser.add_argument
    add("--kernels", type=int, default=1_000_000, help="GPU activities (%(default)s)")
    add("--source", type=Path, default=SOURCE, help="the trace to repeat (%(default)s)")
    add("--repeats", type=int, default=3, help="runs of each command (%(default)s)")
    add("--browser", action="store_true", help="open the long report in Chromium, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
