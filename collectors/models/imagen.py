"""Imagen: text to image at 1,024 pixels, by a cascade of three diffusion models in pixels.

Saharia et al., *Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding*
(arXiv 2205.11487): T5-XXL reads the text, a base makes an image of 64 pixels, one super-resolution
makes 256 of it and a second 1,024. No weights were released. DeepFloyd IF (deep-floyd/IF on GitHub)
is the same cascade, released, but for its third stage; so the first two are IF's UNets, as
diffusers has them, and the third is after the paper. The paper's first two have 2 B and 600 M
(section 4.1): the base is larger than that in the preset `if-xl`, and smaller in the others.

* Text encoder: T5-XXL, as `_text` says; 4.76 B parameters.
* Base: IF-I's UNet, `unet/config.json` of DeepFloyd/IF-I-XL-v1.0: channels 704, 1408, 2112, 2816,
  three layers a block, heads of 64, attention at 32, 16 and 8 pixels; 4.30 B, published as 4.3.
  IF-I-L and IF-I-M have channels of 320 to 1280 and 192 to 768, *assumed*: they give 0.935 B,
  published as 0.9, and 0.372 B, published as 0.4 in one digit, which is 7% more; so the preset has
  the count itself.
* Super-resolution to 256: IF-II's UNet. Attention at 32 and 16 pixels, the noise level of the
  condition as a class, scaled skip connections. *Assumed* are its channels (160, 320, 640, 960 and
  1280 in L, 128, 256, 384, 512 and 768 in M), layers (2, 2, 3, 5 and 5), at which levels it attends
  and that it does to the image too. They were chosen to fit the published 1.2 B and 0.45 B, of which
  1.19 B and 0.449 B is thus no confirmation. M goes with the preset `if-m`, L with the others.
* Super-resolution to 1,024: the paper's Efficient U-Net (`_efficient_unet`), 128 channels times 1,
  2, 4 and 8, with 2, 4, 8 and 8 residual blocks, that attends to the text at its lowest resolution,
  8 heads of 64; all of it *assumed*. It has 0.416 B, where section 4.1 says 400 M, which what is
  left open was chosen to fit.
* Sampling: 100 steps and a guidance scale of 7 in the base, 50 and 4 in a super-resolution, the
  defaults of diffusers' IFPipeline and IFSuperResolutionPipeline; those of the third stage are
  *assumed* to be the second's. 77 tokens of text, as these pipelines pad to; the condition is
  enlarged and noised to level 250 of 1,000, as there. The update is DDIM's, at the noise levels of
  Stable Diffusion, where theirs is DDPM's: it costs nearly the same. IF's UNets predict a variance
  as well, in channels that DDIM has no use for. Dynamic thresholding, a quantile of each step's
  image, is left out, and so are IF's safety checker and watermark.

Each UNet sees both prompts at once, the batch is doubled. IF adds the text's keys and values to
those of the image: its attention is joint. It also pools the text, by an attention of one query,
which runs as `--attention` says where diffusers always writes it out.

`size` is the side of the image that comes out, the stages before are 1/4 and 1/16 of it. `steps`
are those of the base; a super-resolution has half as many, at least 1. The folder of weights holds
`text_encoder`, `unet`, `super_resolution_256` and `super_resolution_1024`, each as
`save_pretrained` writes it: the first two are those of IF-I's folder, the third is IF-II's `unet`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
from diffusers import UNet2DConditionModel

from tracekit.collectors.models._cascade import (
    TEXT_ENCODER,
    Cascade,
    Enlarged,
    Stage,
    unet_denoiser,
    use_attention,
)
from tracekit.collectors.models._common import (
    check,
    check_size,
    describe,
    device_of,
    make_diffusers,
)
from tracekit.collectors.models._diffusion import Ddim, noise
from tracekit.collectors.models._efficient_unet import EfficientUNet
from tracekit.collectors.models._masked_tokens import encoded, prompts, text_encoder
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._text import T5_XXL_PARAMETERS
from tracekit.collectors.workload import ModelOptions, Workload

NAME: Final = "imagen"
DESCRIPTION: Final = "Imagen: text to image at 1024 px, a cascade of pixel diffusion (4.3B base)"
SIZE, TINY_SIZE = 1024, 128
STEPS, TINY_STEPS = 100, 4
TEXT_TOKENS, NOISE_LEVEL = 77, 250
SUPER_256, SUPER_1024 = "super_resolution_256", "super_resolution_1024"
GUIDANCE: Final = {"denoise": 7.0, SUPER_256: 4.0, SUPER_1024: 4.0}

UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 6,
    "down_block_types": ("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3),
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "up_block_types": (*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
    "layers_per_block": 3,
    "attention_head_dim": 64,
    "act_fn": "gelu",
    "encoder_hid_dim": 4096,
    "encoder_hid_dim_type": "text_proj",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 64,
    "cross_attention_norm": "group_norm",
    "resnet_time_scale_shift": "scale_shift",
    "norm_num_groups": 32,
}
SUPER_RESOLUTION_256: Final = UNET | {
    "sample_size": 256,
    "in_channels": 6,
    "down_block_types": (
        *["ResnetDownsampleBlock2D"] * 3,
        *["SimpleCrossAttnDownBlock2D"] * 2,
    ),
    "up_block_types": (*["SimpleCrossAttnUpBlock2D"] * 2, *["ResnetUpsampleBlock2D"] * 3),
    "layers_per_block": (2, 2, 3, 5, 5),
    "class_embed_type": "timestep",
    "time_embedding_act_fn": "gelu",
    "resnet_skip_time_act": True,
    "resnet_out_scale_factor": 2**0.5,
    "mid_block_scale_factor": 2**0.5,
    "only_cross_attention": False,
}
SUPER_RESOLUTION_1024: Final[dict[str, Any]] = {
    "in_channels": 6,
    "out_channels": 3,
    "block_out_channels": (128, 256, 512, 1024),
    "layers_per_block": (2, 4, 8, 8),
    "cross_attention": (False, False, False, True),
    "attention_heads": 8,
    "attention_head_dim": 64,
    "text_width": 4096,
    "norm_num_groups": 32,
}
_TINY: Final[dict[str, Any]] = {
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "encoder_hid_dim": 32,
    "addition_embed_type_num_heads": 4,
    "norm_num_groups": 8,
}
TINY_CHANNELS: Final = (16, 32, 32, 64)
TINY_CHANNELS_256: Final = (16, 16, 32, 32, 64)
TINY_1024: Final = {
    "block_out_channels": (8, 16, 16, 32),
    "layers_per_block": (1, 1, 2, 2),
    "attention_heads": 2,
    "attention_head_dim": 8,
    "text_width": 32,
    "norm_num_groups": 4,
}

_256_ASSUMED: Final = (
    "block_out_channels",
    "cross_attention_dim",
    "layers_per_block",
    "down_block_types",
    "up_block_types",
    "only_cross_attention",
)
ASSUMED: Final = (
    *(f"{SUPER_256}.{key}" for key in _256_ASSUMED),
    SUPER_1024,
    f"inputs.{SUPER_1024}_steps",
    f"inputs.{SUPER_1024}_guidance_scale",
    "inputs.sampler",
)
_CHANNELS_ASSUMED: Final = ("unet.block_out_channels", "unet.cross_attention_dim")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagenPreset(Preset):
    """A size of IF: the channels of its base and of its super-resolution."""

    channels: tuple[int, ...]
    channels_256: tuple[int, ...]


def _preset(
    name: str,
    channels: tuple[int, ...],
    channels_256: tuple[int, ...],
    published: tuple[float, float],
    assumed: tuple[str, ...],
) -> ImagenPreset:
    return ImagenPreset(
        about=f"{name}'s base at 64 px, in all 1024 px",
        published={
            "text_encoder": T5_XXL_PARAMETERS,
            "unet": published[0],
            SUPER_256: published[1],
            SUPER_1024: 0.4e9,
        },
        assumed=assumed,
        channels=channels,
        channels_256=channels_256,
    )


_LARGE_256: Final = (160, 320, 640, 960, 1280)
_MEDIUM_256: Final = (128, 256, 384, 512, 768)
_ALL_ASSUMED: Final = (*_CHANNELS_ASSUMED, *ASSUMED)
PRESETS: Final = {
    "if-xl": _preset("IF-I-XL", (704, 1408, 2112, 2816), _LARGE_256, (4.3e9, 1.2e9), ASSUMED),
    "if-l": _preset("IF-I-L", (320, 640, 960, 1280), _LARGE_256, (0.9e9, 1.2e9), _ALL_ASSUMED),
    "if-m": _preset("IF-I-M", (192, 384, 576, 768), _MEDIUM_256, (0.372e9, 0.45e9), _ALL_ASSUMED),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "unet": {("joint", "spatial"), ("cross", "sequence")},
    SUPER_256: {("joint", "spatial"), ("cross", "sequence")},
    SUPER_1024: {("cross", "spatial")},
}
"""Kinds and axes of the attention in each part; along the sequence one query pools the text."""
STAGES: Final = (TEXT_ENCODER, "denoise", SUPER_256, SUPER_1024)


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the text encoder, the base and both super-resolutions, on the device."""
    _, preset = choose(PRESETS, options, NAME)
    configs = {
        "unet": UNET | _of_channels(preset.channels),
        SUPER_256: SUPER_RESOLUTION_256 | _of_channels(preset.channels_256),
    }
    efficient = SUPER_RESOLUTION_1024
    if options.tiny:
        configs["unet"] |= _TINY | _of_channels(TINY_CHANNELS)
        configs[SUPER_256] |= _TINY | _of_channels(TINY_CHANNELS_256)
        efficient = efficient | TINY_1024
    written_out = options.attention == "eager"
    unets = {
        part: use_attention(
            make_diffusers(UNet2DConditionModel, config, options, part), written_out=written_out
        )
        for part, config in configs.items()
    }
    return {
        "text_encoder": text_encoder(options),
        **unets,
        SUPER_1024: make_diffusers(EfficientUNet, efficient, options, SUPER_1024),
    }


