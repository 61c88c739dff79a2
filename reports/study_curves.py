"""Curves over the size of a sweep, both axes logarithmic: times of parts, bytes of scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

from tracekit.reports.study_cells import part_label
from tracekit.reports.study_svg import Key, legend, svg, text
from tracekit.units import format_bytes, format_ns

if TYPE_CHECKING:
    from tracekit.study_results import MemoryPoint, StudyMemory, SweepResult

_PLOT: Final = (70, 20, 520, 260)
"""Left, top, width and height of a plot."""
_PARTS: Final = {
    "conv": "#E69F00",
    "linear": "#0072B2",
    "attention": "#D55E00",
    "temporal": "#CC6699",
    "spatial": "#009E73",
}
_DASHED: Final = ' stroke-dasharray="5 4"'
_DASHES: Final = {"flash": "", "eager": _DASHED}
_GREY: Final = "#6E6E6E"


@dataclass(frozen=True, slots=True)
class _Line:
    label: str
    color: str
    dash: str
    points: tuple[tuple[int, int], ...]


def sweep_curves(sweep: SweepResult) -> str:
    """Return the time of each part over the size of a sweep; written-out attention is dashed."""
    lines = []
    for part, color in _PARTS.items():
        for attention, dash in _DASHES.items():
            points = tuple(
                (one.value, one.times[part])
                for one in sweep.points
                if one.attention == attention and one.times.get(part)
            )
            if points:
                lines.append(_Line(f"{part_label(part)}, {attention}", color, dash, points))
    keys = [
        Key(part_label(part), color)
        for part, color in _PARTS.items()
        if any(line.color == color for line in lines)
    ]
    keys += [Key("Flash Attention", _GREY, ""), Key("written out", _GREY, _DASHED)]
    return _drawn(lines, keys, sweep.title, format_ns)


def memory_curves(memory: StudyMemory) -> str:
    """Return the bytes of scores by the model and measured peaks, over the image side."""
    series: tuple[tuple[str, str, str, Callable[[MemoryPoint], int | None]], ...] = (
        ("scores by the model", _GREY, _DASHED, lambda one: one.model_bytes),
        ("measured peak, written out", "#D55E00", "", lambda one: one.eager_bytes),
        ("measured peak, Flash Attention", "#0072B2", "", lambda one: one.flash_bytes),
    )
    lines = []
    for label, color, dash, read in series:
        points = tuple(
            # A logarithm has no place for nothing.
            (one.value, value)
            for one in memory.points
            if (value := read(one))
        )
        if points:
            lines.append(_Line(label, color, dash, points))
    keys = [Key(line.label, line.color, line.dash) for line in lines]
    return _drawn(lines, keys, "image side", format_bytes)


def _drawn(
    lines: Sequence[_Line],
    keys: Sequence[Key],
    title: str,
    shown: Callable[[int | None], str],
) -> str:
    if not lines:
        return ""
    sizes = [size for line in lines for size, _ in line.points]
    scale = _Scale(sizes, [value for line in lines for _, value in line.points])
    left, top, width, height = _PLOT
    axes = "".join(_axes(scale, sorted(set(sizes)), shown))
    curves = "".join(_curve(line, scale, shown) for line in lines)
    below, end = legend(keys, top + height + 42, left)
    caption = text(left + width / 2, top + height + 34, title, "middle")
    return svg(axes + curves + caption + below, end)


class _Scale:
    def __init__(self, sizes: Sequence[int], values: Sequence[int]) -> None:
        self.size = (math.log(min(sizes)), math.log(max(sizes)))
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.value = (low, max(high, low + 1))

    def x(self, size: float) -> float:
        low, high = self.size
        left, _, width, _ = _PLOT
        return left + width * ((math.log(size) - low) / (high - low) if high > low else 0.5)

    def y(self, value: float) -> float:
        low, high = self.value
        _, top, _, height = _PLOT
        return top + height * (1 - (math.log10(value) - low) / (high - low))


def _axes(scale: _Scale, sizes: Sequence[int], shown: Callable[[int | None], str]) -> Iterator[str]:
    left, top, width, height = _PLOT
    for power in range(scale.value[0], scale.value[1] + 1):
        y = scale.y(10**power)
        yield f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield text(left - 6, y + 4, shown(10**power), "end")
    last = -math.inf
    for size in sizes:
        x = scale.x(size)
        # Labels that would touch the one before are left out.
        if x - last >= 34:
            yield text(x, top + height + 16, f"{size:,}", "middle")
            last = x


def _curve(line: _Line, scale: _Scale, shown: Callable[[int | None], str]) -> str:
    places = [(scale.x(size), scale.y(value)) for size, value in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.color}">'
        f"<title>{escape(line.label)}, {size:,}: {shown(value)}</title></circle>"
        for (x, y), (size, value) in zip(places, line.points, strict=True)
    )
    stroke = f'stroke="{line.color}" stroke-width="2"{line.dash}'
    return f'<polyline points="{path}" fill="none" {stroke}/>{dots}'
