"""What a study keeps of a run: read back, summed again, and scaled to the whole work."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tracekit
from builders import TraceBuilder
from tracekit.errors import InputError, TraceFormatError
from tracekit.study.kept import ANALYSIS, KEPT_COLUMNS, KERNELS, keep, read_kept
from tracekit.study.reading import MeasuredCase
from tracekit.study.recorder import keep_recorded

RUNS = Path(__file__).parent.parent / "examples" / "runs"
EXAMPLE = Path(__file__).parent.parent / "examples" / "traces" / "pixart_compiled.json.gz"


def staged(path: Path) -> Path:
    """Text once (100 ns), two denoising steps: 30 ns of linear, 50 and 70 of convolution."""
    b = TraceBuilder()
    b.annotation("tk1|stage|text_encoder|", 0, 90)
    b.op("aten::linear", 0, 80)
    b.launched("gemm", 10, 1000, 100)
    for step, time in enumerate((50, 70)):
        start = 100 * (step + 1)
        b.annotation(f"tk1|stage|denoise|{step}", start, 90)
        b.op("aten::linear", start, 30)
        b.launched("gemm", start + 10, 2000 + 1000 * step, 30)
        b.op("aten::conv2d", start + 40, 30)
        b.launched("fprop", start + 50, 2500 + 1000 * step, time)
    return b.write(path / "trace.json.gz")


def kept(tmp_path: Path, trace: Path) -> Any:
    folder = tmp_path / "case"
    folder.mkdir()
    analysis = tracekit.analyze(str(trace))
    assert isinstance(analysis, tracekit.Analysis)
    keep(folder, tracekit.kernels(str(trace)), analysis)
    return read_kept(folder)


def case_of(found: Any, timing: dict[str, Any] | None = None) -> MeasuredCase:
    sampled = {
        "text_encoder": {"timed": 1, "recorded": 1, "whole": 1},
        "denoise": {"timed": 2, "recorded": 2, "whole": 50},
    }
    return MeasuredCase({"sampled": sampled}, timing or {}, found)


def test_a_run_is_read_back(tmp_path: Path) -> None:
    found = kept(tmp_path, EXAMPLE)
    before = tracekit.analyze(str(EXAMPLE))
    assert isinstance(before, tracekit.Analysis)
    assert found.analysis.categories == before.categories
    assert found.analysis.attention.profile == before.attention.profile
    assert found.analysis.what_if == before.what_if
    assert found.analysis.trace.path == "case/pixart_compiled.json.gz"
    table = found.kernels()
    assert tuple(table.column_names) == KEPT_COLUMNS
    rows = tracekit.kernels(str(EXAMPLE)).to_arrow()
    for name in ("dur_ns", "name", "category", "module", "flops"):
        assert table[name].to_pylist() == rows[name].to_pylist()
    starts = rows["start_ns"].to_pylist()
    assert table["start_ns"].to_pylist() == [start - starts[0] for start in starts]


def test_what_is_kept_is_small(tmp_path: Path) -> None:
    folder = kept(tmp_path, EXAMPLE).folder
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size < EXAMPLE.stat().st_size / 3


def test_long_lists_are_cut_to_their_largest(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(300):
        b.launched("k", 10 * number, 10_000 + 100 * number + number, 50)
    found = kept(tmp_path, b.write(tmp_path / "t.json.gz")).analysis
    assert len(found.idle.gaps) == found.idle.gaps_listed == 200
    assert found.idle.gaps_total == 299
    assert found.time.kernel_ns == 300 * 50


def test_sampled_steps_stand_for_all(tmp_path: Path) -> None:
    case = case_of(kept(tmp_path, staged(tmp_path)))
    assert case.times() == {"linear": 100 + 25 * 60, "conv": 25 * 120}


def test_wall_time_is_scaled_stage_by_stage(tmp_path: Path) -> None:
    def repeat(denoise_ms: float) -> dict[str, Any]:
        stages = [
            {"stage": "text_encoder", "step": None, "wall_ms": 9.0, "gpu_ms": 2.0},
            {"stage": "denoise", "step": 0, "wall_ms": 9.0, "gpu_ms": denoise_ms},
            {"stage": "denoise", "step": 49, "wall_ms": 9.0, "gpu_ms": denoise_ms},
        ]
        # 1 ms is outside of all stages.
        return {"wall_ms": 3 + 2 * denoise_ms, "gpu_ms": None, "stages": stages}

    timing = {"repeats": [repeat(4.0), repeat(5.0), repeat(4.5)]}
    case = case_of(kept(tmp_path, staged(tmp_path)), timing)
    found, stage = case.wall_ns(), case.stage_ns("denoise")
    assert found is not None
    assert stage is not None
    assert (found.median, found.low, found.high) == (228e6, 203e6, 253e6)
    assert (stage.median, stage.low, stage.high, stage.runs) == (225e6, 200e6, 250e6, 3)
    assert case.stage_ns("nothing") is None
    assert case_of(case.kept).wall_ns() is None


@pytest.mark.parametrize("name", ["make-a-video-h200", "stable-diffusion-h200"])
def test_a_run_on_a_gpu_keeps_what_its_passes_say_together(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    shutil.copytree(RUNS / name, folder)
    before = tracekit.analyze(str(RUNS / name))
    assert isinstance(before, tracekit.Analysis)
    size = sum(file.stat().st_size for file in folder.glob("*.gz"))
    facts = keep_recorded(folder, {"preset": "base"})
    found = read_kept(folder).analysis
    assert found.corrected == before.corrected
    assert found.corrected is not None
    assert found.what_if == before.what_if != ()
    assert found.roofline == before.roofline
    assert found.attention.likeness == before.attention.likeness
    assert facts["kernel_ns"]["rich"] == before.time.kernel_ns
    light = facts["kernel_ns"]["light"]
    assert light is None or abs(light / before.time.kernel_ns - 1) < 0.01
    kept_size = sum((folder / file).stat().st_size for file in (KERNELS, ANALYSIS))
    assert kept_size < size / 4
    assert not (folder / "trace.json.gz").exists()


def test_what_is_broken_is_told(tmp_path: Path) -> None:
    found = kept(tmp_path, staged(tmp_path))
    folder = found.folder
    pq.write_table(pa.table({"dur_ns": [1]}), folder / KERNELS)
    with pytest.raises(TraceFormatError, match="has no column stream"):
        found.kernels()
    (folder / KERNELS).write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        found.kernels()
    (folder / ANALYSIS).write_bytes(gzip.compress(json.dumps({"trace": 1}).encode()))
    with pytest.raises(TraceFormatError, match="is no analysis"):
        read_kept(folder)
    (folder / ANALYSIS).write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_kept(folder)
    (folder / ANALYSIS).unlink()
    with pytest.raises(InputError, match=r"analysis\.json\.gz"):
        read_kept(folder)
