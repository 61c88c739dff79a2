"""What was achieved, held against numbers done by hand; peaks of devices and of users."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import tracekit
from builders import TraceBuilder
from tracekit.analysis.device_peaks import DEVICES, TYPES, parse_peaks, peaks_of, with_override
from tracekit.cli import run
from tracekit.errors import InputError, UsageError
from tracekit.roofline_results import Roofline, RooflineRow
from tracekit.schemas import read_schema

BF16, FLOAT = "c10::BFloat16", "float"
H100 = "NVIDIA H100 80GB HBM3"
SIDE = 4096


def products(dtype: str = BF16, side: int = SIDE) -> dict[str, Any]:
    dims = [[side, side], [side, side]]
    return {"Input Dims": dims, "Input type": [dtype, dtype], "Concrete Inputs": ["", ""]}


def sums(dtype: str = BF16, side: int = SIDE) -> dict[str, Any]:
    dims = [[side, side], [side, side], []]
    return {"Input Dims": dims, "Input type": [dtype, dtype, "Scalar"]}


def trace(device: str = H100) -> TraceBuilder:
    builder = TraceBuilder()
    builder.metadata["deviceProperties"] = [{"id": 0, "name": device}]
    return builder


def roofline_of(builder: TraceBuilder, tmp_path: Path, **options: Any) -> Roofline:
    path = builder.write(tmp_path / "trace.json")
    found = tracekit.analyze(str(path), **options).roofline
    assert found is not None
    return found


def row(rows: tuple[RooflineRow, ...], key: str | None) -> RooflineRow:
    (found,) = (each for each in rows if each.key == key)
    return found


def work(device: str = H100) -> TraceBuilder:
    """A product of 200 µs, a sum of 40 µs and a kernel of 10 µs that nothing is known of."""
    builder = trace(device)
    builder.annotation("tk1|stage|denoise|0", 0, 1_000_000)
    builder.op("aten::mm", 1_000, 9_000, **products())
    builder.launched("nvjet_tst", 2_000, 20_000, 200_000)
    builder.op("aten::add", 11_000, 9_000, **sums())
    builder.launched("vectorized_elementwise_kernel", 12_000, 300_000, 40_000)
    builder.op("aten::topk", 21_000, 9_000)
    builder.launched("vectorized_elementwise_kernel", 22_000, 400_000, 10_000)
    return builder


def test_rates_and_shares_are_those_of_the_formula(tmp_path: Path) -> None:
    found = roofline_of(work(), tmp_path)
    flops, size = 2 * SIDE**3, 3 * 2 * SIDE**2
    linear = row(found.by_category, "linear")
    assert (linear.flops, linear.bytes, linear.operations) == (flops, size, 1)
    assert linear.flops_per_s == pytest.approx(flops / 200e-6)
    assert linear.intensity == pytest.approx(flops / size)
    assert linear.flops_share == pytest.approx(flops / 989.4e12 / 200e-6)
    assert linear.roofline_share == linear.flops_share
    added = row(found.by_category, "elementwise")
    assert added.flops is None
    assert added.flops_share is None
    assert added.bytes_per_s == pytest.approx(size / 40e-6)
    assert added.roofline_share == pytest.approx(size / 3.35e12 / 40e-6)
    assert found.above_roof == ()


def test_what_is_not_known_is_counted_and_left_out_of_the_rates(tmp_path: Path) -> None:
    total = roofline_of(work(), tmp_path).total
    assert (total.operations, total.uncounted) == (2, 1)
    assert (total.time_ns, total.covered_ns) == (250_000, 240_000)
    assert total.flops_per_s == pytest.approx(2 * SIDE**3 / 240e-6)


def test_stages_are_in_the_order_of_their_start(tmp_path: Path) -> None:
    builder = work()
    builder.annotation("tk1|stage|decode|", 1_000_000, 100_000)
    builder.op("aten::mm", 1_001_000, 9_000, **products())
    builder.launched("nvjet_tst", 1_002_000, 1_020_000, 200_000)
    found = roofline_of(builder, tmp_path)
    assert [each.key for each in found.by_stage] == ["denoise", "decode"]


def test_an_unknown_device_has_intensities_and_no_shares(tmp_path: Path) -> None:
    found = roofline_of(work("NVIDIA Test GPU"), tmp_path)
    assert found.device is None
    assert found.peaks.source is None
    assert found.total.intensity is not None
    assert all(
        each.flops_share is None and each.roofline_share is None
        for each in (found.total, *found.by_category, *found.by_stage)
    )


def test_peaks_of_the_user_stand_for_those_of_the_device(tmp_path: Path) -> None:
    peaks = {"bfloat16": 1e15, "bandwidth": 1e12}
    found = roofline_of(work("NVIDIA Test GPU"), tmp_path, peaks=peaks)
    assert found.device == "NVIDIA Test GPU"
    assert found.peaks.source == "the user"
    assert row(found.by_category, "linear").flops_share == pytest.approx(2 * SIDE**3 / 200e9)
    half = roofline_of(work("NVIDIA Test GPU"), tmp_path, peaks={"bandwidth": 1e12})
    assert row(half.by_category, "linear").roofline_share is None
    assert row(half.by_category, "elementwise").roofline_share is not None


def test_float32_on_tensor_cores_has_their_peak(tmp_path: Path) -> None:
    shares = []
    for name in ("ampere_sgemm_128x64_tn", "sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n"):
        builder = trace()
        builder.op("aten::mm", 1_000, 9_000, **products(FLOAT))
        builder.launched(name, 2_000, 20_000, 3_000_000)
        shares.append(row(roofline_of(builder, tmp_path).by_category, "linear").flops_share)
    assert shares == pytest.approx([2 * SIDE**3 / peak / 3e-3 for peak in (67e12, 494.7e12)])


@pytest.mark.parametrize(
    ("side", "why"),
    [
        (1024, "fits in the cache"),
        (SIDE, "partly in the cache"),
        (8192, "inputs may be expanded"),
    ],
)
def test_operations_above_their_roof_say_why(side: int, why: str, tmp_path: Path) -> None:
    builder = trace()
    builder.op("aten::add", 1_000, 9_000, **sums(side=side))
    builder.launched("vectorized_elementwise_kernel", 2_000, 20_000, 1_000)
    (above,) = roofline_of(builder, tmp_path).above_roof
    assert (above.why, above.operations, above.time_ns) == (why, 1, 1_000)
    assert above.largest_share == pytest.approx(6 * side**2 / 3.35e12 / 1e-6)


def test_a_product_above_its_peak_is_told_apart(tmp_path: Path) -> None:
    builder = trace()
    builder.op("aten::mm", 1_000, 9_000, **products())
    builder.launched("nvjet_tst", 2_000, 20_000, 100_000)
    (above,) = roofline_of(builder, tmp_path).above_roof
    assert above.why == "arithmetic above the peak"


def test_copies_to_the_host_are_no_work_of_the_memory(tmp_path: Path) -> None:
    builder = work()
    for at, name in enumerate(("Memcpy DtoH (Device -> Pageable)", "Memcpy DtoD (Device)")):
        event = builder.launched(name, 30_000 + at, 500_000 + 10_000 * at, 9_000)
        event["cat"] = "gpu_memcpy"
        event["args"]["bytes"] = 1_000_000
    memory = row(roofline_of(builder, tmp_path).by_category, "memory")
    assert (memory.operations, memory.uncounted, memory.bytes) == (1, 1, 2_000_000)


@pytest.mark.parametrize(
    ("name", "bandwidth", "half"),
    [
        ("NVIDIA A100-SXM4-40GB", 1555e9, 312e12),
        ("NVIDIA A100-PCIE-40GB", 1555e9, 312e12),
        ("NVIDIA A100-SXM4-80GB", 2039e9, 312e12),
        ("NVIDIA A100 80GB PCIe", 1935e9, 312e12),
        (H100, 3350e9, 989.4e12),
        ("NVIDIA H100 PCIe", 2000e9, 756e12),
        ("NVIDIA H100 NVL", 3900e9, 835.5e12),
        ("NVIDIA H200", 4800e9, 989.4e12),
        ("NVIDIA B200", 8000e9, 2250e12),
        ("NVIDIA L4", 300e9, 121e12),
        ("NVIDIA L40S", 864e9, 362.05e12),
        ("NVIDIA GeForce RTX 4090", 1008e9, 165.2e12),
        ("NVIDIA GeForce RTX 3090", 936e9, 71e12),
        ("NVIDIA A10G", 600e9, 70e12),
        ("Tesla V100-SXM2-16GB", 900e9, 125e12),
        ("AMD Instinct MI300X", 5300e9, 1307.4e12),
        ("AMD Instinct MI250X", 1638.4e9, 191.5e12),
    ],
)
def test_devices_are_known_by_the_names_of_their_drivers(
    name: str, bandwidth: float, half: float
) -> None:
    peaks = peaks_of(name)
    assert peaks is not None
    assert peaks.source
    assert (peaks.bandwidth, peaks.flops["float16"]) == (bandwidth, half)


@pytest.mark.parametrize(
    "name",
    [None, "", "NVIDIA L40", "NVIDIA GB200", "NVIDIA GeForce RTX 4090 D", "NVIDIA H100 MIG 1g.10gb",
     "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GH200 480GB", "NVIDIA GeForce RTX 3090 Ti"],
)  # fmt: skip
def test_devices_that_are_like_known_ones_are_unknown(name: str | None) -> None:
    assert peaks_of(name) is None


def test_the_document_has_the_numbers_of_the_table() -> None:
    document = (Path(__file__).parent.parent / "docs/roofline.md").read_text()
    for _, peaks in DEVICES:
        (line,) = (line for line in document.splitlines() if line.startswith(f"| {peaks.name} |"))
        cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
        halves = [_tera(cell) for cell in cells[4].split("/")]
        assert halves[0] == peaks.flops.get("float16")
        assert halves[-1] == peaks.flops.get("bfloat16")
        kinds = ("float64", "float32", "tf32", None, "float8", "int8")
        for kind, cell in zip(kinds, cells[1:7], strict=True):
            assert kind is None or peaks.flops.get(kind) == _tera(cell)
        assert float(cells[7]) * 1e9 == peaks.bandwidth
        assert float(cells[8]) * 2**20 == peaks.cache_bytes
        assert cells[9] == peaks.source


def _tera(cell: str) -> Any:
    return None if cell.strip() == "–" else pytest.approx(float(cell) * 1e12)


def test_peaks_come_from_options_and_files(tmp_path: Path) -> None:
    path = tmp_path / "peaks.json"
    path.write_text('{"bfloat16": 1e15, "bandwidth": 2e12}')
    assert parse_peaks([str(path), "bandwidth=3e12"]) == {"bfloat16": 1e15, "bandwidth": 3e12}
    assert with_override(None, {}) is None
    known = with_override(peaks_of(H100), {"float8": 1.0})
    assert known is not None
    assert known.flops["float8"] == 1.0
    assert known.bandwidth == 3350e9
    assert "and the user" in known.source


@pytest.mark.parametrize(
    "text", ["speed=1", "bandwidth=0", "bandwidth=x", "bandwidth=", "int8=inf"]
)
def test_wrong_peaks_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--peaks"):
        parse_peaks([text])


@pytest.mark.parametrize("content", [None, "x", "[]"])
def test_files_that_hold_no_peaks_are_refused(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "peaks.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError):
        parse_peaks([str(path)])


def test_the_command_takes_peaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(work("NVIDIA Test GPU").write(tmp_path / "trace.json"))
    options = ["--peaks", "bfloat16=1e15", "--peaks", "bandwidth=1e12", "--format", "json"]
    assert run(["analyze", path, *options]) == 0
    written = json.loads(capsys.readouterr().out)
    Draft202012Validator(read_schema("analysis-1")).validate(written)
    found = written["roofline"]
    assert found["peaks"]["flops_per_s"] == {"bfloat16": 1e15}
    assert found["by_category"][0]["category"] == "linear"
    assert set(found["peaks"]["flops_per_s"]) <= set(TYPES)
    assert run(["analyze", path]) == 0
    text = capsys.readouterr().out
    assert "The peaks of this device are not known" in text
    assert "of roof" not in text
    assert run(["analyze", path, "--peaks", "x=1"]) == 2
    assert "--peaks x: is none of" in capsys.readouterr().err


@pytest.mark.parametrize("model", ["dit", "sdxl-unet"])
def test_replays_cost_what_their_eager_pass_costs(model: str) -> None:
    traces = Path(__file__).parent.parent / "corpus/traces"
    if not (traces / f"{model}.cudagraph").is_dir():
        pytest.skip("the corpus is not here")
    replayed, eager = (
        tracekit.analyze(str(traces / f"{model}.{kind}")).roofline
        for kind in ("cudagraph", "default")
    )
    assert replayed is not None
    assert eager is not None
    for ours, theirs in zip(replayed.by_category, eager.by_category, strict=True):
        assert (ours.key, ours.operations, ours.flops) == (
            theirs.key,
            theirs.operations,
            theirs.flops,
        )
        assert ours.bytes == theirs.bytes
