"""How something grows with a size: a power law, fitted to logarithms by least squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from tracekit.study_results import Crossover, PowerFit

LAST: Final = 4
"""Points of the fit to the largest sizes, where what does not grow weighs least."""


def fit_power(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float | None] | None:
    """Return exponent and its standard error (null of two points), null with less than two sizes.

    Sizes and values are positive.
    """
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    n = len(x)
    if len(set(x)) < 2:
        return None
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    pairs = [(a - mean_x, b - mean_y) for a, b in zip(x, y, strict=True)]
    spread = math.fsum(a * a for a, _ in pairs)
    slope = math.fsum(a * b for a, b in pairs) / spread
    left = math.fsum((b - slope * a) ** 2 for a, b in pairs)
    return slope, math.sqrt(left / (n - 2) / spread) if n > 2 else None


def fits(what: str, attention: str, points: Sequence[tuple[int, float]]) -> list[PowerFit]:
    """Return the fit over all points, and that over the last ones where there are more.

    Points without a value, or with none above 0, do not count.
    """
    ordered = sorted((size, value) for size, value in points if value > 0)
    found = []
    for chosen, is_all in ((ordered, True), (ordered[-LAST:], False)):
        if not is_all and len(ordered) <= LAST:
            continue
        fit = fit_power([size for size, _ in chosen], [value for _, value in chosen])
        if fit is not None:
            ends = (chosen[0][0], chosen[-1][0])
            found.append(PowerFit(what, attention, *fit, len(chosen), *ends, is_all))
    return found


def crossover(what: str, attention: str, ratios: Sequence[tuple[int, float]]) -> Crossover | None:
    """Return where a ratio first crosses 1: between two points, or beyond the last on its way up.

    Beyond, it is where the power law through the last points would. Null where it never does.
    """
    points = sorted((size, ratio) for size, ratio in ratios if ratio > 0)
    for (start, low), (stop, high) in pairwise(points):
        if (low < 1) != (high < 1):
            part = -math.log(low) / (math.log(high) - math.log(low))
            at = math.exp(math.log(start) + part * math.log(stop / start))
            return Crossover(what, attention, at, is_beyond=False, is_upward=high > low)
    if not points or points[-1][1] >= 1:
        return None
    last = points[-LAST:]
    fit = fit_power([size for size, _ in last], [ratio for _, ratio in last])
    if fit is None or fit[0] <= 0:
        return None
    size, ratio = points[-1]
    # A growth too slow to tell where would give sizes that mean nothing.
    exponent = -math.log(ratio) / fit[0]
    if exponent > math.log(1000):
        return None
    return Crossover(what, attention, size * math.exp(exponent), is_beyond=True)