def _of_channels(channels: tuple[int, ...]) -> dict[str, Any]:
    return {"block_out_channels": channels, "cross_attention_dim": channels[-1]}


def build(options: ModelOptions) -> Workload:
    """Return one text-to-image inference; its result is (batch, 3, size, size), from -1 to 1."""
    check(options, NAME, ignores=("frames", "new_tokens"))
    size = options.size or (TINY_SIZE if options.tiny else SIZE)
    check_size(size, 128)
    base = options.steps or (TINY_STEPS if options.tiny else STEPS)
    steps = {"denoise": base, SUPER_256: max(1, base // 2), SUPER_1024: max(1, base // 2)}
    samplers = {stage: Ddim.of(count, options) for stage, count in steps.items()}
    models = parts(options)
    length = options.prompt_tokens or TEXT_TOKENS
    tokens = prompts(models["text_encoder"], replace(options, prompt_tokens=length))
    cascade = Cascade(
        encode=partial(encoded, models["text_encoder"], tokens),
        encoder_stages={TEXT_ENCODER: 1},
        stages=_stages(models, size, samplers, options),
    )
    preset, sizes = choose(PRESETS, options, NAME)
    inputs = {
        "preset": preset,
        "batch": options.batch,
        "size": size,
        "steps": base,
        "prompt_tokens": length,
        "guidance_scale": GUIDANCE["denoise"],
        "noise_level": NOISE_LEVEL,
        "sampler": "DDIM",
    }
    for stage in (SUPER_256, SUPER_1024):
        inputs |= {f"{stage}_steps": steps[stage], f"{stage}_guidance_scale": GUIDANCE[stage]}
    config = describe(models, inputs, options, assumed=sizes.assumed)
    targets = ("unet", SUPER_256, SUPER_1024)
    return cascade.workload(NAME, models, config, options.trace_steps, targets)


def _stages(
    models: dict[str, Any], size: int, samplers: dict[str, Ddim], options: ModelOptions
) -> tuple[Stage, ...]:
    """Return the base and the super-resolutions, each given the image before."""
    level = torch.full((2 * options.batch,), NOISE_LEVEL, device=device_of(options))
    stages = []
    for seed, (stage, sampler) in enumerate(samplers.items()):
        side = size // 16 * 4**seed
        shape = (options.batch, 3, side, side)
        first = seed == 0
        # Noise of its own for each: what is sampled must not be what the condition was noised by.
        own = [replace(options, seed=options.seed + add) for add in (2 * seed, 2 * seed + 1)]
        stages.append(
            Stage(
                name=stage,
                denoise=unet_denoiser(models["unet" if first else stage], None if first else level),
                noise=noise(shape, own[0]),
                sampler=sampler,
                guidance=GUIDANCE[stage],
                condition=None if first else Enlarged(noise(shape, own[1]), NOISE_LEVEL),
            )
        )
    return tuple(stages)
