"""The plot of sequence lengths: valid SVG, to scale, the same as in the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import tracekit
from tracekit.attention_results import LengthProfile
from tracekit.reports.length_plot import length_plot

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"


def steps_of(svg: str) -> list[list[tuple[float, float, float]]]:
    """Return of each panel the steps that are drawn: start, height in pixels, end."""
    paths = [path.attrib for path in ET.fromstring(svg).iter(f"{SVG}path")]
    drawn = [path["d"] for path in paths if path.get("stroke-width") == "2"]
    found = [re.findall(r"[ML]([\d.]+) ([\d.]+)H([\d.]+)", path) for path in drawn]
    return [[(float(x), float(y), float(end)) for x, y, end in path] for path in found]


def profile(*lengths: int, **changes: object) -> LengthProfile:
    fields = {
        "stage": "denoise", "axis": "spatial", "calls": len(lengths), "steps": 1,
        "repeats": False, "points": "call", "lengths": lengths, **changes,
    }  # fmt: skip
    return LengthProfile(**fields)  # type: ignore[arg-type]


def test_each_call_is_a_step_at_the_logarithm_of_its_length() -> None:
    (steps,) = steps_of(length_plot([profile(4096, 1024, 256, 64, 1024)], 500))
    heights = [y for _, y, _ in steps]
    # A factor of four is always as high, and more tokens are higher up.
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)
    assert heights[1] - heights[0] > 10
    assert heights[4] == heights[1]
    assert [round(start) for start, _, _ in steps[1:]] == [round(end) for *_, end in steps[:-1]]
    assert (steps[0][0], steps[-1][2]) == (64, 488)


def test_steps_that_repeat_are_drawn_three_times() -> None:
    (steps,) = steps_of(length_plot([profile(64, 16, repeats=True, steps=50)]))
    assert len(steps) == 6
    (twice,) = steps_of(length_plot([profile(64, 16, repeats=True, steps=2)]))
    assert len(twice) == 4


@pytest.mark.parametrize("lengths", [(1,), (77,) * 3, (0, 5), (3, 2**40), ()])
def test_any_lengths_have_a_place_inside(lengths: tuple[int, ...]) -> None:
    svg = length_plot([profile(*lengths)])
    height = float(ET.fromstring(svg).attrib["height"])
    for panel in steps_of(svg):
        assert all(0 <= y <= height for _, y, _ in panel)


def test_names_of_the_trace_are_text() -> None:
    svg = length_plot([profile(4, stage="<script>&"), profile(4, axis="temporal", stage="b")])
    texts = [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]
    assert "<script>&: 4 tokens over 1 call" in texts
    assert "#E58CC0" in svg


def test_nothing_is_drawn_of_nothing() -> None:
    assert length_plot([]) == ""


def test_the_plot_in_the_documentation_is_what_is_drawn_today() -> None:
    found = tracekit.analyze(ROOT / "examples" / "runs" / "make-a-video-h200")
    assert isinstance(found, tracekit.Analysis)
    written = (ROOT / "docs" / "images" / "sequence-lengths.svg").read_text()
    assert written == length_plot(found.attention.profile)
