"""Image transformers of diffusers, each with 2 to 4 blocks of the published width.

Sources: the configurations in diffusers, which name the papers: PixArt-alpha (arXiv 2310.00426),
SD3 (2403.03206), FLUX, HunyuanDiT (2405.08748), Sana (2410.10629), AuraFlow, Lumina-Next
(2406.18583), Qwen-Image (2508.02324), aMUSEd (2401.01808), DiT (2212.09748).
"""

from __future__ import annotations

from typing import Any, Final

from corpus.models.diffusion_unets import SPATIAL, write_out
from corpus.spec import AttentionRule, Built, Size, model

JOINT: Final = AttentionRule(r"Attention$", "spatial", kind="joint")
"""Text and image tokens in one sequence, of queries and of keys."""


@model("pixart", "default written math cudagraph compile modules train train-written")
def pixart(size: Size) -> Built:
    """PixArt-alpha: self-attention over pixels, cross-attention to text, one shared modulation."""
    from diffusers import PixArtTransformer2DModel

    net = PixArtTransformer2DModel(
        num_layers=size.pick(3, 2),
        num_attention_heads=size.pick(16, 2),
        attention_head_dim=size.pick(72, 8),
        cross_attention_dim=size.pick(1152, 16),
        caption_channels=size.pick(4096, 32),
        sample_size=size.pick(64, 8),
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(64, 8)
    latents, time = size.normal(2, 4, side, side), size.full(10, 2)
    text = size.normal(2, size.pick(120, 8), size.pick(4096, 32))
    unused = {"resolution": None, "aspect_ratio": None}

    def run() -> Any:
        return net(latents, text, time, added_cond_kwargs=unused, return_dict=False)

    return Built(run, {"transformer": net}, (SPATIAL,))


@model("dit", "default written cudagraph")
def dit(size: Size) -> Built:
    """DiT, conditioned on classes: self-attention only."""
    from diffusers import DiTTransformer2DModel

    net = DiTTransformer2DModel(
        num_layers=size.pick(4, 2),
        num_attention_heads=size.pick(16, 2),
        attention_head_dim=size.pick(72, 8),
        out_channels=8,
        sample_size=size.pick(32, 8),
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(32, 8)
    latents, time = size.normal(4, 4, side, side), size.tokens(1000, 4)
    labels = size.tokens(1000, 4)

    def run() -> Any:
        return net(latents, time, labels, return_dict=False)

    return Built(run, {"transformer": net}, (SPATIAL,))


@model("stable-diffusion-3", "default math train compile")
def stable_diffusion_3(size: Size) -> Built:
    """MMDiT of Stable Diffusion 3.5 medium: joint attention, and a second one of pixels alone."""
    from diffusers import SD3Transformer2DModel

    net = SD3Transformer2DModel(
        num_layers=size.pick(3, 2),
        num_attention_heads=size.pick(24, 2),
        attention_head_dim=size.pick(64, 8),
        joint_attention_dim=size.pick(4096, 32),
        caption_projection_dim=size.pick(1536, 16),
        pooled_projection_dim=size.pick(2048, 32),
        sample_size=size.pick(64, 8),
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    net = size.place(net)
    side = size.pick(64, 8)
    latents, time = size.normal(2, 16, side, side), size.full(10, 2)
    text = size.normal(2, size.pick(154, 8), size.pick(4096, 32))
    pooled = size.normal(2, size.pick(2048, 32))

    def run() -> Any:
        return net(latents, text, pooled, time, return_dict=False)

    alone = AttentionRule(r"^Attention$", "spatial", path=r"\.attn2$", kind="self")
    return Built(run, {"transformer": net}, (alone, JOINT))


@model("flux", "default cudnn efficient cudagraph compile train-checkpoint")
def flux(size: Size) -> Built:
    """FLUX.1: two blocks of two streams, two of one, rotary embedding, normalized queries."""
    from diffusers import FluxTransformer2DModel

    net = FluxTransformer2DModel(
        num_layers=2,
        num_single_layers=2,
        num_attention_heads=size.pick(24, 2),
        attention_head_dim=size.pick(128, 16),
        joint_attention_dim=size.pick(4096, 32),
        pooled_projection_dim=size.pick(768, 32),
        in_channels=size.pick(64, 16),
        guidance_embeds=True,
        axes_dims_rope=size.pick((16, 56, 56), (4, 6, 6)),
    )
    net = size.place(net)
    side, length = size.pick(32, 4), size.pick(256, 8)
    image = size.normal(1, side * side, size.pick(64, 16))
    text = size.normal(1, length, size.pick(4096, 32))
    pooled = size.normal(1, size.pick(768, 32))
    image_ids, text_ids = size.full(1, side * side, 3), size.full(0, length, 3)
    time, guidance = size.full(0.5, 1), size.full(3.5, 1)

    def run() -> Any:
        return net(image, text, pooled, time, image_ids, text_ids, guidance, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT,))


@model("hunyuan-dit", "default math efficient")
def hunyuan_dit(size: Size) -> Built:
    """HunyuanDiT: rotary self-attention, cross-attention to two text encoders, long skips."""
    import torch
    from diffusers import HunyuanDiT2DModel

    heads, head = size.pick(16, 2), size.pick(88, 8)
    net = HunyuanDiT2DModel(
        num_layers=size.pick(4, 2),
        num_attention_heads=heads,
        attention_head_dim=head,
        in_channels=4,
        patch_size=2,
        hidden_size=heads * head,
        cross_attention_dim=size.pick(1024, 32),
        cross_attention_dim_t5=size.pick(2048, 32),
        pooled_projection_dim=size.pick(1024, 32),
        text_len=size.pick(77, 8),
        text_len_t5=size.pick(256, 8),
        sample_size=size.pick(64, 8),
        learn_sigma=True,
    )
    net = size.place(net)
    side = size.pick(64, 8)
    latents, time = size.normal(2, 4, side, side), size.full(10, 2)
    text = size.normal(2, size.pick(77, 8), size.pick(1024, 32))
    text_t5 = size.normal(2, size.pick(256, 8), size.pick(2048, 32))
    masks = size.tokens(1, 2, size.pick(77, 8)) + 1, size.tokens(1, 2, size.pick(256, 8)) + 1
    meta, style = size.full(512, 2, 6), size.tokens(1, 2)
    angles = torch.rand((side // 2) ** 2, head, device=size.device)
    rotary = (angles.cos(), angles.sin())

    def run() -> Any:
        return net(
            latents, time, text, masks[0], text_t5, masks[1], meta, style, rotary, return_dict=False
        )

    pooler = AttentionRule(r"^HunyuanDiTAttentionPool$", "sequence", kind="self")
    return Built(run, {"transformer": net}, (SPATIAL, pooler))


@model("sana", "default cudagraph compile")
def sana(size: Size) -> Built:
    """Sana: linear attention over pixels, softmax attention to text, convolutions in the MLP."""
    from diffusers import SanaTransformer2DModel

    heads, head = size.pick(70, 2), size.pick(32, 8)
    net = SanaTransformer2DModel(
        num_layers=size.pick(4, 2),
        num_attention_heads=heads,
        attention_head_dim=head,
        num_cross_attention_heads=size.pick(20, 2),
        cross_attention_head_dim=size.pick(112, 8),
        cross_attention_dim=heads * head,
        caption_channels=size.pick(2304, 32),
        sample_size=size.pick(32, 8),
    )
    net = size.place(net)
    side = size.pick(32, 8)
    latents, time = size.normal(2, 32, side, side), size.full(10, 2)
    text = size.normal(2, size.pick(120, 8), size.pick(2304, 32))

    def run() -> Any:
        return net(latents, text, time, return_dict=False)

    return Built(run, {"transformer": net}, (SPATIAL,))


@model("auraflow", "default math")
def auraflow(size: Size) -> Built:
    """AuraFlow: joint attention in blocks of two streams, then of one, heads of 256."""
    from diffusers import AuraFlowTransformer2DModel

    net = AuraFlowTransformer2DModel(
        num_mmdit_layers=2,
        num_single_dit_layers=2,
        num_attention_heads=size.pick(12, 2),
        attention_head_dim=size.pick(256, 16),
        joint_attention_dim=size.pick(2048, 32),
        caption_projection_dim=size.pick(3072, 32),
        sample_size=size.pick(32, 8),
        pos_embed_max_size=size.pick(1024, 64),
    )
    net = size.place(net)
    side = size.pick(48, 8)
    latents, time = size.normal(1, 4, side, side), size.full(0.5, 1)
    text = size.normal(1, size.pick(256, 8), size.pick(2048, 32))

    def run() -> Any:
        return net(latents, text, time, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT,))


@model("lumina-2", "default math")
def lumina_2(size: Size) -> Built:
    """Lumina-Image 2.0: grouped keys, refiners of text and image, then both in one sequence."""
    from diffusers import Lumina2Transformer2DModel

    net = Lumina2Transformer2DModel(
        num_layers=2,
        num_refiner_layers=1,
        hidden_size=size.pick(2304, 32),
        num_attention_heads=size.pick(24, 4),
        num_kv_heads=size.pick(8, 2),
        axes_dim_rope=size.pick((32, 32, 32), (4, 2, 2)),
        axes_lens=size.pick((300, 512, 512), (32, 32, 32)),
        cap_feat_dim=size.pick(2304, 32),
        sample_size=size.pick(64, 8),
    )
    net = size.place(net)
    side, length = size.pick(64, 8), size.pick(128, 8)
    latents, time = size.normal(1, 16, side, side), size.full(0.5, 1)
    text = size.normal(1, length, size.pick(2304, 32))
    mask = size.tokens(1, 1, length).bool().logical_not()

    def run() -> Any:
        return net(latents, time, text, mask, return_dict=False)

    refiners = (
        AttentionRule(r"^Attention$", "sequence", path=r"context_refiner", kind="self"),
        AttentionRule(r"^Attention$", "spatial", path=r"noise_refiner", kind="self"),
    )
    return Built(run, {"transformer": net}, (*refiners, JOINT))


@model("qwen-image", "default compile")
def qwen_image(size: Size) -> Built:
    """Qwen-Image: joint attention with complex rotary embedding."""
    from diffusers import QwenImageTransformer2DModel

    net = QwenImageTransformer2DModel(
        num_layers=3,
        num_attention_heads=size.pick(24, 2),
        attention_head_dim=size.pick(128, 16),
        joint_attention_dim=size.pick(3584, 32),
        in_channels=size.pick(64, 16),
        axes_dims_rope=size.pick((16, 56, 56), (4, 6, 6)),
    )
    net = size.place(net)
    side, length = size.pick(32, 4), size.pick(128, 8)
    image = size.normal(1, side * side, size.pick(64, 16))
    text = size.normal(1, length, size.pick(3584, 32))
    mask = size.tokens(1, 1, length) + 1
    time = size.full(0.5, 1)

    def run() -> Any:
        return net(
            image,
            text,
            mask,
            time,
            img_shapes=[[(1, side, side)]],
            return_dict=False,
        )

    return Built(run, {"transformer": net}, (JOINT,))


@model("amused-uvit", "default written")
def amused(size: Size) -> Built:
    """aMUSEd: masked image tokens; convolutions and attention around a transformer of tokens."""
    from diffusers import UVit2DModel

    net = UVit2DModel(
        hidden_size=size.pick(1024, 32),
        num_hidden_layers=2,
        num_attention_heads=size.pick(16, 2),
        block_num_heads=size.pick(12, 2),
        block_out_channels=size.pick(768, 32),
        in_channels=size.pick(768, 32),
        num_res_blocks=1,
        cond_embed_dim=size.pick(768, 32),
        encoder_hidden_size=size.pick(768, 32),
        micro_cond_encode_dim=size.pick(256, 8),
        micro_cond_embed_dim=size.pick(1280, 40),
        intermediate_size=size.pick(2816, 64),
        vocab_size=size.pick(8256, 80),
        codebook_size=size.pick(8192, 64),
        sample_size=size.pick(32, 8),
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(32, 8)
    ids = size.tokens(size.pick(8192, 64), 2, side, side)
    text, pooled = size.normal(2, 77, size.pick(768, 32)), size.normal(2, size.pick(768, 32))
    micro = size.full(512, 2, 5)

    def run() -> Any:
        return net(ids, text, pooled, micro)

    return Built(run, {"transformer": net}, (SPATIAL,))


@model("stable-audio", "default")
def stable_audio(size: Size) -> Built:
    """Stable Audio: a transformer of audio latents, grouped keys, partial rotary embedding."""
    from diffusers import StableAudioDiTModel
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    head = size.pick(64, 16)
    net = StableAudioDiTModel(
        sample_size=size.pick(1024, 16),
        num_layers=3,
        attention_head_dim=head,
        num_attention_heads=size.pick(24, 4),
        num_key_value_attention_heads=size.pick(12, 2),
        in_channels=size.pick(64, 8),
        out_channels=size.pick(64, 8),
        cross_attention_dim=size.pick(768, 32),
        cross_attention_input_dim=size.pick(768, 32),
        global_states_input_dim=size.pick(1536, 32),
        time_proj_dim=size.pick(256, 8),
    )
    net = size.place(net)
    length = size.pick(1024, 16)
    audio, time = size.normal(1, size.pick(64, 8), length), size.full(0.5, 1)
    text = size.normal(1, size.pick(130, 8), size.pick(768, 32))
    globally = size.normal(1, 1, size.pick(1536, 32))
    rotary = get_1d_rotary_pos_embed(
        head // 2, length + 1, use_real=True, repeat_interleave_real=False
    )
    rotary = tuple(one.to(size.device) for one in rotary)

    def run() -> Any:
        return net(audio, time, text, globally, rotary, return_dict=False)

    rule = AttentionRule(r"^Attention$", "sequence", inline=False)
    return Built(run, {"transformer": net}, (rule,))
