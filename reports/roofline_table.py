"""What was achieved, as rows that every report shows alike, and the table of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.text import Text

from tracekit.reports.cells import OUTSIDE
from tracekit.reports.console import DIM, Fitted, table
from tracekit.reports.names import clean
from tracekit.reports.palette import label_of
from tracekit.units import format_intensity, format_rate, format_share, share_of

if TYPE_CHECKING:
    from tracekit.roofline_results import Roofline, RooflineRow

_MOST_STAGES: Final = 12


def roofline_table(roofline: Roofline | None) -> RenderableType | None:
    """Return FLOP/s, bytes/s, intensity and shares of the peaks, null where no shapes are known."""
    if roofline is None:
        return None
    headers, rows = achieved_rows(roofline)
    drawn = table(*headers, wide=(0,))
    for is_category, (name, *cells) in rows:
        drawn.add_row(Text(name) if is_category else Fitted(name, DIM), *cells)
    return Group(drawn, Text(achieved_line(roofline), DIM))


def achieved_rows(
    roofline: Roofline,
) -> tuple[tuple[str, ...], list[tuple[bool, tuple[str, ...]]]]:
    """Return headers, and rows of categories and stages: whether it is a category, its cells."""
    has_peaks = bool(roofline.peaks.source)
    shares = ("of peak", "of roof") if has_peaks else ()
    rows = [
        (True, (label_of(row.key or ""), *_cells(row, has_peaks))) for row in roofline.by_category
    ]
    named = [row for row in roofline.by_stage if row.key is not None]
    rows += [
        (False, (OUTSIDE if row.key is None else clean(row.key), *_cells(row, has_peaks)))
        for row in roofline.by_stage[:_MOST_STAGES]
        if named
    ]
    return ("Achieved", "FLOP/s", "Bytes/s", "FLOP/B", *shares), rows


def _cells(row: RooflineRow, has_peaks: bool) -> tuple[str, ...]:
    rates = (
        format_rate(row.flops_per_s, "FLOP"),
        format_rate(row.bytes_per_s, "B"),
        format_intensity(row.intensity),
    )
    return (*rates, format_share(row.flops_share), format_share(row.roofline_share))[
        : 5 if has_peaks else 3
    ]


def achieved_line(roofline: Roofline) -> str:
    """Return how much of the time is covered, whose peaks these are, and what is above its roof."""
    total, source = roofline.total, roofline.peaks.source
    covered = format_share(share_of(total.covered_ns, total.time_ns))
    line = f"From the shapes of {covered} of the kernel time."
    if source is None:
        return f"{line} The peaks of this device are not known; --peaks gives them."
    above = sum(row.operations for row in roofline.above_roof)
    line += f" Peaks: {clean(source)}."
    if above:
        why = " or ".join(dict.fromkeys(clean(row.why) for row in roofline.above_roof))
        line += f" {above:,} of {total.operations:,} operations are above their roof ({why})."
    return line
