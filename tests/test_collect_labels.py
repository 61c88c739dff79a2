"""Labels on attention modules: kind, axis, lengths and heads are those of the real inputs."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from collect_helpers import HEADS, MODEL, TEXT, TOKENS, WIDTH  # noqa: E402
from tracekit.collectors.attention_inputs import AttentionReader  # noqa: E402
from tracekit.collectors.labelling import attention_modules, labelled  # noqa: E402
from tracekit.labels import AttentionLabel, parse_attention, parse_module  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable


def labels_of(run: Callable[[], object], *, every_leaf: bool = False, **roots: Any) -> list[str]:
    with (
        labelled(roots, every_leaf=every_leaf),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler,
        torch.no_grad(),
    ):
        run()
    return [event.name for event in profiler.events() if event.name.startswith("tk1|")]


def attention_of(run: Callable[[], object], **roots: Any) -> list[AttentionLabel]:
    found = [parse_attention(text) for text in labels_of(run, **roots)]
    assert found
    assert None not in found
    return [label for label in found if label is not None]


def cache_name(model: Any) -> str:
    """What this version of transformers calls the argument."""
    names = inspect.signature(model.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def named(name: str, base: type = torch.nn.Module, **members: Any) -> Any:
    """An instance of a module class made for the test."""
    instance = type(name, (base,), {})()
    for key, value in members.items():
        setattr(instance, key, value)
    return instance


def test_self_and_cross_attention_of_a_toy() -> None:
    x, text = torch.randn(2, TOKENS, WIDTH), torch.randn(2, TEXT, WIDTH)
    first, second, *_ = attention_of(lambda: MODEL(x, text), net=MODEL)
    assert first == AttentionLabel("net.blocks.0.attn1", "self", "sequence", TOKENS, TOKENS, HEADS)
    assert second == AttentionLabel("net.blocks.0.attn2", "cross", "sequence", TOKENS, TEXT, HEADS)


def test_leaves_are_labelled_only_when_asked_for() -> None:
    x, text = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH)
    plain = labels_of(lambda: MODEL(x, text), net=MODEL)
    assert len(plain) == 4
    every = labels_of(lambda: MODEL(x, text), net=MODEL, every_leaf=True)
    leaves = [label for text in every if (label := parse_module(text))]
    assert ("net.blocks.1.attn2.to_v", "Linear") in leaves
    assert ("net.blocks.0.norm", "LayerNorm") in leaves
    assert len(leaves) == 2 * (1 + 2 * 3)


def test_hooks_are_gone_afterwards_and_survive_a_raise() -> None:
    attention = MODEL.blocks[0].attn1
    with (
        labelled({"net": MODEL}),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler,
    ):
        with pytest.raises(RuntimeError):
            attention(torch.randn(1, TOKENS, WIDTH + 1))
        attention(torch.randn(1, TOKENS, WIDTH))
    ranges = [event for event in profiler.events() if event.name.startswith("tk1|")]
    assert len(ranges) == 2
    assert ranges[0].time_range.end <= ranges[1].time_range.start
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in MODEL.modules())


@pytest.mark.parametrize("batch_first", [True, False])
def test_multihead_attention(batch_first: bool) -> None:
    module = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=batch_first).eval()
    x = torch.randn(2, 5, WIDTH) if batch_first else torch.randn(5, 2, WIDTH)
    y = torch.randn(2, 9, WIDTH) if batch_first else torch.randn(9, 2, WIDTH)
    assert attention_of(lambda: module(x, x, x), m=module) == [
        AttentionLabel("m", "self", "sequence", 5, 5, HEADS)
    ]
    assert attention_of(lambda: module(x, y, y), m=module) == [
        AttentionLabel("m", "cross", "sequence", 5, 9, HEADS)
    ]


def test_llama_with_a_cache() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval()

    def run() -> None:
        cache = model(torch.ones(1, 6, dtype=torch.long), use_cache=True).past_key_values
        one = torch.ones(1, 1, dtype=torch.long)
        model(one, use_cache=True, **{cache_name(model): cache})

    found = attention_of(run, model=model)
    assert [(label.query_length, label.key_length) for label in found] == [
        (6, 6), (6, 6), (1, 7), (1, 7),
    ]  # fmt: skip
    assert {(label.kind, label.axis, label.heads) for label in found} == {("self", "sequence", 4)}
    assert found[0].path == "model.model.layers.0.self_attn"


def test_cross_attention_of_t5_with_a_cache() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=50, d_model=32, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=1, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    tokens, one = torch.ones(1, 5, dtype=torch.long), torch.ones(1, 1, dtype=torch.long)

    def run() -> None:
        cache = model(input_ids=tokens, decoder_input_ids=one, use_cache=True).past_key_values
        encoded = model.get_encoder()(tokens)
        more = {cache_name(model): cache, "use_cache": True}
        model(encoder_outputs=encoded, decoder_input_ids=one, **more)

    found = attention_of(run, t5=model)
    assert [(label.kind, label.query_length, label.key_length) for label in found] == [
        ("self", 5, 5), ("self", 1, 1), ("cross", 1, 5), ("self", 5, 5), ("self", 1, 2),
        ("cross", 1, 5),
    ]  # fmt: skip
    assert {label.heads for label in found} == {4}


def test_diffusers_image_and_video_unets() -> None:
    diffusers = pytest.importorskip("diffusers")
    size = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    image = diffusers.UNet2DConditionModel(
        sample_size=8, cross_attention_dim=8, attention_head_dim=2, **size,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip
    text = torch.randn(2, 7, 8)
    found = attention_of(lambda: image(torch.randn(2, 4, 8, 8), 1, text), unet=image)
    assert {label.axis for label in found} == {"spatial"}
    assert (found[0].kind, found[0].query_length, found[0].key_length) == ("self", 64, 64)
    assert (found[1].kind, found[1].query_length, found[1].key_length) == ("cross", 64, 7)
    video = diffusers.UNet3DConditionModel(
        sample_size=8, cross_attention_dim=8, attention_head_dim=2, **size,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
    ).eval()  # fmt: skip
    found = attention_of(lambda: video(torch.randn(1, 4, 3, 8, 8), 1, text[:1]), unet=video)
    along_time = [label for label in found if label.axis == "temporal"]
    assert {label.query_length for label in along_time} == {3}
    assert {label.axis for label in found} == {"temporal", "spatial"}
    assert all("temp" in (label.path or "") or "transformer_in" in (label.path or "")
               for label in along_time)  # fmt: skip


def test_flux_is_joint() -> None:
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.FluxTransformer2DModel(
        in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=8,
        axes_dims_rope=(2, 2, 4),
    ).eval()  # fmt: skip

    def run() -> None:
        model(
            hidden_states=torch.randn(1, 9, 4), encoder_hidden_states=torch.randn(1, 5, 16),
            pooled_projections=torch.randn(1, 8), timestep=torch.tensor([1.0]),
            img_ids=torch.zeros(9, 3), txt_ids=torch.zeros(5, 3),
        )  # fmt: skip

    found = attention_of(run, transformer=model)
    assert [(label.kind, label.query_length, label.key_length) for label in found] == [
        ("joint", 14, 14), ("joint", 14, 14),
    ]  # fmt: skip
    assert {(label.axis, label.heads) for label in found} == {("spatial", 2)}


def test_axes_come_from_names_and_siblings() -> None:
    def attention() -> Any:
        return named("Attention")

    def axis_of(root: Any) -> dict[str, str]:
        return {entry.path: entry.axis for entry in attention_modules({"m": root})}

    text = named("Encoder", layer=attention())
    assert axis_of(text) == {"m.layer": "sequence"}
    video = named("Net", temporal=named("Block", attn=attention()), other=attention())
    assert axis_of(video) == {"m.temporal.attn": "temporal", "m.other": "spatial"}
    by_class = named("Net", a=named("TemporalAttention"), b=named("SpatialAttention"))
    assert axis_of(by_class) == {"m.a": "temporal", "m.b": "spatial"}
    full = named("CogVideoXTransformer3DModel", attn1=attention())
    assert axis_of(full) == {"m.attn1": "spatio-temporal"}
    text_inside = named("HunyuanVideoTokenRefiner", attn=attention())
    both = named("HunyuanVideoTransformer3DModel", context_embedder=text_inside, attn=attention())
    assert axis_of(both) == {"m.context_embedder.attn": "sequence", "m.attn": "spatio-temporal"}
    by_path = named("Lumina2Transformer2DModel", context_refiner=attention(), layer=attention())
    assert axis_of(by_path) == {"m.context_refiner": "sequence", "m.layer": "spatial"}
    middle = named("HunyuanVideoMidBlock3D", attn=attention())
    all_frames = named("AutoencoderKLHunyuanVideo", mid_block=middle)
    assert axis_of(all_frames) == {"m.mid_block.attn": "spatio-temporal"}
    each_frame = named("AutoencoderKLWan", mid_block=named("WanMidBlock", attn=attention()))
    assert axis_of(each_frame) == {"m.mid_block.attn": "spatial"}
    decoder = named("AutoencoderKLTemporalDecoder", attn=attention())
    assert axis_of(decoder) == {"m.attn": "spatial"}
    for name in ("ImageDecoder", "MaskedImageTransformer", "ImageGPTModel"):
        assert axis_of(named(name, attn=attention())) == {"m.attn": "spatial"}
    pooled = named("UNet2DConditionModel", text=named("TextTimeEmbedding", a=attention()))
    assert axis_of(pooled) == {"m.text.a": "sequence"}
    mixed = named(
        "UNetSpatioTemporalConditionModel",
        block=named("TransformerSpatioTemporalModel", spatial=attention(), temporal=attention()),
    )
    assert axis_of(mixed) == {"m.block.spatial": "spatial", "m.block.temporal": "temporal"}


def test_only_the_innermost_attention_of_each_root_once() -> None:
    inner = named("T5Attention")
    root = named("T5LayerSelfAttention", SelfAttention=inner)
    found = attention_modules({"a": root, "b": root})
    assert [(entry.path, entry.module) for entry in found] == [("a.SelfAttention", inner)]
    assert attention_modules({"m": named("AttentionPooling")}) == ()
    assert attention_modules({"m": named("AttnProcessor2_0")}) == ()
    assert attention_modules({}) == ()


@pytest.mark.parametrize(
    ("shape", "axis", "tokens"),
    [
        ((2, 8, 4, 4), "spatial", 16),
        ((2, 8, 3, 4, 4), "temporal", 3),
        ((2, 8, 3, 4, 4), "spatial", 16),
        ((2, 8, 3, 4, 4), "spatio-temporal", 48),
        ((2, 5, 8), "sequence", 5),
        ((5, 8), "sequence", 5),
    ],
)
def test_tokens_of_images_and_videos(shape: tuple[int, ...], axis: str, tokens: int) -> None:
    reader = AttentionReader(named("Attention"), "m", axis)
    label = reader.read((torch.zeros(shape),), {})
    assert (label.query_length, label.key_length) == (tokens, tokens)


def test_what_cannot_be_read_is_null() -> None:
    reader = AttentionReader(named("Attention", heads="many"), "m", "sequence")
    assert reader.read((), {}) == AttentionLabel("m", None, "sequence")
    assert reader.read((1, "two"), {"x": None}) == AttentionLabel("m", None, "sequence")
