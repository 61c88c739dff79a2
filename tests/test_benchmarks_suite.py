"""The measurement of the suite runs on a CPU with tiny models, and ends up in the documentation."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from benchmarks import suite  # noqa: E402
from benchmarks.tools import CHECKOUT  # noqa: E402
from tracekit.collectors.models import MODELS  # noqa: E402
from tracekit.errors import HostError  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("default")


def test_a_model_is_measured_and_documented(tmp_path: Path) -> None:
    out, docs, runs = tmp_path / "suite.json", tmp_path / "suite.md", tmp_path / "runs"
    docs.write_text((CHECKOUT / "docs" / "suite.md").read_text())
    models = ["--models", "llama", "--tiny", "--device", "cpu", "--repeats", "2"]
    assert suite.main(["record", "-o", str(out), "--folder", str(runs), *models]) == 0
    flash, eager = json.loads(out.read_text())["rows"]
    assert (flash["attention"], eager["attention"]) == ("flash", "eager")
    assert flash["stages"] == {"prefill": 1, "decode": 6}
    assert flash["repeats"] == 2
    assert flash["min_ms"] <= flash["unprofiled_ms"] <= flash["max_ms"]
    assert sum(flash["shares"].values()) == pytest.approx(1)
    assert eager["kernels_per_step"]["decode"] > flash["kernels_per_step"]["decode"]
    assert (runs / "llama.eager" / "run.json").is_file()
    assert suite.main(["document", str(out), "--docs", str(docs)]) == 0
    lines = docs.read_text().splitlines()
    rows = [line for line in lines if line.startswith("| llama 2-7b |")]
    assert len(rows) == 2
    header = next(line for line in lines if line.startswith("| model"))
    assert {row.count("|") for row in rows} == {header.count("|")}


def test_a_model_that_fails_is_a_row_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str, *_args: object, **_changes: object) -> None:
        raise HostError(f"{name}: out of memory")

    monkeypatch.setattr("benchmarks.collecting_setup.build", build)
    out = tmp_path / "suite.json"
    options = ["--models", "llama", "--attention", "eager", "--device", "cpu"]
    assert suite.main(["record", "-o", str(out), *options]) == 0
    body = json.loads(out.read_text())
    assert body["rows"][0]["error"] == "llama: out of memory"
    lines = suite.table(body).splitlines()
    assert "| llama | eager | llama: out of memory |" in lines[-1]
    assert lines[-1].count("|") == lines[-2].count("|")


def test_after_the_time_no_model_is_begun(tmp_path: Path) -> None:
    out = tmp_path / "suite.json"
    assert suite.main(["record", "-o", str(out), "--seconds", "-1", "--device", "cpu"]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 2 * len(MODELS)
    assert {row["error"] for row in rows} == {"no time was left"}


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other, docs = tmp_path / "x.json", tmp_path / "suite.md"
    other.write_text('{"what": "sleeps"}')
    docs.write_text("")
    assert suite.main(["document", str(other), "--docs", str(docs)]) != 0
    assert suite.main(["document", str(tmp_path / "none.json"), "--docs", str(docs)]) != 0
    assert docs.read_text() == ""
