"""UNets of diffusers, image and video, with the encoder and decoder around one of them.

Sources: Rombach et al. arXiv 2112.10752 (Stable Diffusion), Podell et al. arXiv 2307.01952 (SDXL),
the configurations in the docstrings of diffusers for the rest. Widths are those of the published
models, the number of blocks and the size of the sample are less.
"""

from __future__ import annotations

from typing import Any, Final

from corpus.spec import AttentionRule, Built, Size, model

SPATIAL: Final = AttentionRule(r"^Attention$", "spatial")
"""diffusers' `Attention` in 2-D blocks: queries are pixels, keys pixels or text."""
TEXT: Final = AttentionRule(r"^CLIP\w*Attention$|^T5Attention$", "sequence")


def write_out(net: Any, size: Size) -> None:
    """Let a model run attention as `baddbmm`, softmax, `bmm`, where that is asked for."""
    from diffusers.models.attention_processor import AttnAddedKVProcessor, AttnProcessor

    if not size.written:
        return
    for module in net.modules():
        if type(module).__name__ == "Attention":
            added = "AddedKV" in type(module.processor).__name__
            module.set_processor(AttnAddedKVProcessor() if added else AttnProcessor())


@model("stable-diffusion-1", "default math written train cudagraph autocast modules")
def stable_diffusion(size: Size) -> Built:
    """Text encoder, UNet (4 levels of 1 layer) and image decoder of Stable Diffusion 1."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    width = size.pick(768, 32)
    text = CLIPTextModel._from_config(
        CLIPTextConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=2,
            num_attention_heads=size.pick(12, 2),
            vocab_size=size.pick(49408, 1000),
        ),
        attn_implementation=size.implementation,
    )
    unet = UNet2DConditionModel(
        sample_size=size.pick(64, 8),
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64, 64, 64)),
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=8,
    )
    vae = AutoencoderKL(
        block_out_channels=size.pick((128, 256, 512, 512), (32, 32)),
        down_block_types=("DownEncoderBlock2D",) * size.pick(4, 2),
        up_block_types=("UpDecoderBlock2D",) * size.pick(4, 2),
        layers_per_block=1,
        latent_channels=4,
    )
    write_out(unet, size)
    write_out(vae, size)
    text, unet, vae = size.place(text), size.place(unet), size.place(vae)
    side = size.pick(64, 8)
    ids = size.tokens(size.pick(49408, 1000), 2, 77)
    latents = size.normal(2, 4, side, side)
    time = size.full(10, 2)

    def run() -> Any:
        states = text(ids).last_hidden_state
        noise = unet(latents, time, states).sample
        return vae.decode(noise[:1]).sample

    modules = {"text_encoder": text, "unet": unet, "vae": vae}
    return Built(run, modules, (TEXT, SPATIAL))


@model("sdxl-unet", "default math cudnn efficient train-checkpoint cudagraph compile")
def sdxl(size: Size) -> Built:
    """UNet of Stable Diffusion XL, 3 levels, 1 and 2 transformer layers a block."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=size.pick(64, 8),
        block_out_channels=size.pick((320, 640, 1280), (32, 64, 64)),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=size.pick((5, 10, 20), (2, 2, 2)),
        cross_attention_dim=size.pick(2048, 32),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=size.pick(256, 8),
        projection_class_embeddings_input_dim=size.pick(2816, 80),
    )
    write_out(unet, size)
    unet = size.place(unet)
    side = size.pick(96, 8)
    latents = size.normal(2, 4, side, side)
    text = size.normal(2, 77, size.pick(2048, 32))
    added = {
        "text_embeds": size.normal(2, size.pick(1280, 32)),
        "time_ids": size.full(512, 2, 6),
    }
    time = size.full(10, 2)

    def run() -> Any:
        return unet(latents, time, text, added_cond_kwargs=added).sample

    return Built(run, {"unet": unet}, (SPATIAL,))


