"""The plot of sequence lengths over a run, as an SVG that stands by itself or inside a page."""

from __future__ import annotations

from math import ceil, floor, log2
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from tracekit.reports.attention_cells import profile_lines
from tracekit.reports.palette import color_of
from tracekit.units import format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.attention_results import LengthProfile
    from tracekit.reports.attention_cells import ProfileLine

_LEFT: Final = 64
_RIGHT: Final = 12
_TITLE: Final = 22
_PANEL: Final = 96
_GAP: Final = 22
_FONT: Final = "12px system-ui, sans-serif"
_INK: Final = "#444444"
_GRID: Final = "#DDDDDD"
_MOST_CYCLES: Final = 3
_MOST_LINES: Final = 4
"""Horizontal lines of a panel at most, each a power of two."""


def length_plot(profiles: Sequence[LengthProfile], width: int = 720) -> str:
    """Return one SVG with a panel for each stage and axis, empty text where there is none.

    Across is the order of calls (of steps, where each has a length of its own), steps that repeat
    are drawn up to three times; up is the number of tokens, on a logarithmic scale. `width` is in
    pixels, at least 200.
    """
    if not profiles:
        return ""
    width = max(width, 200)
    height = len(profiles) * (_TITLE + _PANEL + _GAP)
    lines = profile_lines(profiles, 1)
    panels = [
        _panel(profile, line, index * (_TITLE + _PANEL + _GAP), width)
        for index, (profile, line) in enumerate(zip(profiles, lines, strict=True))
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n'
        f"<title>Tokens that self-attention looks at, call by call</title>\n"
        f'<g style="font: {_FONT}" fill="{_INK}">\n{"".join(panels)}</g>\n</svg>\n'
    )


def _panel(profile: LengthProfile, line: ProfileLine, top: int, width: int) -> str:
    """Return one panel: its title, lines at powers of two, and the lengths as steps."""
    lengths = _drawn(profile)
    low, high = _bounds(lengths)
    base = top + _TITLE + _PANEL
    color = color_of("temporal_attention" if line.is_temporal else "attention")

    def height_of(tokens: float) -> float:
        return base - _PANEL * (log2(max(1.0, tokens)) - low) / (high - low)

    wide = (width - _LEFT - _RIGHT) / max(1, len(lengths))
    path = []
    for index, tokens in enumerate(lengths):
        start, y = _LEFT + index * wide, height_of(tokens)
        path.append(f"{'L' if index else 'M'}{start:.1f} {y:.1f}H{start + wide:.1f}")
    title = f"{line.name}: {line.tokens} tokens {line.over}"
    grid = "".join(_grid_line(power, height_of(2**power), width) for power in _powers(low, high))
    return (
        f'<text x="{_LEFT}" y="{top + 14}">{escape(title)}</text>\n{grid}'
        f'<path d="{"".join(path)}" fill="none" stroke="{color}" stroke-width="2"/>\n'
    )


def _grid_line(power: int, y: float, width: int) -> str:
    return (
        f'<path d="M{_LEFT} {y:.1f}H{width - _RIGHT}" stroke="{_GRID}"/>'
        f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{format_count(2**power)}</text>\n'
    )


def _drawn(profile: LengthProfile) -> tuple[int, ...]:
    """Return the lengths, as often as the step that they are of is drawn."""
    return profile.lengths * (min(profile.steps, _MOST_CYCLES) if profile.repeats else 1)


def _bounds(lengths: Sequence[int]) -> tuple[int, int]:
    """Return the powers of two between which the lengths lie, at least three apart."""
    low = floor(log2(max(1, min(lengths, default=1))))
    high = ceil(log2(max(1, max(lengths, default=1))))
    return min(low, max(0, high - 3)), max(high, 3)


def _powers(low: int, high: int) -> range:
    return range(low, high + 1, max(1, ceil((high - low) / (_MOST_LINES - 1))))
