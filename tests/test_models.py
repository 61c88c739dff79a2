"""The models by name: they build, run, repeat, mark the stages they declare, have their size."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from model_helpers import META, TINY, Marks, build
from tracekit.collectors.models import MODELS, load_builder
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import HostError, InputError, MissingDependencyError, UsageError

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _module in MODELS.values():
        import_module(_module)
    from torch.utils._python_dispatch import TorchDispatchMode

    from tracekit.collectors.models import _common, _diffusion, _presets

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

SHAPES = {
    "stable-diffusion": (1, 3, 64, 64),
    "llama": (1, 7),
    "make-a-video": (1, 3, 11, 96, 96),
    "sdxl": (1, 3, 64, 64),
}
"""Shapes of the results of some tiny models."""
OWN_LOOP = ("stable-diffusion", "llama", "make-a-video")
PRESETS = [(model, preset) for model in MODELS for preset in import_module(MODELS[model]).PRESETS]


class Operations(TorchDispatchMode):  # type: ignore[misc]
    """Writes down each operation with the dtypes of its first argument and of its result."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[str, Any]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        dtypes = getattr(args[0] if args else None, "dtype", None), getattr(result, "dtype", None)
        self.seen.add((str(func), dtypes))
        return result


def definition(model: str) -> Any:
    return import_module(MODELS[model])


def run(workload: Workload) -> Any:
    return workload.run(Marks())


@pytest.mark.parametrize("model", MODELS)
def test_a_tiny_model_runs_in_seconds_and_marks_what_it_declares(model: str) -> None:
    workload = build(model)
    start = time.process_time()
    marks = Marks()
    result: Any = workload.run(marks)
    assert time.process_time() - start < 4
    assert workload.name == model == definition(model).NAME
    assert tuple(result.shape) == SHAPES.get(model, tuple(result.shape))
    assert result.numel() > 0
    assert result.isfinite().all()
    assert tuple(marks.counts()) == definition(model).STAGES
    assert workload.stages in ({}, marks.counts())
    repeated = marks.repeated()
    assert repeated
    for stage in repeated:
        assert marks.steps(stage) == list(range(len(marks.steps(stage))))
    assert workload.run_traced is None
    assert workload.compile_targets
    assert set(workload.compile_targets) <= set(workload.modules)
    assert all(isinstance(module, torch.nn.Module) for module in workload.modules.values())
    assert set(definition(model).ATTENTION) <= set(workload.modules)


