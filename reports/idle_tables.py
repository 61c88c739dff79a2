"""The tables of the terminal report that are about idle time; null where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from tracekit.reports.console import DIM, Fitted, bar, bar_width, table
from tracekit.reports.idle_cells import cause_label, causes_of, culprits
from tracekit.reports.names import clean, readable_name
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from rich.table import Table

    from tracekit.results import Analysis

_BESIDE_BAR: Final = 45
"""Cells that a row of causes takes beside its bar and its title."""
_MOST_CULPRITS: Final = 6
_TOP_GAPS: Final = 5


def causes_table(result: Analysis, width: int) -> Table | None:
    """Return idle time by cause, without the profiler where that is known."""
    causes, _, is_corrected = causes_of(result)
    shown = [row for row in causes if row.time_ns]
    if result.trace.basis == "cpu" or not shown:
        return None
    title = "Idle, without profiler" if is_corrected else "Idle time"
    longest = bar_width(width - _BESIDE_BAR - len(title))
    top = max(row.time_share or 0.0 for row in shown)
    drawn = table(title, "", "Time", "Share", "Gaps", left=(1,))
    for row in sorted(shown, key=lambda row: -row.time_ns):
        drawn.add_row(
            cause_label(row.cause),
            bar(row.time_share, top, longest, DIM),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.gaps),
        )
    return drawn


def culprits_table(result: Analysis) -> Table | None:
    """Return who is to blame for most of the idle time."""
    causes, blame, _ = causes_of(result)
    rows = culprits(blame, sum(row.time_ns for row in causes), _MOST_CULPRITS)
    if result.trace.basis == "cpu" or not rows:
        return None
    has_stage = len({row.stage for row in rows}) > 1
    stage = ["Stage"] if has_stage else []
    headers = ("Idle during", "Cause", *stage, "Idle", "Share")
    drawn = table(*headers, left=(1, *((2,) if has_stage else ())))
    for row in rows:
        drawn.add_row(
            Fitted(row.who),
            Text(cause_label(row.cause)),
            *([Text(MISSING if row.stage is None else clean(row.stage))] if has_stage else []),
            format_ns(row.time_ns),
            format_share(row.time_share),
        )
    return drawn


def gaps_table(result: Analysis) -> Table | None:
    """Return the five largest gaps: where in the device's span, how long, why, and between what."""
    gaps = result.idle.gaps[:_TOP_GAPS]
    if not gaps:
        return None
    starts = {row.device: row.start_ns for row in result.devices}
    several = ["Device"] if len(result.devices) > 1 else []
    first = len(several)
    drawn = table(
        *several,
        "Largest gaps",
        "Idle",
        "Cause",
        "After",
        "Before",
        wide=(first + 3, first + 4),
        left=(*range(first), first + 2),
    )
    for gap in gaps:
        start_ns = starts.get(gap.device)
        offset = MISSING if start_ns is None else f"at {format_ns(gap.start_ns - start_ns)}"
        device = [MISSING if gap.device is None else str(gap.device)] if several else []
        drawn.add_row(
            *device,
            offset,
            format_ns(gap.time_ns),
            cause_label(gap.cause),
            Fitted(readable_name(gap.before)),
            Fitted(readable_name(gap.after)),
        )
    return drawn
