"""The terminal table of what was achieved, and the line below it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from tracekit.reports.cells import OUTSIDE
from tracekit.reports.console import DIM, Fitted, table
from tracekit.reports.names import clean
from tracekit.reports.palette import label_of
from tracekit.units import format_intensity, format_rate, format_share, share_of

if TYPE_CHECKING:
    from tracekit.roofline_results import Roofline, RooflineRow

_MOST_STAGES = 12


def roofline_table(roofline: Roofline | None) -> RenderableType | None:
    """Return FLOP/s, bytes/s, intensity and shares of the peaks, null where no shapes are known."""
    if roofline is None:
        return None
    has_peaks = bool(roofline.peaks.source)
    shares = ("of peak", "of roof") if has_peaks else ()
    drawn = table("Achieved", "FLOP/s", "Bytes/s", "FLOP/B", *shares, wide=(0,))
    for row in roofline.by_category:
        drawn.add_row(Text(label_of(row.key or "")), *_cells(row, has_peaks))
    named = [row for row in roofline.by_stage if row.key is not None]
    for row in roofline.by_stage[:_MOST_STAGES] if named else ():
        name = OUTSIDE if row.key is None else clean(row.key)
        drawn.add_row(Fitted(name, DIM), *_cells(row, has_peaks))
    return Group(drawn, Text(_line(roofline), DIM))


def _cells(row: RooflineRow, has_peaks: bool) -> tuple[str, ...]:
    rates = (
        format_rate(row.flops_per_s, "FLOP"),
        format_rate(row.bytes_per_s, "B"),
        format_intensity(row.intensity),
    )
    return (*rates, format_share(row.flops_share), format_share(row.roofline_share))[
        : 5 if has_peaks else 3
    ]


def _line(roofline: Roofline) -> str:
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
