"""The models of discrete tokens: sizes by their papers, lengths of attention, sampling, weights."""

from __future__ import annotations

import dataclasses
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from model_helpers import META, TINY, Marks, build, read_attention
from tracekit.collectors.models import MODELS
from tracekit.collectors.workload import Workload
from tracekit.errors import UsageError
from tracekit.labels import AttentionLabel

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _name in ("parti", "muse", "phenaki"):
        import_module(MODELS[_name])

    from tracekit.collectors.models._common import making
    from tracekit.collectors.models._masked_tokens import ParallelDecoding
    from tracekit.collectors.models._muse import _MultiAxisBlock
    from tracekit.collectors.models._token_decoders import CViViTDecoder, ViTDecoder
    from tracekit.collectors.models._tokens import Draws, guided

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]


def definition(model: str) -> Any:
    return import_module(MODELS[model])


def lengths(workload: Workload, work: Any) -> dict[tuple[Any, ...], tuple[Any, Any]]:
    """Query and key length by stage, step, part, kind and axis, from the collectors' labels."""
    marks = Marks()
    found: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def see(label: AttentionLabel) -> None:
        key = (*marks.now, label.path.partition(".")[0], label.kind, label.axis)
        found[key] = (label.query_length, label.key_length)

    read_attention(workload.modules, lambda: work(marks), see)
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


def test_the_layers_of_muse_and_phenaki_are_those_of_their_papers() -> None:
    def blocks(model: str, preset: str, part: str) -> int:
        parts = definition(model).parts(dataclasses.replace(META, preset=preset))
        return sum(p.numel() for p in parts[part].blocks.parameters())

    assert blocks("muse", "3b", "transformer") == pytest.approx(48 * 16 * 2048**2, rel=1e-3)
    assert blocks("muse", "3b", "super_resolution") == pytest.approx(32 * 16 * 1024**2, rel=1e-3)
    assert blocks("phenaki", "1.8b", "transformer") == pytest.approx(1.8e9, rel=0.02)
    assert blocks("phenaki", "0.9b", "transformer") == pytest.approx(0.9e9, rel=0.02)


def test_the_full_size_of_muse_and_phenaki_computes_the_published_shapes() -> None:
    muse, phenaki = build("muse", META, trace_steps=1), build("phenaki", META, trace_steps=1)
    assert dict(muse.stages) == {
        "text_encoder": 1,
        "parallel_decode": 24,
        "super_resolution": 8,
        "vae_decode": 1,
    }
    assert muse.config["inputs"]["image_tokens"] == [256, 4096]
    assert phenaki.config["inputs"]["video_tokens"] == 1536
    assert phenaki.stages["parallel_decode"] == 48
    assert build("phenaki", META, preset="0.9b").stages["parallel_decode"] == 12
    assert muse.run_traced is not None
    assert phenaki.run_traced is not None
    image: Any = muse.run_traced(Marks())
    video: Any = phenaki.run_traced(Marks())
    assert tuple(image.shape) == (1, 3, 512, 512)
    assert tuple(video.shape) == (1, 3, 11, 128, 128)


def test_the_lengths_of_attention_in_muse() -> None:
    workload = build("muse", size=128, prompt_tokens=7)
    found = lengths(workload, workload.run)
    place = ("parallel_decode", 0, "transformer")
    assert found[(*place, "self", "spatial")] == (16, 16)
    assert found[(*place, "cross", "spatial")] == (16, 7)
    # Blocks of 8 by 8 tokens, of which there are 4: within them, and across.
    modules = dict(workload.modules["super_resolution"].named_modules())
    seen: dict[str, tuple[int, ...]] = {}
    for name, module in modules.items():
        if name.endswith(("regional", "dilated", "cross")):
            module.register_forward_pre_hook(
                lambda _, args, name=name: seen.update({name: tuple(args[0].shape)})
            )
    workload.run(Marks())
    assert seen["blocks.1.regional"] == (2 * 4, 64, 32)
    assert seen["blocks.1.dilated"] == (2 * 64, 4, 32)
    assert seen["blocks.1.cross"] == (2, 256, 32)
    assert found[("super_resolution", 2, "super_resolution", "cross", "spatial")] == (256, 16 + 7)


def test_the_lengths_of_attention_in_phenaki() -> None:
    workload = build("phenaki", frames=7, size=32, prompt_tokens=5)
    found = lengths(workload, workload.run)
    place = ("parallel_decode", 1, "transformer")
    assert found[(*place, "self", "spatio-temporal")] == (64, 64)
    assert found[(*place, "cross", "spatio-temporal")] == (64, 5)
    assert found[("vae_decode", None, "vae", "self", "temporal")] == (4, 4)
    assert found[("vae_decode", None, "vae", "self", "spatial")] == (16, 16)


def test_the_two_axes_of_attention_see_their_own_tokens_only() -> None:
    block = _MultiAxisBlock(16, 4, 32, block=2)
    tokens = torch.randn(1, 16, 16)

    def reached(attention: str, place: int) -> list[int]:
        other = {"regional": block.dilated, "dilated": block.regional}[attention]
        changed = tokens.clone()
        changed[0, place] += 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(other, "forward", lambda hidden: torch.zeros_like(hidden))
            difference = (block._two_axes(changed) - block._two_axes(tokens)).abs().sum(-1)
        return [int(i) for i in (difference[0] > 1e-6).nonzero()]

    # 4 by 4 tokens in blocks of 2 by 2; the sixth is in the second row and column.
    assert reached("regional", 5) == [0, 1, 4, 5]
    assert reached("dilated", 5) == [5, 7, 13, 15]


