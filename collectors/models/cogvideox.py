"""CogVideoX: text to video, by latent diffusion, with attention over text and video at once.

Yang et al., *CogVideoX: Text-to-Video Diffusion Models with An Expert Transformer* (arXiv
2408.06072): a transformer over one sequence of text and of the patches of all frames, with norms
of their own for each (section 2.2), on latents of a causal 3-D autoencoder that compresses 4 times
in time and 8 times in each direction of space (section 2.1).

Dimensions, all from the configurations published with the weights (THUDM/CogVideoX-2b and
THUDM/CogVideoX-5b):

* transformer: `2b` has 30 layers of width 1920, 30 heads, positions added to the patches; `5b` has
  42 layers of 3072, 48 heads, rotary positions. They have 1.694 B and 5.570 B parameters, 15% less
  and 11% more than the names say, and what the published files hold (3.39 GB and 11.1 GB at two
  bytes each);
* text encoder: T5-XXL as `_text` says, 226 tokens, filled up;
* autoencoder: the defaults of diffusers' `AutoencoderKLCogVideoX`; 215.6 M parameters (431 MB).

Sampling: 480 by 720 pixels, 49 frames, 50 steps and a guidance scale of 6, diffusers' defaults,
with the DDIM scheduler of `scheduler_config.json`. Each step works on two videos, with the prompt
and without. Assumed is the scheduler of `5b`, for which its authors recommend a DPM solver of the
same cost. Tiling and slicing of the autoencoder, which save memory on small GPUs, are off; it
decodes two latent frames at a time, as it always does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._presets import choose
from tracekit.collectors.models._text import (
    T5_XXL,
    T5_XXL_PARAMETERS,
    TINY_T5,
    words_tokenizer,
)
from tracekit.collectors.workload import ModelOptions

NAME: Final = "cogvideox"
DESCRIPTION: Final = "CogVideoX: text to 49 frames of 480x720 px, latent diffusion (2 B or 5 B)"

TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 30,
    "attention_head_dim": 64,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 512,
    "text_embed_dim": 4096,
    "num_layers": 30,
    "sample_width": 90,
    "sample_height": 60,
    "sample_frames": 49,
    "patch_size": 2,
    "temporal_compression_ratio": 4,
    "max_text_seq_length": 226,
    "spatial_interpolation_scale": 1.875,
    "temporal_interpolation_scale": 1.0,
    "use_rotary_positional_embeddings": False,
}
TRANSFORMER_5B: Final = TRANSFORMER | {
    "num_attention_heads": 48,
    "num_layers": 42,
    "use_rotary_positional_embeddings": True,
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "time_embed_dim": 16,
    "text_embed_dim": 32,
    "num_layers": 2,
    "sample_width": 6,
    "sample_height": 4,
    "sample_frames": 9,
}
FOLLOWS: Final = {"max_text_seq_length": "prompt_tokens"}
VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
    "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "block_out_channels": (128, 256, 256, 512),
    "latent_channels": 16,
    "layers_per_block": 3,
    "norm_num_groups": 32,
    "temporal_compression_ratio": 4,
    "sample_height": 480,
    "sample_width": 720,
    "scaling_factor": 1.15258426,
}
TINY_VAE: Final[dict[str, Any]] = {
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "sample_height": 32,
    "sample_width": 48,
}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}
CALL: Final[dict[str, Any]] = {
    "height": 480,
    "width": 720,
    "num_frames": 49,
    "num_inference_steps": 50,
    "guidance_scale": 6.0,
    "max_sequence_length": 226,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 32,
    "width": 48,
    "num_frames": 9,
    "num_inference_steps": 3,
}


def _preset(
    about: str,
    transformer: Mapping[str, Any],
    parameters: float,
    scaling_factor: float,
    assumed: tuple[str, ...] = (),
) -> PipelinePreset:
    vae = VAE | {"scaling_factor": scaling_factor}
    return PipelinePreset(
        about=about,
        published={
            "text_encoder": T5_XXL_PARAMETERS,
            "transformer": parameters,
            "vae": 215.6e6,
        },
        assumed=assumed,
        parts={
            "text_encoder": Part(T5EncoderModel, T5_XXL, TINY_T5),
            "transformer": Part(
                CogVideoXTransformer3DModel, transformer, TINY_TRANSFORMER, FOLLOWS
            ),
            "vae": Part(AutoencoderKLCogVideoX, vae, TINY_VAE),
        },
        call=CALL,
        tiny_call=TINY_CALL,
        size_multiple=16,
        frame_multiple=8,
    )


PRESETS: Final = {
    "2b": _preset("CogVideoX 2B: 49 frames of 480x720 px", TRANSFORMER, 1.694e9, 1.15258426),
    "5b": _preset(
        "CogVideoX 5B: 49 frames of 480x720 px", TRANSFORMER_5B, 5.57e9, 0.7, ("scheduler",)
    ),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("joint", "spatio-temporal")},
}
"""Kinds and axes of the attention in each part; the autoencoder has none."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def extras(options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizer and the scheduler."""
    name, _ = choose(PRESETS, options, NAME)
    shift = 1.0 if name == "5b" else 3.0
    return {
        "tokenizer": words_tokenizer(226),
        "scheduler": CogVideoXDDIMScheduler(**SCHEDULER, snr_shift_scale=shift),
    }


MODEL: Final = PipelineModel(
    name=NAME,
    pipeline=CogVideoXPipeline,
    presets=PRESETS,
    extras=extras,
    batch_of_prompts=True,
)
parts, build = MODEL.parts, MODEL.build
