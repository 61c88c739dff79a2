"""Hold-out: models of diffusers that nobody looked at while classification was being built.

Sources: the configurations in diffusers, which name the papers: I2VGen-XL (arXiv 2311.04145),
Kandinsky 3 (2312.03511), Stable Cascade (2306.00637), CogView4, HiDream-I1 (2505.22705), OmniGen
(2409.11340), EasyAnimate (2405.18991), HunyuanVideo (2412.03603), Mochi, unCLIP (2204.06125).
"""

from __future__ import annotations

from typing import Any, Final

from corpus.models.diffusion_transformers import JOINT
from corpus.models.diffusion_unets import SPATIAL, write_out
from corpus.models.video_transformers import JOINT_VOLUME
from corpus.spec import AttentionRule, Built, Size, unseen

POOLED: Final = AttentionRule(r"^Attention$", "sequence", path=r"add_time_condition", kind="cross")
"""The mean of the text looks at the text."""


@unseen("i2vgen-xl-unet", "default written train")
def i2vgen(size: Size) -> Built:
    """I2VGen-XL: image to video; attention within frames and along them, in an encoder too."""
    from diffusers import I2VGenXLUNet

    levels = size.pick(4, 2)
    net = I2VGenXLUNet(
        sample_size=size.pick(32, 8),
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64)),
        down_block_types=("CrossAttnDownBlock3D",) * (levels - 1) + ("DownBlock3D",),
        up_block_types=("UpBlock3D",) + ("CrossAttnUpBlock3D",) * (levels - 1),
        layers_per_block=1,
        cross_attention_dim=size.pick(1024, 32),
        attention_head_dim=size.pick(64, 8),
    )
    write_out(net, size)
    net = size.place(net)
    side, frames = size.pick(32, 8), size.pick(16, 3)
    latents, time = size.normal(1, 4, frames, side, side), size.full(10, 1)
    image, fps = size.normal(1, 4, frames, side, side), size.full(16, 1)
    width = size.pick(1024, 32)
    seen, text = size.normal(1, width), size.normal(1, size.pick(77, 8), width)

    def run() -> Any:
        return net(latents, time, fps, image, seen, text, return_dict=False)

    along = AttentionRule(
        r"^Attention$", "temporal", path=r"temp_attentions|transformer_in|temporal_encoder"
    )
    return Built(run, {"unet": net}, (along, SPATIAL))


@unseen("kandinsky-3-unet", "default written")
def kandinsky_3(size: Size) -> Built:
    """Kandinsky 3: bottleneck blocks, normalizations modulated by time, attention pools text."""
    from diffusers import Kandinsky3UNet

    width = size.pick(4096, 32)
    net = Kandinsky3UNet(
        time_embedding_dim=size.pick(1536, 32),
        groups=size.pick(32, 4),
        attention_head_dim=size.pick(64, 8),
        layers_per_block=2,
        block_out_channels=size.pick((384, 768, 1536, 3072), (16, 16, 32, 32)),
        cross_attention_dim=width,
        encoder_hid_dim=width,
    )
    write_out(net, size)
    net = size.place(net)
    side, length = size.pick(64, 16), size.pick(77, 8)
    latents, time = size.normal(2, 4, side, side), size.full(10, 2)
    text, mask = size.normal(2, length, width), size.tokens(1, 2, length) + 1

    def run() -> Any:
        return net(latents, time, text, mask, return_dict=False)

    return Built(run, {"unet": net}, (POOLED, SPATIAL))


