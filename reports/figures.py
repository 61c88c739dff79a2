"""Figures for a paper, as SVG and PNG: what takes the time, attention, idle time, the roofline.

>>> from tracekit.reports.figures import figure_files
>>> files = figure_files(result)
>>> sorted(files)
['categories.png', 'categories.svg', …]

They need matplotlib (the extra `plots`). Several inputs stand in the same figure, to one scale.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from tracekit.categories import CATEGORIES
from tracekit.reports import figure_style as look
from tracekit.reports.figure_attention import draw_axes, draw_distribution, draw_profiles
from tracekit.reports.figure_roofline import draw_roofline
from tracekit.reports.figure_style import Bar
from tracekit.results import Analysis
from tracekit.units import format_ns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tracekit.results import AnalysisSet

KINDS: Final = ("svg", "png")
"""What a figure can be written as."""

_MOST_BARS: Final = 40
_MOST_STAGES: Final = 10
_WHOLE: Final = 0.99
"""A stage that takes this share of a run is the run, and no second bar."""
_TIME_UNITS: Final = ((10**9, "s"), (10**6, "ms"), (10**3, "µs"), (1, "ns"))
_CAUSES: Final[tuple[str, ...]] = (
    "busy",
    "host_late",
    "sync",
    "launch_latency",
    "profiler",
    "unknown",
)


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """`columns` of the page that a figure is wide (1 or 2), and the `kinds` to write it as."""

    columns: int = 2
    kinds: tuple[str, ...] = KINDS


def figure_files(
    result: Analysis | AnalysisSet, options: FigureOptions | None = None
) -> dict[str, bytes]:
    """Return the figures of one analysis or several, by file name; the same bytes every time.

    A figure of which the analysis holds nothing is left out: `categories` (shares),
    `category_times`, `sequence_lengths`, `length_distribution`, `temporal_spatial`,
    `idle_by_cause`, `roofline`.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    options = options or FigureOptions()
    runs = (result,) if isinstance(result, Analysis) else result.runs
    files = {}
    with look.style():
        for name, draw in _FIGURES.items():
            figure = draw(runs, run_labels(runs), options.columns)
            if figure is not None:
                for kind in options.kinds:
                    files[f"{name}.{kind}"] = look.encode(figure, kind)
    return files


def run_labels(runs: Sequence[Analysis]) -> list[str]:
    """Return a short name for each input: its file or run folder, with the rank if there is one."""
    short = [_short(run) for run in runs]
    count = Counter(short)
    return [
        look.shown(name if count[name] == 1 else run.trace.path, 30)
        for name, run in zip(short, runs, strict=True)
    ]


def _short(run: Analysis) -> str:
    path = PurePosixPath(run.trace.path)
    stem = path.name.removesuffix(".gz").removesuffix(".json")
    # In a run folder all files have the same names.
    name = path.parent.name if run.trace.pass_ is not None and path.parent.name else stem
    return name if run.trace.rank is None else f"{name}, rank {run.trace.rank}"


