"""Stable Diffusion 1.5: text to image, by diffusion in a latent space.

Architecture: Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*
(arXiv 2112.10752): a UNet with cross-attention to the text, on latents of 1/8 of the side.

Dimensions, all from the configurations published with the weights
(runwayml/stable-diffusion-v1-5, now stable-diffusion-v1-5/stable-diffusion-v1-5):

* text encoder: `text_encoder/config.json`, that of openai/clip-vit-large-patch14
  (Radford et al., arXiv 2103.00020): 12 layers of width 768, 12 heads, 77 tokens; 123.1 M.
* UNet: `unet/config.json`: channels 320, 640, 1280, 1280, two layers a block, 8 heads at each
  level, text of width 768; 859.5 M parameters.
* VAE: `vae/config.json`: channels 128, 256, 512, 512, two layers a block, 4 latent channels;
  83.7 M parameters, of which only the decoder works here.
* sampling: 50 steps and a guidance scale of 7.5, the model card's evaluation settings and the
  defaults of diffusers' StableDiffusionPipeline; the schedule of `scheduler_config.json`, with
  DDIM's update where the published default is PNDM, which costs the same.

Nothing is assumed. The safety checker is left out.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from diffusers import AutoencoderKL, UNet2DConditionModel

from tracekit.collectors.models._common import check, check_size, describe, make_diffusers
from tracekit.collectors.models._diffusion import (
    Ddim,
    GuidedDiffusion,
    clip_text_encoder,
    decode_latents,
    noise,
    prompts,
)
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._stable_diffusion import (
    CLIP_L,
    IMAGE_VAE,
    TINY_CLIP,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.workload import ModelOptions, Workload

NAME: Final = "stable-diffusion"
DESCRIPTION: Final = "Stable Diffusion 1.5: text to image, latent diffusion (1.07 B parameters)"
SIZE, STEPS, GUIDANCE = 512, 50, 7.5
TINY_SIZE, TINY_STEPS = 64, 3

UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
    "norm_num_groups": 32,
    "act_fn": "silu",
}
TINY_UNET: Final = UNET | {
    "sample_size": 8,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}
PRESETS: Final = {
    "1.5": Preset(
        about="SD 1.5 at 512 px",
        published={"text_encoder": 123.06e6, "unet": 859.5e6, "vae": 83.65e6},
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "unet": {("self", "spatial"), ("cross", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the text encoder, the UNet and the VAE, on the device."""
    choose(PRESETS, options, NAME)
    clip, unet, vae = CLIP_L, UNET, IMAGE_VAE
    if options.tiny:
        clip, unet, vae = clip | TINY_CLIP, TINY_UNET, vae | TINY_IMAGE_VAE
    return {
        "text_encoder": clip_text_encoder(clip, options),
        "unet": make_diffusers(UNet2DConditionModel, unet, options, "unet"),
        "vae": make_diffusers(AutoencoderKL, vae, options, "vae"),
    }


def build(options: ModelOptions) -> Workload:
    """Return one text-to-image inference; its result is (batch, 3, size, size), from 0 to 1."""
    check(options, NAME, ignores=("frames", "new_tokens"))
    size = options.size or (TINY_SIZE if options.tiny else SIZE)
    check_size(size)
    steps = options.steps or (TINY_STEPS if options.tiny else STEPS)
    sampler = Ddim.of(steps, options)
    models = parts(options)
    tokens = prompts(models["text_encoder"], options)
    channels = models["unet"].config.in_channels
    diffusion = GuidedDiffusion(
        text_encoder=models["text_encoder"],
        unet=models["unet"],
        decode=partial(decode_latents, models["vae"]),
        tokens=tokens,
        noise=noise((options.batch, channels, size // 8, size // 8), options),
        sampler=sampler,
        guidance=GUIDANCE,
    )
    preset, _ = choose(PRESETS, options, NAME)
    inputs = {
        "preset": preset,
        "batch": options.batch,
        "size": size,
        "steps": steps,
        "prompt_tokens": tokens.shape[1],
        "guidance_scale": GUIDANCE,
        "sampler": "DDIM",
    }
    config = describe(models, inputs, options, assumed=())
    return diffusion.workload(NAME, models, config, options.trace_steps)
