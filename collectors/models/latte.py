"""Latte: text to 16 frames of 512 by 512 pixels, by latent diffusion in a transformer.

Ma et al., *Latte: Latent Diffusion Transformer for Video Generation* (arXiv 2401.03048): blocks
that attend over space and blocks that attend over time take turns (variant 1), in the width of
Latte-XL: 1152, 16 heads, patches of 2 by 2 latents.

Dimensions, all from the configurations published with the weights (maxin-cn/Latte-1):

* transformer: diffusers' `LatteTransformer3DModel`, 28 blocks of each kind, with cross-attention
  to the text in the spatial ones; 1.057 B parameters, which follow from the configuration: the
  paper's 674 M are of a model without text, with half of the blocks;
* text encoder: T5-XXL as `_text` says, 120 tokens, of which the filled-up ones are cut off;
* autoencoder: that of Stable Diffusion, as `_stable_diffusion` says, 14 frames at a time.

Sampling: 16 frames, 512 pixels, 50 steps and a guidance scale of 7.5 are the defaults of diffusers'
LattePipeline. Each step works on two videos, with the prompt and without. Assumed is the
scheduler, DDIM with a linear schedule. Positions in time are sines without weights, so that other
numbers of frames run too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import AutoencoderKL, DDIMScheduler, LattePipeline, LatteTransformer3DModel
from transformers import T5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._stable_diffusion import IMAGE_VAE, TINY_IMAGE_VAE
from tracekit.collectors.models._text import (
    T5_XXL,
    T5_XXL_PARAMETERS,
    TINY_T5,
    words_tokenizer,
)
from tracekit.collectors.workload import ModelOptions

NAME: Final = "latte"
DESCRIPTION: Final = "Latte-1: text to 16 frames of 512 px, diffusion transformer (1.06 B)"

TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "cross_attention_dim": 1152,
    "attention_bias": True,
    "sample_size": 64,
    "patch_size": 2,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
    "norm_type": "ada_norm_single",
    "norm_elementwise_affine": False,
    "norm_eps": 1e-6,
    "caption_channels": 4096,
    "video_length": 16,
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "cross_attention_dim": 32,
    "sample_size": 4,
    "caption_channels": 32,
    "video_length": 4,
}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": False,
}
PARTS: Final = {
    "text_encoder": Part(T5EncoderModel, T5_XXL, TINY_T5),
    "transformer": Part(
        LatteTransformer3DModel, TRANSFORMER, TINY_TRANSFORMER, {"video_length": "frames"}
    ),
    "vae": Part(AutoencoderKL, IMAGE_VAE, TINY_IMAGE_VAE),
}
CALL: Final[dict[str, Any]] = {
    "height": 512,
    "width": 512,
    "video_length": 16,
    "num_inference_steps": 50,
    "guidance_scale": 7.5,
    "clean_caption": False,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 32,
    "width": 32,
    "video_length": 4,
    "num_inference_steps": 3,
}
PRESETS: Final = {
    "1": PipelinePreset(
        about="Latte-1: 16 frames of 512 px",
        published={
            "text_encoder": T5_XXL_PARAMETERS,
            "transformer": 1.057e9,
            "vae": 83.65e6,
        },
        assumed=("scheduler",),
        parts=PARTS,
        call=CALL,
        tiny_call=TINY_CALL,
        size_multiple=16,
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("self", "spatial"), ("cross", "spatial"), ("self", "temporal")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizer and the scheduler."""
    return {"tokenizer": words_tokenizer(120), "scheduler": DDIMScheduler(**SCHEDULER)}


MODEL: Final = PipelineModel(name=NAME, pipeline=LattePipeline, presets=PRESETS, extras=extras)
parts, build = MODEL.parts, MODEL.build