def _categories(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    bars = _category_bars(runs, labels)
    return _stacked(
        bars, _category_looks(bars), columns, f"Share of {_whole(runs)}", to_scale=False
    )


def _category_times(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    """Return the times of runs and stages to one scale, which shares cannot tell."""
    bars = _category_bars(runs, labels)
    return _stacked(bars, _category_looks(bars), columns, _whole(runs).capitalize(), to_scale=True)


def _whole(runs: Sequence[Analysis]) -> str:
    return "self time" if all(run.trace.basis == "cpu" for run in runs) else "kernel time"


def _category_bars(runs: Sequence[Analysis], labels: Sequence[str]) -> list[Bar]:
    """Return a bar for each run and, while there is room, for each of its stages."""
    bars: list[Bar] = []
    staged = sum(1 + min(_MOST_STAGES, len(run.stages)) for run in runs) <= _MOST_BARS
    for run, label in zip(runs, labels, strict=True):
        values = {row.category: row.time_ns for row in run.categories}
        bars.append(Bar(label, values, format_ns(run.time.kernel_ns), is_heading=True))
        named = [row for row in run.stages if row.stage is not None and row.time_ns]
        if len(named) == 1 and named[0].time_ns >= _WHOLE * run.time.kernel_ns:
            continue
        kept = sorted(named, key=lambda row: -row.time_ns)[:_MOST_STAGES]
        bars += [
            Bar(
                look.shown(row.stage),
                {slug: row.categories.get(slug, 0) for slug in CATEGORIES},
                format_ns(row.time_ns),
            )
            for row in named
            if staged and row in kept
        ]
    return [bar for bar in bars if any(bar.values.values())]


def _category_looks(bars: Sequence[Bar]) -> dict[str, look.Look]:
    held = {key for bar in bars for key, value in bar.values.items() if value}
    return {slug: look.look_of(slug) for slug in CATEGORIES if slug in held}


def _idle(runs: Sequence[Analysis], labels: Sequence[str], columns: int) -> Figure | None:
    """Return busy time and idle time by cause, without the profiler where that is known."""
    bars: list[Bar] = []
    for run, label in zip(runs, labels, strict=True):
        if run.trace.basis == "cpu" or not run.time.span_ns:
            continue
        fixed = run.corrected
        if fixed is None or fixed.by_cause is None:
            causes = {row.cause: row.time_ns for row in run.idle.by_cause}
            values = {"busy": run.time.busy_ns, **causes}
            end = f"{format_ns(run.time.span_ns)}, as traced"
            bars.append(Bar(label, _in_order(values), end, is_heading=True))
            continue
        causes = {row.cause: row.time_ns for row in fixed.by_cause}
        values = {"busy": fixed.busy_ns, **causes}
        bars.append(Bar(label, _in_order(values), format_ns(fixed.wall_ns), is_heading=True))
        bars += [
            Bar(
                look.shown(stage.stage),
                _in_order({"busy": stage.busy_ns, **{c.cause: c.time_ns for c in stage.by_cause}}),
                format_ns(stage.wall_ns),
            )
            for stage in fixed.stages[:_MOST_STAGES]
            if stage.by_cause is not None
        ]
    held = {key for bar in bars for key, value in bar.values.items() if value}
    looks = {cause: look.cause_look(cause) for cause in _CAUSES if cause in held}
    return _stacked(
        bars, looks, columns, "Share of wall time, without the profiler", to_scale=False
    )


def _in_order(values: dict[str, int]) -> dict[str, int]:
    return {cause: values.get(cause, 0) for cause in _CAUSES}


def _stacked(
    bars: Sequence[Bar],
    looks: dict[str, look.Look],
    columns: int,
    what: str,
    *,
    to_scale: bool,
) -> Figure | None:
    """Return stacked bars with a legend and one axis, null where there are none."""
    if not bars:
        return None
    legend_rows = 1 + len(looks) * (1 if columns == 1 else 0) // 2
    figure = look.new_figure(columns, 0.55 + 0.19 * len(bars) + 0.17 * (legend_rows + 1))
    axes = figure.add_subplot()
    look.draw_bars(axes, bars, looks, columns, to_scale=to_scale)
    if to_scale:
        _time_axis(axes, max(sum(bar.values.values()) for bar in bars), what)
    else:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel(what)
    look.add_legend(figure, list(looks.values()))
    return figure


def _time_axis(axes: Axes, longest_ns: int, what: str) -> None:
    """Put round times under bars of which the longest is 1 long."""
    from matplotlib.ticker import MaxNLocator

    size, unit = next((s, u) for s, u in _TIME_UNITS if longest_ns >= s)
    ticks = [at for at in MaxNLocator(5).tick_values(0, longest_ns / size) if at >= 0]
    axes.set_xticks([at * size / longest_ns for at in ticks], [f"{at:,.10g}" for at in ticks])
    axes.set_xlabel(f"{what} ({unit})")
    axes.set_xlim(0, 1.12)


_FIGURES: Final[dict[str, Callable[[Sequence[Analysis], Sequence[str], int], Figure | None]]] = {
    "categories": _categories,
    "category_times": _category_times,
    "sequence_lengths": draw_profiles,
    "length_distribution": draw_distribution,
    "temporal_spatial": draw_axes,
    "idle_by_cause": _idle,
    "roofline": draw_roofline,
}
