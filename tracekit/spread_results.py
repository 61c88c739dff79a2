"""What repeats of one measurement give: a median with its range, and ratios of two of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several runs, with the least and the greatest of them."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """One median over another; `low` and `high` are of the ranges of both runs.

    `is_difference` is false where the ranges overlap.
    """

    value: float
    low: float
    high: float
    is_difference: bool
