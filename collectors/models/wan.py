"""Wan 2.1: text to video, by flow matching in a latent space, with full attention over the video.

Wan Team, *Wan: Open and Advanced Large-Scale Video Generative Models* (arXiv 2503.20314): a
transformer over the patches of all frames, with self-attention over space and time at once and
cross-attention to the text of umT5, on latents of a causal 3-D autoencoder that compresses 4 times
in time and 8 times in each direction of space (127 M parameters).

Dimensions, all from the configurations published with the weights (Wan-AI/Wan2.1-T2V-1.3B-Diffusers
and Wan-AI/Wan2.1-T2V-14B-Diffusers), which are those of the paper and of the table in the model's
README:

* transformer: `1.3b` has 30 layers of width 1536, 12 heads, feed-forward width 8960; `14b` has 40
  layers of 5120, 40 heads, 13824. They have 1.419 B and 14.29 B parameters: the first is 9% more
  than its name says, and what the published file holds (5.68 GB in float32);
* text encoder: umT5-XXL as `_text` says, 512 tokens, filled up;
* autoencoder: the defaults of diffusers' `AutoencoderKLWan`; 126.9 M parameters.

Sampling: 480 by 832 pixels, 81 frames, 50 steps and a guidance scale of 5 are the defaults of
diffusers' WanPipeline; `14b-720p` has the 720 by 1280 pixels of its example. UniPC with a flow
shift of 3, and of 5 at 720 pixels, as the same example says. Each step calls the transformer twice,
with the prompt and without. Nothing is assumed. The autoencoder has the dtype of the rest, where
the example keeps it in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import UMT5EncoderModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._presets import choose
from tracekit.collectors.models._text import (
    TINY_T5,
    UMT5_XXL,
    UMT5_XXL_PARAMETERS,
    words_tokenizer,
)
from tracekit.collectors.workload import ModelOptions

NAME: Final = "wan"
DESCRIPTION: Final = "Wan 2.1: text to 81 frames of 480x832 px, flow matching (1.3 B or 14 B)"

TRANSFORMER: Final[dict[str, Any]] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
TRANSFORMER_14B: Final = TRANSFORMER | {
    "num_attention_heads": 40,
    "ffn_dim": 13824,
    "num_layers": 40,
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 32,
    "freq_dim": 16,
    "ffn_dim": 48,
    "num_layers": 2,
    "rope_max_seq_len": 32,
}
VAE: Final[dict[str, Any]] = {
    "base_dim": 96,
    "z_dim": 16,
    "dim_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
}
TINY_VAE: Final[dict[str, Any]] = {"base_dim": 4, "num_res_blocks": 1}
SCHEDULER: Final[dict[str, Any]] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "num_train_timesteps": 1000,
}
CALL: Final[dict[str, Any]] = {
    "height": 480,
    "width": 832,
    "num_frames": 81,
    "num_inference_steps": 50,
    "guidance_scale": 5.0,
    "max_sequence_length": 512,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 32,
    "width": 48,
    "num_frames": 5,
    "num_inference_steps": 3,
    "max_sequence_length": 16,
}


def _preset(
    about: str, transformer: Mapping[str, Any], parameters: float, **call: int
) -> PipelinePreset:
    return PipelinePreset(
        about=about,
        published={
            "text_encoder": UMT5_XXL_PARAMETERS,
            "transformer": parameters,
            "vae": 127e6,
        },
        parts={
            "text_encoder": Part(UMT5EncoderModel, UMT5_XXL, TINY_T5),
            "transformer": Part(WanTransformer3DModel, transformer, TINY_TRANSFORMER),
            "vae": Part(AutoencoderKLWan, VAE, TINY_VAE),
        },
        call=CALL | call,
        tiny_call=TINY_CALL,
        size_multiple=16,
        frame_multiple=4,
    )


PRESETS: Final = {
    "1.3b": _preset("Wan 2.1 1.3B: 81 frames of 480x832 px", TRANSFORMER, 1.42e9),
    "14b": _preset("Wan 2.1 14B: 81 frames of 480x832 px", TRANSFORMER_14B, 14e9),
    "14b-720p": _preset(
        "Wan 2.1 14B: 81 frames of 720x1280 px", TRANSFORMER_14B, 14e9, height=720, width=1280
    ),
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("self", "spatio-temporal"), ("cross", "spatio-temporal")},
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", "denoise", "vae_decode")


def extras(options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizer and the scheduler."""
    _, preset = choose(PRESETS, options, NAME)
    shift = 5.0 if preset.call["height"] >= 720 else 3.0
    return {
        "tokenizer": words_tokenizer(512),
        "scheduler": UniPCMultistepScheduler(**SCHEDULER, flow_shift=shift),
    }


MODEL: Final = PipelineModel(name=NAME, pipeline=WanPipeline, presets=PRESETS, extras=extras)
parts, build = MODEL.parts, MODEL.build
