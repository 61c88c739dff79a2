"""What the figures of a study's page are drawn with: SVG shapes, legends, horizontal bars.

Shapes have no colour of text: that is the page's, light or dark. A legend is part of its figure, so
that a picture of it can be read alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 760
ROW: Final = 20
LABEL: Final = 230
_KEY: Final = 18
_KEY_GAP: Final = 22
_CHARACTER: Final = 5.9
"""About how wide a character of a figure is."""
_MARK: Final = "#CC0066"


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend: its colour, and whether it stands for a dashed line or a whole one."""

    label: str
    color: str
    line: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a stacked bar, as wide as its share."""

    label: str
    share: float
    color: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar from the left: its series, its value, what stands beside it, and its range."""

    series: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """The axis of bars: its title, whether it is logarithmic, and a value that is marked."""

    title: str
    is_log: bool = False
    mark: float | None = None
    mark_label: str = ""


def text(x: float, y: float, content: str, anchor: str) -> str:
    """Return a text at a place; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def svg(body: str, height: float) -> str:
    """Return a whole figure."""
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img">{body}</svg>'


def legend(keys: Sequence[Key], top: float, left: float = 8) -> tuple[str, float]:
    """Return the legend that begins at this height, and where it ends."""
    drawn, x, y = [], left, top + 14
    for key in keys:
        width = _KEY + len(key.label) * _CHARACTER + _KEY_GAP
        if x + width > WIDTH and x > left:
            x, y = left, y + 18
        if key.line is None:
            shape = f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="12" height="10" fill="{key.color}"/>'
        else:
            shape = (
                f'<line x1="{x:.1f}" x2="{x + 14:.1f}" y1="{y - 4:.1f}" y2="{y - 4:.1f}" '
                f'stroke="{key.color}" stroke-width="2"{key.line}/>'
            )
        drawn += [shape, text(x + _KEY, y, key.label, "start")]
        x += width
    return "".join(drawn), y + 8


def stacked(rows: Sequence[tuple[str, Sequence[Part]]], keys: Sequence[Key]) -> str:
    """Return one stacked bar a row, its parts as wide as their shares, with a legend below."""
    drawn = []
    for number, (name, parts) in enumerate(rows):
        y, x = number * ROW, float(LABEL)
        drawn.append(text(LABEL - 8, y + 14, name, "end"))
        for part in parts:
            width = (WIDTH - LABEL) * part.share
            if width > 0:
                drawn.append(
                    f'<rect x="{x:.1f}" y="{y + 2}" width="{width:.1f}" height="{ROW - 4}" '
                    f'fill="{part.color}"><title>{escape(part.label)} {part.share:.1%}</title>'
                    "</rect>"
                )
            x += width
    below, end = legend(keys, len(rows) * ROW + 4)
    return svg("".join(drawn) + below, end)


def bars(rows: Sequence[tuple[str, Sequence[Bar]]], colors: Mapping[str, str], axis: Axis) -> str:
    """Return groups of bars from the left, one group a row, with ranges, axis and legend.

    Empty where there is no bar. On a logarithmic axis values below the least tick are at its end.
    """
    values = [one for _, group in rows for bar in group for one in _ends(bar)]
    if not values:
        return ""
    scale = _Across([*values, *([axis.mark] if axis.mark is not None else [])], axis.is_log)
    thick, drawn, y = 9, [], 4.0
    for name, group in rows:
        tall = thick * len(group)
        drawn.append(text(LABEL - 8, y + tall / 2 + 4, name, "end"))
        for bar in group:
            drawn.append(_bar(bar, colors[bar.series], scale, y, thick))
            y += thick
        y += 6
    ticks = "".join(_ticks(scale, y))
    marked = _mark(axis, scale, y)
    title = text((LABEL + WIDTH - 60) / 2, y + 30, axis.title, "middle")
    used = dict.fromkeys(bar.series for _, group in rows for bar in group)
    keys = [Key(name, colors[name]) for name in used]
    if axis.mark is not None and axis.mark_label:
        keys.append(Key(axis.mark_label, _MARK, ' stroke-dasharray="2 3"'))
    below, end = legend(keys, y + 36)
    return svg(ticks + marked + "".join(drawn) + title + below, end)


def _ends(bar: Bar) -> tuple[float, ...]:
    return (bar.value, *(one for one in (bar.low, bar.high) if one is not None))


class _Across:
    """Where values stand from left to right; a logarithmic axis ends at 1, 2 or 5 times a power."""

    def __init__(self, values: Sequence[float], is_log: bool) -> None:
        self.is_log = is_log
        positive = [value for value in values if value > 0] or [1.0]
        if is_log:
            least, most = min(positive), max(positive)
            steps = [one * 10.0**power for power in range(-9, 15) for one in (1, 2, 5)]
            below = [step for step in steps if step <= least * 1.001]
            above = [step for step in steps if step >= most]
            self._ends = below[-1], max(above[0], below[-1] * 2)
            self._low, self._high = (math.log10(end) for end in self._ends)
        else:
            self._low, self._high = 0.0, max(positive) * 1.02

    def x(self, value: float) -> float:
        logarithm = math.log10(value) if value > 0 else self._low
        at = logarithm if self.is_log else value
        part = (at - self._low) / (self._high - self._low)
        return LABEL + (WIDTH - 70 - LABEL) * min(1.0, max(0.0, part))

    def ticks(self) -> Iterator[tuple[float, str]]:
        if self.is_log:
            ones = (1,) if self._high - self._low > 2 else (1, 2, 5)
            powers = range(math.floor(self._low), math.ceil(self._high) + 1)
            for value in (one * 10.0**power for power in powers for one in ones):
                if self._ends[0] <= value * 1.001 and value <= self._ends[1] * 1.001:
                    yield value, f"{value:,.0f}" if value >= 1 else f"{value:g}"
            return
        power = 10 ** math.floor(math.log10(self._high))
        steps = (power / 5, power / 2, power, 2 * power)
        step = next(one for one in steps if self._high / one <= 6)
        for number in range(int(self._high / step) + 1):
            yield number * step, f"{number * step:g}"


def _bar(bar: Bar, color: str, scale: _Across, y: float, thick: int) -> str:
    x = scale.x(bar.value)
    end = x
    shape = (
        f'<rect x="{LABEL}" y="{y + 1:.1f}" width="{max(x - LABEL, 0.5):.1f}" '
        f'height="{thick - 2}" fill="{color}"><title>{escape(bar.series)}: {escape(bar.text)}'
        "</title></rect>"
    )
    if bar.low is not None and bar.high is not None and bar.high > bar.low:
        left, end = scale.x(bar.low), scale.x(bar.high)
        shape += (
            f'<line class="whisker" x1="{left:.1f}" x2="{end:.1f}" y1="{y + thick / 2:.1f}" '
            f'y2="{y + thick / 2:.1f}"/>'
        )
    label = f'<text class="small" x="{max(x, end) + 4:.1f}" y="{y + thick - 1:.1f}">'
    return f"{shape}{label}{escape(bar.text)}</text>"


def _ticks(scale: _Across, bottom: float) -> Iterator[str]:
    for value, label in scale.ticks():
        x = scale.x(value)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}"/>'
        yield text(x, bottom + 14, label, "middle")


def _mark(axis: Axis, scale: _Across, bottom: float) -> str:
    if axis.mark is None:
        return ""
    x = scale.x(axis.mark)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom:.1f}" stroke="{_MARK}" '
        'stroke-width="2" stroke-dasharray="2 3"/>'
    )