@pytest.mark.parametrize("model", MODELS)
def test_the_same_seed_gives_the_same_numbers_and_leaves_the_callers_alone(model: str) -> None:
    before = torch.random.get_rng_state()
    workload = build(model)
    first, again = run(workload), run(workload)
    assert torch.equal(first, again)
    assert torch.equal(first, run(build(model)))
    assert not torch.equal(first, run(build(model, seed=1)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("model", MODELS)
def test_attention_written_out_agrees_with_the_fused_one(model: str) -> None:
    fused, written_out = run(build(model)), run(build(model, attention="eager"))
    assert torch.allclose(fused.float(), written_out.float(), atol=1e-4)


def test_logits_agree_with_attention_written_out() -> None:
    prompt = torch.arange(40).reshape(2, 20)
    fused, written_out = (
        build("llama", attention=attention).modules["model"](prompt).logits
        for attention in ("auto", "eager")
    )
    assert torch.allclose(fused, written_out, atol=1e-5)
    assert fused.std() > 0.01


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("attention", ["auto", "eager"])
def test_the_attention_asked_for_is_what_runs(model: str, attention: Any) -> None:
    workload = build(model, attention=attention, dtype="bfloat16")
    with Operations() as operations:
        run(workload)
    fused = {name for name, _ in operations.seen if "scaled_dot_product" in name}
    softmax = {dtype for name, dtype in operations.seen if name.endswith("softmax.default")}
    if attention == "eager":
        assert not fused
        assert softmax == {(torch.bfloat16, torch.bfloat16)}
    else:
        assert fused
        assert not softmax


@pytest.mark.parametrize("model", MODELS)
def test_the_dtype_holds_for_the_weights_and_for_the_result(model: str) -> None:
    workload = build(model, dtype="bfloat16")
    for module in workload.modules.values():
        kept = _common.kept_in_float32(module, torch.bfloat16)
        for name, weight in module.named_parameters():
            dtype = torch.float32 if kept & set(name.split(".")) else torch.bfloat16
            assert weight.dtype == dtype, name
    result = run(workload)
    assert result.dtype in (torch.int64, torch.bfloat16, torch.float32)


def test_the_inputs_asked_for_are_what_runs() -> None:
    image = build("stable-diffusion", batch=2, size=72, steps=2, prompt_tokens=7)
    assert tuple(run(image).shape) == (2, 3, 72, 72)
    assert image.stages["denoise"] == 2
    assert image.config["inputs"]["prompt_tokens"] == 7
    video = build("make-a-video", preset="base", batch=2, size=24, frames=3, steps=1)
    assert tuple(run(video).shape) == (2, 3, 3, 24, 24)
    text = build("llama", batch=3, prompt_tokens=5, new_tokens=2)
    assert tuple(run(text).shape) == (3, 3)
    assert dict(text.stages) == {"prefill": 1, "decode": 2}


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        ("stable-diffusion", {"size": 100}, "--size 100: it must be a multiple of 8"),
        ("stable-diffusion", {"frames": 8}, "no use for --frames"),
        ("stable-diffusion", {"new_tokens": 8}, "no use for --new-tokens"),
        ("stable-diffusion", {"prompt_tokens": 78}, "takes at most 77"),
        ("stable-diffusion", {"steps": 1001}, "at most 1000"),
        ("stable-diffusion", {"steps": 0}, "--steps 0: it must be at least 1"),
        ("stable-diffusion", {"batch": -1}, "--batch -1"),
        ("stable-diffusion", {"dtype": "float8"}, "--dtype float8"),
        ("stable-diffusion", {"device": "toaster"}, "--device toaster"),
        ("stable-diffusion", {"weights": "x"}, "--tiny"),
        ("make-a-video", {"prompt_tokens": 78}, "takes at most 77"),
        ("make-a-video", {"size": 20}, "multiple of 8"),
        ("make-a-video", {"trace_steps": 0}, "--trace-steps 0"),
        ("llama", {"size": 64}, "no use for --size"),
        ("llama", {"steps": 4}, "no use for --steps"),
        ("llama", {"prompt_tokens": 4000, "new_tokens": 97}, "context of 4096"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    model: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        build(model, **changes)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_cuda_is_refused() -> None:
    with pytest.raises(HostError, match="--device cpu"):
        build("llama", device="cuda")


def test_an_unknown_model_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean stable-diffusion"):
        load_builder("stable-difusion")
    with pytest.raises(UsageError, match="known are llama, imagen"):
        load_builder("zzz")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (MODELS["llama"], "tracekit.collectors.models._common"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"gpu-tracekit\[collect\]"):
        load_builder("llama")


def test_a_library_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(name: str) -> None:
        raise ImportError("cannot import name 'WanPipeline' from 'diffusers'", name="diffusers")

    monkeypatch.setattr("tracekit.collectors.models.import_model", importing)
    with pytest.raises(MissingDependencyError, match=r"needs a newer diffusers.*WanPipeline"):
        load_builder("wan")


def test_the_registry_imports_nothing_heavy() -> None:
    code = (
        "import sys, tracekit.collectors.models, tracekit.collectors.workload;"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.parametrize("model", MODELS)
def test_the_configuration_is_complete_and_json(model: str) -> None:
    workload = build(model)
    config = workload.config
    assert json.loads(json.dumps(config)) == config
    assert config["weights"] == "random"
    counts = {n: sum(p.numel() for p in m.parameters()) for n, m in workload.modules.items()}
    assert config["parameters"] == {**counts, "total": sum(counts.values())}
    for part in workload.modules:
        assert config[part]
    for name in config["assumed"]:
        part, _, key = name.partition(".")
        assert part in config
        assert not key or key in config[part], name
    assert import_module(MODELS[model]).DESCRIPTION.count("\n") == 0


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_the_full_size_is_the_published_one(model: str, preset: str) -> None:
    parts = definition(model).parts(dataclasses.replace(META, preset=preset))
    published = definition(model).PRESETS[preset].published
    assert set(published) <= set(parts)
    for part, parameters in published.items():
        count = sum(p.numel() for p in parts[part].parameters())
        assert count == pytest.approx(parameters, rel=0.05), part
    unknown = set(parts) - set(published)
    assert not unknown, f"say what is published of {unknown}, or what is assumed"


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_every_preset_runs_tiny(model: str, preset: str) -> None:
    workload = build(model, preset=preset)
    assert workload.config["inputs"].get("preset", preset) == preset
    assert run(workload).isfinite().all()


def test_an_unknown_preset_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"did you mean 3\.1-8b"):
        build("llama", preset="3-8b")
    with pytest.raises(UsageError, match="it has 2-7b, 2-13b"):
        build("llama", preset="x")


@pytest.mark.parametrize(
    ("preset", "free_gb", "says"),
    [
        (None, 14, None),
        (None, 13, "2-7b needs 13.5 GB.*13.0 GB are free on cuda: give --preset 3.2-3b"),
        ("2-70b", 80, "2-70b needs 138.0 GB.*give --preset 2-13b"),
        ("3.2-1b", 1, "no preset of it fits"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_made(
    preset: str | None, free_gb: int, says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_presets, "free_bytes", lambda device: free_gb * 10**9)
    options = ModelOptions(preset=preset)
    if says is None:
        _presets.check_memory(definition("llama"), options)
        return
    with pytest.raises(HostError, match=says):
        load_builder("llama")(options)


def test_float32_that_does_not_fit_is_advised_to_halve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_presets, "free_bytes", lambda device: 3 * 10**9)
    with pytest.raises(HostError, match="give --dtype bfloat16"):
        load_builder("stable-diffusion")(ModelOptions(dtype="float32"))


def test_the_full_size_computes_the_published_shapes() -> None:
    assert tuple(run(build("stable-diffusion", META, steps=1)).shape) == (1, 3, 512, 512)
    base = build("make-a-video", META, preset="base", steps=1)
    assert tuple(run(base).shape) == (1, 3, 16, 64, 64)
    assert tuple(run(build("llama", META, new_tokens=1)).shape) == (1, 2)


@pytest.mark.parametrize(
    ("total", "count", "positions"),
    [
        (5, None, (0, 1, 2, 3, 4)),
        (3, 7, (0, 1, 2)),
        (128, 1, (63,)),
        (128, 2, (0, 127)),
        (101, 5, (0, 25, 50, 75, 100)),
        (10, 9, (0, 1, 2, 3, 4, 6, 7, 8, 9)),
    ],
)
def test_steps_are_spread(total: int, count: int | None, positions: tuple[int, ...]) -> None:
    assert _common.spread(total, count) == positions


def test_spread_steps_are_distinct_and_as_many_as_asked_for() -> None:
    for total in range(1, 40):
        for count in range(1, total + 1):
            positions = _common.spread(total, count)
            assert len(set(positions)) == count
            assert sorted(positions) == list(positions)
            assert 0 <= positions[0] <= positions[-1] < total


@pytest.mark.parametrize("model", MODELS)
def test_a_part_of_the_steps_is_recorded(model: str) -> None:
    whole, part = Marks(), Marks()
    workload = build(model, trace_steps=2)
    workload.run(whole)
    assert workload.run_traced is not None
    workload.run_traced(part)
    assert list(part.counts()) == list(whole.counts())
    for stage in whole.repeated():
        numbers = [0, whole.counts()[stage] - 1] if workload.traced_stages else [0, 1]
        assert part.steps(stage) == numbers
    if workload.traced_stages:
        assert part.counts() == dict(workload.traced_stages)
        assert whole.counts() == dict(workload.stages)
    longest = max(whole.counts().values())
    assert build(model, trace_steps=longest).run_traced is None


def test_a_decoding_step_recorded_alone_sees_the_keys_of_a_whole_run() -> None:
    workload = build("llama", prompt_tokens=10, new_tokens=9, trace_steps=3)
    assert workload.run_traced is not None
    whole, alone = _key_lengths(workload.run), _key_lengths(workload.run_traced)
    assert whole == {None: 10} | {step: 11 + step for step in range(9)}
    assert alone == {None: 10, 0: 11, 4: 15, 8: 19}
    workload.run_traced(Marks())
    assert _key_lengths(workload.run_traced) == alone


def _key_lengths(work: Any) -> dict[int | None, int]:
    """Length of the keys in each decoding step, in the prefill under null."""
    marks, lengths = Marks(), {}
    true_attention = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Any, key: Any, *args: Any, **more: Any) -> Any:
        assert key.is_contiguous()
        lengths[marks.calls[-1][1]] = key.shape[2]
        return true_attention(query, key, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
        work(marks)
    return lengths


def test_the_sampler_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.set_timesteps(7)
    sampler = _diffusion.Ddim.of(7, TINY)
    assert sampler.timesteps.tolist() == scheduler.timesteps.tolist()
    sample = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for step, timestep in enumerate(scheduler.timesteps):
        noise = torch.sin(sample)
        expected = scheduler.step(noise, timestep, sample).prev_sample
        sample = sampler.advance(step, sample, noise)
        assert torch.allclose(sample, expected, atol=1e-4)


@pytest.mark.parametrize("model", OWN_LOOP)
def test_weights_come_from_a_folder(model: str, tmp_path: Path) -> None:
    made = build(model, preset="base" if model == "make-a-video" else None)
    for name, module in made.modules.items():
        module.save_pretrained(tmp_path if model == "llama" else tmp_path / name)
    sizes: dict[str, dict[str, Any]] = {
        "stable-diffusion": {"steps": 3, "size": 64},
        "llama": {"prompt_tokens": 16, "new_tokens": 6},
        "make-a-video": {"steps": 3, "size": 16, "frames": 4},
    }
    loaded = build(model, tiny=False, weights=str(tmp_path), **sizes[model])
    assert loaded.config["weights"] == str(tmp_path)
    assert torch.allclose(run(made).float(), run(loaded).float(), atol=1e-5)


def test_weights_of_a_pipeline_come_from_its_folder(tmp_path: Path) -> None:
    definition("sdxl").MODEL.made(TINY).save_pretrained(tmp_path)
    loaded = build("sdxl", tiny=False, weights=str(tmp_path), size=64, steps=3)
    assert loaded.config["weights"] == str(tmp_path)
    assert torch.allclose(run(build("sdxl")), run(loaded), atol=1e-5)


def test_a_video_model_in_latent_space_decodes_its_frames(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL, UNet3DConditionModel

    video, image = (import_module(MODELS[name]) for name in ("make-a-video", "stable-diffusion"))
    text_encoder = build("make-a-video").modules["text_encoder"]
    text_encoder.save_pretrained(tmp_path / "text_encoder")
    unet = UNet3DConditionModel(**video.TINY_UNET | {"in_channels": 4, "out_channels": 4})
    unet.save_pretrained(tmp_path / "unet")
    AutoencoderKL(**image.IMAGE_VAE | image.TINY_IMAGE_VAE).save_pretrained(tmp_path / "vae")
    workload = build("make-a-video", tiny=False, weights=str(tmp_path), steps=1, frames=2, size=64)
    assert list(workload.stages) == ["text_encoder", "denoise", "vae_decode"]
    assert tuple(run(workload).shape) == (1, 3, 2, 64, 64)


def test_weights_that_are_not_there_are_named_in_one_line(tmp_path: Path) -> None:
    for folder, says in [(tmp_path / "none", "no such folder"), (tmp_path, "text_encoder")]:
        with pytest.raises(InputError, match=says) as raised:
            build("stable-diffusion", tiny=False, weights=str(folder))
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="cannot be loaded as LlamaForCausalLM"):
        build("llama", tiny=False, weights=str(tmp_path))


def test_the_example_of_a_model_of_ones_own() -> None:
    example = import_module("examples.add_a_model")
    workload = example.build(TINY)
    assert example.build().stages == workload.stages
    marks = Marks()
    image: Any = workload.run(marks)
    assert tuple(image.shape) == (1, 256, 64)
    assert marks.counts() == dict(workload.stages)
    assert len(Path(str(example.__file__)).read_text().splitlines()) <= 40
