"""The recorder of a study on tiny models: what is sampled, kept modules, smaller presets."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from model_helpers import TINY, Marks, build
    from tracekit.collectors.building import SIZELESS, WorkloadBuilder
    from tracekit.collectors.models import import_model
    from tracekit.collectors.models._presets import smaller_presets
from tracekit.collectors.progress import Silent  # noqa: E402
from tracekit.errors import OutOfMemoryError  # noqa: E402
from tracekit.study.kept import read_kept  # noqa: E402
from tracekit.study.plan import Case  # noqa: E402
from tracekit.study.recorder import (  # noqa: E402
    CaseRecorder,
    RecorderOptions,
    sampled,
    whole_steps,
)

pytestmark = pytest.mark.filterwarnings("default")
OPTIONS = RecorderOptions(device="cpu", tiny=True)


def parameters(workload: Any) -> dict[str, Any]:
    return {
        f"{root}.{name}": value
        for root, module in workload.modules.items()
        for name, value in module.named_parameters()
    }


@pytest.mark.parametrize(
    ("model", "sizes"),
    [
        ("llama", {"prompt_tokens": 9, "new_tokens": 3}),
        ("stable-diffusion", {"size": 128, "trace_steps": 1}),
        ("make-a-video", {"size": 8, "frames": 2, "preset": "base"}),
    ],
)
def test_modules_are_taken_again_where_sizes_do_not_matter(
    model: str, sizes: dict[str, Any]
) -> None:
    assert model in SIZELESS
    builder = WorkloadBuilder()
    preset = sizes.get("preset")
    first = builder.build(model, replace(TINY, preset=preset))
    second = builder.build(model, replace(TINY, **sizes, batch=2, attention="flash"))
    before, after = parameters(first), parameters(second)
    assert before.keys() == after.keys()
    assert all(before[name] is after[name] for name in before)
    fresh = parameters(build(model, **sizes))
    assert {name: p.shape for name, p in fresh.items()} == {n: p.shape for n, p in after.items()}
    eager = builder.build(model, replace(TINY, preset=preset, attention="eager"))
    assert not set(map(id, parameters(eager).values())) & set(map(id, after.values()))


def test_modules_of_other_models_are_made_anew_for_other_sizes() -> None:
    builder = WorkloadBuilder()
    first = builder.build("parti", TINY)
    other = builder.build("parti", replace(TINY, trace_steps=2))
    assert not set(map(id, parameters(first).values())) & set(map(id, parameters(other).values()))
    import tracekit.collectors.models.parti as module

    assert module.parts.__name__ == "parts"


def test_the_sampled_work_is_that_of_the_recorded_steps() -> None:
    workload = build("llama", trace_steps=2)
    part = sampled(workload)
    marks = Marks()
    part.run(marks)
    assert marks.steps("decode") == [0, 5]
    assert (part.stages, part.run_traced) == ({"prefill": 1, "decode": 2}, None)
    assert whole_steps(workload, "decode", 2) == 6
    assert sampled(build("llama")).stages == {"prefill": 1, "decode": 6}


def test_a_pipeline_has_as_many_steps_as_it_is_called_with() -> None:
    workload = build("prod-image", trace_steps=1)
    assert whole_steps(workload, "denoise", 1) == 3
    assert whole_steps(workload, "vae_decode", 1) == 1


def test_a_case_is_recorded_and_only_what_is_kept_stays(tmp_path: Path) -> None:
    case = Case(
        name="llama.flash",
        model="llama",
        attention="flash",
        options={"trace_steps": 2},
        repeats=2,
        warm_up=1,
        light=True,
    )
    facts = CaseRecorder(OPTIONS)(case, tmp_path, Silent())
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "analysis.json.gz",
        "kernels.parquet",
        "run.json",
        "timing.json",
    ]
    assert facts["sampled"]["decode"] == {"timed": 2, "recorded": 2, "whole": 6}
    assert facts["instead_of"] == []
    assert facts["attention_backends"] == {"flash": 6}
    found = read_kept(tmp_path)
    total = sum(found.kernels()["dur_ns"].to_pylist())
    assert total == found.analysis.time.kernel_ns == facts["kernel_ns"]["rich"]


def test_a_model_that_does_not_fit_is_taken_smaller_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = CaseRecorder(replace(OPTIONS, tiny=False))
    tried: list[str | None] = []

    def recorded(_case: Any, model: Any, *_: Any) -> dict[str, Any]:
        tried.append(model.preset)
        if model.preset in (None, "if-l"):
            raise OutOfMemoryError(f"{model.preset} does not fit")
        return {"preset": model.preset}

    monkeypatch.setattr(recorder, "_recorded", recorded)
    case = Case(name="imagen.flash", model="imagen", attention="flash")
    facts = recorder(case, tmp_path, Silent())
    assert tried == [None, "if-l", "if-m"]
    assert facts["instead_of"] == ["None does not fit", "if-l does not fit"]
    monkeypatch.setattr(recorder, "_smaller", lambda *_: ())
    with pytest.raises(OutOfMemoryError, match="None does not fit"):
        recorder(case, tmp_path, Silent())
    tried.clear()
    with pytest.raises(OutOfMemoryError):
        recorder(replace(case, sweep="batch"), tmp_path, Silent())
    assert tried == [None]


def test_running_out_of_memory_is_told_from_other_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = CaseRecorder(OPTIONS)
    case = Case(name="batch.flash.1", model="llama", attention="flash", sweep="batch")

    def failing(error: Exception) -> Any:
        def recorded(*_: Any) -> dict[str, Any]:
            raise error

        return recorded

    monkeypatch.setattr(recorder, "_recorded", failing(MemoryError()))
    with pytest.raises(OutOfMemoryError, match=r"batch\.flash\.1: out of memory on cpu"):
        recorder(case, tmp_path, Silent())
    monkeypatch.setattr(recorder, "_recorded", failing(ValueError("other")))
    with pytest.raises(ValueError, match="other"):
        recorder(case, tmp_path, Silent())


def test_smaller_presets_are_smaller_the_largest_first() -> None:
    names = smaller_presets(import_model("llama"), replace(TINY, tiny=False, preset="2-7b"))
    assert names == ("3.2-3b", "3.2-1b")


def test_times_are_taken_again_and_kernels_stay(tmp_path: Path) -> None:
    case = Case(
        name="llama.flash",
        model="llama",
        attention="flash",
        options={"trace_steps": 2},
        repeats=1,
        warm_up=1,
        light=True,
    )
    folder = tmp_path / "llama.flash"
    recorder = CaseRecorder(OPTIONS)
    recorder(case, folder, Silent())
    kernels = (folder / "kernels.parquet").read_bytes()
    facts = recorder.time_again(replace(case, repeats=3), folder, Silent())
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["created"] is not None
    # A light pass has no kernels on a CPU.
    assert facts["light_ns"] is None
    timing = (folder / "timing.json").read_bytes()
    assert len(json.loads(timing)["repeats"]) == 3
    manifest = json.loads((folder / "run.json").read_text())
    files = {row["name"]: row["sha256"] for row in manifest["files"]}
    assert files["timing.json"] == hashlib.sha256(timing).hexdigest()
    assert [row["pass"] for row in manifest["passes"]] == ["timing", "light", "rich"]
    assert manifest["timed"] == facts["created"]
    assert (folder / "kernels.parquet").read_bytes() == kernels
    assert [path.name for path in tmp_path.iterdir()] == ["llama.flash"]


def test_a_variant_is_recorded_with_its_settings_and_its_dtype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def recording(workload: Any, _folder: Path, options: Any) -> None:
        unet = workload.modules["unet"]
        weight = unet.conv_in.weight
        seen.append((options.dtype, weight.dtype, weight.is_contiguous(), options.compile))
        raise OutOfMemoryError("enough")

    monkeypatch.setattr("tracekit.collectors.passes.record_workload", recording)
    plain = Case(name="v", model="stable-diffusion", attention="flash", variant="as studied")
    recorder = CaseRecorder(OPTIONS)
    for one in (
        plain,
        replace(plain, dtype="bfloat16"),
        replace(plain, settings=("channels-last",)),
        plain,
    ):
        with pytest.raises(OutOfMemoryError, match="enough"):
            recorder(one, tmp_path / "v", Silent())
    assert seen == [
        ("float32", torch.float32, True, False),
        ("bfloat16", torch.bfloat16, True, False),
        ("float32", torch.float32, False, False),
        ("float32", torch.float32, True, False),
    ]
