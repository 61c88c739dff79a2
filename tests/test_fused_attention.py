"""What attention in parts would take as fused kernels: from this trace, assumed, or not known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import FLASH, GEMM, POINT, SOFTMAX

import tracekit
from builders import TraceBuilder
from tracekit.analysis.advice import advice
from tracekit.analysis.call_table import call_table
from tracekit.analysis.device_peaks import DEVICES, peaks_of
from tracekit.analysis.fused_attention import LEAST_NS, PEAK_SHARE, fused_calls, fused_flops
from tracekit.results import Analysis, IdleResult, WhatIf

US = 1_000
H100 = "NVIDIA H100 80GB HBM3"
ROOT = Path(__file__).parent.parent
BF16 = "c10::BFloat16"


class Attention:
    """Attention calls whose kernels a device has queued, 1 µs apart, or that it waits for."""

    def __init__(self, device: str = H100, *, late: bool = False) -> None:
        self.b = TraceBuilder()
        self.b.metadata["deviceProperties"] = [{"id": 0, "name": device}]
        self.late = late
        self.host = self.free = 0

    def op(self, name: str, kernel: str, dur: int, dims: list[Any], dtype: str = BF16) -> None:
        args = {"Input Dims": dims, "Input type": [dtype if d else "" for d in dims]}
        self.b.op(name, self.host, 90 * US if self.late else 9 * US, **args)
        launch = self.host + (80 * US if self.late else US)
        start = max(self.free + US, launch + 5 * US) if self.late else self.free + US
        self.free = max(start, launch + 5 * US) + dur
        self.b.launched(kernel, launch, self.free - dur, dur)
        self.host += 100 * US if self.late else 10 * US

    def busy(self, dur: int = 2000 * US) -> None:
        self.op("aten::mul", POINT, dur, [[64], [64]])

    def in_parts(
        self, length: int = 1024, head: int = 64, *, part: int = 100 * US, dtype: str = BF16
    ) -> None:
        seq = 32
        scores, values = [seq, length, length], [seq, length, head]
        self.op("aten::bmm", GEMM, part, [values, [seq, head, length]], dtype)
        self.op("aten::softmax", SOFTMAX, part, [scores, [], []], dtype)
        self.op("aten::bmm", GEMM, part, [scores, values], dtype)

    def fused(self, length: int, dur: int, head: int = 64) -> None:
        shape = [2, 16, length, head]
        name = "aten::_scaled_dot_product_flash_attention"
        self.op(name, FLASH, dur, [shape, shape, shape, [], [], []])

    def analysis(self, path: Path, **options: Any) -> Analysis:
        return tracekit.analyze(self.b.write(path / "t.json"), **options)

    def bound(self, path: Path, **options: Any) -> WhatIf | None:
        rows = self.analysis(path, **options).what_if
        return next((r for r in rows if (r.name, r.scope) == ("flash_attention", "run")), None)


def assumed_ns(length: int = 1024, head: int = 64) -> int:
    computing = 4 * 32 * length**2 * head / (PEAK_SHARE * 989.4e12)
    moving = 2 * 32 * 4 * length * head / 3.35e12
    return round(LEAST_NS + 1e9 * max(computing, moving))


def base_ns(result: Analysis) -> int:
    row = next(row for row in result.what_if if row.scope == "run")
    return round(row.wall_ns * row.speedup)


def test_on_a_known_device_a_share_of_its_peak_is_assumed(tmp_path: Path) -> None:
    trace = Attention()
    trace.busy()
    for _ in range(20):
        trace.in_parts()
    row = trace.bound(tmp_path)
    assert row is not None
    # One kernel in place of three needs one pause in place of three.
    saved = 20 * (3 * 100 * US - assumed_ns() + 2 * US)
    assert row.wall_ns == pytest.approx(base_ns(trace.analysis(tmp_path)) - saved, abs=20 * US)
    assert "20 of the 20 attention calls" in row.assumption
    assert "an assumed 4.00 µs and what 75.0% of the peak of H100 SXM" in row.assumption
    assert "2407.08608" in row.assumption


def test_fused_calls_of_like_size_in_the_trace_come_first(tmp_path: Path) -> None:
    trace = Attention()
    trace.busy()
    for _ in range(10):
        trace.in_parts()
        trace.fused(1024, 60 * US)
        trace.fused(4096, 700 * US)
    row = trace.bound(tmp_path)
    assert row is not None
    saved = 10 * (3 * 100 * US - 60 * US + 2 * US)
    assert row.wall_ns == pytest.approx(base_ns(trace.analysis(tmp_path)) - saved, abs=20 * US)
    assert "10 as fast as fused calls of like size in this trace" in row.assumption
    assert "assumed" not in row.assumption
    # Calls of another head size, or far longer ones, tell nothing of these.
    other = Attention()
    other.busy()
    for _ in range(10):
        other.in_parts()
        other.fused(1024, 60 * US, head=128)
        other.fused(4096, 700 * US)
    found = other.bound(tmp_path)
    assert found is not None
    assert "as fast as" not in found.assumption


def test_on_an_unknown_device_only_the_trace_itself_tells(tmp_path: Path) -> None:
    unknown = Attention("NVIDIA Test GPU")
    unknown.in_parts()
    assert unknown.bound(tmp_path) is None
    row = unknown.bound(tmp_path, peaks={"bfloat16": 989.4e12, "bandwidth": 3.35e12})
    assert row is not None
    assert "of the peak of the device" in row.assumption
    unknown.fused(1024, 60 * US)
    assert unknown.bound(tmp_path) is not None


@pytest.mark.parametrize(
    "call",
    [
        {"dtype": "float"},
        {"head": 512},
        # Faster in parts than a fused kernel is assumed to be.
        {"part": US},
    ],
)
def test_what_cannot_be_fused_or_gains_nothing_has_no_bound(
    call: dict[str, Any], tmp_path: Path
) -> None:
    trace = Attention()
    trace.in_parts(**call)
    assert trace.analysis(tmp_path).attention.calls[0].backend == "written_out"
    assert trace.bound(tmp_path) is None


def test_without_attention_in_parts_there_is_no_bound(tmp_path: Path) -> None:
    trace = Attention()
    trace.fused(1024, 60 * US)
    assert trace.bound(tmp_path) is None


def test_a_late_host_issues_one_kernel_a_call(tmp_path: Path) -> None:
    trace = Attention(late=True)
    for _ in range(10):
        trace.in_parts(part=10 * US)
    row = trace.bound(tmp_path)
    assert row is not None
    # Estimated costs of profiling make the host of the base somewhat faster.
    assert row.speedup == pytest.approx(3, rel=0.1)


def test_stages_have_the_bound_too(tmp_path: Path) -> None:
    trace = Attention()
    trace.in_parts()
    middle = trace.host
    trace.busy(500 * US)
    trace.b.annotation("tk1|stage|denoise|0", 0, middle)
    trace.b.annotation("tk1|stage|decode|", middle, 10 * US)
    rows = {r.scope: r for r in trace.analysis(tmp_path).what_if if r.name == "flash_attention"}
    assert rows["denoise"].speedup > 5
    assert rows["decode"].speedup == pytest.approx(1.0, abs=0.01)
    assert rows["denoise"].wall_ns + rows["decode"].wall_ns == rows["run"].wall_ns


def test_it_becomes_advice_in_place_of_faster_attention(tmp_path: Path) -> None:
    trace = Attention()
    trace.busy(200 * US)
    trace.in_parts()
    result = trace.analysis(tmp_path)
    texts = [one.text for one in result.advice]
    assert any("one fused kernel a call" in text for text in texts)
    assert not any("Attention kernels" in text for text in texts)
    only = tuple(row for row in result.what_if if row.name != "flash_attention")
    found = advice(only, IdleResult((), (), (), 0, 0), None)
    assert any("Attention kernels" in one.text for one in found)


def test_no_bound_is_longer_than_the_run_and_the_other_run_proves_it() -> None:
    """SDXL's attention as math and as flash, recorded on one H200."""
    math, flash = (
        tracekit.analyze(ROOT / "examples" / "traces" / f"sdxl_{name}.json.gz")
        for name in ("math", "flash")
    )
    rows = [row for row in math.what_if if row.name == "flash_attention"]
    assert rows
    assert all(row.speedup >= 1 for row in rows)
    table = tracekit.kernels(ROOT / "examples" / "traces" / "sdxl_math.json.gz")
    calls = call_table(table)
    fused = fused_calls(table.dur_ns, calls, peaks_of("NVIDIA H200"))
    assert fused is not None
    assert (fused.calls, fused.in_parts, fused.measured) == (140, 140, 0)
    spared = int((table.dur_ns - fused.dur_ns).sum())
    before = sum(row.time_ns for row in math.attention.calls)
    now = sum(row.time_ns for row in flash.attention.calls) * 140 // len(flash.attention.calls)
    # A bound: flash attention does not take less; and no loose one: it saves nearly as much.
    assert before - spared <= now
    assert before - now >= 0.9 * spared


def test_all_devices_have_the_peaks_that_it_needs() -> None:
    for _, peaks in DEVICES:
        assert "float16" in peaks.flops
        assert peaks.bandwidth is not None


def test_backward_a_fused_kernel_computes_the_scores_anew() -> None:
    table = tracekit.kernels(ROOT / "corpus" / "traces" / "timesformer.train")
    calls = call_table(table)
    in_parts = np.ones(len(calls), np.bool_)
    backward = calls.is_backward
    assert 0 < np.count_nonzero(backward) < len(calls)
    flops = fused_flops(calls, in_parts)
    # Five products in place of four, where values are as wide as keys.
    assert (4 * flops[backward] == 5 * calls.costs.flops[backward]).all()
    assert (flops[~backward] == calls.costs.flops[~backward]).all()
    assert (fused_flops(calls, ~in_parts) == calls.costs.flops).all()