@model("deepfloyd-if-unet", "default written")
def deepfloyd(size: Size) -> Built:
    """Pixel-space UNet of IF: text keys added to those of the image in every attention."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=size.pick(64, 16),
        in_channels=3,
        out_channels=6,
        block_out_channels=size.pick((320, 640, 960), (32, 64, 64)),
        down_block_types=(
            "ResnetDownsampleBlock2D",
            "SimpleCrossAttnDownBlock2D",
            "SimpleCrossAttnDownBlock2D",
        ),
        up_block_types=(
            "SimpleCrossAttnUpBlock2D",
            "SimpleCrossAttnUpBlock2D",
            "ResnetUpsampleBlock2D",
        ),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        layers_per_block=1,
        attention_head_dim=size.pick(64, 16),
        cross_attention_dim=size.pick(768, 32),
        encoder_hid_dim=size.pick(4096, 32),
        encoder_hid_dim_type="text_proj",
        addition_embed_type="text",
        addition_embed_type_num_heads=size.pick(64, 2),
        act_fn="gelu",
        resnet_time_scale_shift="scale_shift",
    )
    write_out(unet, size)
    unet = size.place(unet)
    side = size.pick(64, 16)
    image, time = size.normal(2, 3, side, side), size.full(10, 2)
    text = size.normal(2, 77, size.pick(4096, 32))

    def run() -> Any:
        return unet(image, time, text).sample

    pooling = AttentionRule(r"^AttentionPooling$", "sequence", kind="self")
    return Built(run, {"unet": unet}, (SPATIAL, pooling))


@model("controlnet", "default cudagraph")
def controlnet(size: Size) -> Built:
    """ControlNet of Stable Diffusion 1."""
    from diffusers import ControlNetModel

    net = ControlNetModel(
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64, 64, 64)),
        layers_per_block=1,
        cross_attention_dim=size.pick(768, 32),
        attention_head_dim=8,
        conditioning_embedding_out_channels=size.pick((16, 32, 96, 256), (16, 32)),
    )
    net = size.place(net)
    side = size.pick(64, 16)
    factor = size.pick(8, 2)
    latents, time = size.normal(2, 4, side, side), size.full(10, 2)
    text = size.normal(2, 77, size.pick(768, 32))
    image = size.normal(2, 3, factor * side, factor * side)

    def run() -> Any:
        return net(latents, time, text, controlnet_cond=image, return_dict=False)

    return Built(run, {"controlnet": net}, (SPATIAL,))


@model("zeroscope-unet3d", "default math written train cudagraph compile modules")
def zeroscope(size: Size) -> Built:
    """Text-to-video UNet: 2-D blocks, with convolutions and attention along frames between."""
    from diffusers import UNet3DConditionModel

    unet = UNet3DConditionModel(
        sample_size=size.pick(32, 8),
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64, 64, 64)),
        layers_per_block=1,
        cross_attention_dim=size.pick(1024, 32),
        attention_head_dim=size.pick(64, 8),
    )
    write_out(unet, size)
    unet = size.place(unet)
    side, frames = size.pick(32, 8), size.pick(16, 3)
    latents, time = size.normal(1, 4, frames, side, side), size.full(10, 1)
    text = size.normal(1, 77, size.pick(1024, 32))

    def run() -> Any:
        return unet(latents, time, text).sample

    along = AttentionRule(r"^Attention$", "temporal", path=r"temp_attentions|transformer_in")
    return Built(run, {"unet": unet}, (along, SPATIAL))


@model("stable-video-diffusion", "default written train cudagraph")
def stable_video(size: Size) -> Built:
    """UNet of Stable Video Diffusion: each transformer has a spatial and a temporal block."""
    from diffusers import UNetSpatioTemporalConditionModel

    unet = UNetSpatioTemporalConditionModel(
        sample_size=size.pick(32, 8),
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64, 64, 64)),
        num_attention_heads=size.pick((5, 10, 20, 20), (2, 2, 2, 2)),
        layers_per_block=1,
        cross_attention_dim=size.pick(1024, 32),
        addition_time_embed_dim=size.pick(256, 8),
        projection_class_embeddings_input_dim=size.pick(768, 24),
    )
    write_out(unet, size)
    unet = size.place(unet)
    side, frames = size.pick(32, 8), size.pick(14, 3)
    latents, time = size.normal(1, frames, 8, side, side), size.full(10, 1)
    image, ids = size.normal(1, 1, size.pick(1024, 32)), size.full(6, 1, 3)

    def run() -> Any:
        return unet(latents, time, image, added_time_ids=ids).sample

    along = AttentionRule(r"^Attention$", "temporal", path=r"temporal_transformer_blocks")
    return Built(run, {"unet": unet}, (along, SPATIAL))


@model("animatediff-unet", "default written efficient")
def animatediff(size: Size) -> Built:
    """UNet of AnimateDiff: Stable Diffusion 1 with motion modules along frames."""
    from diffusers import UNetMotionModel

    unet = UNetMotionModel(
        sample_size=size.pick(32, 8),
        block_out_channels=size.pick((320, 640, 1280, 1280), (32, 64, 64, 64)),
        down_block_types=("CrossAttnDownBlockMotion",) * 3 + ("DownBlockMotion",),
        up_block_types=("UpBlockMotion",) + ("CrossAttnUpBlockMotion",) * 3,
        layers_per_block=1,
        cross_attention_dim=size.pick(768, 32),
        num_attention_heads=8,
        motion_num_attention_heads=8,
        motion_max_seq_length=32,
    )
    write_out(unet, size)
    unet = size.place(unet)
    side, frames = size.pick(32, 8), size.pick(16, 3)
    latents, time = size.normal(1, 4, frames, side, side), size.full(10, 1)
    text = size.normal(frames, 77, size.pick(768, 32))

    def run() -> Any:
        return unet(latents, time, text).sample

    along = AttentionRule(r"^Attention$", "temporal", path=r"motion_modules")
    return Built(run, {"unet": unet}, (along, SPATIAL))


@model("kandinsky-2-2-unet", "default written")
def kandinsky(size: Size) -> Built:
    """UNet of Kandinsky 2.2: image embeddings as added keys."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        sample_size=size.pick(64, 16),
        in_channels=4,
        out_channels=8,
        block_out_channels=size.pick((384, 768, 1152, 1536), (32, 64)),
        down_block_types=size.pick(
            ("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * 3,
            ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        ),
        up_block_types=size.pick(
            ("SimpleCrossAttnUpBlock2D",) * 3 + ("ResnetUpsampleBlock2D",),
            ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        ),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        layers_per_block=1,
        attention_head_dim=size.pick(64, 16),
        cross_attention_dim=size.pick(768, 32),
        encoder_hid_dim=size.pick(1280, 32),
        encoder_hid_dim_type="image_proj",
        addition_embed_type="image",
        resnet_time_scale_shift="scale_shift",
    )
    write_out(unet, size)
    unet = size.place(unet)
    side = size.pick(64, 16)
    latents, time = size.normal(2, 4, side, side), size.full(10, 2)
    added = {"image_embeds": size.normal(2, size.pick(1280, 32))}

    def run() -> Any:
        return unet(latents, time, None, added_cond_kwargs=added).sample

    return Built(run, {"unet": unet}, (SPATIAL,))
