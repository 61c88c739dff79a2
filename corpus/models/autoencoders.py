"""Image and video decoders of diffusers, and what encodes for them.

Sources: the configurations in diffusers; DC-AE is arXiv 2410.10733.
"""

from __future__ import annotations

from typing import Any

from corpus.models.diffusion_unets import SPATIAL, write_out
from corpus.spec import AttentionRule, Built, Size, model


@model("vae-flux", "default written cudagraph compile train")
def vae(size: Size) -> Built:
    """FLUX's encoder and decoder: convolutions, and one attention over all pixels."""
    from diffusers import AutoencoderKL

    levels = size.pick(4, 2)
    net = AutoencoderKL(
        block_out_channels=size.pick((128, 256, 512, 512), (32, 32)),
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        latent_channels=16,
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(256, 16)
    image = size.normal(1, 3, side, side)

    def run() -> Any:
        return net(image).sample

    return Built(run, {"vae": net}, (SPATIAL,))


@model("vq-decoder", "default")
def vq_decoder(size: Size) -> Built:
    """MoVQ of Kandinsky: a decoder whose normalizations are modulated by the latents."""
    from diffusers import VQModel

    net = VQModel(
        block_out_channels=size.pick((128, 256, 256, 512), (32, 32)),
        down_block_types=("DownEncoderBlock2D",) * size.pick(3, 1) + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * size.pick(3, 1),
        layers_per_block=1,
        latent_channels=4,
        num_vq_embeddings=size.pick(16384, 64),
        norm_type="spatial",
        vq_embed_dim=4,
    )
    net = size.place(net)
    side = size.pick(32, 8)
    latents = size.normal(1, 4, side, side)

    def run() -> Any:
        return net.decode(latents).sample

    return Built(run, {"movq": net}, (SPATIAL,))


@model("vae-temporal-decoder", "default")
def temporal_decoder(size: Size) -> Built:
    """Stable Video Diffusion's decoder: convolutions along frames, attention within one."""
    from diffusers import AutoencoderKLTemporalDecoder

    net = AutoencoderKLTemporalDecoder(
        block_out_channels=size.pick((128, 256, 512, 512), (32, 32)),
        down_block_types=("DownEncoderBlock2D",) * size.pick(4, 2),
        layers_per_block=1,
        latent_channels=4,
        force_upcast=False,
    )
    net = size.place(net)
    side, frames = size.pick(32, 8), size.pick(4, 2)
    latents = size.normal(frames, 4, side, side)

    def run() -> Any:
        return net.decode(latents, num_frames=frames).sample

    return Built(run, {"vae": net}, (SPATIAL,))


@model("vae-wan", "default")
def vae_wan(size: Size) -> Built:
    """Video decoder of Wan: causal 3-D convolutions frame by frame with cached features."""
    from diffusers import AutoencoderKLWan

    net = AutoencoderKLWan(
        base_dim=size.pick(96, 8),
        dim_mult=size.pick([1, 2, 4, 4], [1, 2]),
        num_res_blocks=1,
        temperal_downsample=size.pick([False, True, True], [True]),
        latents_mean=[0.0] * 16,
        latents_std=[1.0] * 16,
    )
    net = size.place(net)
    side, frames = size.pick(24, 4), 2
    latents = size.normal(1, 16, frames, side, side)

    def run() -> Any:
        return net.decode(latents).sample

    return Built(run, {"vae": net}, (AttentionRule(r"WanAttentionBlock$", "spatial", kind="self"),))


@model("vae-cogvideox", "default")
def vae_cogvideox(size: Size) -> Built:
    """Video decoder of CogVideoX: causal 3-D convolutions, modulated normalizations."""
    from diffusers import AutoencoderKLCogVideoX

    levels = size.pick(4, 2)
    net = AutoencoderKLCogVideoX(
        block_out_channels=size.pick((128, 256, 256, 512), (32, 32)),
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        layers_per_block=1,
        temporal_compression_ratio=size.pick(4, 2),
    )
    net = size.place(net)
    side, frames = size.pick(20, 4), 3
    latents = size.normal(1, 16, frames, side, side)

    def run() -> Any:
        return net.decode(latents).sample

    return Built(run, {"vae": net})


@model("vae-dc", "default cudagraph")
def vae_dc(size: Size) -> Built:
    """DC-AE of Sana: deep compression with linear attention at several scales."""
    from diffusers import AutoencoderDC

    blocks = size.pick(
        ("ResBlock",) * 3 + ("EfficientViTBlock",) * 3, ("ResBlock", "EfficientViTBlock")
    )
    levels = len(blocks)
    scales = tuple(() if kind == "ResBlock" else (5,) for kind in blocks)
    widths = size.pick((128, 256, 512, 512, 1024, 1024), (32, 32))
    net = AutoencoderDC(
        attention_head_dim=size.pick(32, 8),
        encoder_block_types=blocks,
        decoder_block_types=blocks,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        encoder_layers_per_block=(1,) * levels,
        decoder_layers_per_block=(1,) * levels,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
    )
    net = size.place(net)
    side = size.pick(16, 4)
    latents = size.normal(1, 32, side, side)

    def run() -> Any:
        return net.decode(latents).sample

    rule = AttentionRule(r"^SanaMultiscaleLinearAttention$", "spatial", kind="self", inline=False)
    cores = tuple(
        f"diffusers.models.attention_processor:SanaMultiscaleLinearAttention.apply_{kind}_attention"
        for kind in ("linear", "quadratic")
    )
    return Built(run, {"vae": net}, (rule,), cores=cores)
