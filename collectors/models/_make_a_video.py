"""The stages of Make-A-Video beside its base frames: prior, interpolation, super-resolution.

Sources and assumptions are in `make_a_video`. What bounds memory here: each network of frames
works on one video at a time, `FRAMES_AT_ONCE` bounds what the last one, which sees no time, takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers import PriorTransformer, UNet2DModel, UNet3DConditionModel

from tracekit.collectors.models._cascade import Denoiser, Enlarged, Stage
from tracekit.collectors.models._common import make_diffusers, making
from tracekit.collectors.models._diffusion import Ddim, noise
from tracekit.collectors.workload import ModelOptions

PRIOR: Final = "prior"
INTERPOLATION: Final = "frame_interpolation"
SR_256: Final = "super_resolution_256"
SR_768: Final = "super_resolution_768"

PRIOR_CONFIG: Final[dict[str, Any]] = {
    "num_attention_heads": 32,
    "attention_head_dim": 64,
    "num_layers": 20,
    "additional_embeddings": 4,
}
TINY_PRIOR: Final = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}
SR_256_CONFIG: Final[dict[str, Any]] = {
    "sample_size": 256,
    "in_channels": 6,
    "out_channels": 3,
    "down_block_types": (*["DownBlock3D"] * 3, "CrossAttnDownBlock3D"),
    "up_block_types": ("CrossAttnUpBlock3D", *["UpBlock3D"] * 3),
    "block_out_channels": (128, 256, 512, 1024),
    "layers_per_block": 2,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "norm_num_groups": 32,
    "act_fn": "silu",
}
TINY_SR_256: Final = {
    "sample_size": 32,
    "block_out_channels": (8, 8, 16, 32),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}
SR_768_CONFIG: Final[dict[str, Any]] = {
    "sample_size": 768,
    "in_channels": 6,
    "out_channels": 3,
    "down_block_types": ("ResnetDownsampleBlock2D",) * 6,
    "up_block_types": ("ResnetUpsampleBlock2D",) * 6,
    "block_out_channels": (192, 192, 384, 384, 768, 768),
    "layers_per_block": 2,
    "resnet_time_scale_shift": "scale_shift",
    "add_attention": False,
    "norm_num_groups": 32,
}
TINY_SR_768: Final = {
    "sample_size": 96,
    "block_out_channels": (8, 8, 8, 8, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
FRAMES_AT_ONCE: Final = 8
"""Of 768 pixels; the largest tensor, 384 channels, is 3.6 GB in bfloat16 then."""
GAP: Final = 5
"""From one base frame to the next, in frames: 16 become 76 (Singer et al., section 3.3)."""


class Unchanged(torch.nn.Module):  # type: ignore[misc]
    """Stands where diffusers' UNet has an attention over time before its first level."""

    def forward(self, sample: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        """Return what it is given."""
        return (sample,)


def interpolated(frames: int) -> int:
    """Return the number of frames between the first and the last base frame, both included."""
    return (frames - 1) * GAP + 1


def parts(text: Any, tokens: int, unet: Mapping[str, Any], options: ModelOptions) -> dict[str, Any]:
    """Return the modules of these stages; `text` configures the encoder, `unet` the base UNet."""
    prior = PRIOR_CONFIG | {"embedding_dim": text.hidden_size, "num_embeddings": tokens}
    low, high = SR_256_CONFIG, SR_768_CONFIG
    if options.tiny:
        prior, low, high = prior | TINY_PRIOR, low | TINY_SR_256, high | TINY_SR_768
    between = {**unet, "in_channels": 2 * unet["in_channels"] + 1}
    models = {
        PRIOR: make_diffusers(PriorTransformer, prior, options, PRIOR),
        INTERPOLATION: make_diffusers(UNet3DConditionModel, between, options, INTERPOLATION),
        SR_256: make_diffusers(UNet3DConditionModel, low, options, SR_256),
        SR_768: make_diffusers(UNet2DModel, high, options, SR_768),
    }
    # Attention at 256 pixels over 76 frames would take more memory than all else.
    models[SR_256].transformer_in = Unchanged()
    # Zero, as it is made, would make every image embedding the same.
    models[PRIOR].clip_std.data.fill_(1)
    return models


def prior_stage(
    prior: Any, steps: int, tokens: int, guidance: float, options: ModelOptions
) -> Stage:
    """Return the stage that makes a CLIP image embedding of the text.

    The text is (2·batch, tokens + 1, width), its last token the embedding of the whole; of what
    later stages see, the last token is the image embedding, zero in the unconditional half.
    """
    with making(options):
        seen = torch.ones(2 * options.batch, tokens)

    def denoise(given: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        predicted: torch.Tensor = prior(
            given,
            time,
            proj_embedding=text[:, -1],
            encoder_hidden_states=text[:, :-1],
            attention_mask=seen,
            return_dict=False,
        )[0]
        return predicted

    def to_text(text: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        image = prior.post_process_latents(sample)
        both = torch.cat([torch.zeros_like(image), image])
        return torch.cat([text[:, :-1], both[:, None]], dim=1)

    return Stage(
        name=PRIOR,
        denoise=denoise,
        noise=noise((options.batch, prior.config.embedding_dim), options),
        sampler=Ddim.of(steps, options),
        guidance=guidance,
        to_text=to_text,
    )


def interpolation_stage(
    unet: Any, steps: int, frames: int, size: int, options: ModelOptions
) -> Stage:
    """Return the stage that fills the frames between `frames` base frames."""
    total, colours = interpolated(frames), unet.config.out_channels

    def masked(before: torch.Tensor) -> torch.Tensor:
        """Return the base frames at their places, zero between, and a channel: 1 where one is."""
        batch = before.shape[0]
        condition = before.new_zeros(batch, colours + 1, total, *before.shape[-2:])
        condition[:, :colours, ::GAP] = before
        condition[:, colours:, ::GAP] = 1
        return condition

    return Stage(
        name=INTERPOLATION,
        denoise=one_video_at_a_time(unet),
        noise=noise((options.batch, colours, total, size, size), options),
        sampler=Ddim.of(steps, options),
        guidance=None,
        condition=masked,
    )


def super_resolution_256(
    unet: Any, steps: int, frames: int, size: int, options: ModelOptions
) -> Stage:
    """Return the stage that enlarges in space and time, to `size` pixels."""
    start = noise((options.batch, 3, frames, size, size), options)
    return Stage(
        name=SR_256,
        denoise=one_video_at_a_time(unet),
        noise=start,
        sampler=Ddim.of(steps, options),
        guidance=None,
        condition=Enlarged(start, level=0),
    )


def super_resolution_768(
    unet: Any, steps: int, frames: int, size: int, options: ModelOptions
) -> Stage:
    """Return the stage that enlarges each frame by itself, all from the same noise."""
    start = noise((options.batch, 3, 1, size, size), options).expand(-1, -1, frames, -1, -1)
    return Stage(
        name=SR_768,
        denoise=some_frames_at_a_time(unet),
        noise=start,
        sampler=Ddim.of(steps, options),
        guidance=None,
        condition=Enlarged(start, level=0),
    )


def one_video_at_a_time(unet: Any) -> Denoiser:
    """Return the call of a UNet of frames, with a batch of one each time."""

    def denoise(given: torch.Tensor, time: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        rows = zip(given.split(1), text.split(1), strict=True)
        return torch.cat([unet(video, time, words, return_dict=False)[0] for video, words in rows])

    return denoise


def some_frames_at_a_time(unet: Any) -> Denoiser:
    """Return the call of a UNet of images on videos, which sees no text."""

    def denoise(given: torch.Tensor, time: torch.Tensor, text: Any) -> torch.Tensor:
        del text
        frames = given.transpose(1, 2).flatten(0, 1)
        done = [unet(few, time, return_dict=False)[0] for few in frames.split(FRAMES_AT_ONCE)]
        return torch.cat(done).unflatten(0, (given.shape[0], -1)).transpose(1, 2)

    return denoise
