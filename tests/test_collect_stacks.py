"""Python stacks in the rich pass: recorded on request, and blamed for the time they keep."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

torch = pytest.importorskip("torch")

import tracekit  # noqa: E402
from collect_helpers import (  # noqa: E402
    MODEL,
    TEXT,
    TOKENS,
    WIDTH,
    denoise,
    manifest_of,
    options,
    toy,
    with_device,
)
from tracekit.cli import run  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402
from tracekit.errors import UsageError  # noqa: E402
from tracekit.schemas import read_schema  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from tracekit.collectors.workload import StageMarker

pytestmark = pytest.mark.filterwarnings("default")
RUN = Draft202012Validator(read_schema("run-1"))
NAP_MS = 20
STEPS = 3


def load_the_next_batch() -> None:
    time.sleep(NAP_MS / 1e3)


def napping(stage: StageMarker) -> None:
    """The toy's denoising, with a nap of the host inside each step."""
    x, text = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH)
    with torch.no_grad():
        for step in range(STEPS):
            with stage("denoise", step=step):
                x = MODEL(x, text)
                load_the_next_batch()
                x = MODEL(x, text)


def events_of(folder: Path, file: str = "trace.json.gz") -> list[dict[str, Any]]:
    with gzip.open(folder / file) as source:
        found: list[dict[str, Any]] = json.load(source)["traceEvents"]
    return found


def functions_in(folder: Path, file: str = "trace.json.gz") -> list[str]:
    return [e["name"] for e in events_of(folder, file) if e.get("cat") == "python_function"]


def test_stacks_are_in_the_rich_pass_alone_and_only_on_request(tmp_path: Path) -> None:
    record_workload(toy(), tmp_path / "plain", options())
    record_workload(toy(), tmp_path / "stacks", options(stacks=True))
    assert functions_in(tmp_path / "plain") == []
    assert functions_in(tmp_path / "stacks", "kernels.json.gz") == []
    found = functions_in(tmp_path / "stacks")
    assert any(name.endswith(": denoise") for name in found)
    assert "nn.Module: ToyAttention_0" in found
    bodies = [manifest_of(tmp_path / name) for name in ("plain", "stacks")]
    assert [body["options"]["stacks"] for body in bodies] == [False, True]
    for body in bodies:
        RUN.validate(body)
    # What the manifest says of the attention calls does not depend on them.
    first, second = (
        next(entry for entry in body["passes"] if entry["pass"] == "rich") for body in bodies
    )
    assert first["attention_calls"] == second["attention_calls"] != []
    assert first["steps"] == second["steps"]


def test_labels_and_stages_are_the_same_with_stacks(tmp_path: Path) -> None:
    found = []
    for stacks in (False, True):
        folder = tmp_path / str(stacks)
        record_workload(toy(), folder, options(stacks=stacks, passes=("rich",), every_leaf=True))
        labels = [e["name"] for e in events_of(folder) if e["name"].startswith("tk1|")]
        result = tracekit.analyze(folder)
        assert isinstance(result, tracekit.Analysis)
        stages = [(row.stage, row.source, row.traced_steps) for row in result.stages]
        calls = [(row.module, row.kind, row.query_length) for row in result.attention.calls]
        found.append((labels, stages, sorted(calls, key=str)))
    assert found[0] == found[1]
    assert ("denoise", "label", 3) in found[0][1]
    assert ("net.blocks.1.attn2", "cross", TOKENS) in found[0][2]


def test_the_function_that_kept_the_device_waiting_is_blamed(tmp_path: Path) -> None:
    work = toy(run=napping, stages={"denoise": STEPS})
    record_workload(work, tmp_path, options(stacks=True, repeats=3))
    with_device(tmp_path)
    result = tracekit.analyze(tmp_path)
    assert isinstance(result, tracekit.Analysis)
    assert result.corrected is not None
    assert result.corrected.source == "measured"
    # A busy machine may keep the device waiting anywhere; of the user's own code this comes first.
    first = next(row for row in result.corrected.blame if row.is_own)
    assert (first.cause, first.stage) == ("host_late", "denoise")
    assert first.python is not None
    assert first.python.endswith("): load_the_next_batch")
    blamed_ns = sum(row.time_ns for row in result.corrected.blame if row.python == first.python)
    assert blamed_ns == pytest.approx(STEPS * NAP_MS * 1e6, rel=0.1)
    assert any("load_the_next_batch" in one.text for one in result.advice)


def test_without_a_rich_pass_stacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--stacks: goes with the rich pass"):
        record_workload(toy(), tmp_path / "run", options(stacks=True, passes=("timing",)))
    assert not (tmp_path / "run").exists()


def test_a_pass_that_is_too_large_goes_without_stacks_first(tmp_path: Path) -> None:
    work = toy(run=lambda stage: denoise(stage, 20), stages={"text_encoder": 1, "denoise": 20})
    record_workload(work, tmp_path / "all", options(passes=("rich",)))
    size = (tmp_path / "all" / "trace.json.gz").stat().st_size
    for name, share, steps in (("fits", 1.1, 20), ("cut", 0.4, 8)):
        limit = options(passes=("rich",), stacks=True, max_trace_bytes=int(share * size))
        record_workload(work, tmp_path / name, limit)
        (entry,) = manifest_of(tmp_path / name)["passes"]
        assert any("without Python stacks" in note for note in entry["notes"])
        assert functions_in(tmp_path / name) == []
        assert entry["steps"]["denoise"] <= steps
        assert (entry["steps"]["denoise"] == 20) == (name == "fits")


@pytest.mark.parametrize("stacks", [False, True])
def test_a_loop_of_ones_own(tmp_path: Path, stacks: bool) -> None:
    with tracekit.record(tmp_path / "run", {"net": MODEL}, stacks=stacks) as recording:
        napping(recording.stage)
    body = manifest_of(tmp_path / "run")
    RUN.validate(body)
    assert body["options"]["stacks"] is stacks
    names = functions_in(tmp_path / "run")
    assert any(name.endswith(": load_the_next_batch") for name in names) is stacks


def test_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")
    quick = ("--device", "cpu", "--repeats", "1", "--warm-up", "1", "--stacks")
    assert run(["collect", "-o", "run", *quick, "collect_helpers:build"]) == 0
    assert "rich" in capsys.readouterr().out
    assert any(name.endswith(": denoise") for name in functions_in(tmp_path / "run"))
    assert run(["collect", "-o", "no", *quick, "--passes", "light", "collect_helpers:build"]) == 2
    assert "--stacks: goes with the rich pass" in capsys.readouterr().err
    (tmp_path / "script.py").write_text(
        "import torch\ndef work():\n    torch.ones(2) + 1\nwork()\n", encoding="utf-8"
    )
    command = ["collect", "-o", "scripted", "--stacks", "--", "python", "script.py"]
    assert run(command) == 0
    assert any(name.endswith("script.py(2): work") for name in functions_in(tmp_path / "scripted"))
    assert manifest_of(tmp_path / "scripted")["options"]["stacks"] is True


def test_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    import pipeline_builders as builders

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    folder = str(builders.saved("sd", tmp_path))
    quick = ("--device", "cpu", "--passes", "rich", "--warm-up", "1", "--steps", "2")
    assert run(["collect", "-o", "run", *quick, "--stacks", "pipeline", folder]) == 0
    assert any(name.startswith("diffusers/") for name in functions_in(tmp_path / "run"))
    result = tracekit.analyze(tmp_path / "run")
    assert isinstance(result, tracekit.Analysis)
    assert ("denoise", "label", 2) in [(s.stage, s.source, s.traced_steps) for s in result.stages]
