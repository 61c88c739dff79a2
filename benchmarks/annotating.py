"""Measure what annotating a trace takes: ``python -m benchmarks.annotating TRACE --mb 500``.

TRACE is written as often as the size asks for (see `benchmarks.scale`), as JSON. Every row is a
process of its own, without a cache, on a file already in memory; memory is that of its process
tree. The table goes into `docs/perfetto.md`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.document import replace_between
from benchmarks.measure import Spread, measure
from benchmarks.scale import MB, read_template, write_scaled
from benchmarks.tools import UnusableError, child_env

if TYPE_CHECKING:
    from collections.abc import Sequence

_DOCS: Final = Path(__file__).parent.parent / "docs" / "perfetto.md"
_OUTPUTS: Final = (
    ("JSON", "out.json", ()),
    ("JSON, gzip", "out.json.gz", ()),
    ("protobuf", "out.pftrace", ()),
    ("protobuf, gzip", "out.pftrace.gz", ()),
    ("JSON, gzip, tracks alone", "out.json.gz", ("--only-tracks",)),
    ("protobuf, tracks alone", "out.pftrace", ("--only-tracks",)),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the table; return an exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotating", description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("--mb", type=float, default=500, help="size of the JSON [500]")
    parser.add_argument("--runs", type=int, default=3, help="runs of each row [3]")
    parser.add_argument("--docs", type=Path, default=_DOCS)
    args = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            text = _table(args.trace, args.mb, args.runs, Path(folder))
        before = args.docs.read_text(encoding="utf-8")
        args.docs.write_text(replace_between(before, "annotating", text), encoding="utf-8")
    except (OSError, UnusableError) as error:
        print(f"benchmarks.annotating: {error}", file=sys.stderr)
        return 1
    return 0


def _table(source: Path, size_mb: float, runs: int, folder: Path) -> str:
    template = read_template(source)
    trace = folder / "trace.json"
    copies = template.copies_for(size_mb)
    size_mb = write_scaled(template, trace, copies) / MB
    events = copies * template.events
    head = (
        f"`{source.name}` repeated: {size_mb:,.0f} MB of JSON, {events:,} events. Medians of "
        f"{runs} runs (least–greatest), each a command from start to exit, without a cache."
    )
    lines = [head, "", "| | s | peak MB | output MB |", "| --- | ---: | ---: | ---: |"]
    command = [sys.executable, "-m", "tracekit", "analyze", str(trace), "--no-cache", "-o"]
    lines.append(_row("`tracekit analyze`, for comparison", command, folder / "a.txt", runs))
    for name, file, options in _OUTPUTS:
        command = [sys.executable, "-m", "tracekit", "annotate", str(trace), "--no-cache"]
        lines.append(_row(name, [*command, *options, "-o"], folder / file, runs))
    return "\n".join(lines)


def _row(name: str, command: list[str], output: Path, runs: int) -> str:
    taken = []
    for _ in range(runs):
        run = measure([*command, str(output), "--force"], child_env())
        if run.returncode:
            raise UnusableError(f"{name} failed: {run.stderr.strip()}")
        taken.append(run)
    wall = Spread.of(run.wall_s for run in taken)
    peak_mb = Spread.of(run.peak_bytes / MB for run in taken).median
    return (
        f"| {name} | {wall.median:.1f} ({wall.low:.1f}–{wall.high:.1f}) | {peak_mb:,.0f} | "
        f"{output.stat().st_size / MB:,.1f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
