"""The models of discrete tokens: sizes by their papers, lengths of attention, sampling, weights."""

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
    for _name in ("parti",):
        import_module(MODELS[_name])

    from tracekit.collectors.attention_inputs import AttentionReader
    from tracekit.collectors.labelling import attention_modules
    from tracekit.collectors.models._tokens import Draws, guided

pytestmark = pytest.mark.filterwarnings("default")

TINY = ModelOptions(device="cpu", dtype="float32", tiny=True)
META = ModelOptions(device="meta")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def definition(model: str) -> Any:
    return import_module(MODELS[model])


def build(model: str, options: ModelOptions = TINY, **changes: Any) -> Workload:
    return load_builder(model)(dataclasses.replace(options, **changes))


class Marks:
    """A stage marker that knows what is open."""

    def __init__(self) -> None:
        self.now: tuple[str, int | None] = ("", None)

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        self.now = (name, step)
        yield


def lengths(workload: Workload, work: Any) -> dict[tuple[Any, ...], tuple[Any, Any]]:
    """Query and key length by stage, step, part, kind and axis, from the collectors' labels."""
    marks, found = Marks(), {}

    def hook(reader: AttentionReader) -> Any:
        def read(_module: Any, args: Any, kwargs: Any) -> None:
            label = reader.read(args, kwargs)
            part = label.path.partition(".")[0]
            key = (*marks.now, part, label.kind, label.axis)
            found[key] = (label.query_length, label.key_length)

        return read

    hooks = []
    for entry in attention_modules(workload.modules):
        reader = AttentionReader(entry.module, entry.path, entry.axis)
        hooks.append(entry.module.register_forward_pre_hook(hook(reader), with_kwargs=True))
    work(marks)
    for each in hooks:
        each.remove()
    return found


def layers(part: Any) -> int:
    return sum(p.numel() for p in part.layers.parameters())


@pytest.mark.parametrize(
    ("preset", "total"), [("350m", 350e6), ("750m", 750e6), ("3b", 3e9), ("20b", 20e9)]
)
def test_the_layers_of_parti_are_those_of_table_1(preset: str, total: float) -> None:
    parts = definition("parti").parts(dataclasses.replace(META, preset=preset))
    assert layers(parts["text_encoder"]) + layers(parts["decoder"]) == pytest.approx(
        total, rel=0.025
    )


def test_the_full_size_of_parti_computes_the_published_shapes() -> None:
    workload = build("parti", META, trace_steps=2)
    assert dict(workload.stages) == {
        "text_encoder": 1,
        "decode": 1024,
        "vae_decode": 1,
        "super_resolution": 1,
    }
    assert workload.run_traced is not None
    image: Any = workload.run_traced(Marks())
    assert tuple(image.shape) == (1, 3, 1024, 1024)


def test_a_step_of_parti_recorded_alone_sees_the_keys_of_a_whole_run() -> None:
    workload = build("parti", trace_steps=3, batch=2, prompt_tokens=7)
    assert workload.run_traced is not None
    whole, alone = lengths(workload, workload.run), lengths(workload, workload.run_traced)
    for step in range(16):
        place = ("decode", step, "decoder")
        assert whole[(*place, "self", "spatial")] == (1, step + 1)
        assert whole[(*place, "cross", "spatial")] == (1, 7)
    assert alone.items() <= whole.items()
    assert {key[1] for key in alone if key[0] == "decode"} == {0, 8, 15}
    assert lengths(workload, workload.run_traced) == alone


def test_parti_computes_the_keys_of_the_text_once_and_the_cache_changes_no_logits() -> None:
    from transformers import DynamicCache, EncoderDecoderCache

    workload = build("parti", prompt_tokens=5)
    decoder, projections = workload.modules["decoder"], []
    for name, module in decoder.named_modules():
        if name.endswith("encoder_attn.k_proj"):
            module.register_forward_hook(lambda *_: projections.append(1))
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    text, tokens = torch.randn(2, 5, 32), torch.randint(64, (2, 4))
    stepwise = [decoder(tokens[:, i : i + 1], text, cache) for i in range(4)]
    assert len(projections) == 3
    # Without a cache: all positions at once, each seeing those before it.
    hidden = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[:4]
    mask = torch.full((4, 4), float("-inf")).triu(1)[None, None]
    for layer in decoder.layers:
        hidden = layer(hidden, attention_mask=mask, encoder_hidden_states=text)
    expected = decoder.head(decoder.layer_norm(hidden))
    assert torch.allclose(torch.stack(stepwise, dim=1), expected, atol=1e-5)


def test_logits_are_guided_and_tokens_drawn_by_their_chances() -> None:
    logits = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]])
    assert guided(logits, 3.0).tolist() == [[[7.0, 2.0]]]
    chances = torch.tensor([0.1, 0.2, 0.7])
    drawn = Draws(TINY).tokens(chances.log().expand(20000, 3))
    assert torch.allclose(drawn.bincount() / 20000, chances, atol=0.02)


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        ("parti", {"size": 100}, "--size 100: it must be a multiple of 32"),
        ("parti", {"size": 2048}, "at most 1024"),
        ("parti", {"prompt_tokens": 129}, "at most 128"),
        ("parti", {"steps": 3}, "no use for --steps"),
        ("parti", {"new_tokens": 3}, "no use for --new-tokens"),
    ],
)
def test_what_makes_no_sense_is_refused(model: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        build(model, **changes)
    assert says in str(raised.value)


@pytest.mark.parametrize(("model", "given"), [("parti", {"size": 128})])
def test_weights_come_from_a_folder(model: str, given: dict[str, Any], tmp_path: Path) -> None:
    made = build(model)
    for name, module in made.modules.items():
        module.save_pretrained(tmp_path / name)
    loaded = build(model, tiny=False, weights=str(tmp_path), **given)
    one, other = made.run(Marks()), loaded.run(Marks())
    assert torch.allclose(one, other, atol=1e-5)
