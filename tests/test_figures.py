"""Figures: to scale, the same every time, text as text, nobody's settings changed."""

from __future__ import annotations

import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import result_builders as build
import tracekit
from tracekit.attention_results import LengthProfile, SequenceLength
from tracekit.cli.figures import write_figures
from tracekit.errors import MissingDependencyError, OutputExistsError
from tracekit.reports import figure_style
from tracekit.reports.figure_attention import draw_axes, draw_distribution, draw_profiles
from tracekit.reports.figure_roofline import draw_roofline
from tracekit.reports.figures import FigureOptions, figure_files, run_labels
from tracekit.reports.palette import color_of, label_of
from tracekit.results import Analysis

matplotlib = pytest.importorskip("matplotlib")

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"
NAMES = {
    "categories", "category_times", "sequence_lengths", "length_distribution", "temporal_spatial",
    "idle_by_cause", "roofline",
}  # fmt: skip


def profile(*lengths: int, **changes: object) -> LengthProfile:
    fields = {
        "stage": "denoise", "axis": "spatial", "calls": len(lengths), "steps": 1,
        "repeats": False, "points": "call", "lengths": lengths, **changes,
    }  # fmt: skip
    return LengthProfile(**fields)  # type: ignore[arg-type]


def attending(**changes: Any) -> Analysis:
    result = build.typical()
    return replace(result, attention=replace(result.attention, **changes))


def drawn(draw: Any, *runs: Analysis, columns: int = 2) -> Any:
    with figure_style.style():
        return draw(runs, run_labels(runs), columns)


def steps_of(figure: Any) -> list[list[float]]:
    return [axes.patches[0].get_data().values.tolist() for axes in figure.axes]


def texts_of(svg: bytes) -> list[str]:
    root = ET.fromstring(svg)
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def real() -> Analysis:
    return tracekit.analyze(ROOT / "examples" / "runs" / "make-a-video-h200")


@pytest.fixture(scope="module")
def files(real: Analysis) -> dict[str, bytes]:
    return figure_files(real)


def test_every_figure_of_a_real_run(files: dict[str, bytes]) -> None:
    assert set(files) == {f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")}
    for name, data in files.items():
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG")
        else:
            assert texts_of(data), name


def test_the_same_figure_is_the_same_file(real: Analysis, files: dict[str, bytes]) -> None:
    again = figure_files(real, FigureOptions(kinds=("svg",)))
    assert again == {name: data for name, data in files.items() if name.endswith(".svg")}
    assert not any(b"dc:date" in data for data in again.values())


def test_text_is_text_and_colours_are_those_of_the_palette(files: dict[str, bytes]) -> None:
    svg = files["categories.svg"]
    texts = texts_of(svg)
    assert {"denoise", "text_encoder", "387 ms", "27%", label_of("conv")} <= set(texts)
    assert color_of("conv").lower() in svg.decode()


def test_sizes_are_those_of_a_column_and_a_page(real: Analysis) -> None:
    for columns, width in figure_style.WIDTHS_IN.items():
        found = figure_files(real, FigureOptions(columns=columns, kinds=("svg",)))
        for data in found.values():
            assert ET.fromstring(data).attrib["width"] == f"{width * 72:.6g}pt"


def test_nothing_is_set_for_others() -> None:
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        inside = dict(matplotlib.rcParams)
        large = figure_files(build.typical())
        assert dict(matplotlib.rcParams) == inside
    assert dict(matplotlib.rcParams) == before
    assert large == figure_files(build.typical())
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_bars_are_as_long_as_their_shares() -> None:
    times = {"conv": (1, 750_000), "norm": (1, 250_000)}
    with figure_style.style():
        figure = figure_style.new_figure(2, 1)
        axes = figure.add_subplot()
        bars = [
            figure_style.Bar("a", {slug: ns for slug, (_, ns) in times.items()}, ""),
            figure_style.Bar("b", {"conv": 500_000}, ""),
        ]
        looks = {slug: figure_style.look_of(slug) for slug in times}
        figure_style.draw_bars(axes, bars, looks, 2, to_scale=True)
    assert [patch.get_width() for patch in axes.patches] == [0.75, 0.25, 0.5]
    with figure_style.style():
        axes = figure.add_subplot()
        figure_style.draw_bars(axes, bars, looks, 2, to_scale=False)
    assert [patch.get_width() for patch in axes.patches] == [0.75, 0.25, 1.0]


def test_several_runs_stand_in_one_figure() -> None:
    one, two = build.typical(), build.typical(trace=build.trace_info(path="runs/b.json.gz"))
    texts = texts_of(figure_files(build.ranks(one, two))["categories.svg"])
    assert {"trace", "b"} <= set(texts)


def test_labels_of_runs_differ() -> None:
    paths = ["x/trace.json.gz", "y/trace.json.gz", "z/other.json"]
    runs = [build.typical(trace=build.trace_info(path=path)) for path in paths]
    assert run_labels(runs) == ["x/trace.json.gz", "y/trace.json.gz", "other"]
    folders = [build.trace_info(path=f"{at}/trace.json.gz", pass_="rich") for at in "ab"]
    assert run_labels([build.typical(trace=trace) for trace in folders]) == ["a", "b"]
    ranks = [build.trace_info(path="r/t.json", rank=rank) for rank in (0, 1)]
    assert run_labels([build.typical(trace=trace) for trace in ranks]) == ["t, rank 0", "t, rank 1"]


def test_each_call_is_a_step() -> None:
    figure = drawn(draw_profiles, attending(profile=(profile(4096, 1024, 64),)))
    assert steps_of(figure) == [[4096, 1024, 64]]
    assert figure.axes[0].get_yscale() == "log"
    low, high = figure.axes[0].get_ylim()
    assert low < 64 < 4096 < high


def test_steps_that_repeat_are_drawn_three_times() -> None:
    often, twice = profile(64, 16, repeats=True, steps=50), profile(64, 16, repeats=True, steps=2)
    figure = drawn(draw_profiles, attending(profile=(often, twice)))
    assert steps_of(figure) == [[64, 16] * 3, [64, 16] * 2]


@pytest.mark.parametrize("lengths", [(1,), (77,) * 3, (0, 5), (3, 2**40)])
def test_any_lengths_have_a_place_inside(lengths: tuple[int, ...]) -> None:
    figure = drawn(draw_profiles, attending(profile=(profile(*lengths),)))
    low, high = figure.axes[0].get_ylim()
    assert all(low <= max(1, length) <= high for length in lengths)


def test_what_does_not_fit_is_counted() -> None:
    profiles = tuple(profile(4, stage=f"s{n}") for n in range(11))
    figure = drawn(draw_profiles, attending(profile=profiles))
    assert len(figure.axes) == 8
    assert figure.axes[-1].get_xlabel().endswith("(3 more not shown)")


def test_lengths_spread_over_calls_and_time() -> None:
    rows = (
        SequenceLength(16, 16, "self", "temporal", 3, 100, 0.1),
        SequenceLength(64, 64, "self", "spatial", 1, 300, 0.3),
        SequenceLength(64, 77, "cross", "spatial", 9, 600, 0.6),
    )
    figure = drawn(draw_distribution, attending(sequence_lengths=rows))
    heights = [[p.get_height() for p in axes.patches if p.get_height()] for axes in figure.axes]
    assert sorted(heights[0]) == [0.25, 0.75]
    assert sorted(heights[1]) == [0.25, 0.75]
    assert [p.get_height() for p in figure.axes[0].patches if p.get_x() < 0.5][1] == 0.75
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == ["16", "64"]


def test_many_lengths_are_counted_by_powers_of_two() -> None:
    rows = tuple(SequenceLength(1, n, "self", "sequence", 1, 10, 0.1) for n in range(513, 545))
    figure = drawn(draw_distribution, attending(sequence_lengths=rows))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["512–1,023"]


def test_temporal_beside_spatial_needs_both(real: Analysis) -> None:
    figure = drawn(draw_axes, real)
    rows = {row.key: row.time_ns for row in real.attention.by_axis}
    share = rows["temporal"] / (rows["temporal"] + rows["spatial"])
    assert figure.axes[0].patches[0].get_width() == pytest.approx(share)
    alone = [row for row in real.attention.by_axis if row.key != "temporal"]
    spatial = replace(real, attention=replace(real.attention, by_axis=tuple(alone)))
    assert drawn(draw_axes, spatial) is None


def test_points_of_the_roofline_are_what_was_achieved(real: Analysis) -> None:
    figure = drawn(draw_roofline, real)
    points = {tuple(map(float, c.get_offsets()[0])) for c in figure.axes[0].collections}
    assert real.roofline is not None
    rows = (*real.roofline.by_category, *real.roofline.by_stage)
    assert points == {(r.intensity, r.flops_per_s) for r in rows if r.flops_per_s and r.intensity}


def test_labels_of_points_do_not_overlap(real: Analysis) -> None:
    figure = drawn(draw_roofline, real)
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert len(boxes) > 6
    for index, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:index]), texts[index].get_text()


