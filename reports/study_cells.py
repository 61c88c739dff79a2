"""What the sections of a study's report are made of, and how numbers look in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracekit.reports.palette import LABEL_OF, label_of
from tracekit.units import MISSING, format_ns

if TYPE_CHECKING:
    from tracekit.spread_results import Ratio, Spread
    from tracekit.study_results import PowerFit


@dataclass(frozen=True, slots=True)
class Table:
    """Headers, one of `l` and `r` for each, and rows of plain text."""

    headers: Sequence[str]
    align: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report. `figure` names what a renderer that can draw puts there."""

    title: str
    about: str
    tables: tuple[Table, ...]
    figure: str | None = None


def spread(value: Spread | None) -> str:
    """Return a time as median, with range and number of runs where there are several."""
    if value is None:
        return MISSING
    median, low, high = (format_ns(round(one)) for one in (value.median, value.low, value.high))
    return median if value.runs == 1 else f"{median} ({low}–{high}, {value.runs})"


def ratio(value: Ratio | None) -> str:
    """Return a ratio with its range."""
    return MISSING if value is None else f"{value.value:.2f}x ({value.low:.2f}–{value.high:.2f})"


def times(value: float | None) -> str:
    """Return a factor."""
    if value is None:
        return MISSING
    return f"{value:.2f}x" if value >= 0.1 else f"{value:.2g}x"


def part_label(name: str) -> str:
    """Return what a part of a sweep is called."""
    return label_of(name) if name in LABEL_OF else name.capitalize()


def exponent(fit: PowerFit) -> str:
    """Return an exponent with its standard error."""
    return f"{fit.exponent:.2f}" + ("" if fit.error is None else f" ± {fit.error:.2f}")


def fitted_range(fit: PowerFit) -> str:
    """Return the sizes that a fit is over."""
    return f"{fit.first:,}–{fit.last:,}"
