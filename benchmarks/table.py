"""Renders measurements as tables, aligned text or Markdown, and describes the machine."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.compare import MB
from benchmarks.fit import growth
from benchmarks.tools import PEERS, installed, tracelens_version, version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.compare import Measured, Row
    from benchmarks.fit import Fit
    from benchmarks.measure import Spread
    from benchmarks.tools import Tool

_NONE: Final = "-"
_ABSENT: Final = "not installed"

OURS_HEADINGS: Final = (
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
    "warm s",
    "warm peak MB",
)
"""Columns of the table of tracekit alone; of every table only the first column holds text."""

PEER_HEADINGS: Final = (
    "trace",
    "MB",
    "tracekit s",
    "peak MB",
    *(
        f"{peer}{what}"
        for peer in PEERS.values()
        for what in (" s", " peak MB", "/ours time", "/ours memory")
    ),
)
"""Columns of the comparison, of tracekit without a cache and its peers."""

WORKER_HEADINGS: Final = (
    "trace",
    "MB",
    "1 worker s",
    "2 workers s",
    "times faster",
    "1 worker peak MB",
    "2 workers peak MB",
)
GROWTH_HEADINGS: Final = ("time of", "exponent", "sizes", "from MB", "to MB")


def render(rows: Sequence[Row], markdown: bool) -> str:
    """Return all tables that have rows, each under a title, ending in a newline."""
    workers = [row for row in rows if "two workers" in row.tools]
    tables: dict[str, str] = {
        "tracekit": render_table(OURS_HEADINGS, [_ours(row) for row in rows], markdown),
        "tracekit and others": render_table(PEER_HEADINGS, [_peers(row) for row in rows], markdown),
    }
    if workers:
        lines = [_workers(row) for row in workers]
        tables["one worker and two"] = render_table(WORKER_HEADINGS, lines, markdown)
    if fits := growth(rows):
        lines = [_growth(name, fit) for name, fit in fits.items()]
        tables["time = constant · size^exponent"] = render_table(GROWTH_HEADINGS, lines, markdown)
    return "\n".join(titled(title, table, markdown) for title, table in tables.items())


def titled(title: str, table: str, markdown: bool) -> str:
    """Return a table under its title."""
    return f"**{title}**\n\n{table}" if markdown else f"{title}\n\n{table}"


def render_table(headings: Sequence[str], lines: Sequence[Sequence[str]], markdown: bool) -> str:
    """Return one table, ending in a newline; the first column is text, the others are figures."""
    cells = [headings, *lines]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    padded = [[_pad(line[i], width, i) for i, width in enumerate(widths)] for line in cells]
    if markdown:
        rule = [
            "-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)
        ]
        return "".join(f"| {' | '.join(line)} |\n" for line in (padded[0], rule, *padded[1:]))
    rule = ["-" * width for width in widths]
    return "".join(f"{'  '.join(line).rstrip()}\n" for line in (padded[0], rule, *padded[1:]))


def machine(repeats: int) -> str:
    """Return one sentence on what the measurements were made with."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "isal", "numpy"))
    return (
        f"{processor()}, {platform.system()}, Python {platform.python_version()}, "
        f"tracekit {_tracekit()} ({libraries}), HTA {version('HolisticTraceAnalysis')}, "
        f"TraceLens {tracelens_version()}, pysimdjson {version('pysimdjson')}; medians of "
        f"{repeats} runs (least-greatest), every process started anew on files already in memory."
    )


def processor() -> str:
    """Return the name of the processor and the number of cores that may be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_cpu()} ({cores} cores)"


def _ours(row: Row) -> tuple[str, ...]:
    stages, cold, warm = (row.tools.get(tool) for tool in ("stages", "tracekit", "warm"))
    return (
        *_trace(row),
        f"{stages.printed['events']:,}" if stages else _NONE,
        *(_stage(stages, stage) for stage in ("load", "link", "classify", "analyze")),
        _seconds(cold),
        f"{row.mb_per_s:.0f}" if row.mb_per_s is not None else _NONE,
        _peak(cold),
        _seconds(warm),
        _peak(warm),
    )


def _peers(row: Row) -> tuple[str, ...]:
    ours = row.tools.get("tracekit")
    cells = [cell for peer in PEERS for cell in _peer(row, peer)]
    return (*_trace(row), _seconds(ours), _peak(ours), *cells)


def _peer(row: Row, peer: Tool) -> tuple[str, ...]:
    measured = row.tools.get(peer)
    if measured is None and not installed(peer):
        return (_ABSENT, _NONE, _NONE, _NONE)
    return (
        "failed" if peer in row.failed else _seconds(measured),
        _peak(measured),
        _times(row.time_ratio(peer)),
        _times(row.memory_ratio(peer)),
    )


def _workers(row: Row) -> tuple[str, ...]:
    one, two = row.tools.get("one worker"), row.tools["two workers"]
    ratio = _times(row.time_ratio("one worker", "two workers"))
    return (*_trace(row), _seconds(one), _seconds(two), ratio, _peak(one), _peak(two))


def _growth(name: str, fit: Fit) -> tuple[str, ...]:
    error = f" ± {fit.error:.3f}" if fit.error is not None else ""
    return (
        name,
        f"{fit.exponent:.3f}{error}",
        str(fit.points),
        f"{fit.low:.0f}",
        f"{fit.high:.0f}",
    )


def _trace(row: Row) -> tuple[str, str]:
    return row.case.name, f"{row.case.json_bytes / MB:.1f}"


def _pad(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)


def _stage(stages: Measured | None, stage: str) -> str:
    return f"{stages.stages_s[stage].median:.3f}" if stages else _NONE


def _seconds(measured: Measured | None) -> str:
    return _spread(measured.wall_s) if measured else _NONE


def _spread(spread: Spread) -> str:
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