@unseen("stable-cascade-unet", "default written train")
def stable_cascade(size: Size) -> Built:
    """Stable Cascade's prior: depthwise convolutions, response normalization, keys with text."""
    from diffusers import StableCascadeUNet

    width, blocks = size.pick(2048, 32), size.pick((2, 3), (1, 1))
    net = StableCascadeUNet(
        conditioning_dim=width,
        block_out_channels=(width, width),
        num_attention_heads=size.pick((32, 32), (2, 2)),
        down_num_layers_per_block=blocks,
        up_num_layers_per_block=blocks[::-1],
        clip_text_in_channels=size.pick(1280, 32),
        clip_text_pooled_in_channels=size.pick(1280, 32),
        clip_image_in_channels=size.pick(768, 16),
        switch_level=(False,),
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(24, 8)
    latents, ratio = size.normal(2, 16, side, side), size.full(0.5, 2)
    pooled, text = size.normal(2, 1, size.pick(1280, 32)), size.normal(2, 77, size.pick(1280, 32))
    image = size.normal(2, 1, size.pick(768, 16))

    def run() -> Any:
        return net(latents, ratio, pooled, text, image, return_dict=False)

    mixed = AttentionRule(r"^Attention$", "spatial", kind="joint")  # pixels and text as keys
    return Built(run, {"prior": net}, (mixed,))


@unseen("cogview4", "default math")
def cogview4(size: Size) -> Built:
    """CogView4: one set of projections for text and pixels, rotary embedding of pixels alone."""
    from diffusers import CogView4Transformer2DModel

    net = CogView4Transformer2DModel(
        num_layers=3,
        num_attention_heads=size.pick(32, 2),
        attention_head_dim=size.pick(128, 16),
        text_embed_dim=size.pick(4096, 32),
        time_embed_dim=size.pick(512, 32),
        condition_dim=size.pick(256, 8),
        sample_size=size.pick(64, 8),
    )
    net = size.place(net)
    side = size.pick(64, 8)
    latents, time = size.normal(1, 16, side, side), size.full(500, 1)
    text = size.normal(1, size.pick(256, 8), size.pick(4096, 32))
    whole, corner = size.full(512, 1, 2), size.full(0, 1, 2)

    def run() -> Any:
        return net(latents, text, time, whole, whole, corner, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT,))


@unseen("hidream", "default math")
def hidream(size: Size) -> Built:
    """HiDream-I1: two blocks of two streams, two of one, four experts of which two run."""
    from diffusers import HiDreamImageTransformer2DModel

    width, layers = size.pick(4096, 32), 2
    net = HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=layers,
        num_single_layers=layers,
        num_attention_heads=size.pick(20, 2),
        attention_head_dim=size.pick(128, 16),
        caption_channels=[width, width],
        text_emb_dim=size.pick(2048, 32),
        axes_dims_rope=size.pick((64, 32, 32), (8, 4, 4)),
        max_resolution=(128, 128),
        llama_layers=list(range(2 * layers)),
    )
    net = size.place(net)
    side, length = size.pick(64, 8), size.pick(128, 8)
    latents, time = size.normal(1, 16, side, side), size.full(500, 1)
    text = size.normal(1, length, width)
    hidden = size.normal(2 * layers, 1, length, width)
    pooled = size.normal(1, size.pick(2048, 32))

    def run() -> Any:
        return net(latents, time, text, hidden, pooled, return_dict=False)

    return Built(
        run,
        {"transformer": net},
        (AttentionRule(r"^HiDreamAttention$", "spatial", kind="joint"),),
        rotary=("diffusers.models.transformers.transformer_hidream_image:apply_rope",),
    )


