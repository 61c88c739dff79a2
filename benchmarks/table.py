"""Renders measurements as one table, aligned text or Markdown, and describes the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.compare import MB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.compare import Measured, Row
    from benchmarks.measure import Spread

_NONE: Final = "-"

HEADINGS: Final = (
    "trace",
    "MB",
    "events",
    "load s",
    "link s",
    "classify s",
    "analyze s",
    "process s",
    "MB/s",
    "peak MB",
    "HTA s",
    "HTA peak MB",
    "HTA/ours time",
    "memory",
)
"""Columns of the table; only the first holds text."""


def render(rows: Sequence[Row], markdown: bool) -> str:
    """Return the table, ending in a newline."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [[_pad(line[i], width, i) for i, width in enumerate(widths)] for line in cells]
    if markdown:
        rule = [
            "-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)
        ]
        return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))
    rule = ["-" * width for width in widths]
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in (lines[0], rule, *lines[1:]))


def machine(repeats: int) -> str:
    """Return one sentence on what the measurements were made with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_cpu()} ({cores} cores), {platform.system()}, Python {platform.python_version()}, "
        f"tracekit {_tracekit()}, HTA {_version('HolisticTraceAnalysis')}; medians of "
        f"{repeats} runs (least-greatest), every process started anew on files already in memory."
    )


def _cells(row: Row) -> tuple[str, ...]:
    stages, ours, theirs = (row.tools.get(tool) for tool in ("stages", "tracekit", "hta"))
    return (
        row.case.name,
        f"{row.case.json_bytes / MB:.1f}",
        f"{stages.printed['events']:,}" if stages else _NONE,
        *(_stage(stages, stage) for stage in ("load", "link", "classify", "analyze")),
        _seconds(ours.wall_s if ours else None),
        f"{row.mb_per_s:.0f}" if row.mb_per_s is not None else _NONE,
        _peak(ours),
        _seconds(theirs.wall_s if theirs else None),
        _peak(theirs),
        _times(row.time_ratio),
        _times(row.memory_ratio),
    )


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _stage(stages: Measured | None, stage: str) -> str:
    return f"{stages.stages_s[stage].median:.3f}" if stages else _NONE


def _seconds(spread: Spread | None) -> str:
    if spread is None:
        return _NONE
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def _peak(measured: Measured | None) -> str:
    return f"{measured.peak_bytes.median / MB:.0f}" if measured else _NONE


def _times(ratio: float | None) -> str:
    return f"{ratio:.1f}x" if ratio is not None else _NONE


def _cpu() -> str:
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _tracekit() -> str:
    from tracekit import __version__

    return __version__


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"
