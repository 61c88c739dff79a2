"""Figures of attention: sequence lengths over a run, their distribution, temporal and spatial."""

from __future__ import annotations

from collections import defaultdict
from math import ceil, floor, log2
from typing import TYPE_CHECKING, Final

from tracekit.reports import figure_style as look
from tracekit.reports.attention_cells import profile_lines
from tracekit.reports.figure_style import Bar, Look
from tracekit.reports.palette import color_of
from tracekit.units import format_count, format_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tracekit.attention_results import LengthProfile, SequenceLength
    from tracekit.results import Analysis

_MOST_PANELS: Final = 8
_MOST_CYCLES: Final = 3
_MOST_TICKS: Final = 5
_MOST_LENGTHS: Final = 16
"""More distinct lengths than these are counted by powers of two."""
_AXES: Final = {
    "temporal": Look(color_of("temporal_attention"), "xxxx", "Temporal"),
    "spatial": Look(color_of("attention"), "", "Spatial"),
    "spatio-temporal": Look("#882255", "////", "Spatio-temporal"),
    "sequence": Look("#332288", "\\\\\\\\", "Sequence"),
    "unknown": Look(color_of("other"), "", "Unknown"),
}


def draw_profiles(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    """Return the tokens that self-attention looks at, call by call, a panel a stage and axis."""
    panels = [
        (profile, line.name if len(runs) == 1 else f"{label}: {line.name}", line)
        for run, label in zip(runs, labels, strict=True)
        for profile, line in zip(
            run.attention.profile, profile_lines(run.attention.profile, 1), strict=True
        )
        if profile.lengths
    ]
    if not panels:
        return None
    kept = panels[:_MOST_PANELS]
    figure = look.new_figure(columns, 0.35 + 0.95 * len(kept))
    every = figure.subplots(len(kept), 1, squeeze=False)[:, 0]
    for axes, (profile, name, line) in zip(every, kept, strict=True):
        _steps(axes, _drawn(profile), _look(profile.axis).color)
        over = f" {line.over}" if columns > 1 else ""
        axes.set_title(look.shown(f"{name}: {line.tokens} tokens{over}", 46 * columns))
    figure.supylabel("Tokens", fontsize=8)
    more = len(panels) - len(kept)
    steps = all(profile.points == "step" for profile, _, _ in kept)
    across = "Step" if steps else "Attention call, in the order of the run"
    every[-1].set_xlabel(f"{across} ({more} more not shown)" if more else across)
    return figure


def _steps(axes: Axes, lengths: Sequence[int], color: str) -> None:
    """Draw lengths as steps over a logarithmic axis with ticks at powers of two."""
    from matplotlib.ticker import MaxNLocator

    tokens = [max(1, length) for length in lengths]
    axes.stairs(tokens, range(len(lengths) + 1), baseline=None, color=color, linewidth=1.4)
    low, high = bounds(lengths)
    powers = range(low, high + 1, max(1, ceil((high - low) / (_MOST_TICKS - 1))))
    axes.set_yscale("log", base=2)
    axes.set_ylim(2**low / 1.15, 2**high * 1.15)
    axes.set_yticks([2**power for power in powers], [format_count(2**p) for p in powers])
    axes.minorticks_off()
    axes.set_xlim(0, len(lengths))
    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def bounds(lengths: Sequence[int]) -> tuple[int, int]:
    """Return the powers of two between which lengths lie, at least three apart."""
    low = floor(log2(max(1, min(lengths, default=1))))
    high = ceil(log2(max(1, max(lengths, default=1))))
    return min(low, max(0, high - 3)), max(high, 3)


def _drawn(profile: LengthProfile) -> tuple[int, ...]:
    """Return the lengths, as often as the step that they are of is drawn."""
    return profile.lengths * (min(profile.steps, _MOST_CYCLES) if profile.repeats else 1)


def draw_distribution(
    runs: Sequence[Analysis], labels: Sequence[str], columns: int
) -> Figure | None:
    """Return how calls and time of self-attention spread over its lengths, by axis."""
    held = [
        (label, rows)
        for run, label in zip(runs, labels, strict=True)
        if (rows := [row for row in run.attention.sequence_lengths if _tokens(row) is not None])
    ]
    more = len(held) - _MOST_PANELS
    held = held[:_MOST_PANELS]
    if not held:
        return None
    every = sorted({_tokens(row) or 0 for _, rows in held for row in rows})
    is_binned = len(every) > _MOST_LENGTHS
    places = sorted({_bin(tokens) for tokens in every}) if is_binned else every
    figure = look.new_figure(columns, 0.75 + 1.25 * len(held))
    grid = figure.subplots(len(held), 2, squeeze=False, sharex=True, sharey=True)
    axes_held = sorted({row.axis or "unknown" for _, rows in held for row in rows})
    for (label, rows), pair in zip(held, grid, strict=True):
        for axes, measure in zip(pair, ("calls", "time_ns"), strict=True):
            _spread(axes, rows, measure, places, is_binned)
        if len(runs) > 1:
            pair[0].set_title(label)
    names = [f"{format_count(at)}–{format_count(2 * at - 1)}" for at in places]
    names = names if is_binned else [format_count(at) for at in places]
    beyond = f"; {more} more not shown" if more > 0 else ""
    for axes, what in zip(grid[-1], ("calls", f"time{beyond}"), strict=True):
        place_in = (look.WIDTHS_IN[columns] / 2 - 0.5) / len(places)
        slanted = max(map(len, names)) * 0.075 > place_in
        axes.set_xticks(range(len(places)), names, rotation=90 if slanted else 0)
        axes.set_xlabel(f"Tokens, by {what}")
    grid[0, 0].set_ylim(0, 1)
    grid[0, 0].set_yticks([0, 0.5, 1], ["0%", "50%", "100%"])
    look.add_legend(figure, [_look(axis) for axis in axes_held])
    figure.supylabel("Share of self-attention", fontsize=8)
    return figure


def _spread(
    axes: Axes,
    rows: Sequence[SequenceLength],
    measure: str,
    places: Sequence[int],
    is_binned: bool,
) -> None:
    """Draw the share of each length in calls or time as bars, stacked by axis."""
    whole = sum(getattr(row, measure) for row in rows) or 1
    sums: dict[tuple[str, int], float] = defaultdict(float)
    for row in rows:
        tokens = _tokens(row) or 0
        place = _bin(tokens) if is_binned else tokens
        sums[row.axis or "unknown", place] += getattr(row, measure) / whole
    below = [0.0] * len(places)
    for axis in sorted({axis for axis, _ in sums}):
        heights = [sums.get((axis, place), 0.0) for place in places]
        style = _look(axis)
        axes.bar(
            range(len(places)), heights, 0.72, below, color=style.color, hatch=style.hatch,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def _tokens(row: SequenceLength) -> int | None:
    """Return how many tokens self-attention of a row looks at, null for cross-attention."""
    if row.kind == "cross":
        return None
    return row.query_length if row.kind == "joint" else row.key_length


def _bin(tokens: int) -> int:
    """Return the power of two at or below a number."""
    return int(2 ** floor(log2(max(1, tokens))))


def draw_axes(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    """Return temporal beside spatial attention in time, FLOPs and calls; null without both."""
    bars: list[Bar] = []
    for run, label in zip(runs, labels, strict=True):
        rows = {row.key: row for row in run.attention.by_axis if row.key in ("temporal", "spatial")}
        if len(rows) < 2:
            continue
        for what, field in (("time", "time_ns"), ("FLOPs", "flops"), ("calls", "calls")):
            values = {axis: getattr(rows[axis], field) for axis in ("temporal", "spatial")}
            if any(value is None for value in values.values()) or not any(values.values()):
                continue
            end = format_ns(sum(values.values())) if what == "time" else ""
            end = format_count(sum(values.values())) if what == "calls" else end
            name = what[0].upper() + what[1:] if len(runs) == 1 else f"{label}: {what}"
            bars.append(Bar(name, values, end))
    if not bars:
        return None
    figure = look.new_figure(columns, 0.65 + 0.24 * len(bars))
    axes = figure.add_subplot()
    looks = {axis: _AXES[axis] for axis in ("temporal", "spatial")}
    look.draw_bars(axes, bars, looks, columns, to_scale=False)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("Share of temporal and spatial attention")
    look.add_legend(figure, list(looks.values()))
    return figure


def _look(axis: str | None) -> Look:
    return _AXES.get(axis or "unknown", _AXES["unknown"])
