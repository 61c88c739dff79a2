"""Nsight Compute's CSV: layouts, units, names; which launch each kernel of a trace is."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ncu_builders import Launch, long_csv, values, wide_csv
from test_reports_json import VALIDATOR, as_json

import result_builders as build
import tracekit
from builders import TraceBuilder
from tracekit.analysis.call_table import is_attention
from tracekit.analysis.counted_kernels import counted_kernels
from tracekit.api import analyze_all
from tracekit.attention_results import AttentionCache
from tracekit.cli import run
from tracekit.counters import (
    DRAM_READ,
    DRAM_WRITE,
    L1_HIT_RATE,
    L2_HIT_RATE,
    function_name,
    read_counters,
)
from tracekit.errors import InputError, UsageError
from tracekit.reports import render
from tracekit.reports.attention_tables import HOW_TO_COUNT
from tracekit.results import Analysis

GRID = "(16, 2, 1)"
GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT"
FLASH = (
    "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4>, false>"
    "(pytorch_flash::Flash_fwd_params)"
)
FLASH_OF_NCU = (
    "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<(int)64, (int)128>>(T1)"
)
POINT = "void at::native::vectorized_elementwise_kernel<4, at::native::{}Functor<float> >(int)"


def write(path: Path, launches: Iterable[Launch], form: Callable[..., str] = long_csv) -> str:
    path.write_text(form(launches))
    return str(path)


# The file


@pytest.mark.parametrize("form", [long_csv, wide_csv])
def test_both_layouts(tmp_path: Path, form: Callable[..., str]) -> None:
    launches = [
        (FLASH_OF_NCU, GRID, values(12.5, 85.34, "2,116,608", "1,024.5")),
        (GEMM, "(1, 2, 3)", values(0, 100, "0", "0")),
    ]
    flash, gemm = read_counters(write(tmp_path / "n.csv", launches, form))
    assert (flash.name, flash.grid, flash.block) == (FLASH_OF_NCU, (16, 2, 1), (128, 1, 1))
    assert flash.values == pytest.approx(
        {L1_HIT_RATE: 0.125, L2_HIT_RATE: 0.8534, DRAM_READ: 2_116_608, DRAM_WRITE: 1_024_500}
    )
    assert gemm.grid == (1, 2, 3)
    assert gemm.values == {L1_HIT_RATE: 0, L2_HIT_RATE: 1, DRAM_READ: 0, DRAM_WRITE: 0}


def test_what_has_no_number_is_missing(tmp_path: Path) -> None:
    launches = [(GEMM, GRID, values(1, 2, "n/a", "nan")), (GEMM, "", values(3))]
    first, second = read_counters(write(tmp_path / "n.csv", launches))
    assert first.values == pytest.approx({L1_HIT_RATE: 0.01, L2_HIT_RATE: 0.02})
    assert (second.grid, second.values[L1_HIT_RATE]) == (None, pytest.approx(0.03))


def test_rates_above_one(tmp_path: Path) -> None:
    """Kernels of microseconds have them: the counts of a rate are of several runs."""
    rates = (99.9, 104.2, 330.67)
    path = write(tmp_path / "ncu.csv", [(FLASH, GRID, values(50, rate)) for rate in rates])
    found = [launch.values.get(L2_HIT_RATE) for launch in read_counters(path)]
    assert found == [pytest.approx(0.999), 1.0, None]


def test_names_of_sections_and_other_metrics(tmp_path: Path) -> None:
    text = long_csv([(GEMM, GRID, {"L2 Hit Rate": "7", "Duration": "5"})])
    (tmp_path / "n.csv").write_text(text.replace('"L2 Hit Rate",""', '"L2 Hit Rate","%"'))
    [launch] = read_counters(str(tmp_path / "n.csv"))
    assert launch.values == pytest.approx({L2_HIT_RATE: 0.07})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", 'has no header with "Kernel Name"'),
        ("==PROF== Connected\n==ERROR== No kernels were profiled\n", "has no header"),
        ('"Kernel Name","Metric Name","Metric Value"\n', 'has no column "ID"'),
        (long_csv([(GEMM, GRID, {"Duration": "5"})]), "has none of the metrics l1tex__t_sector"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "n.csv").write_text(text)
    with pytest.raises(InputError, match=f"n.csv: {told}.*; give what ncu --csv"):
        read_counters(str(tmp_path / "n.csv"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.csv: cannot be read \(no such file"):
        read_counters(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (FLASH, "flash_fwd_kernel"),
        (FLASH_OF_NCU, "flash_fwd_kernel"),
        ("void at::native::(anonymous namespace)::cunn_SoftMaxForward<8, float>(float*)",
         "cunn_SoftMaxForward"),
        ("void at::native::<unnamed>::cunn_SoftMaxForward<(int)8, float>(T2 *)",
         "cunn_SoftMaxForward"),
        ("std::enable_if<!(false), void>::type internal::gemvx::kernel<int, 3>(T1)", "kernel"),
        ("void f<at::native::<unnamed>::g(int)::[lambda() (instance 1)]>(int)", "f"),
        (GEMM, GEMM),
        ("", ""),
        ("<odd>", "<odd>"),
    ],
)  # fmt: skip
def test_name_of_the_function(name: str, function: str) -> None:
    assert function_name(name) == function


# The trace


class Run:
    """Attention modules, steps and what is beside them, a kernel each 100 ns."""

    def __init__(self) -> None:
        self.b = TraceBuilder()
        self.now = 0
        self.order: list[tuple[str, str]] = []

    def kernel(self, name: str, op: str, dur: int = 50, grid: str = GRID) -> None:
        self.b.op(op, self.now, 90)
        sizes = {"grid": [int(n) for n in grid.strip("()").split(",")], "block": [128, 1, 1]}
        self.b.launched(name, self.now + 10, 1_000_000 + self.now, dur, **sizes)
        self.now += 100

    def module(self, axis: str, dur: int = 50, grid: str = GRID) -> None:
        start = self.now
        self.kernel(GEMM, "aten::linear", grid=grid)
        self.kernel(FLASH, "aten::_scaled_dot_product_flash_attention", dur, grid)
        self.kernel(GEMM, "aten::linear", grid=grid)
        label = f"tk1|attn|net.{axis}|self|{axis}|64|64|2"
        self.b.annotation(label, start, self.now - start)

    def step(self, number: int, work: Callable[[], Any], stage: str = "denoise") -> None:
        start = self.now
        work()
        self.b.annotation(f"tk1|stage|{stage}|{number}", start, self.now - start)

    def cache(
        self, tmp_path: Path, launches: Iterable[Launch], form: Callable[..., str] = long_csv
    ) -> AttentionCache:
        file = write(tmp_path / "n.csv", launches, form)
        result = tracekit.analyze(self.b.write(tmp_path / "t.json"), ncu=file)
        VALIDATOR.validate(as_json(result))
        assert result.attention.cache is not None
        return result.attention.cache


def flash(l1: float, grid: str = GRID) -> Launch:
    return (FLASH_OF_NCU, grid, values(l1))


def gemm(l1: float = 99, grid: str = GRID) -> Launch:
    return (GEMM, grid, values(l1))


def counts(cache: AttentionCache) -> tuple[int, int, int, int, int]:
    return (
        cache.kernels, cache.kernels_repeated, cache.kernels_without, cache.launches,
        cache.launches_unmatched,
    )  # fmt: skip


def test_hit_rates_by_axis_weighted_by_time(tmp_path: Path) -> None:
    trace = Run()
    trace.module("spatial", 30)
    trace.kernel(GEMM, "aten::linear")
    trace.module("temporal", 80)
    trace.module("spatial", 10)
    cache = trace.cache(tmp_path, [flash(40), flash(10), flash(80)])
    temporal, spatial = cache.by_axis
    assert counts(cache) == (3, 0, 0, 3, 0)
    assert (temporal.axis, temporal.kernels, temporal.time_ns) == ("temporal", 1, 80)
    assert temporal.l1_hit_rate == pytest.approx(0.1)
    assert (spatial.axis, spatial.kernels, spatial.time_ns) == ("spatial", 2, 40)
    assert spatial.l1_hit_rate == pytest.approx((30 * 0.4 + 10 * 0.8) / 40)
    assert spatial.l2_hit_rate == pytest.approx(0.5)
    assert (spatial.dram_read_bytes, spatial.dram_write_bytes) == (2_048, 4_000)
    [part] = spatial.parts
    assert (part.part, part.kernels, part.l1_hit_rate) == ("fused", 2, spatial.l1_hit_rate)


def test_of_what_attention_modules_launch_only_attention_counts(tmp_path: Path) -> None:
    trace = Run()
    trace.kernel(GEMM, "aten::linear")
    trace.module("spatial")
    trace.kernel(GEMM, "aten::linear")
    trace.module("temporal")
    one = [gemm(), flash(40), gemm()]
    cache = trace.cache(tmp_path, [*one, gemm(), flash(20), gemm()], wide_csv)
    assert counts(cache) == (2, 0, 0, 6, 0)
    assert [row.l1_hit_rate for row in cache.by_axis] == pytest.approx([0.4, 0.2])


def test_written_out_attention_shares_its_names_with_projections(tmp_path: Path) -> None:
    trace = Run()
    for axis in ("spatial", "temporal"):
        trace.kernel(GEMM, "aten::linear")
        start = trace.now
        trace.kernel(GEMM, "aten::linear")
        for name, op in ((GEMM, "aten::bmm"), ("softmax", "aten::softmax"), (GEMM, "aten::bmm")):
            trace.kernel(name, op)
        trace.b.annotation(f"tk1|attn|net.{axis}|self|{axis}|64|64|2", start, trace.now - start)
    launches = [
        gemm(90), gemm(10), ("softmax", GRID, values(30)), gemm(20),
        gemm(90), gemm(1), ("softmax", GRID, values(3)), gemm(2),
    ]  # fmt: skip
    cache = trace.cache(tmp_path, launches)
    assert counts(cache) == (6, 0, 0, 8, 0)
    by_part = {
        row.axis: {part.part: part.l1_hit_rate for part in row.parts} for row in cache.by_axis
    }
    assert by_part["spatial"] == pytest.approx({"gemm": 0.15, "softmax": 0.3})
    assert by_part["temporal"] == pytest.approx({"gemm": 0.015, "softmax": 0.03})


def two_stages(steps: int) -> Run:
    trace = Run()
    trace.step(0, lambda: trace.module("sequence"), "text")

    def denoise() -> None:
        trace.module("spatial")
        trace.module("temporal")

    for number in range(steps):
        trace.step(number, denoise)
    return trace


def test_one_step_of_each_stage_stands_for_all(tmp_path: Path) -> None:
    cache = two_stages(4).cache(tmp_path, [flash(10), flash(20), flash(30)])
    assert counts(cache) == (9, 6, 0, 3, 0)
    found = {row.axis: row.l1_hit_rate for row in cache.by_axis}
    assert found == pytest.approx({"sequence": 0.1, "spatial": 0.2, "temporal": 0.3})


def test_two_steps_stand_for_four_but_not_for_three(tmp_path: Path) -> None:
    def steps(count: int) -> Run:
        trace = Run()
        for number in range(count):
            trace.step(number, lambda: trace.module("spatial"))
        return trace

    launches = [flash(10), flash(20)]
    assert counts(steps(4).cache(tmp_path, launches)) == (4, 2, 0, 2, 0)
    cache = steps(3).cache(tmp_path, launches)
    assert counts(cache) == (2, 0, 1, 2, 0)
    assert cache.by_axis[0].l1_hit_rate == pytest.approx(0.15)


def test_without_steps_a_part_stands_for_nothing_else(tmp_path: Path) -> None:
    trace = Run()
    for _ in range(4):
        trace.module("spatial")
    cache = trace.cache(tmp_path, [flash(10), flash(20)])
    # They are the first two, as where launches were left off.
    assert counts(cache) == (2, 0, 2, 2, 0)
    assert cache.by_axis[0].kernels_without == 2


def test_what_was_left_off_at_the_end_costs_nothing_else(tmp_path: Path) -> None:
    trace = Run()
    for grid in (GRID, "(8, 1, 1)", GRID, "(8, 1, 1)", GRID):
        trace.module("spatial", grid=grid)
    small = "(8, 1, 1)"
    cache = trace.cache(tmp_path, [flash(10), flash(50, small), flash(20)])
    assert counts(cache) == (3, 0, 2, 3, 0)
    assert cache.by_axis[0].l1_hit_rate == pytest.approx(0.8 / 3)


def test_another_order_is_no_match(tmp_path: Path) -> None:
    trace = Run()
    for grid in ("(1, 1, 1)", "(1, 1, 1)", "(2, 1, 1)"):
        trace.module("spatial", grid=grid)
    cache = trace.cache(tmp_path, [flash(1, "(2, 1, 1)"), flash(2, "(1, 1, 1)")])
    assert counts(cache) == (1, 0, 2, 2, 1)


def test_other_grids_and_names_are_no_match(tmp_path: Path) -> None:
    trace = Run()
    trace.module("spatial")
    cache = trace.cache(tmp_path, [flash(10, "(17, 2, 1)"), ("other", GRID, values(1))])
    assert counts(cache) == (0, 0, 1, 2, 2)
    [row] = cache.by_axis
    assert (row.kernels, row.l1_hit_rate, row.dram_read_bytes) == (0, None, None)


def test_template_arguments_that_do_not_agree_are_no_match(tmp_path: Path) -> None:
    def cache(*functors: str) -> AttentionCache:
        trace = Run()
        start = trace.now
        for name in ("Mul", "Add", "Mul"):
            trace.kernel(POINT.format(name), "aten::mul")
        trace.kernel("softmax", "aten::softmax")
        trace.b.annotation("tk1|cat|attention", start, trace.now - start)
        launches = [(POINT.format(name), GRID, values(1)) for name in functors]
        return trace.cache(tmp_path, launches)

    assert cache("Mul", "Add", "Mul").kernels == 3
    assert cache("A", "B", "A").kernels == 3
    assert cache("X", "X", "X").kernels == 3
    assert cache("Mul", "Mul", "Add").kernels == 0


def test_a_file_without_grids_matches_by_name(tmp_path: Path) -> None:
    trace = Run()
    trace.module("spatial")
    assert counts(trace.cache(tmp_path, [flash(10, "")])) == (1, 0, 0, 1, 0)


def test_traffic_is_null_unless_all_of_it_was_counted(tmp_path: Path) -> None:
    trace = Run()
    trace.module("spatial")
    trace.module("spatial")
    some = (FLASH_OF_NCU, GRID, values(10, read="n/a"))
    [row] = trace.cache(tmp_path, [some, flash(20)]).by_axis
    assert (row.dram_read_bytes, row.dram_write_bytes) == (None, 4_000)
    assert row.l1_hit_rate == pytest.approx(0.15)


def test_on_a_real_trace(tmp_path: Path) -> None:
    path = Path(__file__).parent.parent / "examples" / "traces" / "zeroscope_flash.json.gz"
    columns = tracekit.kernels(path).to_arrow().to_pydict()
    launches = [
        (name, "", values(10 if axis == "temporal" else 60))
        for name, category, axis in zip(
            columns["name"], columns["category"], columns["attention_axis"], strict=True
        )
        if "attention" in category
    ]
    result = tracekit.analyze(path, ncu=write(tmp_path / "n.csv", launches))
    cache = result.attention.cache
    assert cache is not None
    assert counts(cache) == (66, 0, 0, 66, 0)
    rates = {row.axis: row.l1_hit_rate for row in cache.by_axis}
    assert rates == pytest.approx({"temporal": 0.1, "spatial": 0.6})
    assert sum(row.time_ns for row in cache.by_axis) == sum(
        row.time_ns for row in result.attention.by_axis
    )
    assert np.isfinite([row.l2_hit_rate or np.nan for row in cache.by_axis]).all()


def test_first_steps_of_a_real_run(tmp_path: Path) -> None:
    """Every launch of attention modules in the first step of each stage meets its own kernel."""
    path = Path(__file__).parent.parent / "examples" / "runs" / "make-a-video-h200"
    table = tracekit.kernels(path)
    activities, text = table.linked.trace.activities, table.linked.trace.text
    first: dict[int, int] = {}
    rows = []
    for row in np.flatnonzero(table.linked.labels.attention >= 0).tolist():
        stage, step = int(table.stages.stage[row]), int(table.stages.step[row])
        if first.setdefault(stage, step) == step and activities.kind[row] == 0:
            rows.append(row)
    launches = [
        (
            (table.name_at(row) or "").replace("(anonymous namespace)", "<unnamed>"),
            f"({(text(int(activities.grid[row])) or '')[1:-1]})",
            values(number % 100),
        )
        for number, row in enumerate(rows)
    ]
    found = counted_kernels(
        table,
        [replace(one, block=None) for one in read_counters(write(tmp_path / "n.csv", launches))],
    )
    assert len(rows) > 400
    assert found.launch[rows].tolist() == list(range(len(rows)))
    attention = is_attention(table) & (activities.kind == 0)
    assert (found.launch[attention] >= 0).all()
    assert np.count_nonzero(found.is_repeated[attention]) == 66


# Where the file comes from, and what is told


def test_the_run_folder_s_own_file(tmp_path: Path) -> None:
    trace = Run()
    trace.module("spatial")
    folder = tmp_path / "run"
    folder.mkdir()
    trace.b.write(folder / "trace.json.gz")
    assert tracekit.analyze(folder).attention.cache is None
    write(folder / "ncu.csv", [flash(10)])
    cache = tracekit.analyze(folder).attention.cache
    assert cache is not None
    assert cache.by_axis[0].l1_hit_rate == pytest.approx(0.1)
    other = write(tmp_path / "other.csv", [flash(70)])
    cache = tracekit.analyze(folder, ncu=other).attention.cache
    assert cache is not None
    assert cache.by_axis[0].l1_hit_rate == pytest.approx(0.7)
    (folder / "ncu.csv").write_text("nothing")
    broken = tracekit.analyze(folder)
    assert broken.attention.cache is None
    assert any("ncu.csv cannot be used: has no header" in line for line in broken.trace.warnings)


def test_counters_are_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = Run()
    trace.module("spatial")
    paths = [str(trace.b.write(tmp_path / name)) for name in ("a.json", "b.json")]
    file = write(tmp_path / "n.csv", [flash(10)])
    with pytest.raises(UsageError, match=r"n\.csv: are the counters of one run; give one trace"):
        analyze_all(paths, ncu=file)
    assert run(["analyze", *paths, "--ncu", file]) == 2
    assert run(["analyze", paths[0], "--ncu", str(tmp_path / "none.csv")]) == 3
    assert "none.csv: cannot be read" in capsys.readouterr().err
    assert run(["analyze", paths[0], "--ncu", file, "--format", "json"]) == 0
    assert '"l1_hit_rate": 0.1' in capsys.readouterr().out


def test_a_cpu_trace_has_no_counters(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::_scaled_dot_product_flash_attention_for_cpu", 0, 100)
    file = write(tmp_path / "n.csv", [flash(10)])
    assert tracekit.analyze(b.write(tmp_path / "t.json"), ncu=file).attention.cache is None


def test_the_reports_tell_hit_rates(tmp_path: Path) -> None:
    trace = two_stages(2)
    file = write(tmp_path / "n.csv", [flash(10), flash(20.04), flash(30), ("x", GRID, values(1))])
    result = tracekit.analyze(trace.b.write(tmp_path / "t.json"), ncu=file)
    text = render(result, "text")
    assert "Cache hits in attention     L1     L2  Memory read  Written  Kernels" in text
    assert "temporal                 30.0%  50.0%      2.05 kB  4.00 kB        2" in text
    assert "5 of 5 attention kernels have counters, 2 of them those of another step; 1 of 4" in text
    assert HOW_TO_COUNT not in text
    markdown = render(result, "markdown")
    assert "| spatial | 20.0% | 50.0% | 2.05 kB | 4.00 kB | 2 |" in markdown


def told(result: Analysis) -> bool:
    return HOW_TO_COUNT in render(result, "text")


def test_without_counters_one_line_says_how_to_get_them() -> None:
    assert told(build.typical())
    assert not told(build.typical(trace=build.trace_info(device_name="AMD Instinct MI300X")))
    assert not told(build.typical(trace=build.trace_info(basis="cpu")))
    assert not told(build.empty())


def test_a_compressed_file_reads_like_the_plain_one(tmp_path: Path) -> None:
    plain = Path(write(tmp_path / "ncu.csv", [(GEMM, GRID, values(10))]))
    packed = tmp_path / "ncu.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_counters(str(packed)) == read_counters(str(plain))
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(InputError, match=r"ncu\.csv\.gz: cannot be read"):
        read_counters(str(packed))
