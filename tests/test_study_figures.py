"""The figures of a study: shapes are where their values say, and every figure has its legend."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from study_builders import along_time, gain, like, run

from tracekit.cause_results import GraphSpeedup, Projection, StudyVariant
from tracekit.reports import study_curves, study_svg
from tracekit.reports.study_figures import FIGURES, breakdown, figure
from tracekit.spread_results import Ratio, Spread
from tracekit.study_results import (
    MemoryPoint,
    StudyIdle,
    StudyMemory,
    StudyReport,
    SweepPoint,
    SweepResult,
)


def drawn(text: str) -> ET.Element:
    return ET.fromstring(text)


def texts(element: ET.Element) -> list[str]:
    return [one.text or "" for one in element.iter("text")]


def rects(element: ET.Element) -> list[tuple[str, float, float]]:
    """Colour, left and width of each rectangle that is no key of a legend."""
    return [
        (one.attrib["fill"], float(one.attrib["x"]), float(one.attrib["width"]))
        for one in element.iter("rect")
        if one.find("title") is not None
    ]


def report(**changes: Any) -> StudyReport:
    empty: dict[str, Any] = dict.fromkeys(
        ("verdicts", "runs", "missing", "speedups", "checks", "lengths", "query_lengths",
         "likeness", "temporal", "sweeps", "idle"), ()
    )  # fmt: skip
    whole = {"schema": "s", "scale": "quick", "device": None, "versions": {}, "dtype": "bfloat16"}
    return StudyReport(**whole, **(empty | {"memory": None} | changes))


def test_parts_of_a_bar_are_as_wide_as_their_shares() -> None:
    svg = drawn(breakdown([run("a<b>", "diffusion", {"conv": 30, "linear": 10, "norm": 60})]))
    shapes = rects(svg)
    whole = study_svg.WIDTH - study_svg.LABEL
    assert [width for _, _, width in shapes] == pytest.approx(
        [0.3 * whole, 0.1 * whole, 0.6 * whole]
    )
    ends = [left + width for _, left, width in shapes]
    assert [left for _, left, _ in shapes[1:]] == pytest.approx(ends[:-1], abs=0.1)
    assert texts(svg)[0] == "a<b> flash"
    assert {"Convolution", "Linear", "Norm"} <= set(texts(svg))
    assert "Attention" not in texts(svg)


def test_changes_of_layout_are_a_part_of_convolution() -> None:
    one = StudyVariant("imagen", "as studied", None, 100, {"conv": 60, "norm": 40}, 20, 1.0)
    svg = drawn(figure("variants", report(variants=(one,))))
    whole = study_svg.WIDTH - study_svg.LABEL
    widths = [width / whole for _, _, width in rects(svg)]
    assert widths == pytest.approx([0.4, 0.2, 0.4], abs=1e-3)
    assert any("changes of layout" in text for text in texts(svg))
    projected = Projection("m", "image", "diffusion", "A100", {"conv": 1}, {"conv": 2}, 0, 1.0)
    rows = drawn(figure("projections", report(projections=(projected,))))
    assert texts(rows)[:2] == ["m, measured", "m, A100"]


def test_bars_end_where_their_values_are_on_either_axis() -> None:
    rows = [("x", [study_svg.Bar("s", value, f"{value}") for value in (1.0, 10.0, 100.0)])]
    colors = {"s": "#000000"}
    log = rects(drawn(study_svg.bars(rows, colors, study_svg.Axis("t", is_log=True))))
    assert log[2][2] == pytest.approx(2 * log[1][2], abs=0.2)
    assert log[0][2] < 1
    linear = rects(drawn(study_svg.bars(rows, colors, study_svg.Axis("t"))))
    assert linear[2][2] == pytest.approx(10 * linear[1][2], rel=1e-2)
    assert study_svg.bars([("x", [])], colors, study_svg.Axis("t")) == ""


@pytest.mark.parametrize("most", [0.013, 0.9, 1.0, 1.7, 3.2, 9.99, 10, 57.5, 86_400])
@pytest.mark.parametrize("is_log", [False, True])
def test_every_axis_has_some_ticks_and_not_too_many(most: float, is_log: bool) -> None:
    rows = [("x", [study_svg.Bar("s", most, ""), study_svg.Bar("s", most / 3, "")])]
    text = study_svg.bars(rows, {"s": "#000000"}, study_svg.Axis("t", is_log=is_log))
    ticks = text.count('class="grid"')
    assert 2 <= ticks <= 8


def test_ranges_and_marks_are_drawn_and_said() -> None:
    rows = [("x", [study_svg.Bar("s", 2.0, "2x", 1.5, 3.0)])]
    axis = study_svg.Axis("t", mark=1.0, mark_label="claimed")
    svg = drawn(study_svg.bars(rows, {"s": "#000000"}, axis))
    lines = {one.attrib.get("class", "mark"): one for one in svg.iter("line")}
    bar = rects(svg)[0]
    value = bar[1] + bar[2]
    assert float(lines["whisker"].attrib["x1"]) < value < float(lines["whisker"].attrib["x2"])
    assert {"claimed", "s", "2x"} <= set(texts(svg))


def test_a_legend_stays_inside_and_goes_on_below() -> None:
    keys = [study_svg.Key(f"a label of some length {number}", "#000000") for number in range(12)]
    body, end = study_svg.legend(keys, 10)
    svg = drawn(f"<svg>{body}</svg>")
    places = [(float(t.attrib["x"]), float(t.attrib["y"])) for t in svg.iter("text")]
    assert len({y for _, y in places}) > 1
    assert max(x for x, _ in places) < study_svg.WIDTH
    assert max(y for _, y in places) < end


def point(value: int, attention: str, conv: int, scores: int) -> SweepPoint:
    times = {"conv": conv, "attention": scores}
    return SweepPoint(value, attention, None, conv + scores, times, {}, None)


def test_curves_go_through_their_points_and_written_out_ones_are_dashed() -> None:
    points = (
        point(64, "flash", 10**6, 10**6),
        point(256, "flash", 10**7, 10**8),
        point(64, "eager", 10**6, 10**7),
        point(256, "eager", 10**7, 10**9),
    )
    sweep = SweepResult("image-size", "image side", "sd", "denoise", points, ())
    svg = drawn(study_curves.sweep_curves(sweep))
    lines = list(svg.iter("polyline"))
    assert [("stroke-dasharray" in line.attrib) for line in lines] == [False, True, False, True]
    first, last = (float(pair.split(",")[1]) for pair in lines[0].attrib["points"].split())
    steep, end = (float(pair.split(",")[1]) for pair in lines[2].attrib["points"].split())
    # A decade over the range beside two: twice as far up.
    assert steep - end == pytest.approx(2 * (first - last), abs=0.2)
    assert {"Convolution", "Attention", "Flash Attention", "written out"} <= set(texts(svg))
    assert study_curves.sweep_curves(replace(sweep, points=())) == ""


def test_memory_has_a_curve_for_what_is_known() -> None:
    points = (MemoryPoint(64, 10, 1000, 900, 1.0), MemoryPoint(128, 160, None, 950, None))
    svg = drawn(study_curves.memory_curves(StudyMemory("sd", points, None, None)))
    assert [len(one.attrib["points"].split()) for one in svg.iter("polyline")] == [2, 1, 2]
    assert "measured peak, written out" in texts(svg)


def test_each_kind_of_bars_says_its_values() -> None:
    ratio = Ratio(1.5, 1.4, 1.6, is_difference=True)
    same = Ratio(1.1, 0.9, 1.2, is_difference=False)
    graph = GraphSpeedup("sd", "image", "diffusion", same, ratio, 1.44)
    wall = Spread(2e9, 1e9, 3e9, 5)
    found = {
        "models": report(runs=(run("sd", "diffusion", {"conv": 10**9}, wall_ns=wall),)),
        "speedups": report(speedups=(gain("sd", "diffusion", 1.25, 2.0),)),
        "graphs": report(graph_speedups=(graph,)),
        "likeness": report(likeness=(like("sd", "diffusion", "prefill"),)),
        "temporal": report(temporal=(along_time(0.575, 1.3, 0.01),)),
        "idle": report(idle=(StudyIdle("sd", "flash", 10, 4, 0.6, 2.0),)),
    }
    told = {name: " ".join(texts(drawn(figure(name, one)))) for name, one in found.items()}
    for name, parts in {
        "models": ("2.00 s", "1.00 s", "wall time"),
        "speedups": ("1.25x", "2.00x", "kernels"),
        "graphs": ("1.10x (no difference)", "1.50x", "1.44x", "as CUDA graphs"),
        "likeness": ("300", "balance of the device", "prefill"),
        "temporal": ("57.5%", "claimed", "flash"),
        "idle": ("busy", "idle"),
    }.items():
        assert all(part in told[name] for part in parts), (name, told[name])
    shapes = rects(drawn(figure("idle", found["idle"])))
    assert shapes[1][2] == pytest.approx(1.5 * shapes[0][2], rel=1e-2)


def test_what_is_not_measured_has_no_figure() -> None:
    for name in (*FIGURES, "sweep:frames"):
        assert figure(name, report()) == ""
