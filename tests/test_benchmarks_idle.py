"""The measurements behind estimates and bounds, tried with tiny models on a CPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import estimates, fused_bound
from benchmarks.tools import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("default")
RUNS = CHECKOUT / "examples" / "runs"


def test_estimates_are_held_against_what_was_measured(tmp_path: Path) -> None:
    row = estimates.compared(RUNS / "stable-diffusion-h200")
    assert row is not None
    assert row["low"] <= row["usual"] <= row["high"]
    assert row["holds"] is (row["low"] <= row["wall"] <= row["high"])
    assert row["busy"] < row["wall"]
    assert estimates.compared(RUNS) is None
    docs = tmp_path / "idle.md"
    docs.write_text((CHECKOUT / "docs" / "idle.md").read_text())
    runs = [str(path) for path in sorted(RUNS.glob("*-h200"))]
    assert estimates.main(["runs", *runs, "--docs", str(docs)]) == 0
    text = docs.read_text().partition("<!-- estimates:begin -->")[2]
    assert text.count("-h200 |") == len(runs)
    assert estimates.main(["runs", *runs, "--docs", str(tmp_path / "none.md")]) == 1


def test_assumed_attention_is_held_against_what_was_recorded(tmp_path: Path) -> None:
    docs = tmp_path / "idle.md"
    docs.write_text((CHECKOUT / "docs" / "idle.md").read_text())
    traces = CHECKOUT / "corpus" / "traces"
    names = ("pixart.default", "pixart.written", "pixart.math", "README.md")
    runs = [str(traces / name) for name in names]
    assert fused_bound.main([*runs, "--docs", str(docs)]) == 0
    text = docs.read_text().partition("<!-- fused:begin -->")[2]
    assert text.startswith("\nOf 6 fused calls of 16 bits that were recorded none take less time")
    assert "In 2 pairs of runs of one model, in parts and fused, attention took less than" in text
    assert fused_bound.main([runs[1], "--docs", str(docs)]) == 1


def test_what_was_saved_is_a_share_of_what_could_be() -> None:
    assert fused_bound.Pair("a", now_ns=100, bound_ns=20, fused_ns=40).saved_share == 0.75


def test_costs_are_differences_over_counts() -> None:
    pytest.importorskip("torch")
    from benchmarks.profiler_costs import costs

    walls = {"unprofiled": [10.0] * 3, "light": [11.0] * 3, "ops": [14.0] * 3}
    walls |= {"shapes": [15.0] * 3, "stacks": [15.0] * 3}
    found = costs(walls, {"calls": 1_000, "ops": 1_000})["costs_ns"]
    assert found["call"] == [1_000.0] * 3
    assert found["op"] == [3_000.0] * 3
    assert found["shapes"] == [1_000.0] * 3
    assert found["frame"] is None


def test_costs_are_measured_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torch", "diffusers", "transformers"):
        pytest.importorskip(library)
    from benchmarks import profiler_costs

    only = {"llama": ("llama", {"preset": "3.2-1b", "new_tokens": 8})}
    monkeypatch.setattr(profiler_costs, "WORKLOADS", only)
    out = tmp_path / "costs.json"
    options = ["--tiny", "--device", "cpu", "--rounds", "2", "-o", str(out)]
    assert profiler_costs.main(options) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert row["events"]["ops"] > 500
    assert row["events"]["frames"] > 500
    assert {len(walls) for walls in row["walls_ms"].values()} == {2}


@pytest.mark.parametrize("number", range(3))
def test_the_last_call_of_a_module_is_repeated(number: int) -> None:
    torch = pytest.importorskip("torch")
    for library in ("diffusers", "transformers"):
        pytest.importorskip(library)
    import argparse

    from benchmarks.collecting_setup import build
    from benchmarks.graph_bound import STEPS, last_call

    model, options, part = list(STEPS.values())[number]
    args = argparse.Namespace(device="cpu", tiny=True)
    workload = build(model, args, **options)
    step = last_call(workload.run, workload.modules[part])
    with torch.no_grad():
        first, again = (getattr(out, "logits", None) if hasattr(out, "logits") else out[0]
                        for out in (step(), step()))  # fmt: skip
    assert torch.equal(first, again)
