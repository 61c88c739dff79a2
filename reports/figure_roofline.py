"""The roofline figure: what categories and stages achieve, below what their device can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.reports import figure_style as look
from tracekit.reports.palette import color_of, label_of
from tracekit.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tracekit.results import Analysis
    from tracekit.roofline_results import DevicePeaks, Roofline, RooflineRow

_MOST_PANELS: Final = 6
_TYPES: Final = (("bfloat16", "BF16"), ("float16", "FP16"), ("float32", "FP32"))
"""The types whose peaks are drawn, each value once."""
_TEXT: Final = 6.5
"""Size of labels in points."""
_MARKERS: Final = "osD^vPX*"
Point = tuple[str, str, bool, "RooflineRow"]
"""Label, colour, whether it is a stage, and what was achieved."""

_LARGEST: Final = 170.0
_SMALLEST: Final = 14.0


def draw_roofline(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    """Return FLOP/s over FLOPs a byte on logarithmic axes, a panel a run, all to one scale."""
    held = [
        (label, run.roofline, rows)
        for run, label in zip(runs, labels, strict=True)
        if run.roofline is not None and (rows := _rows(run.roofline))
    ]
    more = len(held) - _MOST_PANELS
    held = held[:_MOST_PANELS]
    if not held:
        return None
    across = min(columns, len(held))
    down = -(-len(held) // across)
    figure = look.new_figure(columns, 0.4 + (2.3 if across == columns else 2.9) * down)
    grid = list(figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flat)
    points = [row for *_, rows in held for *_, row in rows]
    low = min(row.intensity or 1 for row in points) / 4
    high = max(row.intensity or 1 for row in points) * 10
    least = min(row.flops_per_s or 1 for row in points) / 5
    for axes, (label, roofline, rows) in zip(grid, held, strict=False):
        _panel(axes, roofline, rows, (low, high, least))
        axes.set_title(label if len(runs) > 1 else look.shown(roofline.device, 40))
    for axes in grid[len(held) :]:
        axes.set_visible(False)
    across_label = "Arithmetic intensity (FLOP/B)"
    beyond = f"; {more} more not shown" if more > 0 else ""
    figure.supxlabel(across_label + beyond, fontsize=8)
    figure.supylabel("TFLOP/s", fontsize=8)
    # Where a label fits depends on where the layout puts the axes.
    figure.draw_without_rendering()
    for axes, (_, roofline, rows) in zip(grid, held, strict=False):
        _name_points(figure, axes, roofline, rows)
    return figure


def _rows(roofline: Roofline) -> list[Point]:
    """Return label, colour, whether it is a stage, and row of what has products."""
    rows = [
        (label_of(row.key or ""), color_of(row.key or ""), False, row)
        for row in roofline.by_category
    ]
    rows += [
        (look.shown(row.key, 20), look.INK, True, row)
        for row in roofline.by_stage
        if row.key is not None
    ]
    return [row for row in rows if row[3].flops_per_s and row[3].intensity]


def _panel(
    axes: Axes, roofline: Roofline, rows: Sequence[Point], ends: tuple[float, float, float]
) -> None:
    """Draw roofs and points; the larger a point, the more time it takes."""
    low, high, least = ends
    axes.set_xscale("log")
    axes.set_yscale("log")
    _roofs(axes, roofline.peaks, low, high)
    for index, (_, color, is_stage, row) in enumerate(sorted(rows, key=_time, reverse=True)):
        axes.scatter(
            row.intensity or 1, row.flops_per_s or 1, _area(row, roofline),
            facecolors="none" if is_stage else color, edgecolors=color,
            marker="o" if is_stage else _MARKERS[index % len(_MARKERS)], linewidths=0.9, zorder=3,
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(bottom=least)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e12:,.10g}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.minorticks_off()
    axes.grid()
    axes.set_axisbelow(True)


def _area(row: RooflineRow, roofline: Roofline) -> float:
    """Return the area of a point in square points (of 1/72 inch)."""
    return max(_SMALLEST, _LARGEST * row.time_ns / (roofline.total.time_ns or 1))


def _time(row: Point) -> int:
    return row[3].time_ns


def _levels(peaks: DevicePeaks) -> list[tuple[str, float]]:
    """Return label and FLOP/s of each level to draw, each value once."""
    named = {
        peaks.flops_per_s[slug]: name for slug, name in _TYPES[::-1] if slug in peaks.flops_per_s
    }
    return [
        (f"{name} {format_rate(peak, 'FLOP')}", peak)
        for peak, name in sorted(named.items(), reverse=True)
    ]


def _roofs(axes: Axes, peaks: DevicePeaks, low: float, high: float) -> None:
    """Draw the slope of the memory's bandwidth, and a level for each peak of arithmetic."""
    bandwidth = peaks.bytes_per_s
    for index, (label, peak) in enumerate(_levels(peaks)):
        start = low if bandwidth is None else min(high, max(low, peak / bandwidth))
        style = "--" if index else "-"
        axes.plot([start, high], [peak, peak], style, color=look.INK, linewidth=0.9)
        axes.annotate(
            label, (high, peak), (-2, 2), textcoords="offset points", ha="right", va="bottom",
            fontsize=_TEXT,
        )  # fmt: skip
        if bandwidth is not None and not index:
            ends = [low, start]
            axes.plot(ends, [bandwidth * x for x in ends], "-", color=look.INK, linewidth=0.9)
            axes.annotate(
                format_rate(bandwidth, "B"), (low, bandwidth * low), (12, 4),
                textcoords="offset points", ha="left", va="center", fontsize=_TEXT,
            )  # fmt: skip


