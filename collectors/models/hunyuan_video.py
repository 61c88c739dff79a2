"""HunyuanVideo: text to video, by flow matching, with attention over text and video at once.

Kong et al., *HunyuanVideo: A Systematic Framework For Large Video Generative Models* (arXiv
2412.03603): a transformer of 13 B parameters, first with weights of their own for text and video,
then with shared ones ("dual-stream to single-stream"), on latents of a causal 3-D autoencoder that
compresses 4 times in time and 8 times in each direction of space. The text comes from a
multimodal language model, refined by two layers that attend both ways, and from CLIP.

Dimensions, all from the configurations published with the weights
(hunyuanvideo-community/HunyuanVideo, for diffusers):

* transformer: 20 and 40 blocks of width 3072, 24 heads of 128 (the paper's table of
  hyper-parameters); 12.82 B parameters;
* text encoder: the language model of xtuner/llava-llama-3-8b-v1_1, LLaMA 3 8B (Grattafiori et al.,
  arXiv 2407.21783, table 3: 32 layers of 4096, feed-forward 14336, 32 heads, 8 of keys) with
  128,320 words; without its output layer 7.505 B. It sees a template of 95 tokens and 256 of text;
* text encoder 2: CLIP as `_stable_diffusion` says;
* autoencoder: the defaults of diffusers' `AutoencoderKLHunyuanVideo`; 246.5 M. It decodes in tiles,
  as diffusers' example has it, of 256 by 256 pixels and 16 frames; their latents attend to all of
  the same and of earlier frames.

Sampling: 129 frames, 50 steps and an embedded guidance scale of 6, diffusers' defaults, one call of
the transformer a step; Euler's method with a shift of 7. `540p` is 544 by 960 pixels and `720p`
the default size of diffusers, 720 by 1280, both from the table of sizes in the model's README,
which says that they take 45 and 60 GB. Nothing is assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from transformers import CLIPTextModel, LlamaModel

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.models._stable_diffusion import CLIP_L, TINY_CLIP
from tracekit.collectors.models._text import words_tokenizer
from tracekit.collectors.workload import ModelOptions

NAME: Final = "hunyuan-video"
DESCRIPTION: Final = "HunyuanVideo: text to 129 frames of 544x960 px, flow matching (13 B)"

LLAMA: Final[dict[str, Any]] = {
    "vocab_size": 128320,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "use_cache": False,
}
TINY_LLAMA: Final[dict[str, Any]] = {
    "vocab_size": 1000,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
TRANSFORMER: Final[dict[str, Any]] = {
    "in_channels": 16,
    "out_channels": 16,
    "num_attention_heads": 24,
    "attention_head_dim": 128,
    "num_layers": 20,
    "num_single_layers": 40,
    "num_refiner_layers": 2,
    "mlp_ratio": 4.0,
    "patch_size": 2,
    "patch_size_t": 1,
    "qk_norm": "rms_norm",
    "guidance_embeds": True,
    "text_embed_dim": 4096,
    "pooled_projection_dim": 768,
    "rope_theta": 256.0,
    "rope_axes_dim": (16, 56, 56),
}
TINY_TRANSFORMER: Final[dict[str, Any]] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "num_layers": 1,
    "num_single_layers": 2,
    "num_refiner_layers": 1,
    "text_embed_dim": 32,
    "pooled_projection_dim": 32,
    "rope_axes_dim": (4, 4, 4),
}
VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 16,
    "down_block_types": ("HunyuanVideoDownBlock3D",) * 4,
    "up_block_types": ("HunyuanVideoUpBlock3D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "scaling_factor": 0.476986,
}
TINY_VAE: Final[dict[str, Any]] = {
    "block_out_channels": (4, 4, 4, 4),
    "layers_per_block": 1,
    "norm_num_groups": 2,
}
PARTS: Final = {
    "text_encoder": Part(LlamaModel, LLAMA, TINY_LLAMA),
    "text_encoder_2": Part(CLIPTextModel, CLIP_L, TINY_CLIP),
    "transformer": Part(HunyuanVideoTransformer3DModel, TRANSFORMER, TINY_TRANSFORMER),
    "vae": Part(AutoencoderKLHunyuanVideo, VAE, TINY_VAE),
}
CALL: Final[dict[str, Any]] = {
    "num_frames": 129,
    "num_inference_steps": 50,
    "guidance_scale": 6.0,
    "max_sequence_length": 256,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 32,
    "width": 48,
    "num_frames": 9,
    "num_inference_steps": 3,
    "max_sequence_length": 32,
}


def _preset(height: int, width: int) -> PipelinePreset:
    return PipelinePreset(
        about=f"HunyuanVideo 13B: 129 frames of {height}x{width} px",
        published={
            "text_encoder": 7.505e9,
            "text_encoder_2": 123.06e6,
            "transformer": 13e9,
            "vae": 246.5e6,
        },
        parts=PARTS,
        call=CALL | {"height": height, "width": width},
        tiny_call=TINY_CALL,
        size_multiple=16,
        frame_multiple=4,
    )


PRESETS: Final = {"540p": _preset(544, 960), "720p": _preset(720, 1280)}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "text_encoder_2": {("self", "sequence")},
    "transformer": {("self", "sequence"), ("joint", "spatio-temporal")},
    "vae": {("self", "spatio-temporal")},
}
"""Kinds and axes of the attention in each part; text is refined inside the transformer."""
STAGES: Final = ("text_encoder", "text_encoder_2", "denoise", "vae_decode")


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the tokenizers and the scheduler."""
    return {
        "tokenizer": words_tokenizer(351),
        "tokenizer_2": words_tokenizer(77),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=7.0),
    }


def prepare(pipeline: Any) -> None:
    """Let the autoencoder decode in tiles."""
    pipeline.vae.enable_tiling()


MODEL: Final = PipelineModel(
    name=NAME, pipeline=HunyuanVideoPipeline, presets=PRESETS, extras=extras, prepare=prepare
)
parts, build = MODEL.parts, MODEL.build
