"""Steps that are far from the others of their stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from tracekit.results import OutlierStep, StepTime

FEWEST_STEPS: Final = 4
"""Fewer steps do not say what is usual."""
FARTHEST: Final = 3.5
"""Modified z-score beyond which a step is an outlier (B. Iglewicz and D. Hoaglin, 1993, p. 11)."""
LEAST_SHARE: Final = 0.05
"""Share of the median that a step must be away from it: steps may differ by next to nothing."""
_MAD_OF_NORMAL: Final = 0.6745


def outlier_steps(steps: Sequence[StepTime]) -> tuple[OutlierStep, ...]:
    """Return the steps whose kernel time or length is far from the median, in order of step.

    Far is a distance of more than 3.5 times the median absolute deviation (divided by 0.6745, its
    value for a normal distribution of unit variance) and of more than 5% of the median. Of fewer
    than four steps none is.
    """
    found = [*_far(steps, "time"), *_far(steps, "span")]
    return tuple(sorted(found, key=lambda one: (one.step, one.measure != "time")))


def _far(steps: Sequence[StepTime], measure: Literal["time", "span"]) -> list[OutlierStep]:
    if len(steps) < FEWEST_STEPS:
        return []
    values = np.array([step.time_ns if measure == "time" else step.span_ns for step in steps])
    median = float(np.median(values))
    away = np.abs(values - median)
    usual = float(np.median(away)) / _MAD_OF_NORMAL
    far = (away > FARTHEST * usual) & (away > LEAST_SHARE * median)
    return [
        OutlierStep(steps[at].step, measure, int(values[at]), round(median))
        for at in np.flatnonzero(far).tolist()
    ]
