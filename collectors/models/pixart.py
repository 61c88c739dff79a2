"""PixArt: text to image at 1024 pixels, by diffusion in a transformer of 0.6 B parameters.

Chen et al., *PixArt-α: Fast Training of Diffusion Transformer for Photorealistic Text-to-Image
Synthesis* (arXiv 2310.00426): DiT-XL/2, 28 layers of width 1152, with self-attention over the
image and cross-attention to the text in each, on 120 tokens of T5 (section 3.1; 0.6 B parameters);
*PixArt-Σ* (arXiv 2403.04692): the same on 300 tokens of text, with the autoencoder of SDXL. A token
of the image stands for 2 x 2 latents: 4096 at 1024 pixels.

Dimensions, all from the configurations published with the weights
(PixArt-alpha/PixArt-XL-2-1024-MS and PixArt-Sigma-XL-2-1024-MS):

* `transformer/config.json`: 28 layers, 16 heads of 72, text of width 4096, 8 channels out (noise
  and variance); alpha is also conditioned on resolution and aspect ratio.
* text encoder: T5-XXL (`_text`); `vae/config.json`: alpha that of Stable Diffusion, sigma that of
  SDXL, which differ in the scaling factor (`_stable_diffusion`).
* `scheduler/scheduler_config.json`: DPMSolverMultistepScheduler of order 2.

Sampling: 20 steps, a guidance scale of 4.5, and 120 and 300 tokens are the defaults of diffusers'
PixArtAlphaPipeline and PixArtSigmaPipeline. Nothing is assumed. Prompts are not cleaned, and sides
are taken as they are, not as the nearest that the model was trained on: at 1024 pixels they are
the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from transformers import T5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._presets import choose
from tracekit.collectors.models._stable_diffusion import (
    IMAGE_CALL,
    IMAGE_VAE,
    SDXL_VAE,
    TINY_IMAGE_CALL,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.models._text import T5_XXL, T5_XXL_PARAMETERS, TINY_T5, words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "pixart"
DESCRIPTION: Final = "PixArt: text to image at 1024 px, diffusion transformer (5.5 B with T5)"

TRANSFORMER: Final[dict[str, Any]] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 28,
    "num_attention_heads": 16,
    "attention_head_dim": 72,
    "cross_attention_dim": 1152,
    "caption_channels": 4096,
    "interpolation_scale": 2,
}
# Sizes are embedded in thirds of the width, and only where `sample_size` is 128.
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_layers": 2,
    "num_attention_heads": 3,
    "attention_head_dim": 8,
    "cross_attention_dim": 24,
    "caption_channels": 32,
}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "timestep_spacing": "linspace",
}
CALL: Final = IMAGE_CALL | {
    "num_inference_steps": 20,
    "guidance_scale": 4.5,
    "clean_caption": False,
    "use_resolution_binning": False,
}
TINY_CALL: Final = TINY_IMAGE_CALL | {"max_sequence_length": 16}


def _preset(
    about: str, pipeline: Any, tokens: int, vae: dict[str, Any], *, conditions: bool
) -> PipelinePreset:
    transformer = TRANSFORMER | {"use_additional_conditions": conditions}
    return PipelinePreset(
        about=about,
        published={"text_encoder": T5_XXL_PARAMETERS, "transformer": 0.6e9, "vae": 83.65e6},
        parts={
            "text_encoder": Part(T5EncoderModel, T5_XXL, TINY_T5),
            "transformer": Part(PixArtTransformer2DModel, transformer, TINY_TRANSFORMER),
            "vae": Part(AutoencoderKL, vae, TINY_IMAGE_VAE),
        },
        call=CALL | {"max_sequence_length": tokens},
        tiny_call=TINY_CALL,
        size_multiple=16,
        most_prompt_tokens=tokens,
        # In one step diffusers' pipelines want the scheduler of models distilled to one.
        least_steps=2,
        pipeline=pipeline,
    )


PRESETS: Final = {
    "alpha-1024": _preset(
        "PixArt-α at 1024 px", PixArtAlphaPipeline, 120, IMAGE_VAE, conditions=True
    ),
    "sigma-1024": _preset(
        "PixArt-Σ at 1024 px", PixArtSigmaPipeline, 300, SDXL_VAE, conditions=False
    ),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("self", "spatial"), ("cross", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def extras(options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizer and the scheduler."""
    _, preset = choose(PRESETS, options, NAME)
    return {
        "tokenizer": words_tokenizer(preset.call["max_sequence_length"]),
        "scheduler": DPMSolverMultistepScheduler(**SCHEDULER),
    }


MODEL: Final = PipelineModel(
    name=NAME, pipeline=PixArtAlphaPipeline, presets=PRESETS, extras=extras
)
parts, build = MODEL.parts, MODEL.build
