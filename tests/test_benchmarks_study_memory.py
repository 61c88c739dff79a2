"""Measured attention memory: tiny on a CPU, held against the model, and into the documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

torch: Any = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from benchmarks import study_memory  # noqa: E402
from benchmarks.allocations import OpMeter  # noqa: E402
from benchmarks.study_memory import Case, Recorded, compared, record_step, table  # noqa: E402
from benchmarks.tools import CHECKOUT, UnusableError  # noqa: E402
from tracekit.collectors.workload import Workload  # noqa: E402
from tracekit.errors import HostError  # noqa: E402
from tracekit.study.geometry import Call  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("default")


def attending(*shape: int, keys: int, stage: str = "denoise") -> Workload:
    """Return one attention of these queries in a stage, and one that must not count after it."""
    query = torch.randn(*shape)
    key = torch.randn(*shape[:2], keys, shape[3])

    def run(marker: Any) -> None:
        with marker(stage, step=0):
            torch.nn.functional.scaled_dot_product_attention(query, key, key)
        torch.nn.functional.scaled_dot_product_attention(query, query, query)

    return Workload(name="attending", run=run, modules={}, stages={stage: 1}, config={})


def test_written_out_two_matrices_of_scores_are_there_at_once() -> None:
    work = attending(2, 3, 64, 8, keys=40)
    written, fused = (record_step(work, name, "cpu") for name in ("eager", "flash"))
    scores, output = 2 * 3 * 64 * 40 * 4, 2 * 3 * 64 * 8 * 4
    assert written.calls == [(Call(2, 3, 64, 40, 8), 0, 2 * scores + output)]
    assert written.peak_bytes == 2 * scores + output
    # The CPU's fused attention returns the log-sum-exp as well.
    assert fused.calls == [(Call(2, 3, 64, 40, 8), 0, output + 2 * 3 * 64 * 4)]
    body = compared(fused, written, "float32")
    assert body["scores_bytes"] == scores
    assert body["attention"]["eager"] == {
        "model_bytes": 2 * scores + output,
        "measured_bytes": 2 * scores + output,
    }
    assert body["attention"]["flash"]["model_bytes"] == fused.peak_bytes
    assert body["peak"]["eager"] == body["attention"]["eager"]
    assert body["same_calls"]


def test_the_peak_of_a_step_is_predicted_from_where_calls_begin() -> None:
    small, large = Call(1, 1, 10, 10, 1), Call(1, 1, 100, 100, 1)
    fused = Recorded(50_000, [(small, 49_000, 0), (large, 1_000, 0)])
    written = Recorded(81_400, [(large, 1_000, 80_400), (small, 49_000, 840)])
    body = compared(fused, written, "float32")
    assert body["peak"]["eager"] == {"model_bytes": 1_000 + 80_400, "measured_bytes": 81_400}
    assert body["same_calls"]
    assert body["largest"]["query_length"] == 100
    # What is allocated elsewhere may be more than any attention needs.
    assert compared(Recorded(90_000, fused.calls), written, "float32")["peak"]["eager"][
        "model_bytes"
    ] == (90_000)


def test_memory_that_is_freed_or_shared_counts_no_more() -> None:
    meter = OpMeter()
    with meter.counting():
        first = torch.ones(100)
        view = first.reshape(10, 10).transpose(0, 1)
        assert meter.now() == 400
        first.add_(1)
        del first
        assert meter.now() == 400
        del view
        assert (meter.now(), meter.peak()) == (0, 400)
        meter.forget()
        assert meter.peak() == 0


def test_a_step_is_looked_for() -> None:
    with pytest.raises(UnusableError, match="no step of denoising"):
        record_step(attending(1, 1, 4, 4, keys=4, stage="decode"), "flash", "cpu")
    before = torch.nn.functional.scaled_dot_product_attention
    record_step(attending(1, 1, 4, 4, keys=4), "eager", "cpu")
    assert torch.nn.functional.scaled_dot_product_attention is before


def test_a_model_is_measured_and_documented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, docs = tmp_path / "memory.json", tmp_path / "memory.md"
    docs.write_text((CHECKOUT / "docs" / "memory.md").read_text())
    cases = (Case("sd3", {"size": 512}), Case("wan", {"frames": 17}))
    monkeypatch.setattr(study_memory, "CASES", cases)
    args = ["record", "-o", str(out), "--tiny", "--device", "cpu"]
    assert study_memory.main([*args, "--models", "sd3"]) == 0
    body = json.loads(out.read_text())
    (row,) = body["rows"]
    assert row["same_calls"]
    eager = row["attention"]["eager"]
    assert eager["measured_bytes"] == eager["model_bytes"] > 2 * row["scores_bytes"]
    peak = row["peak"]["eager"]
    assert peak["measured_bytes"] == peak["model_bytes"]
    assert study_memory.main(["document", str(out), "--docs", str(docs)]) == 0
    lines = docs.read_text().splitlines()
    written = next(line for line in lines if line.startswith("| sd3 3-medium |"))
    assert written.endswith("| 1.000 |")
    header = next(line for line in lines if line.startswith("| model |"))
    assert written.count("|") == header.count("|")


def test_calls_that_the_model_does_not_say_are_counted() -> None:
    case = Case("stable-diffusion", {"size": 256})
    expected = [
        (Call(2, 8, side * side, keys, size), 0, 0)
        for side, size, count in ((32, 40, 5), (16, 80, 5), (8, 160, 5), (4, 160, 1))
        for keys in (side * side, 77)
        for _ in range(count)
    ]
    assert study_memory._difference(case, Recorded(0, expected)) == 0
    assert study_memory._difference(case, Recorded(0, expected[1:])) == 1
    other = (Call(2, 8, 7, 7, 40), 0, 0)
    assert study_memory._difference(case, Recorded(0, [*expected[1:], other])) == 2


def test_what_fails_is_a_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, *_args: object, **_changes: object) -> None:
        raise torch.OutOfMemoryError if name == "wan" else HostError(f"{name}: no GPU")

    monkeypatch.setattr("benchmarks.collecting_setup.build", build)
    out = tmp_path / "memory.json"
    args = ["record", "-o", str(out), "--device", "cpu", "--models", "wan", "sd3"]
    assert study_memory.main(args) == 0
    body = json.loads(out.read_text())
    errors = {row["model"]: row["error"] for row in body["rows"]}
    assert errors == {"wan": "out of memory", "sd3": "sd3: no GPU"}
    lines = table(body).splitlines()
    assert "| wan | frames 17: out of memory |" in lines[4]
    assert {line.count("|") for line in lines[2:]} == {lines[2].count("|")}
    assert study_memory.main([*args, "--seconds", "-1"]) == 0
    assert {row["error"] for row in json.loads(out.read_text())["rows"]} == {"no time was left"}


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other, docs = tmp_path / "x.json", tmp_path / "memory.md"
    other.write_text('{"what": "suite"}')
    docs.write_text("")
    assert study_memory.main(["document", str(other), "--docs", str(docs)]) == 3
    assert study_memory.main(["document", str(tmp_path / "none"), "--docs", str(docs)]) == 3
    assert docs.read_text() == ""