def test_what_holds_nothing_has_no_figure() -> None:
    assert figure_files(build.empty()) == {}
    assert figure_files(build.ranks()) == {}
    cpu = build.analysis({"linear": (1, 10)}, trace=build.trace_info(basis="cpu"))
    files = figure_files(cpu, FigureOptions(kinds=("svg",)))
    assert set(files) == {"categories.svg", "category_times.svg"}
    assert "Share of self time" in texts_of(files["categories.svg"])


def test_names_of_the_trace_are_text() -> None:
    nasty = "<script>&$x^2$\x1b[31m核\u202e"
    result = replace(
        attending(profile=(profile(4, stage=nasty), profile(4, stage="核" * 9_000))),
        stages=(
            build.stage(nasty, 500, start_ns=0, span_ns=900),
            build.stage("b" * 10_000, 500, start_ns=0, span_ns=900),
        ),
    )
    found = figure_files(result)
    texts = texts_of(found["categories.svg"])
    assert any(text.startswith("<script>&$x") for text in texts)
    assert not any("\x1b" in text or "\u202e" in text for text in texts)
    assert max(map(len, texts_of(found["categories.svg"]))) < 60
    assert b"<script" not in found["categories.svg"]


def test_files_are_written_whole_and_never_over_others(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    paths = write_figures(build.typical(), folder, FigureOptions(kinds=("svg",)))
    assert sorted(folder.iterdir()) == sorted(paths)
    paths[0].write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        write_figures(build.typical(), folder, FigureOptions(kinds=("svg",)))
    assert paths[0].read_bytes() == b"mine"
    write_figures(build.typical(), folder, FigureOptions(kinds=("svg",)), force=True)
    assert ET.parse(BytesIO(paths[0].read_bytes()))


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"gpu-tracekit\[plots\]"):
        figure_files(build.typical())


def test_the_figures_in_the_documentation_show_today_s_numbers(files: dict[str, bytes]) -> None:
    for name in ("sequence_lengths", "categories", "roofline"):
        written = (ROOT / "docs" / "images" / f"{name}.svg").read_bytes()
        assert texts_of(written) == texts_of(files[f"{name}.svg"])
