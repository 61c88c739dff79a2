"""Stable Diffusion 3 and 3.5: text to image at 1024 pixels, by rectified flow in an MMDiT.

Esser et al., *Scaling Rectified Flow Transformers for High-Resolution Image Synthesis* (arXiv
2403.03206): a transformer with weights of their own for text and image, that attends over both
jointly (section 4, figure 2); width is 64 times the depth, with a head of 64 a layer. A token of
the image stands for 2 x 2 latents of 16 channels: 4096 at 1024 pixels. The text is 77 tokens of
two CLIP encoders and 256 of T5-XXL.

Dimensions, all from the configurations published with the weights
(stabilityai/stable-diffusion-3-medium-diffusers, -3.5-medium, -3.5-large):

* `transformer/config.json`: depth 24, 24 and 38; text of width 4096, pooled text of width 2048;
  3.5 normalizes queries and keys (`qk_norm`), 3.5-medium has a second attention, over the image
  alone, in its first 13 layers (`dual_attention_layers`). 2 B, 2.5 B and 8.1 B parameters by the
  announcements of Stability AI (2024-06-12, 2024-10-22). The 2.5 B hold the table of positions,
  384 x 384 of width 1536, which is computed and no parameter here: 2.24 B without it.
* text encoders: CLIP-L and CLIP-bigG with their projections (`_stable_diffusion`) and T5-XXL
  (`_text`).
* `vae/config.json`: 16 channels (`_stable_diffusion`), scaled by 1.5305, shifted by 0.0609.
* `scheduler/scheduler_config.json`: FlowMatchEulerDiscreteScheduler with a shift of 3.

Sampling: 28 steps, a guidance scale of 7 and 256 tokens for T5 are the defaults of diffusers'
StableDiffusion3Pipeline and the model card of 3-medium; the card of 3.5-medium says 40 steps and
4.5. For 3.5-large the steps are the pipeline's, the guidance scale of 3.5, which costs nothing, is
assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._stable_diffusion import (
    CLIP_BIG_G,
    CLIP_L,
    IMAGE_CALL,
    IMAGE_VAE_16,
    TINY_CLIP,
    TINY_IMAGE_CALL,
    TINY_IMAGE_VAE,
)
from tracekit.collectors.models._text import T5_XXL, T5_XXL_PARAMETERS, TINY_T5, words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "sd3"
DESCRIPTION: Final = "Stable Diffusion 3 and 3.5: text to image at 1024 px, MMDiT (2 B to 8 B)"
MOST_TOKENS: Final = 512

TRANSFORMER: Final[dict[str, Any]] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
MEDIUM_3_5: Final[dict[str, Any]] = {
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
TABLE_3_5_MEDIUM: Final = 384 * 384 * 1536
"""Numbers in the table of positions, which the published count holds and the module does not."""
LARGE_3_5: Final[dict[str, Any]] = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "qk_norm": "rms_norm",
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "sample_size": 8,
    "num_layers": 3,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "joint_attention_dim": 64,
    "caption_projection_dim": 32,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 16,
}
VAE: Final = IMAGE_VAE_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609}
CALL: Final = IMAGE_CALL | {"max_sequence_length": 256}
TINY_CALL: Final = TINY_IMAGE_CALL | {"max_sequence_length": 16}


def _preset(
    about: str,
    published: float,
    transformer: dict[str, Any],
    steps: int,
    guidance: float,
    assumed: tuple[str, ...] = (),
) -> PipelinePreset:
    tiny = TINY_TRANSFORMER
    if "dual_attention_layers" in transformer:
        tiny = tiny | {"dual_attention_layers": (0, 1)}
    return PipelinePreset(
        about=about,
        published={
            "text_encoder": 123.65e6,
            "text_encoder_2": 694.66e6,
            "text_encoder_3": T5_XXL_PARAMETERS,
            "transformer": published,
            "vae": 83.82e6,
        },
        assumed=assumed,
        parts={
            "text_encoder": Part(CLIPTextModelWithProjection, CLIP_L, TINY_CLIP),
            "text_encoder_2": Part(CLIPTextModelWithProjection, CLIP_BIG_G, TINY_CLIP),
            # Its width is at least that of both CLIPs together, which are padded to it.
            "text_encoder_3": Part(T5EncoderModel, T5_XXL, TINY_T5 | {"d_model": 64}),
            "transformer": Part(SD3Transformer2DModel, TRANSFORMER | transformer, tiny),
            "vae": Part(AutoencoderKL, VAE, TINY_IMAGE_VAE),
        },
        call=CALL | {"num_inference_steps": steps, "guidance_scale": guidance},
        tiny_call=TINY_CALL,
        size_multiple=16,
        most_prompt_tokens=MOST_TOKENS,
    )


PRESETS: Final = {
    "3-medium": _preset("SD 3 medium at 1024 px", 2e9, {}, steps=28, guidance=7.0),
    "3.5-medium": _preset(
        "SD 3.5 medium at 1024 px", 2.5e9 - TABLE_3_5_MEDIUM, MEDIUM_3_5, steps=40, guidance=4.5
    ),
    "3.5-large": _preset(
        "SD 3.5 large at 1024 px",
        8.1e9,
        LARGE_3_5,
        steps=28,
        guidance=3.5,
        assumed=("inputs.guidance_scale",),
    ),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "text_encoder_2": {("self", "sequence")},
    "text_encoder_3": {("self", "sequence")},
    "transformer": {("joint", "spatial")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part; 3.5-medium's transformer has self-attention too."""
STAGES: Final = ("text_encoder", "text_encoder_2", "text_encoder_3", "denoise", "vae_decode")


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizers and the scheduler."""
    return {
        "tokenizer": words_tokenizer(77),
        "tokenizer_2": words_tokenizer(77),
        "tokenizer_3": words_tokenizer(MOST_TOKENS),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
    }


MODEL: Final = PipelineModel(
    name=NAME, pipeline=StableDiffusion3Pipeline, presets=PRESETS, extras=extras
)
parts, build = MODEL.parts, MODEL.build
