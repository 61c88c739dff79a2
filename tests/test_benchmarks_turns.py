"""Measurements that take turns: estimates against medians, and what a graph's time depends on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import tracekit
from benchmarks import estimates, gpu_clock, kept_traces, turns
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.results import Analysis

pytestmark = pytest.mark.filterwarnings("default")
TRACE = CHECKOUT / "examples" / "runs" / "stable-diffusion-h200" / "trace.json.gz"


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    import gzip

    path = tmp_path / "0.json"
    path.write_bytes(gzip.decompress(TRACE.read_bytes()))
    return path


def test_what_is_kept_of_a_trace_is_all_that_an_estimate_reads(plain: Path, tmp_path: Path) -> None:
    kept_traces.pack(plain, tmp_path / "a.parquet", "stable-diffusion", 3)
    assert (tmp_path / "a.parquet").stat().st_size < TRACE.stat().st_size / 4
    sources = [tmp_path / "a.parquet"] * 3
    size = sources[0].stat().st_size
    assert kept_traces.join(sources, tmp_path / "two.parquet", 2 * size) == 2
    (tmp_path / "out").mkdir()
    found = list(kept_traces.unpack(tmp_path / "two.parquet", tmp_path / "out"))
    assert [(model, number) for model, number, _ in found] == [("stable-diffusion", 3)] * 2
    again, before = tracekit.analyze(found[0][2]), tracekit.analyze(plain)
    assert isinstance(again, Analysis)
    assert isinstance(before, Analysis)
    assert again.corrected is not None
    assert before.corrected is not None
    for name in ("wall_ns", "low_ns", "high_ns", "busy_ns"):
        assert getattr(again.corrected, name) == getattr(before.corrected, name)
    assert again.time == before.time
    kernel, same = (tracekit.load(path).activities for path in (found[0][2], plain))
    assert kernel.start_ns.tolist() == same.start_ns.tolist()
    assert (kernel.grid >= 0).sum() == (same.grid >= 0).sum() > 0
    plain.write_text('{"traceEvents": []}')
    with pytest.raises(UnusableError, match="no events"):
        kept_traces.pack(plain, tmp_path / "b.parquet", "m", 0)


def test_medians_are_compared_not_single_runs(tmp_path: Path) -> None:
    def estimate(low: float, wall: float, high: float) -> dict[str, dict[str, float]]:
        each = {"low_ns": low, "wall_ns": wall, "high_ns": high, "busy_ns": 40}
        return {"estimate": {key: value * 1e6 for key, value in each.items()}}

    walls = {"before_ms": [80, 85, 95], "unprofiled_ms": [90, 100, 300], "traced_ms": [150, 160]}
    traces = [estimate(80, 90, 99), estimate(90, 100, 120), estimate(95, 99, 130)]
    rows = [
        {"model": "llama", **walls, "traces": traces},
        {"model": "muse", **walls, "traces": [estimate(20, 30, 90)]},
        {"model": "parti", **walls, "traces": [{"error": "no"}, {"estimate": None}]},
    ]
    body = {
        "what": "estimates-medians", "gpu": "H100", "driver": "1", "processor": "x",
        "versions": {"torch": "2"}, "date": "2026-01-01", "dtype": "bfloat16", "rows": rows,
    }  # fmt: skip
    text = estimates.medians_table(body)
    assert (
        "holds the median of the unprofiled runs in 1 of 2 models, that of the runs before in 1"
        in text
    )
    assert "at most 20 points of idle share wide in 1." in text
    assert "| llama | 3, 3 | 85 | 100 (90–300) | 155 | 99 | 90–120 | no, yes | 11 | 2 |" in text
    assert "| muse | 3, 1 | 85 | 100 (90–300) | 155 | 30 | 20–90 | yes, no | 156 | 0 |" in text
    assert "parti" not in text


def test_estimates_are_recorded_in_turn_and_can_be_made_anew(tmp_path: Path) -> None:
    for library in ("torch", "diffusers", "transformers"):
        pytest.importorskip(library)
    out, kept, docs = tmp_path / "e.json", tmp_path / "e.parquet", tmp_path / "idle.md"
    options = ["--tiny", "--device", "cpu", "--models", "phenaki", "--rounds", "2", "--jobs", "1"]
    assert estimates.main(["record", *options, "-o", str(out), "--traces", str(kept)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["error"] is None
    assert (len(row["unprofiled_ms"]), len(row["traced_ms"]), len(row["before_ms"])) == (3, 2, 3)
    assert [trace["host"]["ops"] > 1_000 for trace in row["traces"]] == [True, True]
    shutil.copy(CHECKOUT / "docs" / "idle.md", docs)
    # On a CPU there is nothing to estimate; the table is empty, but both traces were read again.
    command = ["document", str(out), "--traces", str(kept), "--docs", str(docs)]
    assert estimates.main(command) == 0
    assert json.loads(out.read_text())["rows"][0]["traces"] == row["traces"]
    assert "in 0 of 0" in docs.read_text()
    assert estimates.main(["document", str(kept), "--docs", str(docs)]) == 3


def test_a_job_that_fails_or_hangs_loses_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "turns_job.py"
    job.write_text(
        "import sys, time\nfrom pathlib import Path\nfrom benchmarks.turns import wait_for_turn\n"
        "name, folder = sys.argv[1], Path(sys.argv[2])\nseconds = wait_for_turn(folder)\n"
        "if name == 'bad': raise ValueError('no luck')\n"
        "if name == 'slow': time.sleep(60)\n"
        "(folder / 'seconds').write_text(str(seconds))\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{CHECKOUT}:{tmp_path}")
    assert sys.executable
    found = turns.in_turn("turns_job", ["good", "bad", "slow"], tmp_path / "at", [], 3.0)
    errors = {name: error for name, _, error in found}
    assert errors["good"] is None
    assert 1.0 < float((tmp_path / "at" / "good" / "seconds").read_text()) < 3.0
    assert errors["bad"] is not None
    assert "no luck" in errors["bad"]
    assert errors["slow"] is not None
    assert errors["slow"].startswith("took more than")


def test_the_clock_is_cycles_over_time() -> None:
    torch = pytest.importorskip("torch")
    before = torch.tensor([1_000, 500, 0, 0, 7_000, 500], dtype=torch.int64)
    after = torch.tensor([1_000 + 19_800, 10_500, 0, 0, 7_000 + 18_000, 10_500])
    assert gpu_clock.mean_mhz(before, after) == 1_890.0
    assert gpu_clock.mean_mhz(None, after) is None


def test_graphs_are_looked_into_without_a_gpu(tmp_path: Path) -> None:
    for library in ("torch", "diffusers", "transformers"):
        pytest.importorskip(library)
    from benchmarks import graph_pauses

    out, kept = tmp_path / "g.json", tmp_path / "g.parquet"
    options = ["--tiny", "--device", "cpu", "--steps", "llama", "--jobs", "1"]
    assert graph_pauses.main(["record", *options, "-o", str(out), "--traces", str(kept)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["error"] is None
    parts = ("row", "single", "eager", "traced", "rhythm", "profiled", "modules", "nodes")
    assert [part for part in parts if part not in row or "error" in (row[part] or {})] == []
    assert len(row["row"]["each_ms"]) == 7
    assert {each["class"] for each in row["modules"]} >= {"LlamaMLP", "LlamaRMSNorm", "Linear"}
    # Calls with a cache are left out.
    assert not {each["class"] for each in row["modules"]} & {"LlamaModel", "LlamaAttention"}
    # Nothing of it is worth a row without a GPU, but its traces are there to be bounded anew.
    docs = tmp_path / "idle.md"
    shutil.copy(CHECKOUT / "docs" / "idle.md", docs)
    command = ["document", str(out), "--traces", str(kept), "--docs", str(docs)]
    assert graph_pauses.main(command) == 0
    assert "| llama |" not in docs.read_text().partition("<!-- graph-pauses:begin -->")[2]
    assert json.loads(out.read_text())["rows"][0]["bound"]["bound_ms"] is None


def test_bounds_stand_beside_replays_and_their_clocks() -> None:
    from benchmarks.graph_pauses import table

    row = {
        "step": "llama",
        "bound": {"bound_ms": 9.9, "activities": 100.4},
        "traced": {"step_ms": 30.0, "mhz": 1_900.0},
        "row": {"ms": 10.0, "mhz": 1_700.4},
        "rhythm": {"ms": 9.0, "mhz": 1_800.0},
    }
    body = {
        "gpu": "H100", "driver": "1", "versions": {"torch": "2"}, "date": "2026-01-01",
        "dtype": "bfloat16", "rows": [row, {"step": "latte", "error": "no time was left"}],
    }  # fmt: skip
    text = table(body)
    assert (
        "| llama | 100 | 30.0 (1900) | 9.90 | 10.00 (1700) | 0.990 | 9.00 (1800) | 1.100 |" in text
    )
    assert "latte" not in text
