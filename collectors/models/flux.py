"""FLUX.1: text to image at 1024 pixels, by rectified flow in a transformer of 12 B parameters.

Black Forest Labs, *Announcing Black Forest Labs* (2024-08-01) and the model cards of
black-forest-labs/FLUX.1-dev and FLUX.1-schnell ("a 12 billion parameter rectified flow
transformer"); there is no paper. Text and image tokens are attended to jointly: 19 blocks with
weights of their own for each, then 38 that hold both in one sequence. A token of the image stands
for 2 x 2 latents, so that at 1024 pixels there are 4096.

Dimensions, all from the configurations published with the weights:

* `transformer/config.json`: 19 and 38 blocks, 24 heads of 128, text of width 4096, pooled text of
  width 768, tokens of 64 channels; `guidance_embeds` in dev only. 11.90 B parameters.
* text encoders: CLIP-L (`_stable_diffusion`) for the pooled text and T5-XXL (`_text`).
* `vae/config.json`: 16 channels (`_stable_diffusion`), scaled by 0.3611, shifted by 0.1159.
* `scheduler/scheduler_config.json`: FlowMatchEulerDiscreteScheduler, shifted by image size in dev.

Sampling is that of the model cards: dev 50 steps, guidance 3.5 (an input of the model, so that
the batch is not doubled) and 512 tokens of text; schnell 4 steps and 256 tokens. Nothing is
assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextModel, T5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._presets import choose
from tracekit.collectors.models._stable_diffusion import (
    CLIP_L,
    IMAGE_CALL,
    IMAGE_VAE_16,
    TINY_CLIP,
    TINY_IMAGE_CALL,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.models._text import T5_XXL, T5_XXL_PARAMETERS, TINY_T5, words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "flux"
DESCRIPTION: Final = "FLUX.1: text to image at 1024 px, rectified-flow transformer (16.9 B)"

TRANSFORMER: Final[dict[str, Any]] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": (4, 6, 6),
}
VAE: Final = IMAGE_VAE_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159}
SCHEDULERS: Final[dict[str, dict[str, Any]]] = {
    "dev": {
        "shift": 3.0,
        "use_dynamic_shifting": True,
        "base_shift": 0.5,
        "max_shift": 1.15,
        "base_image_seq_len": 256,
        "max_image_seq_len": 4096,
    },
    "schnell": {"shift": 1.0},
}
TINY_CALL: Final = TINY_IMAGE_CALL | {"max_sequence_length": 16}


def _parts(**transformer: Any) -> dict[str, Part]:
    return {
        "text_encoder": Part(CLIPTextModel, CLIP_L, TINY_CLIP),
        "text_encoder_2": Part(T5EncoderModel, T5_XXL, TINY_T5),
        "transformer": Part(FluxTransformer2DModel, TRANSFORMER | transformer, TINY_TRANSFORMER),
        "vae": Part(AutoencoderKL, VAE, TINY_IMAGE_VAE),
    }


PUBLISHED: Final = {
    "text_encoder": 123.06e6,
    "text_encoder_2": T5_XXL_PARAMETERS,
    "transformer": 12e9,
    "vae": 83.82e6,
}
PRESETS: Final = {
    "dev": PipelinePreset(
        about="FLUX.1 [dev] at 1024 px: guidance distilled",
        published=PUBLISHED,
        parts=_parts(),
        call=IMAGE_CALL
        | {"num_inference_steps": 50, "guidance_scale": 3.5, "max_sequence_length": 512},
        tiny_call=TINY_CALL,
        size_multiple=16,
        most_prompt_tokens=512,
    ),
    "schnell": PipelinePreset(
        about="FLUX.1 [schnell] at 1024 px: distilled to 4 steps",
        published=PUBLISHED,
        parts=_parts(guidance_embeds=False),
        call=IMAGE_CALL
        | {"num_inference_steps": 4, "guidance_scale": 0.0, "max_sequence_length": 256},
        tiny_call=TINY_CALL,
        size_multiple=16,
        most_prompt_tokens=256,
    ),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "text_encoder_2": {("self", "sequence")},
    "transformer": {("joint", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "text_encoder_2", "denoise", "vae_decode")


def extras(options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizers and the scheduler."""
    name, preset = choose(PRESETS, options, NAME)
    return {
        "tokenizer": words_tokenizer(77),
        "tokenizer_2": words_tokenizer(preset.most_prompt_tokens or 512),
        "scheduler": FlowMatchEulerDiscreteScheduler(**SCHEDULERS[name]),
    }


MODEL: Final = PipelineModel(name=NAME, pipeline=FluxPipeline, presets=PRESETS, extras=extras)
parts, build = MODEL.parts, MODEL.build