@unseen("omnigen", "default math")
def omnigen(size: Size) -> Built:
    """OmniGen: a language model over text, time and pixels, with a mask over all of them."""
    import torch
    from diffusers import OmniGenTransformer2DModel

    heads, head = size.pick(32, 2), size.pick(96, 16)
    factors = [1.0] * (head // 2)
    vocabulary = size.pick(32064, 100)
    net = OmniGenTransformer2DModel(
        hidden_size=heads * head,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=size.pick(8192, 64),
        num_layers=3,
        pad_token_id=0,
        vocab_size=vocabulary,
        rope_scaling={"short_factor": factors, "long_factor": factors},
        pos_embed_max_size=size.pick(192, 16),
        time_step_dim=size.pick(256, 16),
    )
    net = size.place(net)
    side, length = size.pick(64, 8), size.pick(128, 8)
    latents, time = size.normal(2, 4, side, side), size.full(0.5, 2)
    ids, count = size.tokens(vocabulary, 2, length), length + 1 + (side // 2) ** 2
    mask = torch.ones(2, count, count, dtype=torch.long, device=size.device)
    mask[:, :length] = mask[:, :length].tril()
    places = torch.arange(count, device=size.device).expand(2, count)

    def run() -> Any:
        return net(latents, time, ids, [], {}, mask, places, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT,))


@unseen("easyanimate", "default math")
def easyanimate(size: Size) -> Built:
    """EasyAnimate: text and all positions of all frames in one sequence, projected apart."""
    from diffusers import EasyAnimateTransformer3DModel

    net = EasyAnimateTransformer3DModel(
        num_layers=3,
        mmdit_layers=2,
        num_attention_heads=size.pick(48, 2),
        attention_head_dim=size.pick(64, 16),
        in_channels=16,
        out_channels=16,
        patch_size=2,
        time_embed_dim=size.pick(512, 32),
        add_norm_text_encoder=True,
        text_embed_dim=size.pick(3584, 32),
    )
    net = size.place(net)
    frames, height, width = size.pick((5, 24, 40), (2, 4, 4))
    latents, time = size.normal(1, 16, frames, height, width), size.full(500, 1)
    text = size.normal(1, size.pick(256, 8), size.pick(3584, 32))

    def run() -> Any:
        return net(latents, time, None, text, return_dict=False)

    return Built(run, {"transformer": net}, (JOINT_VOLUME,))


@unseen("vae-hunyuan-video", "default train")
def vae_hunyuan_video(size: Size) -> Built:
    """HunyuanVideo's encoder and decoder: attention over the clip that looks at no later frame."""
    from diffusers import AutoencoderKLHunyuanVideo

    net = AutoencoderKLHunyuanVideo(
        block_out_channels=size.pick((128, 256, 512, 512), (8, 8, 16, 16)),
        layers_per_block=1,
        norm_num_groups=size.pick(32, 4),
    )
    net = size.place(net)
    side, frames = size.pick(128, 16), size.pick(9, 5)
    video = size.normal(1, 3, frames, side, side)

    def run() -> Any:
        return net(video, return_dict=False)

    rule = AttentionRule(r"^Attention$", "spatio-temporal", kind="self")
    return Built(run, {"vae": net}, (rule,))


@unseen("vae-mochi-encoder", "default train")
def vae_mochi(size: Size) -> Built:
    """Mochi's encoder: causal 3-D convolutions, causal attention along the frames of a pixel."""
    from diffusers import AutoencoderKLMochi

    net = AutoencoderKLMochi(
        encoder_block_out_channels=size.pick((64, 128, 256, 384), (32, 32, 32, 32)),
        decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    net = size.place(net.encoder)
    side, frames = size.pick(128, 16), size.pick(19, 7)
    video = size.normal(1, 3, frames, side, side)

    def run() -> Any:
        return net(video)[0]

    along = AttentionRule(r"^Attention$", "temporal", kind="self")
    # A normalization frame by frame, in chunks, and nothing else.
    return Built(run, {"encoder": net}, (along,), extra={"MochiChunkedGroupNorm3D": "norm"})


@unseen("prior-transformer", "default written train")
def prior_transformer(size: Size) -> Built:
    """Prior of unCLIP: causal attention over text, its embedding, time and the image's."""
    from diffusers import PriorTransformer

    width, length = size.pick(768, 32), size.pick(77, 8)
    net = PriorTransformer(
        num_layers=3,
        num_attention_heads=size.pick(32, 2),
        attention_head_dim=size.pick(64, 16),
        embedding_dim=width,
        num_embeddings=length,
    )
    write_out(net, size)
    net = size.place(net)
    image, time, pooled = size.normal(4, width), size.tokens(1000, 4), size.normal(4, width)
    text, mask = size.normal(4, length, width), size.tokens(1, 4, length) == 0

    def run() -> Any:
        return net(image, time, pooled, text, mask, return_dict=False)

    return Built(run, {"prior": net}, (AttentionRule(r"^Attention$", "sequence"),))
