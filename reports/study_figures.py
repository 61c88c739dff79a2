"""The figures of a study's page, as inline SVG: stacked bars, curves over a size, length profiles.

Shapes have no colour of text: that is the page's, light or dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from tracekit.categories import CATEGORIES
from tracekit.reports.palette import color_of, label_of
from tracekit.reports.study_cells import part_label
from tracekit.units import format_ns

if TYPE_CHECKING:
    from tracekit.study_results import StudyLengths, StudyReport, StudyRun, SweepResult

_WIDTH: Final = 760
_ROW: Final = 20
_LABEL: Final = 230
_PLOT: Final = (70, 20, 520, 260)
"""Left, top, width and height of a plot."""
_PARTS: Final = {
    "conv": "#E69F00",
    "linear": "#0072B2",
    "attention": "#D55E00",
    "temporal": "#CC6699",
    "spatial": "#009E73",
}
_DASHES: Final = {"flash": "", "eager": ' stroke-dasharray="5 4"'}


def figure(name: str, report: StudyReport) -> str:
    """Return the SVG of a section's figure, empty where there is nothing to draw."""
    if name == "breakdown":
        return breakdown(report.runs)
    if name == "lengths":
        return profiles(report.lengths)
    sweep = next((one for one in report.sweeps if name == f"sweep:{one.name}"), None)
    return "" if sweep is None else curves(sweep)


def breakdown(runs: Sequence[StudyRun]) -> str:
    """Return one stacked bar a run, shares of its kernel time."""
    bars = []
    for number, run in enumerate(runs):
        y = number * _ROW
        bars.append(_text(_LABEL - 8, y + 14, f"{run.model} {run.attention}", "end"))
        x = float(_LABEL)
        for slug in CATEGORIES:
            width = (_WIDTH - _LABEL) * run.categories.get(slug, 0) / (run.kernel_ns or 1)
            if width > 0:
                share = run.categories[slug] / run.kernel_ns
                bars.append(
                    f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 4}" '
                    f'fill="{color_of(slug)}"><title>{label_of(slug)} {share:.1%}</title></rect>'
                )
            x += width
    used = [slug for slug in CATEGORIES if any(run.categories.get(slug) for run in runs)]
    keys = {label_of(slug): color_of(slug) for slug in used}
    return _svg("".join(bars), len(runs) * _ROW) + _legend(keys)


def curves(sweep: SweepResult) -> str:
    """Return time over the size of a sweep, both on logarithmic scales; eager is dashed."""
    lines = []
    for part in _PARTS:
        for attention in _DASHES:
            points = [
                (one.value, one.times[part])
                for one in sweep.points
                if one.attention == attention and one.times.get(part)
            ]
            if points:
                lines.append((part, attention, points))
    if not lines:
        return ""
    sizes = [size for _, _, points in lines for size, _ in points]
    times = [time for _, _, points in lines for _, time in points]
    scale = _Scale(sizes, times)
    drawn = "".join(_curve(part, attention, points, scale) for part, attention, points in lines)
    drawn_parts = dict.fromkeys(part for part, _, _ in lines)
    keys = {part_label(part): _PARTS[part] for part in drawn_parts}
    left, top, width, height = _PLOT
    axes = "".join(_axes(scale, sorted(set(sizes))))
    title = _text(left + width / 2, top + height + 34, sweep.title, "middle")
    return _svg(axes + drawn + title, top + height + 44) + _legend(keys, "dashed: written out")


class _Scale:
    def __init__(self, sizes: Sequence[int], times: Sequence[int]) -> None:
        self.size = (math.log(min(sizes)), math.log(max(sizes)))
        self.time = (math.floor(math.log10(min(times))), math.ceil(math.log10(max(times))))

    def x(self, size: float) -> float:
        low, high = self.size
        left, _, width, _ = _PLOT
        return left + width * ((math.log(size) - low) / (high - low) if high > low else 0.5)

    def y(self, time: float) -> float:
        low, high = self.time
        _, top, _, height = _PLOT
        part = (math.log10(time) - low) / (high - low) if high > low else 0.5
        return top + height * (1 - part)


def _axes(scale: _Scale, sizes: Sequence[int]) -> Iterator[str]:
    left, top, width, height = _PLOT
    for power in range(scale.time[0], scale.time[1] + 1):
        y = scale.y(10**power)
        yield f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield _text(left - 6, y + 4, format_ns(10**power), "end")
    last = -math.inf
    for size in sizes:
        x = scale.x(size)
        # Labels that would touch the one before are left out.
        if x - last >= 34:
            yield _text(x, top + height + 16, f"{size:,}", "middle")
            last = x


def _curve(part: str, attention: str, points: Sequence[tuple[int, int]], scale: _Scale) -> str:
    color = _PARTS[part]
    places = [(scale.x(size), scale.y(time)) for size, time in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"><title>{part} {attention} '
        f"{size:,}: {format_ns(time)}</title></circle>"
        for (x, y), (size, time) in zip(places, points, strict=True)
    )
    dash = _DASHES[attention]
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'
    return line + dots


def profiles(rows: Sequence[StudyLengths]) -> str:
    """Return one line of bars a profile: the length of each call, in time order."""
    height, drawn, y = 26, [], 0
    for row in rows:
        if row.longest == row.shortest:
            continue
        count = len(row.profile)
        width = (_WIDTH - _LABEL - 90) / count
        name = f"{row.model} {row.stage or ''}"
        drawn.append(_text(_LABEL - 8, y + 18, name, "end"))
        for at, length in enumerate(row.profile):
            tall = max(1.0, (height - 4) * length / row.longest)
            drawn.append(
                f'<rect x="{_LABEL + at * width:.2f}" y="{y + height - tall:.1f}" '
                f'width="{max(width - 0.3, 0.3):.2f}" height="{tall:.1f}" fill="#0072B2"/>'
            )
        drawn.append(_text(_WIDTH - 84, y + 18, f"{row.shortest:,}–{row.longest:,}", "start"))
        y += height + 6
    return _svg("".join(drawn), y) if drawn else ""


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(body: str, height: float) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img">{body}</svg>'


def _legend(colors: dict[str, str], note: str = "") -> str:
    keys = "".join(
        f'<span><i style="background:{color}"></i>{escape(name)}</span>'
        for name, color in colors.items()
    )
    return f'<p class="legend">{keys}{f"<span>{escape(note)}</span>" if note else ""}</p>'
