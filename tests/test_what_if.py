"""Bounds on what a change would give, and the advice that they lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

import result_builders as build
import tracekit
from builders import SLEEPER, RunBuilder, TraceBuilder
from tracekit.analysis.advice import advice
from tracekit.analysis.pacing import pace_of
from tracekit.analysis.profiler_costs import COSTS
from tracekit.analysis.what_if import what_if
from tracekit.results import Analysis, CauseTime, IdleResult, WhatIf

US = 1_000
MS = 1_000_000


TRACES = Path(__file__).parent.parent / "examples" / "traces"


def analyzed(path: Path) -> Analysis:
    result = tracekit.analyze(path)
    assert isinstance(result, Analysis)
    return result


def bounds(path: Path) -> dict[tuple[str, str], WhatIf]:
    """Bounds of a trace as it is, with all that the profiler costs."""
    table = tracekit.kernels(path)
    found = what_if(table, pace_of(table, 0, COSTS), 0.0)
    return {(row.name, row.scope): row for row in found}


def late_host(folder: Path, *, stages: bool = False) -> Path:
    """Ten kernels of 20 µs that a host issues every 100 µs, and half of them are convolutions."""
    b = TraceBuilder()
    for number in range(10):
        op = "aten::conv2d" if number % 2 else "aten::mm"
        b.op(op, (100 * number - 1) * US + US, 10 * US)
        b.launch((100 * number + 1) * US, number + 1, dur=2 * US)
        b.kernel("k", (100 * number + 6) * US, 20 * US, number + 1)
    if stages:
        b.annotation("tk1|stage|encode|", 0, 200 * US)
        b.annotation("tk1|stage|denoise|0", 200 * US, 800 * US)
    return b.write(folder / "t.json")


def test_without_launch_gaps_the_kernels_follow_each_other(tmp_path: Path) -> None:
    row = bounds(late_host(tmp_path))["no_launch_gaps", "run"]
    assert row.wall_ns == 10 * (20 * US - 250) + 9 * 100
    assert row.speedup == pytest.approx((906 + 20) * US / row.wall_ns)
    assert "CUDA graph" in row.assumption


@pytest.mark.parametrize(("size", "pause"), [(4, 1_000), (8_192, 100)])
def test_a_graph_pauses_after_a_small_memset(tmp_path: Path, size: int, pause: int) -> None:
    b = TraceBuilder()
    for number, cat in enumerate(("kernel", "gpu_memset", "kernel")):
        b.launch(100 * number * US, number + 1, dur=2 * US)
        b.kernel("k", (100 * number + 6) * US, 20 * US, number + 1, cat=cat, bytes=size)
    row = bounds(b.write(tmp_path / "t.json"))["no_launch_gaps", "run"]
    # A memset is as long as it is; no pause is longer than one in a stream.
    assert row.wall_ns == 60 * US - 2 * 250 + 100 + pause


def test_stages_have_bounds_of_their_own_that_add_up(tmp_path: Path) -> None:
    found = bounds(late_host(tmp_path, stages=True))
    parts = [found["no_launch_gaps", scope] for scope in ("encode", "denoise")]
    assert sum(row.wall_ns for row in parts) == found["no_launch_gaps", "run"].wall_ns
    assert [round(row.wall_ns * row.speedup) for row in parts] == [126 * US, 800 * US]


def test_faster_kernels_do_not_help_a_late_host(tmp_path: Path) -> None:
    found = bounds(late_host(tmp_path))
    # The last kernel ends the run, and it is a convolution.
    assert found["conv_2x_faster", "run"].wall_ns == (926 - 10) * US
    assert found["linear_2x_faster", "run"].speedup == 1


def test_faster_kernels_help_where_the_device_is_busy(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(10):
        b.op("aten::mm", 10 * number * US, 8 * US)
        b.launch((10 * number + 1) * US, number + 1, dur=2 * US)
        b.kernel("k", (100 * number + 6) * US, 99 * US, number + 1)
    found = bounds(b.write(tmp_path / "t.json"))
    assert found["linear_2x_faster", "run"].speedup == pytest.approx(2, rel=0.05)
    assert found["no_launch_gaps", "run"].speedup == pytest.approx(1.0, abs=0.02)


def test_waits_are_bounded_where_there_are_some(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(10):
        begin = 100 * number
        b.launch((begin + 1) * US, number + 1, dur=2 * US)
        b.kernel("k", (begin + 6) * US, 60 * US, number + 1)
        b.launch((begin + 4) * US, 100 + number, dur=66 * US, name="cudaStreamSynchronize")
    path = b.write(tmp_path / "t.json")
    row = bounds(path)["no_synchronizations", "run"]
    assert row.speedup > 1.4
    assert any("wait for the GPU" in one.text for one in analyzed(path).advice)
    assert ("no_synchronizations", "run") not in bounds(late_host(tmp_path))


def test_a_run_folder_is_sped_up_from_its_unprofiled_wall_time(tmp_path: Path) -> None:
    result = analyzed(RunBuilder().write(tmp_path / "run"))
    assert result.corrected is not None
    for row in result.what_if:
        if row.scope == "run":
            assert row.wall_ns * row.speedup == pytest.approx(result.corrected.wall_ns, rel=1e-3)


def test_a_trace_without_a_device_has_no_bounds(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::mm", 0, 10 * US)
    result = analyzed(b.write(tmp_path / "t.json"))
    assert result.what_if == result.advice == ()


# Advice


def idle(*rows: CauseTime) -> IdleResult:
    return IdleResult(rows, (), (), 0, 0)


def bound(name: str, scope: str, wall_ms: float, speedup: float) -> WhatIf:
    return WhatIf(name, scope, round(wall_ms * MS), speedup, "assumed")


def test_what_gives_less_than_five_percent_is_not_advised() -> None:
    rows = (bound("no_launch_gaps", "run", 100, 1.04), bound("conv_2x_faster", "run", 101, 1.03))
    assert advice(rows, idle(), None) == ()
    assert advice((), idle(), None) == ()


def test_advice_is_by_gain_and_at_most_three() -> None:
    rows = (
        bound("no_launch_gaps", "run", 50, 2.0),
        bound("no_synchronizations", "run", 80, 1.25),
        bound("conv_2x_faster", "run", 90, 1.11),
        bound("linear_2x_faster", "run", 62.5, 1.6),
    )
    result = build.typical()
    found = advice(rows, result.idle, None)
    assert [one.speedup for one in found] == [2.0, 1.6, 1.25]
    assert found[0].evidence["what_if"] == "no_launch_gaps"
    assert "Linear kernels" in found[1].text


def test_the_stage_that_gives_most_of_it_is_named() -> None:
    rows = (
        bound("no_launch_gaps", "run", 50, 2.0),
        bound("no_launch_gaps", "denoise", 30, 2.6),
        bound("no_launch_gaps", "vae_decode", 20, 1.1),
    )
    (found,) = advice(rows, idle(), None)
    assert "run denoise from a CUDA graph" in found.text
    assert found.speedup == pytest.approx(100 / (100 - 48))


@pytest.mark.parametrize(("replayed", "count"), [(0.0, 1), (0.49, 1), (0.5, 0), (1.0, 0)])
def test_what_runs_from_graphs_is_not_told_to(replayed: float, count: int) -> None:
    rows = (bound("no_launch_gaps", "run", 50, 2.0),)
    assert len(advice(rows, idle(), None, replayed)) == count


def test_a_replayed_trace_is_not_told_to_use_graphs() -> None:
    result = analyzed(TRACES / "pixart_cudagraph.json.gz")
    assert any(row.name == "no_launch_gaps" and row.speedup > 1.05 for row in result.what_if)
    assert not any("CUDA graph" in one.text for one in result.advice)


def test_the_users_own_code_is_named(tmp_path: Path) -> None:
    result = analyzed(RunBuilder(sleep_ns=5 * MS).write(tmp_path / "run"))
    assert len(result.advice) <= 3
    (found,) = (one for one in result.advice if SLEEPER in one.text)
    assert found.evidence["idle_ns"] == pytest.approx(20 * MS, rel=0.1)
