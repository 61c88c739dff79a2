"""The tables of the terminal report, one function each; null where there is nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from tracekit.reports.cells import left_out_row, run_row, stage_row
from tracekit.reports.console import DIM, Fitted, bar, bar_width, table
from tracekit.reports.names import clean, readable_names
from tracekit.reports.palette import color_of, label_of
from tracekit.reports.sentences import unmarked_whole
from tracekit.units import MISSING, format_count, format_ns, format_share, share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tracekit.results import (
        Analysis,
        Basis,
        CategoryTime,
        DeviceTime,
        KernelTime,
        StageTime,
    )

_BESIDE_BAR: Final = 54
_TOP_KERNELS: Final = 10
_MOST_STAGES: Final = 30


def categories_table(rows: Sequence[CategoryTime], basis: Basis, width: int) -> Table | None:
    """Return the categories that hold kernels, each with a bar relative to the largest share."""
    shown = [row for row in rows if row.kernels > 0]
    if not shown:
        return None
    longest = bar_width(width - _BESIDE_BAR)
    top = max(row.time_share or 0.0 for row in shown)
    drawn = table("Category", "", "Time", "Share", kernels_or_ops(basis), left=(1,))
    for row in shown:
        style = color_of(row.category)
        drawn.add_row(
            label_of(row.category),
            bar(row.time_share, top, longest, style),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.kernels),
        )
    return drawn


def devices_table(rows: Sequence[DeviceTime]) -> Table | None:
    """Return span, busy, idle and kernel time of each device when there are several."""
    if len(rows) < 2:
        return None
    drawn = table("Device", "Span", "Busy", "Idle", "Idle share", "Kernel time")
    for row in rows:
        drawn.add_row(
            MISSING if row.device is None else str(row.device),
            format_ns(row.span_ns),
            format_ns(row.busy_ns),
            format_ns(row.idle_ns),
            format_share(share_of(row.idle_ns, row.span_ns)),
            format_ns(row.kernel_ns),
        )
    return drawn


def stages_table(rows: Sequence[StageTime]) -> Table | None:
    """Return the stages, or null when there is none but the whole."""
    if unmarked_whole(rows):
        return None
    drawn = table("Stage", "Steps", "Time", "Busy", "of span", "Mostly", wide=(0, 5))
    for row in rows[:_MOST_STAGES]:
        name, *cells = stage_row(row)
        drawn.add_row(Fitted(name), *cells)
    if len(rows) > _MOST_STAGES:
        drawn.add_row(Text(f"… and {len(rows) - _MOST_STAGES} more", DIM))
    return drawn


def kernels_table(rows: Sequence[KernelTime], basis: Basis) -> Table | None:
    """Return the ten kernels (or CPU ops) that take most time."""
    if not rows:
        return None
    shown = rows[:_TOP_KERNELS]
    header = f"Top {kernels_or_ops(basis).lower()}"
    drawn = table(header, "Category", "Calls", "Time", "Share", left=(1,))
    for row, name in zip(shown, readable_names([row.name for row in shown]), strict=True):
        drawn.add_row(
            Fitted(name),
            label_of(row.category),
            format_count(row.calls),
            format_ns(row.time_ns),
            format_share(row.time_share),
        )
    return drawn


def left_out_table(runs: Sequence[Analysis]) -> Table:
    """Return every row of `left_out`, with the input it is from when there are several."""
    several = len(runs) > 1
    wide = (0, 1, 4) if several else (0, 3)
    drawn = table(*(["Input"] if several else []), "Left out", "Events", "Time", "Why", wide=wide)
    for run in runs:
        for row in run.left_out:
            path = [Fitted(clean(run.trace.path))] if several else []
            drawn.add_row(*path, *(Text(cell) for cell in left_out_row(row)))
    return drawn


def runs_table(runs: Sequence[Analysis]) -> Table | None:
    """Return one line an input."""
    if not runs:
        return None
    drawn = table("Input", "Kernels", "Time", "Idle", "Mostly", wide=(0, 4))
    for run in runs:
        path, *cells = run_row(run)
        drawn.add_row(Fitted(path), *(Text(cell) for cell in cells))
    return drawn


def kernels_or_ops(basis: Basis) -> str:
    """Return what the rows of the kernel table are, as a header."""
    return "Kernels" if basis == "gpu" else "Ops"
