"""Colours of categories and idle causes: one each, told apart by everybody."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tracekit.analysis.causes import CAUSES
from tracekit.categories import CATEGORIES
from tracekit.reports.idle_cells import cause_label
from tracekit.reports.palette import CAUSE_COLOR_OF, CAUSE_LABEL_OF, COLOR_OF, LABEL_OF

ALL = {**COLOR_OF, **CAUSE_COLOR_OF}
LEAST = 13

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(color: str, seen: np.ndarray) -> np.ndarray:
    """The CIELAB coordinates (D65) of a colour of sRGB as it is seen."""
    rgb = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    ratio = XYZ @ np.clip(seen @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_lab_knows_white_black_and_red() -> None:
    eye = SEEN_BY["everybody"]
    assert lab("#FFFFFF", eye) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab("#000000", eye) == pytest.approx([0, 0, 0], abs=0.02)
    assert lab("#FF0000", eye) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


@pytest.mark.parametrize("who", SEEN_BY)
def test_any_two_colors_are_told_apart(who: str) -> None:
    places = {name: lab(color, SEEN_BY[who]) for name, color in ALL.items()}
    assert len(places) == len(CATEGORIES) + len(CAUSES)
    near = {
        (one, other): distance
        for one, other in combinations(places, 2)
        if (distance := float(np.linalg.norm(places[one] - places[other]))) < LEAST
    }
    assert near == {}


def test_each_cause_has_a_color_and_a_label() -> None:
    assert tuple(CAUSE_COLOR_OF) == tuple(CAUSE_LABEL_OF) == CAUSES
    assert [cause_label(cause) for cause in CAUSES] == list(CAUSE_LABEL_OF.values())
    assert not set(CAUSE_LABEL_OF.values()) & set(LABEL_OF.values())
