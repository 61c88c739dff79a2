"""Models of images by name that run as pipelines: what tells them, and their presets, apart."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from model_helpers import TINY, Marks, build, read_attention
from tracekit.collectors.models import MODELS
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import UsageError
from tracekit.labels import AttentionLabel

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _module in MODELS.values():
        import_module(_module)
    from transformers import PreTrainedModel, T5EncoderModel

    from tracekit.collectors.models._pipeline import Part, make_part
    from tracekit.collectors.models._text import T5_XXL, TINY_T5, words_tokenizer

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


def inputs(model: str, preset: str) -> Any:
    """What a model is called with at its full size."""
    return import_module(MODELS[model]).PRESETS[preset].call


def attention_lengths(workload: Workload, part: str) -> set[tuple[str, str, int, int]]:
    """Last part of the path, kind, query and key length of the attention in a part of a model."""
    found: set[tuple[Any, Any, Any, Any]] = set()

    def see(label: AttentionLabel) -> None:
        name = label.path.rsplit(".", 1)[-1]
        found.add((name, label.kind, label.query_length, label.key_length))

    read_attention({part: workload.modules[part]}, lambda: workload.run(Marks()), see)
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_t5_written_out_keeps_its_bias_of_positions(masked: bool) -> None:
    tokens = torch.arange(12).reshape(1, 12)
    mask = torch.ones_like(tokens)
    mask[:, 8:] = 0
    results = []
    for attention in ("auto", "eager"):
        options = dataclasses.replace(TINY, attention=attention)
        encoder = make_part(Part(T5EncoderModel, T5_XXL, TINY_T5), options)
        results.append(encoder(tokens, attention_mask=mask if masked else None)[0][:, :8])
    assert torch.allclose(*results, atol=1e-5)


@pytest.mark.parametrize("model", ["flux", "sd3", "pixart", "sdxl"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_parts_are_in_the_dtypes_that_loading_them_gives(
    model: str, dtype: Any, tmp_path: Path
) -> None:
    options = dataclasses.replace(TINY, dtype=dtype)
    for name, made in import_module(MODELS[model]).parts(options).items():
        made.save_pretrained(tmp_path / name)
        word = "dtype" if isinstance(made, PreTrainedModel) else "torch_dtype"
        loaded = type(made).from_pretrained(tmp_path / name, **{word: getattr(torch, dtype)})
        dtypes = [{key: t.dtype for key, t in one.state_dict().items()} for one in (made, loaded)]
        assert dtypes[0] == dtypes[1], name
        kept = dtype == "float16" and isinstance(made, T5EncoderModel)
        assert (torch.float32 in dtypes[0].values()) == kept, name


@pytest.mark.parametrize(
    ("model", "preset", "most"),
    [
        ("flux", "dev", 512),
        ("flux", "schnell", 256),
        ("sd3", "3-medium", 512),
        ("pixart", "alpha-1024", 120),
        ("pixart", "sigma-1024", 300),
    ],
)
def test_a_prompt_longer_than_a_preset_takes_is_refused(model: str, preset: str, most: int) -> None:
    build(model, preset=preset, prompt_tokens=most)
    with pytest.raises(UsageError, match=f"--prompt-tokens {most + 1}: {model} takes at most"):
        build(model, preset=preset, prompt_tokens=most + 1)


@pytest.mark.parametrize("model", ["flux", "sd3", "pixart"])
def test_sides_are_multiples_of_a_token(model: str) -> None:
    assert tuple(build(model, size=48, batch=2).run(Marks()).shape) == (2, 3, 48, 48)
    with pytest.raises(UsageError, match="--size 40: it must be a multiple of 16"):
        build(model, size=40)


def test_flux_attends_over_text_and_image_in_one_sequence() -> None:
    # 64 pixels are 8 x 8 latents, 4 x 4 tokens.
    for tokens in (16, 20):
        lengths = attention_lengths(build("flux", prompt_tokens=tokens), "transformer")
        assert lengths == {("attn", "joint", 16 + tokens, 16 + tokens)}


def test_flux_dev_takes_guidance_as_an_input_and_schnell_none() -> None:
    names = {
        preset: dict(build("flux", preset=preset).modules["transformer"].named_parameters())
        for preset in ("dev", "schnell")
    }
    only_dev = set(names["dev"]) - set(names["schnell"])
    assert only_dev
    assert all("guidance" in name for name in only_dev)
    assert inputs("flux", "dev")["num_inference_steps"] == 50
    assert inputs("flux", "schnell")["num_inference_steps"] == 4


@pytest.mark.parametrize("preset", ["3-medium", "3.5-medium", "3.5-large"])
def test_sd3_attends_over_both_clips_as_one_beside_t5(preset: str) -> None:
    # The image is 4 x 4 tokens; both CLIPs together are 77 of twice the width.
    lengths = attention_lengths(build("sd3", preset=preset, prompt_tokens=20), "transformer")
    joint = {("attn", "joint", 16 + 77 + 20, 16 + 77 + 20)}
    dual = {("attn2", "self", 16, 16)} if preset == "3.5-medium" else set()
    assert lengths == joint | dual


def test_sd3_5_normalizes_queries_and_keys_and_sd3_does_not() -> None:
    for preset in ("3-medium", "3.5-medium", "3.5-large"):
        names = dict(build("sd3", preset=preset).modules["transformer"].named_modules())
        assert any(name.endswith("norm_q") for name in names) == (preset != "3-medium")


def test_pixart_attends_over_the_image_and_from_it_to_the_text() -> None:
    for preset in ("alpha-1024", "sigma-1024"):
        lengths = attention_lengths(build("pixart", preset=preset, prompt_tokens=20), "transformer")
        assert lengths == {("attn1", "self", 16, 16), ("attn2", "cross", 16, 20)}


def test_pixart_alpha_is_conditioned_on_sizes_and_sigma_is_not() -> None:
    for preset, conditioned in (("alpha-1024", True), ("sigma-1024", False)):
        workload = build("pixart", preset=preset)
        names = dict(workload.modules["transformer"].named_modules())
        assert any(name.endswith("resolution_embedder") for name in names) == conditioned


@pytest.mark.parametrize("option", ["steps", "trace_steps"])
def test_pixart_does_not_sample_in_one_step(option: str) -> None:
    flag = "--" + option.replace("_", "-")
    with pytest.raises(UsageError, match=f"{flag} 1: pixart takes at least 2"):
        build("pixart", **{option: 1})
    assert build("pixart", **{option: 2}).run(Marks()).isfinite().all()


def test_an_empty_text_is_one_token_and_padding() -> None:
    tokens = words_tokenizer(5)("", padding="max_length")
    assert tokens["attention_mask"] == [1, 0, 0, 0, 0]
    assert words_tokenizer(5)("a photograph of a b c", truncation=True)["input_ids"][-1] == 2


def test_the_stand_in_is_sdxl_and_says_that_all_of_it_is_assumed() -> None:
    stand_in, sdxl = build("prod-image"), build("sdxl")
    assert torch.equal(stand_in.run(Marks()), sdxl.run(Marks()))
    config = stand_in.config
    assert "not published" in config["about"]
    assert set(config["assumed"]) == {*stand_in.modules, "scheduler", "inputs"}
    definition = import_module(MODELS["prod-image"])
    assert "unpublished" in definition.DESCRIPTION
    assert "stand-in" in definition.__doc__


def empty(*shape: int, dtype: Any = torch.bfloat16) -> Any:
    return torch.empty(*shape, device="meta", dtype=dtype)


def full_size_inputs(model: str) -> dict[str, Any]:
    """What a denoiser is given in one step of its first preset, 1024 pixels and one image."""
    whole = torch.int64
    if model == "flux":
        ids = {"img_ids": empty(4096, 3), "txt_ids": empty(512, 3)}
        text = {"encoder_hidden_states": empty(1, 512, 4096), "pooled_projections": empty(1, 768)}
        more = {"timestep": empty(1), "guidance": empty(1)}
        return {"hidden_states": empty(1, 4096, 64), **ids, **text, **more}
    if model == "sd3":
        text = {"encoder_hidden_states": empty(2, 333, 4096), "pooled_projections": empty(2, 2048)}
        return {"hidden_states": empty(2, 16, 128, 128), "timestep": empty(2), **text}
    if model == "pixart":
        sizes = {"resolution": empty(2, 2), "aspect_ratio": empty(2, 1)}
        text = {"encoder_hidden_states": empty(2, 120, 4096), "added_cond_kwargs": sizes}
        mask = {"encoder_attention_mask": empty(2, 120, dtype=whole)}
        times = {"timestep": empty(2, dtype=whole)}
        return {"hidden_states": empty(2, 4, 128, 128), **times, **text, **mask}
    added = {"text_embeds": empty(2, 1280), "time_ids": empty(2, 6)}
    text = {"encoder_hidden_states": empty(2, 77, 2048), "added_cond_kwargs": added}
    return {"sample": empty(2, 4, 128, 128), "timestep": empty(1, dtype=whole), **text}


@pytest.mark.parametrize(
    ("model", "predicted"),
    [
        ("flux", (1, 4096, 64)),
        ("sd3", (2, 16, 128, 128)),
        ("pixart", (2, 8, 128, 128)),
        ("sdxl", (2, 4, 128, 128)),
    ],
)
def test_the_full_size_takes_the_published_shapes(model: str, predicted: tuple[int, ...]) -> None:
    parts = import_module(MODELS[model]).parts(ModelOptions(device="meta"))
    denoiser = parts.get("transformer", parts.get("unet"))
    result = denoiser(**full_size_inputs(model), return_dict=False)[0]
    assert tuple(result.shape) == predicted
    channels = parts["vae"].config.latent_channels
    pixels = parts["vae"].decode(empty(1, channels, 128, 128), return_dict=False)[0]
    assert tuple(pixels.shape) == (1, 3, 1024, 1024)


def test_models_are_listed_without_the_advice_of_libraries() -> None:
    code = "import sys; from tracekit.cli import main; sys.argv[1:] = ['collect', '--list']; main()"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(MODELS)
