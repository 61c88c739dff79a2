"""How figures for a paper look: sizes, type, colours with hatches, and files that never differ."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from tracekit import categories as c
from tracekit.errors import MissingDependencyError
from tracekit.reports.names import clean, fit
from tracekit.reports.palette import CAUSE_COLOR_OF, CAUSE_LABEL_OF, color_of, label_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTHS_IN: Final = {1: 3.35, 2: 6.9}
"""Width in inches of a figure over one column or two (of letter or A4 paper)."""

INK: Final = "#222222"
GRID: Final = "#DDDDDD"
BUSY: Final = "#D9D9D9"

_DOTS_PER_INCH: Final = 300
_RULES: Final[dict[str, Any]] = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "figure.dpi": 100,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handleheight": 1.0,
    "legend.handlelength": 1.4,
    "lines.linewidth": 1.2,
    "savefig.dpi": _DOTS_PER_INCH,
    "svg.fonttype": "none",
    "svg.hashsalt": "tracekit",
    # A name with dollar signs is a name, no formula.
    "text.parse_math": False,
    "text.usetex": False,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.color": INK,
    "ytick.labelsize": 7.5,
    "ytick.major.width": 0.6,
}

# Neighbours differ in their hatch as well, so that a grey print tells them apart. No dots: as
# curves they would be most of an SVG.
_HATCH_OF: Final = {
    c.CONV: "",
    c.LINEAR: "////",
    c.ATTENTION: "",
    c.TEMPORAL_ATTENTION: "xxxx",
    c.NORM: "\\\\\\\\",
    c.ELEMENTWISE: "||||",
    c.EMBEDDING: "//",
    c.COMMUNICATION: "++++",
    c.MEMORY: "----",
    c.OTHER: "",
}
_CAUSE_HATCH_OF: Final = {"sync": "////", "launch_latency": "\\\\\\\\", "profiler": "xxxx"}


@dataclass(frozen=True, slots=True)
class Look:
    """Colour, hatch and label of one part."""

    color: str
    hatch: str
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A stacked bar: its label, values by what they are of, and what stands at its end."""

    label: str
    values: dict[str, int]
    end: str
    is_heading: bool = False


def look_of(category: str) -> Look:
    """Return how a category looks."""
    return Look(color_of(category), _HATCH_OF.get(category, ""), label_of(category))


def cause_look(cause: str) -> Look:
    """Return how a cause of idle time looks, and `busy`."""
    if cause == "busy":
        return Look(BUSY, "", "Busy")
    color = CAUSE_COLOR_OF.get(cause, CAUSE_COLOR_OF["unknown"])
    return Look(color, _CAUSE_HATCH_OF.get(cause, ""), CAUSE_LABEL_OF.get(cause, cause))


def shown(name: str | None, cells: int = 26) -> str:
    """Return a name as a figure shows it: printable, and cut in its middle."""
    return fit(clean(name), cells)


@contextmanager
def style() -> Iterator[None]:
    """Hold matplotlib's settings at those of these figures; they are as before when it ends.

    Raises
    ------
    MissingDependencyError
        matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingDependencyError(
            "figures need matplotlib: pip install 'gpu-tracekit[plots]'"
        ) from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RULES)
        # A name in a script that the font lacks is drawn as boxes; in an SVG it stays text.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def new_figure(columns: int, height_in: float) -> Figure:
    """Return an empty figure, outside of pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTHS_IN[columns], height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as `svg` or `png`, the same bytes for the same figure."""
    buffer = BytesIO()
    told = {"Date": None, "Creator": "tracekit"} if kind == "svg" else {"Software": None}
    figure.savefig(buffer, format=kind, metadata=told)
    return buffer.getvalue()


def draw_bars(
    axes: Axes, bars: Sequence[Bar], looks: dict[str, Look], columns: int, *, to_scale: bool
) -> None:
    """Draw stacked horizontal bars, the first on top, with shares inside where they fit.

    `to_scale` draws values as they are; without it each bar is as long as the others.
    """
    longest = max((sum(bar.values.values()) for bar in bars), default=0) or 1
    least = 0.28 / (0.62 * WIDTHS_IN[columns])
    for row, bar in enumerate(bars):
        whole = sum(bar.values.values())
        scale = longest if to_scale else whole or 1
        left = 0.0
        for key, value in bar.values.items():
            if not value:
                continue
            part, look = value / scale, looks[key]
            axes.barh(
                row, part, left=left, height=0.72, color=look.color, hatch=look.hatch,
                edgecolor="white", linewidth=0.5,
            )  # fmt: skip
            if part >= least:
                write_inside(axes, (left + part / 2, row), f"{value / whole:.0%}", look.color)
            left += part
        axes.text(left + 0.012, row, bar.end, va="center", ha="left", fontsize=7)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    for tick, bar in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_fontweight("bold" if bar.is_heading else "normal")
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.set_xlim(0, 1.12)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def write_inside(axes: Axes, at: tuple[float, float], text: str, color: str) -> None:
    """Write over a part of a bar, in black or white, on a patch that the hatch does not cross."""
    patch = {"facecolor": color, "edgecolor": "none", "pad": 0.8}
    axes.text(*at, text, va="center", ha="center", fontsize=7, color=_on(color), bbox=patch)


def add_legend(figure: Figure, looks: Sequence[Look]) -> None:
    """Put a legend above the figure, in as many columns as fit."""
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=look.color, hatch=look.hatch, edgecolor="white", label=look.label)
        for look in looks
    ]
    widest = max((len(look.label) for look in looks), default=1)
    columns = max(1, int(figure.get_size_inches()[0] / (0.34 + 0.062 * widest)))
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(columns, len(handles)),
        columnspacing=1.0, handletextpad=0.5,
    )  # fmt: skip


def _on(color: str) -> str:
    """Return black or white, whichever is easier to read on a colour (WCAG's luminance)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"
