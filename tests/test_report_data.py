"""The numbers of a report: those of the analysis, and those of the kernel table row by row."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from report_helpers import columns_of, report_of

import tracekit
from builders import TraceBuilder
from tracekit.analysis.causes import CAUSES
from tracekit.categories import CATEGORIES
from tracekit.classifying.graph_reasons import common_reason, graph_reason
from tracekit.reports import render
from tracekit.reports.json_report import as_contract
from tracekit.schemas import read_schema

ROOT = Path(__file__).parent.parent
TRACES = [
    ROOT / "examples/traces/pixart_compiled.json.gz",
    ROOT / "examples/traces/pixart_cudagraph.json.gz",
    ROOT / "examples/traces/pixart_flash.json.gz",
    ROOT / "examples/traces/sdxl_kernels_only.json.gz",
    ROOT / "examples/runs/stable-diffusion-h200",
    ROOT / "corpus/traces/bert.train",
    ROOT / "corpus/traces/llama.modules",
    ROOT / "corpus/traces/muse-maskgit.cudagraph",
]
SCHEMAS = Registry().with_resource(
    "urn:tracekit:schema:analysis-1", Resource.from_contents(read_schema("analysis-1"))
)
VALIDATOR = Draft202012Validator(read_schema("report-1"), registry=SCHEMAS)
every_trace = pytest.mark.parametrize("path", TRACES, ids=lambda path: path.name)


@cache
def run_of(path: Path) -> dict[str, Any]:
    (run,) = report_of(path)["runs"]
    assert isinstance(run, dict)
    return run


@cache
def rows_of(path: Path) -> list[dict[str, Any]]:
    """The kernel table, a dict a row."""
    rows: list[dict[str, Any]] = tracekit.kernels(path).to_arrow().to_pylist()
    assert rows
    return rows


def with_common_reason(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the kernel table whose reason does not number the nodes of a graph."""
    reason = re.sub(r"^node [\d,]+ of", "a node of", row["reason"])
    if reason != row["reason"]:
        reason = re.sub(r" kernel [\d,]+ of", " a kernel of", reason, count=1)
    return {**row, "reason": reason}


def several_streams() -> TraceBuilder:
    """Two devices, three streams, two stages of which one comes twice, shapes, attention."""
    b = TraceBuilder()
    shapes = {"Input Dims": [[8, 16], [16, 32]], "Input type": ["float", "float"]}
    for turn in range(2):
        at = turn * 100_000
        b.annotation("encode", at, 20_000)
        b.annotation("denoise", at + 20_000, 60_000)
        for index in range(12):
            start = at + 1_000 + index * 6_000
            stage_device = 0 if index % 3 else 1
            b.op("aten::linear", start, 900)
            b.op("aten::mm", start + 5, 800, **shapes)
            b.launched(
                "nvjet" if index % 2 else "ampere_sgemm", start + 10, start + 2_000, 1_500,
                device=stage_device, stream=7 + index % 2,
            )  # fmt: skip
            b.op("aten::mul", start + 1_000, 100)
            b.launched("elementwise", start + 1_010, start + 3_000, 1_000, stream=9)
    return b


def cpu_only() -> TraceBuilder:
    b = TraceBuilder()
    for index in range(9):
        b.op("aten::linear", index * 1_000, 900)
        b.op("aten::addmm", index * 1_000 + 100, 700)
        b.op("aten::mul", index * 1_000 + 50, 300, tid=2)
    return b


@every_trace
def test_the_analysis_is_that_of_analyze(path: Path) -> None:
    expected = json.loads(render(tracekit.analyze(path), "json"))
    assert run_of(path)["analysis"] == expected


@every_trace
def test_the_block_keeps_to_its_schema(path: Path) -> None:
    block = report_of(path)
    assert [error.message for error in VALIDATOR.iter_errors(block)] == []
    block["runs"][0]["timeline"]["columns"]["start"]["encoding"] = "json"
    assert not VALIDATOR.is_valid(block)


@every_trace
def test_the_timeline_holds_every_row(path: Path) -> None:
    run, rows = run_of(path), rows_of(path)
    check_rows(run, rows)


