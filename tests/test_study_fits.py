"""Power laws and crossovers of sweeps."""

from __future__ import annotations

import math

import pytest

from tracekit.study.fits import crossover, fit_power, fits
from tracekit.study.reading import ratio_of, spread


def test_an_exact_power_has_no_error() -> None:
    found = fit_power([1, 2, 4, 8], [3 * size**2.5 for size in (1, 2, 4, 8)])
    assert found is not None
    assert found[0] == pytest.approx(2.5)
    assert found[1] == pytest.approx(0, abs=1e-12)


def test_the_standard_error_is_that_of_least_squares() -> None:
    sizes, values = [1.0, math.e, math.e**2], [1.0, math.e**1.2, math.e**1.8]
    # By hand: slope 0.9, residuals -0.1, 0.2, -0.1, over one degree of freedom and a spread of 2.
    found = fit_power(sizes, values)
    assert found is not None
    assert found[0] == pytest.approx(0.9)
    assert found[1] == pytest.approx(math.sqrt(0.06 / 2))


def test_two_points_have_no_error_and_one_no_fit() -> None:
    assert fit_power([1, 2], [1, 4]) == (pytest.approx(2), None)
    assert fit_power([2, 2], [1, 4]) is None
    assert fits("conv", "flash", [(1, 5), (2, 0)]) == []


def test_the_last_points_have_a_fit_of_their_own() -> None:
    points = [(size, max(100, size**2)) for size in (1, 2, 4, 16, 32, 64, 128)]
    whole, last = fits("conv", "flash", points)
    assert (whole.points, whole.first, whole.last, whole.is_all) == (7, 1, 128, True)
    assert (last.points, last.first, last.last, last.is_all) == (4, 16, 128, False)
    assert last.exponent == pytest.approx(2)
    assert whole.exponent < 1.9
    assert len(fits("conv", "flash", points[-4:])) == 1


def test_a_crossover_between_points_lies_on_the_line_of_logarithms() -> None:
    found = crossover("time", "flash", [(16, 4.0), (4, 0.25)])
    assert found is not None
    assert (found.value, found.is_beyond) == (pytest.approx(8), False)


def test_a_crossover_on_the_way_down() -> None:
    found = crossover("time", "flash", [(4, 4.0), (16, 0.25), (32, 2.0)])
    assert found is not None
    assert (found.value, found.is_upward) == (pytest.approx(8), False)


def test_a_crossover_beyond_the_points_is_by_the_fit() -> None:
    found = crossover("FLOPs", "flash", [(4, 0.01), (8, 0.02), (16, 0.04)])
    assert found is not None
    assert (found.value, found.is_beyond) == (pytest.approx(400), True)


def test_what_never_crosses() -> None:
    assert crossover("time", "flash", [(4, 2.0), (8, 3.0)]) is None
    assert crossover("time", "flash", [(4, 0.5), (8, 0.4)]) is None
    assert crossover("time", "flash", [(4, 0.5), (8, 0.5001)]) is None
    assert crossover("time", "flash", []) is None


def test_a_difference_is_one_only_beyond_the_ranges() -> None:
    fast, slow = spread([9.0, 10.0, 11.0]), spread([11.5, 12.0, 13.0])
    near = spread([10.5, 12.0, 13.0])
    assert fast is not None
    assert slow is not None
    assert near is not None
    ratio = ratio_of(slow, fast)
    assert (ratio.value, ratio.is_difference) == (pytest.approx(1.2), True)
    assert (ratio.low, ratio.high) == (pytest.approx(11.5 / 11), pytest.approx(13 / 9))
    assert not ratio_of(near, fast).is_difference
    assert ratio_of(fast, slow).is_difference


def test_one_run_has_no_range_to_differ_by() -> None:
    one, other = spread([1.0]), spread([5.0])
    assert one is not None
    assert other is not None
    assert not ratio_of(other, one).is_difference
    assert spread([]) is None
