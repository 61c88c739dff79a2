"""Scripts: their pipelines and `generate` calls are staged and labelled; so are a user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import pipeline_builders as builders  # noqa: E402
import tracekit  # noqa: E402
from collect_helpers import manifest_of, names_in  # noqa: E402
from tracekit.cli import run  # noqa: E402
from tracekit.collectors.labelling import attention_modules  # noqa: E402
from tracekit.collectors.pipeline_stages import modules_of  # noqa: E402

if TYPE_CHECKING:
    pass

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).parent.parent

SCRIPT = """
import sys
assert "diffusers" not in sys.modules and "transformers" not in sys.modules
import torch
from diffusers import DiffusionPipeline
from transformers import LlamaForCausalLM

torch.set_num_threads(1)
pipe = DiffusionPipeline.from_pretrained("sd")
pipe.set_progress_bar_config(disable=True)
for _ in range(2):
    pipe("a cat", num_inference_steps=2, output_type="pt")
model = LlamaForCausalLM.from_pretrained("llama")
model.generate(torch.tensor([[1, 4, 5]]), max_new_tokens=3, do_sample=False)
sys.exit(3)
"""


def collected(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(script)
    return subprocess.run(
        [sys.executable, "-m", "tracekit", "collect", "-o", "run", "--", "python", "script.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KINETO_LOG_LEVEL": "99"},
        capture_output=True,
        text=True,
    )


def test_a_script_that_imports_its_libraries_itself(tmp_path: Path) -> None:
    builders.saved("sd", tmp_path)
    builders.llama().save_pretrained(tmp_path / "llama")
    done = collected(tmp_path, SCRIPT)
    assert done.returncode == 3, done.stderr
    assert "the script ended with 3" in done.stderr
    body = manifest_of(tmp_path / "run")
    known = attention_modules(modules_of(builders.built("sd")))
    assert body["passes"][0]["attention_modules"] == len(known) + 2 > 6
    stages = {stage.stage: stage for stage in tracekit.analyze(tmp_path / "run").stages}
    counts = {name: stage.traced_steps for name, stage in stages.items() if name}
    assert counts.pop("text_encoder") == 4
    assert counts == {"denoise": 4, "vae_decode": 2, "prefill": 1, "decode": 2}
    names = set(names_in(tmp_path / "run"))
    assert {f"tk1|stage|denoise|{step}" for step in range(4)} <= names
    assert "tk1|attn|model.model.layers.1.self_attn|self|sequence|3|3|4" in names
    assert "tk1|attn|model.model.layers.1.self_attn|self|sequence|1|4|4" in names


def test_a_script_without_them_does_not_get_them(tmp_path: Path) -> None:
    script = """
        import sys, torch
        torch.ones(2) + 1
        print([name for name in ("diffusers", "transformers") if name in sys.modules])
    """
    done = collected(tmp_path, "\n".join(line.strip() for line in script.splitlines()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"


def test_a_script_in_this_process_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import transformers

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    builders.t5().save_pretrained(tmp_path / "t5")
    (tmp_path / "script.py").write_text("""
import torch
from transformers import T5ForConditionalGeneration
model = T5ForConditionalGeneration.from_pretrained("t5")
for _ in range(2):
    model.generate(torch.tensor([[4, 5, 6]]), max_new_tokens=2, min_new_tokens=2, do_sample=False)
raise ValueError("mine")
""")
    finders, plain = list(sys.meta_path), transformers.GenerationMixin.generate
    assert run(["collect", "-o", "run", "--", "python", "script.py"]) == 1
    assert "ValueError: mine" in capsys.readouterr().err
    assert sys.meta_path == finders
    assert transformers.GenerationMixin.generate is plain
    stages = tracekit.analyze(tmp_path / "run").stages
    assert {stage.stage: stage.traced_steps for stage in stages if stage.stage} == {
        "encoder": 2,
        "decode": 4,
    }
    names = set(names_in(tmp_path / "run"))
    path = "model.decoder.block.0.layer.1.EncDecAttention"
    assert f"tk1|attn|{path}|cross|sequence|1|3|4" in names


def test_recording_a_pipeline_stages_its_calls(tmp_path: Path) -> None:
    pipeline = builders.built("sd")

    def work() -> None:
        pipeline("a cat", num_inference_steps=2, output_type="pt")

    with tracekit.record(tmp_path / "run", pipeline) as recording:
        recording.measure(work, repeats=1)
        work()
    body = manifest_of(tmp_path / "run")
    assert body["complete"]
    assert [entry["pass"] for entry in body["passes"]] == ["rich", "timing", "light"]
    assert [entry["stage"] for entry in body["stages"]] == ["text_encoder", "denoise", "vae_decode"]
    stages = tracekit.analyze(tmp_path / "run").stages
    assert {stage.stage: stage.traced_steps for stage in stages if stage.stage} == {
        "text_encoder": 2,
        "denoise": 2,
        "vae_decode": 1,
    }
    assert any(name.startswith("tk1|attn|unet.") for name in names_in(tmp_path / "run"))
    assert "_compiled_call_impl" not in vars(pipeline.unet)


def test_a_callable_that_uses_them_is_staged_in_every_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    (tmp_path / "my_generators.py").write_text("""
import torch
import pipeline_builders
pipe, model = pipeline_builders.built("sd"), pipeline_builders.llama()
def work():
    pipe("a cat", num_inference_steps=2, output_type="pt")
    model.generate(torch.tensor([[1, 4, 5]]), max_new_tokens=2, do_sample=False)
""")
    command = ["collect", "-o", "run", "my_generators:work", "--device", "cpu", "--repeats", "1"]
    assert run(command) == 0, capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "my_generators")
    expected = {"text_encoder": 2, "denoise": 2, "vae_decode": 1, "prefill": 1, "decode": 1}
    body = manifest_of(tmp_path / "run")
    assert {entry["stage"]: entry["steps"] for entry in body["stages"]} == expected
    assert {entry["stage"]: entry["traced_steps"] for entry in body["stages"]} == expected
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    assert {entry["stage"]: entry["steps"] for entry in timing["stages"]} == expected


def test_recording_a_language_model_stages_generate(tmp_path: Path) -> None:
    model = builders.llama()
    with tracekit.record(tmp_path / "run", model):
        model.generate(torch.tensor([[1, 4, 5]]), max_new_tokens=2, do_sample=False)
    names = names_in(tmp_path / "run")
    assert [name for name in names if name.startswith("tk1|stage|")] == [
        "tk1|stage|prefill|",
        "tk1|stage|decode|0",
    ]
    assert manifest_of(tmp_path / "run")["passes"][0]["attention_modules"] == 2
    assert "generate" not in vars(model)
