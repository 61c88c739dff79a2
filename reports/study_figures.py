"""The figures of a study's page, as inline SVG, one for each section that is better seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tracekit.categories import CATEGORIES
from tracekit.reports.palette import color_of, label_of
from tracekit.reports.study_bars import (
    flash_speedups,
    graph_speedups,
    idle_shares,
    intensities,
    model_times,
    temporal_shares,
)
from tracekit.reports.study_curves import memory_curves, sweep_curves
from tracekit.reports.study_svg import LABEL, WIDTH, Key, Part, stacked, svg, text

if TYPE_CHECKING:
    from tracekit.study_results import StudyLengths, StudyReport, StudyRun

_LAYOUT: Final = "#8A5A00"
_SHORTER: Final = (
    ("stable-diffusion", "SD"),
    ("norms and activations", "norms, activations"),
    ("channels last, cuDNN benchmark", "channels last, benchmark"),
)
_LAYOUT_LABEL: Final = "changes of layout (convolution)"


def figure(name: str, report: StudyReport) -> str:
    """Return the SVG of a section's figure, empty where there is nothing to draw."""
    if name.startswith("sweep:"):
        sweep = next((one for one in report.sweeps if name == f"sweep:{one.name}"), None)
        return "" if sweep is None else sweep_curves(sweep)
    return FIGURES[name](report)


def breakdown(runs: Sequence[StudyRun]) -> str:
    """Return one stacked bar a run, shares of its kernel time."""
    return _shares([(f"{run.model} {run.attention}", run.categories, 0) for run in runs])


def _shares(rows: Sequence[tuple[str, Mapping[str, int], int]]) -> str:
    """Return stacked bars of times by category; of convolution a part is of changes of layout."""
    bars = []
    for name, times, layout in rows:
        whole = sum(times.values()) or 1
        parts = []
        for slug in CATEGORIES:
            time = times.get(slug, 0) - (layout if slug == "conv" else 0)
            parts.append(Part(label_of(slug), time / whole, color_of(slug)))
            if slug == "conv" and layout:
                parts.append(Part(_LAYOUT_LABEL, layout / whole, _LAYOUT))
        bars.append((name, parts))
    used = [slug for slug in CATEGORIES if any(times.get(slug) for _, times, _ in rows)]
    keys = [Key(label_of(slug), color_of(slug)) for slug in used]
    if any(layout for _, _, layout in rows):
        keys.append(Key(_LAYOUT_LABEL, _LAYOUT))
    return stacked(bars, keys) if bars else ""


def _stages(report: StudyReport) -> str:
    return _shares([(f"{one.model} {one.stage}", one.categories, 0) for one in report.stages])


def _variants(report: StudyReport) -> str:
    rows = [
        (f"{one.model}: {one.variant}", one.categories, one.layout_ns) for one in report.variants
    ]
    return _shares([(_short(name), times, layout) for name, times, layout in rows])


def _short(name: str) -> str:
    for long, short in _SHORTER:
        name = name.replace(long, short)
    return name


def _projections(report: StudyReport) -> str:
    rows: list[tuple[str, Mapping[str, int], int]] = []
    for one in report.projections:
        rows += [
            (f"{one.model}, measured", one.categories, one.layout_ns),
            (f"{one.model}, {one.device}", one.projected, 0),
        ]
    return _shares(rows)


def profiles(rows: Sequence[StudyLengths]) -> str:
    """Return one line of bars a profile: the length of each call, in time order."""
    height, drawn, y = 26, [], 0
    for row in rows:
        if row.longest == row.shortest:
            continue
        count = len(row.profile)
        width = (WIDTH - LABEL - 90) / count
        drawn.append(text(LABEL - 8, y + 18, f"{row.model} {row.stage or ''}", "end"))
        for at, length in enumerate(row.profile):
            tall = max(1.0, (height - 4) * length / row.longest)
            drawn.append(
                f'<rect x="{LABEL + at * width:.2f}" y="{y + height - tall:.1f}" '
                f'width="{max(width - 0.3, 0.3):.2f}" height="{tall:.1f}" fill="#0072B2"/>'
            )
        drawn.append(text(WIDTH - 84, y + 18, f"{row.shortest:,}–{row.longest:,}", "start"))
        y += height + 6
    if not drawn:
        return ""
    caption = "calls of self-attention in time order; as tall as their length (shortest–longest)"
    return svg("".join(drawn) + text(LABEL, y + 12, caption, "start"), y + 20)


FIGURES: Final[dict[str, Callable[[StudyReport], str]]] = {
    "models": lambda report: model_times(report.runs),
    "breakdown": lambda report: breakdown(report.runs),
    "stages": _stages,
    "speedups": lambda report: flash_speedups(report.speedups),
    "lengths": lambda report: profiles(report.lengths),
    "likeness": lambda report: intensities(report.likeness),
    "temporal": lambda report: temporal_shares(report.temporal),
    "memory": lambda report: "" if report.memory is None else memory_curves(report.memory),
    "idle": lambda report: idle_shares(report.idle),
    "variants": _variants,
    "projections": _projections,
    "graphs": lambda report: graph_speedups(report.graph_speedups),
}
"""The figure of each section, by its name."""
