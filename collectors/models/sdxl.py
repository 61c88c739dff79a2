"""Stable Diffusion XL 1.0, its base: text to image at 1024 pixels, by latent diffusion.

Podell et al., *SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis* (arXiv
2307.01952): a UNet of 2.6 B parameters with two text encoders (section 2.1, table 1: 0, 2 and 10
transformer blocks at its three levels, text of width 2048, 817 M of text encoders), conditioned on
sizes and crops (section 2.2).

Dimensions, all from the configurations published with the weights
(stabilityai/stable-diffusion-xl-base-1.0): `unet/config.json`, channels 320, 640, 1280, heads of
64; the text encoders and the autoencoder as `_stable_diffusion` says, with a scaling factor of
0.13025. Sampling: 50 steps, a guidance scale of 5 and 1024 pixels are the defaults of diffusers'
StableDiffusionXLPipeline, with the EulerDiscreteScheduler of `scheduler_config.json`. Nothing is
assumed. The refiner and the watermark are left out. In float16 the pipeline decodes in float32, as
the configuration of the autoencoder asks for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._stable_diffusion import (
    CLIP_BIG_G,
    CLIP_L,
    IMAGE_CALL,
    SDXL_VAE,
    TINY_CLIP,
    TINY_IMAGE_CALL,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.models._text import words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "sdxl"
DESCRIPTION: Final = "Stable Diffusion XL: text to image at 1024 px, latent diffusion (3.5 B)"

UNET: Final[dict[str, Any]] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "norm_num_groups": 32,
    "act_fn": "silu",
}
TINY_UNET: Final[dict[str, Any]] = {
    "sample_size": 8,
    "block_out_channels": (16, 32, 32),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 4),
    "cross_attention_dim": 64,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 80,
    "norm_num_groups": 8,
}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
PARTS: Final = {
    "text_encoder": Part(CLIPTextModel, CLIP_L, TINY_CLIP),
    "text_encoder_2": Part(CLIPTextModelWithProjection, CLIP_BIG_G, TINY_CLIP),
    "unet": Part(UNet2DConditionModel, UNET, TINY_UNET),
    "vae": Part(AutoencoderKL, SDXL_VAE, TINY_IMAGE_VAE),
}
CALL: Final = IMAGE_CALL | {"num_inference_steps": 50, "guidance_scale": 5.0}
PRESETS: Final = {
    "base-1.0": PipelinePreset(
        about="SDXL base 1.0 at 1024 px",
        published={
            "text_encoder": 123.06e6,
            "text_encoder_2": 694.66e6,
            "unet": 2567.5e6,
            "vae": 83.65e6,
        },
        parts=PARTS,
        call=CALL,
        tiny_call=TINY_IMAGE_CALL,
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "text_encoder_2": {("self", "sequence")},
    "unet": {("self", "spatial"), ("cross", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "text_encoder_2", "denoise", "vae_decode")


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizers and the scheduler."""
    return {
        "tokenizer": words_tokenizer(77),
        "tokenizer_2": words_tokenizer(77),
        "scheduler": EulerDiscreteScheduler(**SCHEDULER),
        "add_watermarker": False,
    }


MODEL: Final = PipelineModel(
    name=NAME, pipeline=StableDiffusionXLPipeline, presets=PRESETS, extras=extras
)
parts, build = MODEL.parts, MODEL.build