def _name_points(figure: Figure, axes: Axes, roofline: Roofline, rows: Sequence[Point]) -> None:
    """Write each label beside its point, where it covers neither points nor other labels."""
    scale = 72 / figure.dpi
    at = {
        id(row): axes.transData.transform((row.intensity or 1, row.flops_per_s or 1)) * scale
        for *_, row in rows
    }
    taken = [
        _box(float(at[id(row)][0]), float(at[id(row)][1]), _area(row, roofline) ** 0.5, 1.0)
        for *_, row in rows
    ]
    taken += _boxes_of_levels(axes, roofline.peaks, scale)
    for label, _, _, row in sorted(rows, key=_time, reverse=True):
        x, y = at[id(row)]
        reach = _area(row, roofline) ** 0.5 / 2 + 3
        wide = 0.6 * _TEXT * len(label)
        places = [
            (side * (reach + wide / 2) * (abs(rise) < reach or 0.4), rise)
            for rise in (0.0, -7.0, 7.0, -11.0, 11.0, -16.0, 16.0, -22.0, 22.0)
            for side in (1, -1)
        ]
        boxes = [_box(x + dx, y + dy, wide, _TEXT / wide) for dx, dy in places]
        free = [not any(_overlap(box, other) for other in taken) for box in boxes]
        chosen = free.index(True) if True in free else 0
        taken.append(boxes[chosen])
        axes.annotate(
            label, (row.intensity or 1, row.flops_per_s or 1), places[chosen],
            textcoords="offset points", ha="center", va="center", fontsize=_TEXT, zorder=4,
        )  # fmt: skip


def _boxes_of_levels(
    axes: Axes, peaks: DevicePeaks, scale: float
) -> list[tuple[float, float, float, float]]:
    """Return what levels and their labels cover, in points."""
    boxes = []
    for label, peak in _levels(peaks):
        right, y = axes.transData.transform((axes.get_xlim()[1], peak)) * scale
        left = axes.transAxes.transform((0, 0))[0] * scale
        boxes += [(left, right, y - 1, y + 1), (right - 4 * len(label), right, y, y + 10)]
    return boxes


def _box(x: float, y: float, wide: float, ratio: float) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of a box around a point."""
    return x - wide / 2, x + wide / 2, y - wide * ratio / 2, y + wide * ratio / 2


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]
