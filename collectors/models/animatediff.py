"""AnimateDiff: text to 16 frames of 512 by 512 pixels, by Stable Diffusion 1.5 with motion modules.

Guo et al., *AnimateDiff: Animate Your Personalized Text-to-Image Diffusion Models without Specific
Tuning* (arXiv 2307.04725): after each residual block and the attention over space of an image UNet
stands a transformer over time (section 4.2), two self-attentions with positions that are sines.

Dimensions, all from the configurations published with the weights:

* UNet: diffusers' `UNetMotionModel`, what its AnimateDiffPipeline makes of the UNet of
  stable-diffusion-v1-5/stable-diffusion-v1-5 (`stable_diffusion` gives its sizes, 859.5 M
  parameters) and the motion adapter guoyww/animatediff-motion-adapter-v1-5-2 (8 heads, two modules
  a block and one in the middle, up to 32 frames; 453.2 M): 1.313 B;
* text encoder and autoencoder: as `_stable_diffusion` says; 16 frames are decoded at a time.

Sampling: 16 frames, 50 steps and a guidance scale of 7.5 are the defaults of diffusers'
AnimateDiffPipeline, with the DDIMScheduler of its example. Each step works on two videos, with the
prompt and without. Nothing is assumed. Positions have no weights: where a number of frames is asked
for, there are as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, UNetMotionModel
from transformers import CLIPTextModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._stable_diffusion import (
    CLIP_L,
    IMAGE_VAE,
    TINY_CLIP,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.models._text import words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "animatediff"
DESCRIPTION: Final = "AnimateDiff: text to 16 frames of 512 px, SD 1.5 with motion modules (1.5 B)"

UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*["CrossAttnDownBlockMotion"] * 3, "DownBlockMotion"),
    "up_block_types": ("UpBlockMotion", *["CrossAttnUpBlockMotion"] * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "num_attention_heads": 8,
    "cross_attention_dim": 768,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "motion_num_attention_heads": 8,
    "motion_max_seq_length": 32,
    "use_motion_mid_block": True,
}
TINY_UNET: Final[dict[str, Any]] = {
    "sample_size": 8,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 1,
    "num_attention_heads": 2,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
    "motion_num_attention_heads": 2,
}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_schedule": "linear",
    "steps_offset": 1,
    "clip_sample": False,
}
PARTS: Final = {
    "text_encoder": Part(CLIPTextModel, CLIP_L, TINY_CLIP),
    "unet": Part(UNetMotionModel, UNET, TINY_UNET, {"motion_max_seq_length": "frames"}),
    "vae": Part(AutoencoderKL, IMAGE_VAE, TINY_IMAGE_VAE),
}
CALL: Final[dict[str, Any]] = {
    "height": 512,
    "width": 512,
    "num_frames": 16,
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "decode_chunk_size": 16,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 64,
    "width": 64,
    "num_frames": 3,
    "num_inference_steps": 3,
}
PRESETS: Final = {
    "v1-5-2": PipelinePreset(
        about="16 frames of 512 px",
        published={
            "text_encoder": 123.06e6,
            "unet": 859.5e6 + 453.2e6,
            "vae": 83.65e6,
        },
        parts=PARTS,
        call=CALL,
        tiny_call=TINY_CALL,
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "unet": {("self", "spatial"), ("cross", "spatial"), ("self", "temporal")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizer and the scheduler; the motion adapter is part of the UNet."""
    return {
        "tokenizer": words_tokenizer(77),
        "scheduler": DDIMScheduler(**SCHEDULER),
        "motion_adapter": None,
    }


MODEL: Final = PipelineModel(
    name=NAME,
    pipeline=AnimateDiffPipeline,
    presets=PRESETS,
    extras=extras,
    batch_of_prompts=True,
)
parts, build = MODEL.parts, MODEL.build
