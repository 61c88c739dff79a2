"""Models of images by name that run as pipelines: what tells them, and their presets, apart."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tracekit.collectors.models import MODELS, load_builder
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import UsageError

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _module in MODELS.values():
        import_module(_module)
    from transformers import T5EncoderModel

    from tracekit.collectors.attention_inputs import AttentionReader
    from tracekit.collectors.labelling import attention_modules
    from tracekit.collectors.models._pipeline import Part, make_part
    from tracekit.collectors.models._text import T5_XXL, TINY_T5, words_tokenizer

pytestmark = pytest.mark.filterwarnings("default")

TINY = ModelOptions(device="cpu", dtype="float32", tiny=True)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def unmarked(name: str, step: int | None = None) -> Iterator[None]:
    yield


def build(model: str, **changes: Any) -> Workload:
    return load_builder(model)(dataclasses.replace(TINY, **changes))


def inputs(model: str, preset: str) -> Any:
    """What a model is called with at its full size."""
    return import_module(MODELS[model]).PRESETS[preset].call


def attention_lengths(workload: Workload, part: str) -> set[tuple[str, str, int, int]]:
    """Last part of the path, kind, query and key length of the attention in a part of a model."""
    found, hooks = set(), []
    for entry in attention_modules({part: workload.modules[part]}):
        reader = AttentionReader(entry.module, entry.path, entry.axis)

        def hook(_module: Any, args: Any, kwargs: Any, reader: Any = reader) -> None:
            label = reader.read(args, kwargs)
            name = label.path.rsplit(".", 1)[-1]
            found.add((name, label.kind, label.query_length, label.key_length))

        hooks.append(entry.module.register_forward_pre_hook(hook, with_kwargs=True))
    workload.run(unmarked)
    for one in hooks:
        one.remove()
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_t5_is_in_the_dtypes_that_loading_it_gives(dtype: Any, tmp_path: Path) -> None:
    options = dataclasses.replace(TINY, dtype=dtype)
    made = make_part(Part(T5EncoderModel, T5_XXL, TINY_T5), options)
    made.save_pretrained(tmp_path)
    loaded = T5EncoderModel.from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    dtypes = [{name: p.dtype for name, p in one.named_parameters()} for one in (made, loaded)]
    assert dtypes[0] == dtypes[1]
    assert (torch.float32 in dtypes[0].values()) == (dtype == "float16")


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
    assert tuple(build(model, size=48, batch=2).run(unmarked).shape) == (2, 3, 48, 48)
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
    assert build("pixart", **{option: 2}).run(unmarked).isfinite().all()


def test_an_empty_text_is_one_token_and_padding() -> None:
    tokens = words_tokenizer(5)("", padding="max_length")
    assert tokens["attention_mask"] == [1, 0, 0, 0, 0]
    assert words_tokenizer(5)("a photograph of a b c", truncation=True)["input_ids"][-1] == 2
