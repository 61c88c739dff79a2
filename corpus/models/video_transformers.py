"""Video transformers of diffusers: factorized, and with attention over all tokens of a clip.

Sources: the configurations in diffusers, which name the papers: Latte (arXiv 2401.03048),
CogVideoX (2408.06072), Wan (2503.20314), HunyuanVideo (2412.03603), LTX-Video (2501.00103),
Mochi, Allegro (2410.15458), Cosmos (2501.03575).
"""

from __future__ import annotations

from typing import Any, Final

from corpus.models.diffusion_unets import SPATIAL, write_out
from corpus.spec import AttentionRule, Built, Size, model

VOLUME: Final = AttentionRule(r"Attention$", "spatio-temporal")
"""Queries are all positions of all frames; keys the same, or text."""
JOINT_VOLUME: Final = AttentionRule(r"Attention$", "spatio-temporal", kind="joint")


@model("latte", "default written math train train-written cudagraph compile")
def latte(size: Size) -> Built:
    """Latte: blocks over the pixels of a frame and blocks over the frames of a pixel in turn."""
    from diffusers import LatteTransformer3DModel

    heads, head = size.pick(16, 2), size.pick(72, 8)
    frames = size.pick(16, 3)
    net = LatteTransformer3DModel(
        num_layers=2,
        num_attention_heads=heads,
        attention_head_dim=head,
        in_channels=4,
        out_channels=8,
        patch_size=2,
        cross_attention_dim=heads * head,
        caption_channels=size.pick(4096, 32),
        sample_size=size.pick(32, 8),
        activation_fn="gelu-approximate",
        norm_type="ada_norm_single",
        num_embeds_ada_norm=1000,
        norm_elementwise_affine=False,
        attention_bias=True,
        video_length=frames,
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(32, 8)
    latents, time = size.normal(1, 4, frames, side, side), size.full(10, 1)
    text = size.normal(1, size.pick(120, 8), size.pick(4096, 32))

    def run() -> Any:
        return net(latents, time, text, return_dict=False)

    along = AttentionRule(r"^Attention$", "temporal", path=r"temporal_transformer_blocks")
    return Built(run, {"transformer": net}, (along, SPATIAL))


@model("latte-square", "default math")
def latte_square(size: Size) -> Built:
    """Latte at as many frames as a frame has pixels, so that no length tells the two apart."""
    from diffusers import LatteTransformer3DModel

    heads, head = size.pick(16, 2), size.pick(72, 8)
    frames, side = size.pick(16, 4), size.pick(8, 4)
    net = LatteTransformer3DModel(
        num_layers=3,
        num_attention_heads=heads,
        attention_head_dim=head,
        in_channels=4,
        out_channels=8,
        patch_size=2,
        cross_attention_dim=None,
        caption_channels=size.pick(4096, 32),
        sample_size=side,
        activation_fn="gelu-approximate",
        norm_type="ada_norm_single",
        num_embeds_ada_norm=1000,
        norm_elementwise_affine=False,
        video_length=frames,
    )
    net = size.place(net)
    latents, time = size.normal(2, 4, frames, side, side), size.full(10, 2)
    text = size.normal(2, size.pick(120, 8), size.pick(4096, 32))

    def run() -> Any:
        return net(latents, time, text, return_dict=False)

    along = AttentionRule(r"^Attention$", "temporal", path=r"temporal_transformer_blocks")
    return Built(run, {"transformer": net}, (along, SPATIAL))


@model("cogvideox", "default math compile train-checkpoint")
def cogvideox(size: Size) -> Built:
    """CogVideoX: text and all positions of all frames in one sequence."""
    import torch
    from diffusers import CogVideoXTransformer3DModel

    head = size.pick(64, 16)
    frames, height, width = size.pick((5, 30, 44), (2, 4, 4))
    net = CogVideoXTransformer3DModel(
        num_layers=3,
        num_attention_heads=size.pick(30, 2),
        attention_head_dim=head,
        in_channels=16,
        text_embed_dim=size.pick(4096, 32),
        time_embed_dim=size.pick(512, 32),
        sample_width=width,
        sample_height=height,
        sample_frames=4 * frames - 3,
        max_text_seq_length=size.pick(226, 8),
        use_rotary_positional_embeddings=True,
    )
    net = size.place(net)
    latents, time = size.normal(1, frames, 16, height, width), size.full(10, 1)
    text = size.normal(1, size.pick(226, 8), size.pick(4096, 32))
    angles = torch.rand(frames * height * width // 4, head, device=size.device)
    rotary = (angles.cos(), angles.sin())

    def run() -> Any:
        return net(latents, text, time, image_rotary_emb=rotary, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT_VOLUME,))


@model("wan", "default math cudnn cudagraph compile modules")
def wan(size: Size) -> Built:
    """Wan 2.1 (1.3B width): full attention over the clip, cross-attention to text."""
    from diffusers import WanTransformer3DModel

    net = WanTransformer3DModel(
        num_layers=3,
        num_attention_heads=size.pick(12, 2),
        attention_head_dim=size.pick(128, 24),
        text_dim=size.pick(4096, 32),
        freq_dim=size.pick(256, 16),
        ffn_dim=size.pick(8960, 64),
    )
    net = size.place(net)
    frames, height, width = size.pick((5, 30, 52), (2, 4, 4))
    latents, time = size.normal(1, 16, frames, height, width), size.full(10, 1)
    text = size.normal(1, size.pick(512, 8), size.pick(4096, 32))

    def run() -> Any:
        return net(latents, time, text, return_dict=False)

    across = AttentionRule(r"Attention$", "spatio-temporal", path=r"\.attn2$", kind="cross")
    return Built(run, {"transformer": net}, (across, VOLUME))


@model("hunyuan-video", "default math")
def hunyuan_video(size: Size) -> Built:
    """HunyuanVideo: blocks of two streams, then of one, a refiner of text before."""
    from diffusers import HunyuanVideoTransformer3DModel

    net = HunyuanVideoTransformer3DModel(
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        num_attention_heads=size.pick(24, 2),
        attention_head_dim=size.pick(128, 16),
        text_embed_dim=size.pick(4096, 32),
        pooled_projection_dim=size.pick(768, 32),
        rope_axes_dim=size.pick((16, 56, 56), (4, 6, 6)),
    )
    net = size.place(net)
    frames, height, width = size.pick((5, 24, 40), (2, 4, 4))
    length = size.pick(128, 8)
    latents, time = size.normal(1, 16, frames, height, width), size.full(10, 1)
    text, pooled = size.normal(1, length, size.pick(4096, 32)), size.normal(1, size.pick(768, 32))
    mask, guidance = size.tokens(1, 1, length) + 1, size.full(6000, 1)

    def run() -> Any:
        return net(latents, time, text, mask, pooled, guidance, return_dict=False)

    refiner = AttentionRule(r"^Attention$", "sequence", path=r"context_embedder", kind="self")
    return Built(run, {"transformer": net}, (refiner, JOINT_VOLUME))


@model("ltx-video", "default cudagraph compile train")
def ltx_video(size: Size) -> Built:
    """LTX-Video: full attention over the clip, cross-attention to text, 3-D rotary embedding."""
    from diffusers import LTXVideoTransformer3DModel

    net = LTXVideoTransformer3DModel(
        num_layers=3,
        num_attention_heads=size.pick(32, 2),
        attention_head_dim=size.pick(64, 16),
        cross_attention_dim=size.pick(2048, 32),
        caption_channels=size.pick(4096, 32),
        in_channels=size.pick(128, 8),
        out_channels=size.pick(128, 8),
    )
    net = size.place(net)
    frames, height, width = size.pick((7, 16, 22), (2, 4, 4))
    latents = size.normal(1, frames * height * width, size.pick(128, 8))
    text = size.normal(1, size.pick(128, 8), size.pick(4096, 32))
    time, mask = size.full(500, 1, 1), size.tokens(1, 1, size.pick(128, 8)) + 1

    def run() -> Any:
        return net(latents, text, time, mask, frames, height, width, return_dict=False)

    across = AttentionRule(r"Attention$", "spatio-temporal", path=r"\.attn2$", kind="cross")
    return Built(run, {"transformer": net}, (across, VOLUME))


@model("mochi", "default math")
def mochi(size: Size) -> Built:
    """Mochi 1: joint attention with streams of different width, pooled text by attention."""
    from diffusers import MochiTransformer3DModel

    net = MochiTransformer3DModel(
        num_layers=2,
        num_attention_heads=size.pick(24, 2),
        attention_head_dim=size.pick(128, 16),
        pooled_projection_dim=size.pick(1536, 16),
        text_embed_dim=size.pick(4096, 32),
        time_embed_dim=size.pick(256, 16),
        max_sequence_length=size.pick(256, 8),
    )
    net = size.place(net)
    frames, height, width = size.pick((5, 24, 40), (2, 4, 4))
    length = size.pick(256, 8)
    latents, time = size.normal(1, 12, frames, height, width), size.full(10, 1)
    text = size.normal(1, length, size.pick(4096, 32))
    mask = (size.tokens(1, 1, length) + 1).bool()

    def run() -> Any:
        return net(latents, text, time, mask, return_dict=False)

    pool = AttentionRule(r"AttentionPool$", "sequence", kind="cross")
    return Built(run, {"transformer": net}, (pool, JOINT_VOLUME))


@model("allegro", "default")
def allegro(size: Size) -> Built:
    """Allegro: full attention over the clip with 3-D rotary embedding, cross-attention to text."""
    import torch
    from diffusers import AllegroTransformer3DModel

    heads, head = size.pick(24, 2), size.pick(96, 24)
    frames, height, width = size.pick((4, 30, 40), (2, 4, 4))
    net = AllegroTransformer3DModel(
        num_layers=3,
        num_attention_heads=heads,
        attention_head_dim=head,
        cross_attention_dim=heads * head,
        caption_channels=size.pick(4096, 32),
        sample_height=height,
        sample_width=width,
        sample_frames=frames,
    )
    net = size.place(net)
    latents, time = size.normal(1, 4, frames, height, width), size.full(10, 1)
    mask = size.full(1, 1, frames, height, width)
    text = size.normal(1, size.pick(128, 8), size.pick(4096, 32))
    tokens = frames * height * width // 4
    angles = [torch.rand(64, head // 3, device=size.device) for _ in range(3)]
    grid = tuple(size.tokens(4, 1, tokens) for _ in range(3))
    rotary = (tuple((one.cos(), one.sin()) for one in angles), grid)

    def run() -> Any:
        return net(latents, text, time, mask, image_rotary_emb=rotary, return_dict=False)

    across = AttentionRule(r"^Attention$", "spatio-temporal", path=r"\.attn2$", kind="cross")
    return Built(run, {"transformer": net}, (across, VOLUME))


@model("cosmos", "default compile")
def cosmos(size: Size) -> Built:
    """Cosmos Predict: full attention over the clip with low-rank modulation."""
    from diffusers import CosmosTransformer3DModel

    net = CosmosTransformer3DModel(
        num_layers=3,
        in_channels=16,
        num_attention_heads=size.pick(16, 2),
        attention_head_dim=size.pick(128, 16),
        text_embed_dim=size.pick(1024, 32),
        adaln_lora_dim=size.pick(256, 8),
        max_size=size.pick((128, 240, 240), (8, 16, 16)),
        extra_pos_embed_type=None,
    )
    net = size.place(net)
    frames, height, width = size.pick((4, 32, 48), (2, 4, 4))
    latents, time = size.normal(1, 16, frames, height, width), size.full(0.5, 1)
    text = size.normal(1, size.pick(512, 8), size.pick(1024, 32))
    mask = size.full(0, 1, 1, 8 * height, 8 * width)

    def run() -> Any:
        return net(latents, time, text, padding_mask=mask, return_dict=False)

    across = AttentionRule(r"Attention$", "spatio-temporal", path=r"\.attn2$", kind="cross")
    return Built(run, {"transformer": net}, (across, VOLUME))
