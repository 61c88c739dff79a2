"""The tables of the terminal report, one function each; null where there is nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from tracekit.reports.attention_cells import sparkline
from tracekit.reports.cells import left_out_row, run_row, stage_row
from tracekit.reports.console import DIM, Fitted, Listed, bar, bar_width, table
from tracekit.reports.names import readable_names
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
_BESIDE_STEPS: Final = 90
"""Columns from which on there is room for a line of steps."""
_WIDEST_STEPS: Final = 24
_LEAST_STEPS: Final = 4
_DIFFERENT: Final = 1.1
"""Steps that differ by less than this factor make a level line, which tells nothing."""


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


def stages_table(rows: Sequence[StageTime], width: int) -> Table | None:
    """Return the stages, or null when there is none but the whole.

    Where there is room, a line draws the time of each step if steps differ.
    """
    if unmarked_whole(rows):
        return None
    shown = rows[:_MOST_STAGES]
    lines = [_step_line(row) if width >= _BESIDE_STEPS else "" for row in shown]
    steps = ["Each step"] if any(lines) else []
    headers = ("Stage", "Steps", *steps, "Time", "Busy", "Busy share", "Mostly")
    drawn = table(*headers, wide=(0, len(headers) - 1), left=(2,) if steps else ())
    names = [stage_row(row)[0] for row in shown]
    for row, line in zip(shown, lines, strict=True):
        name, count, *cells, most = stage_row(row)
        drawn.add_row(
            Fitted(name, among=names),
            count,
            *([Text(line, DIM)] if steps else []),
            *cells,
            Listed(most),
        )
    if len(rows) > _MOST_STAGES:
        drawn.add_row(Text(f"… and {len(rows) - _MOST_STAGES} more", DIM))
    return drawn


def _step_line(row: StageTime) -> str:
    """Return the times of steps as bars, nothing where they are few or much the same."""
    times = [step.time_ns for step in row.per_step]
    if len(times) < _LEAST_STEPS or max(times) < _DIFFERENT * min(times):
        return ""
    return sparkline(times, _WIDEST_STEPS)


def kernels_table(rows: Sequence[KernelTime], basis: Basis) -> Table | None:
    """Return the ten kernels (or CPU ops) that take most time."""
    if not rows:
        return None
    shown = rows[:_TOP_KERNELS]
    header = f"Top {kernels_or_ops(basis).lower()}"
    drawn = table(header, "Category", "Calls", "Time", "Share", left=(1,))
    names = readable_names([row.name for row in shown])
    for row, name in zip(shown, names, strict=True):
        drawn.add_row(
            Fitted(name, among=names),
            label_of(row.category),
            format_count(row.calls),
            format_ns(row.time_ns),
            format_share(row.time_share),
        )
    return drawn


def left_out_table(runs: Sequence[Analysis], names: Sequence[str] = ()) -> Table:
    """Return every row of `left_out`, with the name of its input when there are several."""
    several = len(runs) > 1
    wide = (0, 1, 4) if several else (0, 3)
    drawn = table(*(["Input"] if several else []), "Left out", "Events", "Time", "Why", wide=wide)
    for index, run in enumerate(runs):
        for row in run.left_out:
            path = [Fitted(names[index], among=names)] if several else []
            drawn.add_row(*path, *(Text(cell) for cell in left_out_row(row)))
    return drawn


def runs_table(runs: Sequence[Analysis], names: Sequence[str]) -> Table | None:
    """Return one line an input, under its name."""
    if not runs:
        return None
    drawn = table("Input", "Kernels", "Time", "Idle", "Mostly", wide=(0, 4))
    for run, name in zip(runs, names, strict=True):
        _, *cells, most = run_row(run)
        drawn.add_row(Fitted(name, among=names), *(Text(cell) for cell in cells), Listed(most))
    return drawn


def kernels_or_ops(basis: Basis) -> str:
    """Return what the rows of the kernel table are, as a header."""
    return "Kernels" if basis == "gpu" else "Ops"
