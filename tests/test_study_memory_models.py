"""The layers of each denoiser, held against the calls that the model itself makes at full size.

On the device `meta` a model has shapes and no memory.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    from tracekit.collectors.models import MODELS as COLLECTED
    from tracekit.collectors.models import import_model
    from tracekit.collectors.models._pipeline import make_part
    from tracekit.collectors.workload import ModelOptions
from tracekit.study.geometry import Call, Denoiser, Size  # noqa: E402
from tracekit.study.models import MODELS  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
PRESETS = [(model, preset) for model, presets in MODELS.items() for preset in presets]
BATCH = 1


def z(*shape: int) -> Any:
    return torch.empty(*shape, device="meta", dtype=torch.bfloat16)


def given(model: str, preset: str, denoiser: Denoiser, size: Size) -> dict[str, Any]:
    """Return what the denoiser is called with in one step."""
    n, seen = denoiser.guided * BATCH, denoiser.seen(size)
    height, width, frames, text = size.height, size.width, seen.frames, seen.prompt_tokens
    side = (height // 8, width // 8)
    time, once = z(n), torch.empty((), device="meta")
    tokens = height * width // 256
    inputs: dict[str, dict[str, Any]] = {
        "stable-diffusion": {"sample": z(n, 4, *side), "encoder_hidden_states": z(n, text, 768)},
        "sdxl": {
            "sample": z(n, 4, *side),
            "encoder_hidden_states": z(n, text, 2048),
            "added_cond_kwargs": {"text_embeds": z(n, 1280), "time_ids": z(n, 6)},
        },
        "sd3": {
            "hidden_states": z(n, 16, *side),
            "encoder_hidden_states": z(n, text, 4096),
            "pooled_projections": z(n, 2048),
        },
        "flux": {
            "hidden_states": z(n, tokens, 64),
            "encoder_hidden_states": z(n, text, 4096),
            "pooled_projections": z(n, 768),
            "img_ids": z(tokens, 3),
            "txt_ids": z(text, 3),
            "guidance": time if preset == "dev" else None,
        },
        "pixart": {
            "hidden_states": z(n, 4, *side),
            "encoder_hidden_states": z(n, text, 4096),
            "added_cond_kwargs": {"resolution": z(n, 2), "aspect_ratio": z(n, 1)},
        },
        "make-a-video": {
            "sample": z(n, 3, frames, height, width),
            "encoder_hidden_states": z(n, text, 1024),
        },
        "stable-video-diffusion": {
            "sample": z(n, frames, 8, *side),
            "encoder_hidden_states": z(n, text, 1024),
            "added_time_ids": z(n, 3),
        },
        "animatediff": {
            "sample": z(n, 4, frames, *side),
            "encoder_hidden_states": z(n * frames, text, 768),
        },
        "latte": {
            "hidden_states": z(n, 4, frames, *side),
            "encoder_hidden_states": z(n, text, 4096),
        },
        "cogvideox": {
            "hidden_states": z(n, frames, 16, *side),
            "encoder_hidden_states": z(n, text, 4096),
        },
        "wan": {
            "hidden_states": z(n, 16, frames, *side),
            "encoder_hidden_states": z(n, text, 4096),
        },
        "hunyuan-video": {
            "hidden_states": z(n, 16, frames, *side),
            "encoder_hidden_states": z(n, text, 4096),
            "encoder_attention_mask": z(n, text),
            "pooled_projections": z(n, 768),
            "guidance": time,
        },
    }
    return {**inputs[model], "timestep": once if "sample" in inputs[model] else time}


def made(model: str, preset: str, denoiser: Denoiser) -> Any:
    module = import_model(model)
    options = ModelOptions(device="meta", preset=preset)
    name = "unet" if denoiser.architecture == "unet" else "transformer"
    if hasattr(module, "MODEL"):
        return make_part(module.PRESETS[preset].parts[name], options)
    return module.parts(options)[name]


def calls_of(part: Any, inputs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Counter[Call]:
    found: Counter[Call] = Counter()

    def attention(*args: Any, **kwargs: Any) -> Any:
        query, key, value = args[:3] if args else (kwargs[n] for n in ("query", "key", "value"))
        batch, heads, length, size = query.shape
        found[Call(batch, heads, length, key.shape[2], size)] += 1
        return z(batch, heads, length, value.shape[-1])

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    with torch.no_grad():
        part(**inputs)
    return found


@pytest.mark.parametrize(("model", "preset"), PRESETS)
def test_layers_are_those_of_the_model(
    model: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = MODELS[model][preset]
    size = Size(denoiser.height, denoiser.width, denoiser.frames or 1, denoiser.prompt_tokens)
    inputs = given(model, preset, denoiser, size)
    found = calls_of(made(model, preset, denoiser), inputs, monkeypatch)
    expected: Counter[Call] = Counter()
    for _, calls, call in denoiser.calls(size, BATCH):
        expected[call] += calls // denoiser.calls_a_step
    assert found == expected


def test_a_side_that_its_levels_do_not_divide(monkeypatch: pytest.MonkeyPatch) -> None:
    denoiser = MODELS["stable-diffusion"]["1.5"]
    size = Size(520, 264, 1, 77)
    inputs = given("stable-diffusion", "1.5", denoiser, size)
    found = calls_of(made("stable-diffusion", "1.5", denoiser), inputs, monkeypatch)
    assert found == Counter({call: calls for _, calls, call in denoiser.calls(size, BATCH)})


@pytest.mark.parametrize("model", MODELS)
def test_presets_and_defaults_are_those_of_the_collector(model: str) -> None:
    module = import_model(model)
    assert model in COLLECTED
    assert set(MODELS[model]) <= set(module.PRESETS)
    if not hasattr(module, "MODEL"):
        return
    assert list(MODELS[model]) == list(module.PRESETS)
    for preset, denoiser in MODELS[model].items():
        published = module.PRESETS[preset]
        call = published.call
        assert (denoiser.height, denoiser.width) == (call["height"], call["width"])
        frames = call.get("num_frames", call.get("video_length"))
        assert denoiser.frames == frames
        assert denoiser.multiple == published.size_multiple
        assert denoiser.frame_multiple == published.frame_multiple
        if "max_sequence_length" in call:
            assert denoiser.prompt_tokens == call["max_sequence_length"]