def test_the_number_of_masked_tokens_follows_the_cosine_and_what_is_drawn_stays() -> None:
    decoding = ParallelDecoding(steps=6, tokens=64, mask=10, guidance=(0.0, 3.0), temperature=4.5)
    assert [decoding.remaining(step) for step in range(6)] == [61, 55, 45, 32, 16, 0]
    draws, tokens = Draws(TINY), torch.full((2, 64), 10)
    for step in range(6):
        before, logits = tokens, torch.randn(4, 64, 10)
        tokens = decoding.advance(step, tokens, logits, draws)
        assert (tokens == 10).sum(dim=1).tolist() == [decoding.remaining(step)] * 2
        drawn = before != 10
        assert torch.equal(tokens[drawn], before[drawn])
    assert int(tokens.max()) < 10


def test_the_most_confident_tokens_are_kept_and_guidance_grows() -> None:
    decoding = ParallelDecoding(steps=2, tokens=4, mask=3, guidance=(0.0, 8.0), temperature=0.0)
    assert decoding.remaining(0) == 2
    sure = torch.zeros(4, 3)
    sure[[1, 3], [2, 0]] = 50.0
    logits = torch.stack([-sure, sure])
    first = decoding.advance(0, torch.full((1, 4), 3), logits, Draws(TINY))
    assert first.tolist() == [[3, 2, 3, 0]]
    assert (decoding._guidance(0), decoding._guidance(1)) == (0.0, 8.0)


def test_a_part_of_the_steps_without_the_last_leaves_no_masked_token() -> None:
    for model in ("muse", "phenaki"):
        workload = build(model, trace_steps=1)
        assert workload.run_traced is not None
        result: Any = workload.run_traced(Marks())
        assert result.isfinite().all()


def test_patches_become_pixels_at_their_places() -> None:
    with making(TINY):
        decoder = ViTDecoder(1, 8, 2, 8, codes=4, code_width=4, side=4, patch=2)
    decoder.blocks = torch.nn.ModuleList()
    tokens = torch.zeros(1, 8 * 2, dtype=torch.int64)
    before = decoder(tokens)
    tokens[0, 6] = 1
    changed = (decoder(tokens) - before).abs().sum(dim=(0, 1)) > 0
    assert changed.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_a_video_token_changes_its_own_and_later_frames_only() -> None:
    with making(TINY):
        decoder = CViViTDecoder(
            2, 2, 8, 2, 8, codes=4, code_width=4, shape=(4, 2, 2), patch=2, frame_patch=2
        )
    decoder.eval()
    tokens = torch.zeros(1, 16, dtype=torch.int64)
    before = decoder(tokens, (4, 2, 2))
    assert tuple(before.shape) == (1, 3, 7, 4, 4)
    tokens[0, 2 * 4 + 1] = 1
    changed = (decoder(tokens, (4, 2, 2)) - before).abs().sum(dim=(0, 1, 3, 4)) > 1e-7
    assert changed.tolist() == [False, False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("model", "changes", "says"),
    [
        ("parti", {"size": 100}, "--size 100: it must be a multiple of 32"),
        ("parti", {"prompt_tokens": 129}, "at most 128"),
        ("parti", {"steps": 3}, "no use for --steps"),
        ("parti", {"new_tokens": 3}, "no use for --new-tokens"),
        ("muse", {"size": 96}, "--size 96: it must be a multiple of 64"),
        ("muse", {"frames": 3}, "no use for --frames"),
        ("phenaki", {"size": 20}, "--size 20: it must be a multiple of 8"),
        ("phenaki", {"frames": 4}, "one more than a multiple of 2"),
    ],
)
def test_what_makes_no_sense_is_refused(model: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        build(model, **changes)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("model", "given", "larger"),
    [
        ("parti", {"size": 128}, {"size": 160}),
        ("muse", {"size": 128, "steps": 4}, {"size": 192}),
        ("phenaki", {"size": 32, "frames": 5, "steps": 3}, {"frames": 7}),
    ],
)
def test_weights_come_from_a_folder(
    model: str, given: dict[str, Any], larger: dict[str, Any], tmp_path: Path
) -> None:
    made = build(model)
    for name, module in made.modules.items():
        module.save_pretrained(tmp_path / name)
    bare = dataclasses.replace(TINY, tiny=False, weights=str(tmp_path))
    loaded = build(model, bare, **given)
    for name, module in made.modules.items():
        weights = loaded.modules[name].state_dict()
        assert all(torch.equal(weights[key], value) for key, value in module.state_dict().items())
    if model != "muse":
        one, other = made.run(Marks()), loaded.run(Marks())
        assert torch.allclose(one, other, atol=1e-5)
    with pytest.raises(UsageError, match="the weights know"):
        build(model, bare, **(given | larger))


def test_a_larger_image_or_longer_video_has_positions() -> None:
    assert tuple(build("parti", size=160).run(Marks()).shape) == (1, 3, 160, 160)
    assert tuple(build("muse", size=192, batch=2).run(Marks()).shape) == (2, 3, 192, 192)
    assert tuple(build("phenaki", frames=9, size=40).run(Marks()).shape) == (1, 3, 9, 40, 40)
