"""Make-A-Video, its base: text to 16 frames of 64 by 64 pixels, by diffusion.

Singer et al., *Make-A-Video: Text-to-Video Generation without Text-Video Data*
(arXiv 2209.14792). What the paper says and is so here:

* the spatio-temporal decoder samples 16 RGB frames of 64 by 64 pixels, in pixel space (section 3,
  figure 2), conditioned on CLIP;
* each spatial convolution is followed by one over time, each spatial attention by one over time,
  in a UNet (section 3.2, figure 3).

Neither weights nor widths were released. The nearest released architecture of that kind is
diffusers' `UNet3DConditionModel` (Wang et al., *ModelScope Text-to-Video*, arXiv 2308.06571);
what the paper leaves open is from its published configuration, `unet/config.json` and
`text_encoder/config.json` of ali-vilab/text-to-video-ms-1.7b, and so *assumed* here:

* UNet: channels 320, 640, 1280, 1280, two layers a block, heads of 64, attention at 64, 32 and 16
  pixels and in the middle, four temporal convolutions after each residual block instead of one
  after each convolution; only its first and last channels are the paper's 3 in place of 4;
* text encoder: OpenCLIP ViT-H/14's, 23 layers of width 1024, 16 heads. The paper conditions on a
  CLIP image embedding that a prior makes of the text; here the UNet sees the text itself;
* sampling: 50 steps, a guidance scale of 9 and 1,000 noise levels, from diffusers'
  TextToVideoSDPipeline and its scheduler. The frame rate, a condition of the paper's decoder, is
  none here;
* size: the paper's decoder continues a text-to-image decoder of the kind of Ramesh et al. (arXiv
  2204.06125). That this one is larger than the UNet here could not be checked; if so, times here
  are a lower bound. Shares and the ratio of temporal to spatial attention are what this is for.

Prior, frame interpolation and super-resolution are not part of it yet.

With a folder of weights, one that diffusers' TextToVideoSDPipeline has saved, the model is what
that folder says: latents of 4 channels, 256 pixels by default, and a VAE that decodes the frames.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

from diffusers import AutoencoderKL, UNet3DConditionModel

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
from tracekit.collectors.models._stable_diffusion import CLIP_L, TINY_CLIP
from tracekit.collectors.workload import ModelOptions, Workload

NAME: Final = "make-a-video"
DESCRIPTION: Final = "Make-A-Video's base: text to 16 frames of 64 px, pixel diffusion in a UNet3D"
SIZE, FRAMES, STEPS, GUIDANCE = 64, 16, 50, 9.0
LATENT_SIZE = 256
TINY_SIZE, TINY_FRAMES, TINY_STEPS = 16, 4, 3

CLIP: Final = CLIP_L | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "projection_dim": 512,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
    "up_block_types": ("UpBlock3D", *["CrossAttnUpBlock3D"] * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "norm_num_groups": 32,
    "act_fn": "silu",
}
TINY_UNET: Final = UNET | {
    "sample_size": 16,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}
ASSUMED: Final = (
    "unet.down_block_types",
    "unet.up_block_types",
    "unet.block_out_channels",
    "unet.layers_per_block",
    "unet.attention_head_dim",
    "unet.cross_attention_dim",
    "text_encoder",
    "inputs.steps",
    "inputs.guidance_scale",
    "inputs.sampler",
)
PRESETS: Final = {
    "base": Preset(
        about="base frames: 16 of 64 px",
        published={"text_encoder": 340.4e6, "unet": 1.41e9},
        assumed=ASSUMED,
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "unet": {("self", "spatial"), ("cross", "spatial"), ("self", "temporal")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise")


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the text encoder, the UNet and, when the weights folder has one, the VAE."""
    choose(PRESETS, options, NAME)
    clip, unet = (CLIP | TINY_CLIP, TINY_UNET) if options.tiny else (CLIP, UNET)
    models = {
        "text_encoder": clip_text_encoder(clip, options),
        "unet": make_diffusers(UNet3DConditionModel, unet, options, "unet"),
    }
    if options.weights is not None and Path(options.weights, "vae").is_dir():
        models["vae"] = make_diffusers(AutoencoderKL, {}, options, "vae")
    return models


def build(options: ModelOptions) -> Workload:
    """Return one text-to-video inference; its result is (batch, 3, frames, size, size)."""
    check(options, NAME, ignores=("new_tokens",))
    frames = options.frames or (TINY_FRAMES if options.tiny else FRAMES)
    steps = options.steps or (TINY_STEPS if options.tiny else STEPS)
    check_size(options.size or SIZE)
    sampler = Ddim.of(steps, options)
    models = parts(options)
    vae = models.get("vae")
    default = LATENT_SIZE if vae else TINY_SIZE if options.tiny else SIZE
    size = options.size or default
    side = size // 8 if vae else size
    tokens = prompts(models["text_encoder"], options)
    channels = models["unet"].config.in_channels
    diffusion = GuidedDiffusion(
        text_encoder=models["text_encoder"],
        unet=models["unet"],
        decode=partial(decode_latents, vae) if vae else None,
        tokens=tokens,
        noise=noise((options.batch, channels, frames, side, side), options),
        sampler=sampler,
        guidance=GUIDANCE,
    )
    inputs = {
        "batch": options.batch,
        "size": size,
        "frames": frames,
        "steps": steps,
        "prompt_tokens": tokens.shape[1],
        "guidance_scale": GUIDANCE,
        "sampler": "DDIM",
    }
    config = describe(models, inputs, options, assumed=ASSUMED)
    return diffusion.workload(NAME, models, config, options.trace_steps)
