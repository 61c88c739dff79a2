"""Stable Video Diffusion: an image to 14 or 25 frames of 576 by 1024 pixels, by latent diffusion.

Blattmann et al., *Stable Video Diffusion: Scaling Latent Video Diffusion Models to Large Datasets*
(arXiv 2311.15127): the UNet of Stable Diffusion 2.1 with a convolution and an attention over time
after each one over space, 1,521 M parameters, conditioned on the image by its latents and by CLIP,
and a decoder with convolutions over time.

Dimensions, all from the configurations published with the weights
(stabilityai/stable-video-diffusion-img2vid-xt, and -img2vid for `base`):

* UNet: channels 320, 640, 1280, 1280, two layers a block, heads of 64; 1.525 B parameters;
* image encoder: OpenCLIP ViT-H/14 (32 layers of width 1280, 16 heads, 257 tokens), 632.1 M; the
  attention over space and that over time both see its one embedding;
* autoencoder: the encoder of Stable Diffusion and a decoder over time, 97.7 M; it decodes 8 frames
  at a time, as in diffusers' documentation.

Sampling: 576 by 1024 pixels, 25 steps and a guidance scale from 1 to 3 over the frames are the
defaults of diffusers' StableVideoDiffusionPipeline, with the EulerDiscreteScheduler of
`scheduler_config.json`. Each step works on two videos, with the image and without. Nothing is
assumed. The image is random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from transformers import CLIPVisionModelWithProjection

from tracekit.collectors.models._pipeline import Part, PipelineModel, PipelinePreset
from tracekit.collectors.workload import ModelOptions

NAME: Final = "stable-video-diffusion"
DESCRIPTION: Final = "Stable Video Diffusion: image to 25 frames of 576x1024 px (2.25 B)"

VISION: Final[dict[str, Any]] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1024,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
TINY_VISION: Final[dict[str, Any]] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 56,
}
UNET: Final[dict[str, Any]] = {
    "sample_size": 96,
    "in_channels": 8,
    "out_channels": 4,
    "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
    "up_block_types": ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": 1,
    "num_attention_heads": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 768,
}
TINY_UNET: Final[dict[str, Any]] = {
    "sample_size": 8,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 1,
    "num_attention_heads": (2, 2, 4, 4),
    "cross_attention_dim": 32,
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
}
VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "force_upcast": True,
}
TINY_VAE: Final[dict[str, Any]] = {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
SCHEDULER: Final[dict[str, Any]] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
}
CALL: Final[dict[str, Any]] = {
    "height": 576,
    "width": 1024,
    "num_inference_steps": 25,
    "min_guidance_scale": 1.0,
    "max_guidance_scale": 3.0,
    "decode_chunk_size": 8,
}
TINY_CALL: Final[dict[str, Any]] = {
    "height": 64,
    "width": 128,
    "num_frames": 3,
    "num_inference_steps": 3,
    "decode_chunk_size": 2,
}


def _preset(frames: int) -> PipelinePreset:
    unet = UNET | {"num_frames": frames}
    return PipelinePreset(
        about=f"{frames} frames of 576x1024 px",
        published={"image_encoder": 632.1e6, "unet": 1521e6, "vae": 97.7e6},
        parts={
            "image_encoder": Part(CLIPVisionModelWithProjection, VISION, TINY_VISION),
            "unet": Part(
                UNetSpatioTemporalConditionModel, unet, TINY_UNET, {"num_frames": "frames"}
            ),
            "vae": Part(AutoencoderKLTemporalDecoder, VAE, TINY_VAE),
        },
        call=CALL | {"num_frames": frames},
        tiny_call=TINY_CALL,
        size_multiple=64,
    )


PRESETS: Final = {"xt": _preset(25), "base": _preset(14)}
ATTENTION: Final = {
    "image_encoder": {("self", "spatial")},
    "unet": {
        ("self", "spatial"),
        ("cross", "spatial"),
        ("self", "temporal"),
        ("cross", "temporal"),
    },
    "vae": {("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("image_encoder", "vae_encode", "denoise", "vae_decode")


class ClipNormalize:
    """Does to an image what CLIP's feature extractor does where it only normalizes.

    That of transformers asks for torchvision. Mean and deviation are CLIP's own
    (`feature_extractor/preprocessor_config.json`).
    """

    mean = (0.48145466, 0.4578275, 0.40821073)
    deviation = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, images: torch.Tensor, **_settings: Any) -> SimpleNamespace:
        """Return `pixel_values` of images (batch, 3, height, width), from 0 to 1."""
        mean, deviation = (
            torch.tensor(values, dtype=images.dtype, device=images.device).view(3, 1, 1)
            for values in (self.mean, self.deviation)
        )
        return SimpleNamespace(pixel_values=(images - mean) / deviation)


def extras(_options: ModelOptions) -> Mapping[str, Any]:
    """Return the scheduler and the feature extractor."""
    return {
        "scheduler": EulerDiscreteScheduler(**SCHEDULER),
        "feature_extractor": ClipNormalize(),
    }


MODEL: Final = PipelineModel(
    name=NAME, pipeline=StableVideoDiffusionPipeline, presets=PRESETS, extras=extras
)
parts, build = MODEL.parts, MODEL.build