def test_the_timeline_of_several_streams_and_devices(tmp_path: Path) -> None:
    path = several_streams().write(tmp_path / "t.json")
    (run,) = report_of(path)["runs"]
    check_rows(run, tracekit.kernels(path).to_arrow().to_pylist())
    lanes = run["timeline"]["lanes"]
    assert [lane["label"] for lane in lanes] == [
        "GPU 0 · stream 7", "GPU 0 · stream 8", "GPU 0 · stream 9",
        "GPU 1 · stream 7", "GPU 1 · stream 8",
    ]  # fmt: skip
    assert [(lane["device"], lane["stream"]) for lane in lanes] == [
        (0, 7), (0, 8), (0, 9), (1, 7), (1, 8)
    ]  # fmt: skip


def test_the_timeline_of_a_cpu_only_trace(tmp_path: Path) -> None:
    path = cpu_only().write(tmp_path / "t.json")
    (run,) = report_of(path)["runs"]
    check_rows(run, tracekit.kernels(path).to_arrow().to_pylist())
    assert [(lane["label"], lane["device"], lane["rows"]) for lane in run["timeline"]["lanes"]] == [
        ("Process 100 · thread 1", None, 9), ("Process 100 · thread 2", None, 9)
    ]  # fmt: skip


def check_rows(run: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Hold all columns against the kernel table, row by row."""
    timeline, columns = run["timeline"], columns_of(run)
    assert timeline["rows"] == len(rows) == len(columns.start_ns)
    assert int(timeline["origin_ns"]) == min(row["start_ns"] for row in rows)
    last = max(row["start_ns"] + row["dur_ns"] for row in rows)
    assert timeline["span_ns"] == last - int(timeline["origin_ns"])
    drawn = []
    for lane in timeline["lanes"]:
        part = slice(lane["first"], lane["first"] + lane["rows"])
        assert (np.diff(columns.start_ns[part]) >= 0).all()
        for at in range(lane["first"], lane["first"] + lane["rows"]):
            kind = timeline["kinds"][columns.kind[at]]
            place = timeline["places"][columns.place[at]]
            step = timeline["steps"][columns.step[at]] if columns.step[at] >= 0 else {}
            drawn.append(
                (
                    lane["device"], lane["stream"],
                    int(columns.start_ns[at]), int(columns.dur_ns[at]),
                    kind["name"], kind["category"], kind["evidence"], kind["reason"],
                    place["module"], place["op"], step.get("stage"), step.get("step"),
                )
            )  # fmt: skip
    keys = (
        "device", "stream", "start_ns", "dur_ns", "name", "category", "evidence", "reason",
        "module", "op", "stage", "step",
    )  # fmt: skip
    expected = [
        # A step without a stage, of the profiler's own numbers, has no band.
        tuple(None if key == "step" and row["stage"] is None else row[key] for key in keys)
        for row in map(with_common_reason, rows)
    ]
    assert Counter(drawn) == Counter(expected)


@every_trace
def test_sums_are_those_of_the_analysis(path: Path) -> None:
    run = run_of(path)
    kernel_ns = run["analysis"]["time"]["kernel_ns"]
    assert int(columns_of(run).dur_ns.sum()) == kernel_ns
    categories = {row["category"]: row["time_ns"] for row in run["analysis"]["categories"]}
    assert run["kernels_total"] == len(run["kernels"]) == len(run["timeline"]["kinds"])
    of_kernels = Counter[str]()
    for row in run["kernels"]:
        of_kernels[row["category"]] += row["time_ns"]
    assert dict(of_kernels) == {slug: ns for slug, ns in categories.items() if ns}
    assert sum(row["calls"] for row in run["kernels"]) == run["timeline"]["rows"]
    assert sum(row["time_share"] for row in run["kernels"]) == pytest.approx(1)
    if run["modules"]:
        assert sum(row["time_ns"] for row in run["modules"]) == kernel_ns
        assert sum(row["kernels"] for row in run["modules"]) == run["timeline"]["rows"]
        by_category = {
            slug: sum(row["categories"].get(slug, 0) for row in run["modules"])
            for slug in CATEGORIES
        }
        assert by_category == categories


@every_trace
def test_kernels_are_those_of_the_table(path: Path) -> None:
    run = run_of(path)
    groups = defaultdict(list)
    for row in map(with_common_reason, rows_of(path)):
        groups[tuple(row[key] for key in ("name", "category", "evidence", "reason"))].append(row)
    assert len(groups) == len(run["kernels"])
    times = [row["time_ns"] for row in run["kernels"]]
    assert times == sorted(times, reverse=True)
    for shown, kind in zip(run["kernels"], run["timeline"]["kinds"], strict=True):
        assert kind == {key: shown[key] for key in kind}
        rows = groups[tuple(shown[key] for key in ("name", "category", "evidence", "reason"))]
        durations = [row["dur_ns"] for row in rows]
        known = [row["confidence"] for row in rows if row["confidence"] is not None]
        assert shown["confidence"] == min(known, default=None)
        assert (shown["calls"], shown["time_ns"]) == (len(rows), sum(durations))
        assert (shown["min_ns"], shown["max_ns"]) == (min(durations), max(durations))
        for key in ("flops", "bytes"):
            costs = [row[key] for row in rows if row[key] is not None]
            assert shown[key] == (sum(costs) if costs else None)


@every_trace
def test_modules_are_those_of_the_table(path: Path) -> None:
    run = run_of(path)
    groups: dict[str | None, Counter[str]] = defaultdict(Counter)
    counts = Counter[str | None]()
    for row in rows_of(path):
        groups[row["module"]][row["category"]] += row["dur_ns"]
        counts[row["module"]] += 1
    if set(groups) == {None}:
        assert run["modules"] == []
        assert run["modules_total"] == 0
        return
    assert run["modules_total"] == len(groups)
    assert len(run["modules"]) == min(500, len(groups))
    for shown in run["modules"]:
        times = groups[shown["module"]]
        assert shown["categories"] == {slug: ns for slug, ns in times.items() if ns}
        assert shown["time_ns"] == times.total()
        assert shown["kernels"] == counts[shown["module"]]
    times_ns = [row["time_ns"] for row in run["modules"]]
    assert times_ns == sorted(times_ns, reverse=True)


def test_the_traces_hold_all_that_is_compared() -> None:
    assert any(run_of(path)["modules"] for path in TRACES)
    assert any(run_of(path)["roofline_points"] for path in TRACES)
    assert any(len(run_of(path)["timeline"]["steps"]) > 1 for path in TRACES)
    assert any(columns_of(run_of(path)).attention["time_ns"].any() for path in TRACES)


@every_trace
def test_gaps_are_all_those_of_the_analysis(path: Path) -> None:
    run = run_of(path)
    idle = as_contract(tracekit.analyze(path, list_all=True))["idle"]
    check_gaps(run, idle)


def test_gaps_of_several_streams_and_devices(tmp_path: Path) -> None:
    for name, built in (("gpu.json", several_streams()), ("cpu.json", cpu_only())):
        path = built.write(tmp_path / name)
        (run,) = report_of(path)["runs"]
        check_gaps(run, as_contract(tracekit.analyze(path, list_all=True))["idle"])


def check_gaps(run: dict[str, Any], idle: dict[str, Any]) -> None:
    gaps = columns_of(run).gaps
    columns = (gaps[key].tolist() for key in ("device", "start_ns", "dur_ns", "cause"))
    drawn = zip(*columns, strict=True)
    expected = [
        (
            -1 if gap["device"] is None else gap["device"],
            gap["start_ns"], gap["time_ns"], CAUSES.index(gap["cause"]),
        )
        for gap in idle["gaps"]
    ]  # fmt: skip
    assert len(expected) == idle["gaps_total"] > 0
    assert Counter(drawn) == Counter(expected)
    assert (np.diff(gaps["start_ns"]) >= 0).all()
    assert int(gaps["dur_ns"].sum()) == run["analysis"]["time"]["idle_ns"]


@every_trace
def test_attention_calls_are_all_those_of_the_analysis(path: Path) -> None:
    run = run_of(path)
    calls = columns_of(run).attention
    axes, kinds = run["timeline"]["axes"], run["timeline"]["attention_kinds"]
    expected = as_contract(tracekit.analyze(path, list_all=True))["attention"]["calls"]
    assert run["analysis"]["attention"]["calls_total"] == len(calls["time_ns"]) == len(expected)
    for at, call in enumerate(expected):
        assert calls["start_ns"][at] == call["start_ns"]
        assert calls["time_ns"][at] == call["time_ns"]
        assert calls["query_length"][at] == (call["query_length"] or 0)
        assert calls["key_length"][at] == (call["key_length"] or 0)
        assert (axes[calls["axis"][at]] if calls["axis"][at] >= 0 else None) == call["axis"]
        assert (kinds[calls["kind"][at]] if calls["kind"][at] >= 0 else None) == call["kind"]
    # A call's kernels lie within it, and on one stream they do not overlap.
    if len(run["timeline"]["lanes"]) == 1:
        assert (calls["dur_ns"] >= calls["time_ns"]).all()


@every_trace
def test_roofline_points_cover_what_the_roofline_does(path: Path) -> None:
    run = run_of(path)
    points, roofline = run["roofline_points"], run["analysis"]["roofline"]
    assert run["roofline_points_total"] == len(points)
    if roofline is None:
        return
    times = [point["time_ns"] for point in points]
    assert times == sorted(times, reverse=True)
    total = roofline["total"]
    assert sum(times) == total["covered_ns"]
    assert sum(point["flops"] or 0 for point in points) == (total["flops"] or 0)
    assert sum(point["operations"] for point in points) <= total["operations"]


def test_nodes_of_a_graph_are_of_one_kind() -> None:
    run = run_of(ROOT / "corpus/traces/muse-maskgit.cudagraph")
    assert run["timeline"]["rows"] == 325
    assert len(run["kernels"]) < 100
    of_graph = [row for row in run["kernels"] if row["evidence"] == "graph"]
    assert max(row["calls"] for row in of_graph) > 5
    assert all(" the graph is a kernel of the eager pass: " in row["reason"] for row in of_graph)


@pytest.mark.parametrize("how", ["is", "does the work of"])
def test_reasons_of_nodes_lose_their_numbers_alone(how: str) -> None:
    why = "node 3 of the graph is kernel 4 of x: y\n"
    reason = graph_reason(1_234, how, 5_678, "an earlier kernel: z", why)
    assert reason == f"node 1,234 of the graph {how} kernel 5,678 of an earlier kernel: z: {why}"
    expected = f"a node of the graph {how} a kernel of an earlier kernel: z: {why}"
    assert common_reason(reason) == expected
    assert common_reason(f"x {reason}") == f"x {reason}"


def test_a_point_is_a_kind_of_operation(tmp_path: Path) -> None:
    """Three products of one size, one of another, and a memset inside the first."""
    b = TraceBuilder()
    for index, wide in enumerate((32, 32, 32, 64)):
        at = index * 10_000
        shapes = {"Input Dims": [[8, 16], [16, wide]], "Input type": ["float", "float"]}
        b.op("aten::mm", at, 900, **shapes)
        b.launched("nvjet", at + 10, at + 2_000, 1_000)
        if index == 0:
            b.launched("Memset", at + 20, at + 1_000, 200, cat="gpu_memset", bytes=4)
    (run,) = report_of(b.write(tmp_path / "t.json"))["runs"]
    first, second = run["roofline_points"]
    assert (first["name"], first["operations"], first["time_ns"]) == ("aten::mm", 3, 3_200)
    assert first["flops"] == 3 * 2 * 8 * 16 * 32
    assert first["bytes"] == 3 * 4 * (8 * 16 + 16 * 32 + 8 * 32)
    assert first["dtype"] == "float32"
    assert first["roofline_share"] is None
    assert (second["operations"], second["flops"]) == (1, 2 * 8 * 16 * 64)
    peaks = {"float32": 1e12, "bandwidth": 1e12}
    (run,) = report_of(tmp_path / "t.json", peaks=peaks)["runs"]
    byte_ns = 3 * 4 * (8 * 16 + 16 * 32 + 8 * 32) / 1e12 * 1e9
    flop_ns = 3 * 2 * 8 * 16 * 32 / 1e12 * 1e9
    share = run["roofline_points"][0]["roofline_share"]
    assert share == pytest.approx(max(byte_ns, flop_ns) / 3_200)


def test_products_on_tensor_cores_are_tf32_where_that_peak_counts(tmp_path: Path) -> None:
    b = TraceBuilder()
    for index, name in enumerate(("sm80_xmma_gemm_tf32f32", "ampere_sgemm_128x64_nn")):
        shapes = {"Input Dims": [[8, 16], [16, 32]], "Input type": ["float", "float"]}
        b.op("aten::mm", index * 10_000, 900, **shapes)
        b.launched(name, index * 10_000 + 10, index * 10_000 + 2_000, 1_000)
    path = b.write(tmp_path / "t.json")
    peaks = {"float32": 1e12, "bandwidth": 1e15}
    for extra, expected in (({}, ["float32"]), ({"tf32": 8e12}, ["float32", "tf32"])):
        (run,) = report_of(path, peaks={**peaks, **extra})["runs"]
        points = run["roofline_points"]
        assert sorted(point["dtype"] for point in points) == expected
        for point in points:
            peak = {**peaks, **extra}[point["dtype"]]
            least_ns = point["flops"] / peak * 1e9
            assert point["roofline_share"] == pytest.approx(least_ns / point["time_ns"])


def test_steps_that_come_again_have_a_band_each_time(tmp_path: Path) -> None:
    b = TraceBuilder()
    for turn in range(2):
        for index, stage in enumerate(("tk1|stage|text|", "tk1|stage|denoise|0")):
            at = turn * 200_000 + index * 100_000
            b.annotation(stage, at, 90_000)
            for kernel in range(10):
                b.launched("k", at + 10 + kernel, at + 1_000 + kernel * 2_000, 1_500)
    (run,) = report_of(b.write(tmp_path / "t.json"))["runs"]
    steps = [(s["stage"], s["step"], s["start_ns"], s["end_ns"]) for s in run["timeline"]["steps"]]
    assert steps == [
        ("text", None, 0, 19_500),
        ("denoise", 0, 100_000, 119_500),
        ("text", None, 200_000, 219_500),
        ("denoise", 0, 300_000, 319_500),
    ]
    assert {step["source"] for step in run["timeline"]["steps"]} == {"label"}


def test_streams_that_overlap_do_not_cut_a_step_to_pieces(tmp_path: Path) -> None:
    """Copies for the next step run beside the last kernels of this one."""
    b = TraceBuilder()
    for step in range(3):
        at = step * 100_000
        b.annotation(f"tk1|stage|denoise|{step}", at, 99_000)
        for kernel in range(10):
            b.launched("k", at + 10_000 + kernel, at + 20_000 + kernel * 9_000, 8_000)
        b.launched("c", at + 10, at + 12_000, 100, stream=20)
        b.launched("c", at + 20, at + 14_000, 100, stream=20)
    (run,) = report_of(b.write(tmp_path / "t.json"))["runs"]
    assert [step["step"] for step in run["timeline"]["steps"]] == [0, 1, 2]


def test_an_empty_trace_has_a_report(tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_text('{"traceEvents": []}')
    block = report_of(path)
    assert VALIDATOR.is_valid(block)
    (run,) = block["runs"]
    assert run["timeline"] is None
    assert run["kernels"] == run["modules"] == run["roofline_points"] == []
    assert len(run["sentences"]) == 3


def test_long_lists_are_cut_and_counted(tmp_path: Path) -> None:
    b = TraceBuilder()
    for index in range(2_100):
        b.module(f"M_{index}", index * 100, 90)
        b.launched(f"kernel_{index}", index * 100 + 10, index * 100 + 20, 50 + index % 7)
    (run,) = report_of(b.write(tmp_path / "t.json"))["runs"]
    assert (len(run["kernels"]), run["kernels_total"]) == (2_000, 2_100)
    assert (len(run["modules"]), run["modules_total"]) == (500, 2_100)
    assert len(run["timeline"]["kinds"]) == 2_100
    assert min(row["time_ns"] for row in run["kernels"]) == 50
    assert run["kernels"][0]["time_ns"] == 56
