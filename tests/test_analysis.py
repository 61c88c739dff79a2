"""Analyses against brute force, on real traces and on arbitrary tiny ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder
from reference import GPU, covered_ns, gpu_rows, read_events
from tracekit.analysis.analyze import combine
from tracekit.analysis.intervals import gaps_between, union_ns
from tracekit.categories import CATEGORIES
from tracekit.results import Analysis

ROOT = Path(__file__).parent.parent
TRACES = sorted((ROOT / "examples" / "traces").glob("*.json.gz"))

INTERVALS = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 20)), max_size=30)


@given(INTERVALS)
def test_unions_and_gaps(intervals: list[tuple[int, int]]) -> None:
    start = np.array([s for s, _ in intervals], np.int64)
    end = start + np.array([d for _, d in intervals], np.int64)
    pairs = [(s, s + d) for s, d in intervals]
    assert union_ns(start, end) == covered_ns(pairs)
    if pairs:
        gap_start, gap_ns, after = gaps_between(start, end)
        span = max(e for _, e in pairs) - min(s for s, _ in pairs)
        assert int(gap_ns.sum()) == span - covered_ns(pairs)
        assert (start[after] == gap_start + gap_ns).all()
        assert all(not (s < g < e) for g in gap_start.tolist() for s, e in pairs)


def check_invariants(result: Analysis, events: list[dict[str, Any]]) -> None:
    rows = gpu_rows(events)
    assert result.trace.events == len(events)
    assert result.trace.gpu_events == len(rows) == sum(c.kernels for c in result.categories)
    for device in result.devices:
        pairs = [(s, s + d) for s, d, _, dev, _ in rows if dev == device.device]
        assert device.busy_ns == covered_ns(pairs)
        assert device.span_ns == max(e for _, e in pairs) - min(s for s, _ in pairs)
        assert device.idle_ns == device.span_ns - device.busy_ns
        assert device.kernel_ns == sum(e - s for s, e in pairs)
    assert result.time.busy_ns == sum(device.busy_ns for device in result.devices)
    assert result.time.kernel_ns == sum(c.time_ns for c in result.categories)
    assert [c.category for c in result.categories] == list(CATEGORIES)
    if result.time.kernel_ns:
        assert sum(c.time_share or 0 for c in result.categories) == pytest.approx(1)
    if result.stages:
        assert sum(s.time_ns for s in result.stages) == result.time.kernel_ns
        assert sum(s.kernels for s in result.stages) == len(rows)
    for stage in result.stages:
        assert sum(stage.categories.values()) == stage.time_ns
        assert all(sum(s.categories.values()) == s.time_ns for s in stage.per_step)
    assert result.idle.gaps_listed == min(1000, result.idle.gaps_total)
    if result.idle.gaps_total == result.idle.gaps_listed:
        assert sum(gap.time_ns for gap in result.idle.gaps) == result.time.idle_ns


@pytest.mark.parametrize("path", TRACES, ids=lambda p: p.name)
def test_real_traces(path: Path) -> None:
    result = tracekit.analyze(path, list_all=True)
    limited = tracekit.analyze(path)
    check_invariants(limited, read_events(path))
    assert sum(gap.time_ns for gap in result.idle.gaps) == result.time.idle_ns
    assert limited.idle.gaps == result.idle.gaps[: limited.idle.gaps_listed]
    assert result.trace.device_name == "NVIDIA H200"
    assert result.trace.basis == "gpu"


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(GPU),
        st.integers(0, 400),
        st.integers(0, 60),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from(["gemm", "flash_fwd_kernel", "x", "ncclDevKernel"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(EVENTS)
def test_arbitrary_traces(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int, int, int, int, str]]
) -> None:
    b = TraceBuilder()
    for i, (cat, start, dur, device, stream, name) in enumerate(events):
        b.launch(start - 3, i)
        b.kernel(name, start, dur, i, device=device, stream=stream, cat=cat)
    b.annotation("first half", -10, 210)
    path = b.write(tmp_path_factory.mktemp("t") / "t.json")
    check_invariants(tracekit.analyze(path), read_events(path))


def test_stages_and_steps(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("unet step 0", 0, 100)
    b.annotation("unet step 1", 100, 100)
    for i, at in enumerate((10, 20, 110, 250)):
        b.launched("gemm", at, 1000 + 100 * i, 50)
    result = tracekit.analyze(b.write(tmp_path / "t.json"))
    stage, outside = result.stages
    assert (stage.stage, stage.source, stage.steps, stage.traced_steps) == (
        "unet step",
        "annotation",
        2,
        2,
    )
    assert (stage.kernels, stage.time_ns, stage.busy_ns) == (3, 150, 150)
    assert (stage.start_ns, stage.end_ns) == (1000, 1250)
    assert [(s.step, s.kernels, s.time_ns) for s in stage.per_step] == [(0, 2, 100), (1, 1, 50)]
    assert (outside.stage, outside.source, outside.kernels) == (None, None, 1)


def test_gaps_say_what_stands_around_them(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.kernel("a", 0, 10)
    b.kernel("long", 0, 100, stream=8)
    b.kernel("b", 150, 10)
    b.kernel("c", 161, 10)
    b.kernel("elsewhere", 120, 10, device=1)
    result = tracekit.analyze(b.write(tmp_path / "t.json"))
    assert [(g.start_ns, g.time_ns, g.before, g.after) for g in result.idle.gaps] == [
        (100, 50, "long", "b"),
        (160, 1, "b", "c"),
    ]
    assert [(d.device, d.busy_ns, d.idle_ns) for d in result.devices] == [(0, 120, 51), (1, 10, 0)]
    assert (result.time.span_ns, result.time.busy_ns) == (181, 130)


def test_cpu_only_traces(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::linear", 0, 100)
    b.op("aten::addmm", 10, 80)
    b.op("aten::relu", 200, 30)
    result = tracekit.analyze(b.write(tmp_path / "t.json"))
    assert result.trace.basis == "cpu"
    times = {c.category: c.time_ns for c in result.categories if c.kernels}
    assert times == {"linear": 80, "elementwise": 30}
    assert [d.device for d in result.devices] == [None]
    assert [(left.time_ns, left.events) for left in result.left_out] == [(20, 0)]
    row = tracekit.kernels(tmp_path / "t.json").to_arrow().to_pydict()
    assert (row["device"], row["stream"]) == ([None, None], [None, None])


def test_an_empty_trace_is_an_empty_result(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": []}')
    result = tracekit.analyze(path)
    assert (result.trace.events, result.time.span_ns, result.devices) == (0, 0, ())
    assert [(c.kernels, c.time_ns, c.time_share) for c in result.categories] == [(0, 0, None)] * 10
    assert tracekit.kernels(path).to_arrow().num_rows == 0


def test_several_results_add_up(tmp_path: Path) -> None:
    runs = [tracekit.analyze(path) for path in TRACES[:3]]
    both = combine(runs, ())
    assert both.overall.time.busy_ns == sum(run.time.busy_ns for run in runs)
    assert both.overall.time.kernel_ns == sum(c.time_ns for c in both.overall.categories)


@pytest.mark.parametrize("path", TRACES, ids=lambda p: p.name)
def test_busy_time_agrees_with_hta(path: Path) -> None:
    """HTA counts CPU ops that carry `stream`, so compiled traces are told from the others."""
    pytest.importorskip("hta", reason="pip install 'gpu-tracekit[hta]'")
    job = subprocess.run(
        [sys.executable, "-m", "benchmarks.hta_job", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    hta_us = json.loads(job.stdout.splitlines()[-1])["busy_us"]
    busy_us = tracekit.analyze(path).time.busy_ns / 1000
    if "compiled" in path.name:
        assert hta_us > 1.1 * busy_us
    else:
        assert hta_us == pytest.approx(busy_us, rel=1e-4)
