"""Make-A-Video: text to 76 frames of 768 pixels, by a prior and a cascade of diffusion in pixels.

Singer et al., *Make-A-Video: Text-to-Video Generation without Text-Video Data*
(arXiv 2209.14792). What the paper says and is so here:

* a prior makes a CLIP image embedding of the text; a decoder makes 16 RGB frames of 64 by 64
  pixels of that; a network fine-tuned from it fills in frames, 16 to 76, given 4 more channels:
  the frames there are and where; SR over space and time makes 256 pixels of 64, SR over space
  alone 768 of 256, from the same noise for every frame (section 3, figure 2; 3.2 and 3.3);
* each spatial convolution is followed by one over time, each spatial attention by one over time,
  in a UNet (section 3.2, figure 3).

Neither weights nor widths were released. The nearest released architecture of that kind is
diffusers' `UNet3DConditionModel` (Wang et al., *ModelScope Text-to-Video*, arXiv 2308.06571);
what the paper leaves open is from its published configuration, `unet/config.json` and
`text_encoder/config.json` of ali-vilab/text-to-video-ms-1.7b, and so *assumed* here:

* UNet: channels 320, 640, 1280, 1280, two layers a block, heads of 64, attention at 64, 32 and 16
  pixels and in the middle, four temporal convolutions after each residual block instead of one
  after each convolution; only its first and last channels are the paper's 3 in place of 4;
* text encoder: OpenCLIP ViT-H/14's, 23 layers of width 1024, 16 heads;
* sampling: 50 steps, a guidance scale of 9 and 1,000 noise levels, from diffusers'
  TextToVideoSDPipeline and its scheduler. The frame rate, a condition of the paper's decoder, is
  none here;
* size: the paper's decoder continues a text-to-image decoder of the kind of Ramesh et al. (arXiv
  2204.06125). That this one is larger than the UNet here could not be checked; if so, times here
  are a lower bound. Shares and the ratio of temporal to spatial attention are what this is for.

Of the other stages (preset `full`) these are *assumed* as well:

* prior: the defaults of diffusers' `PriorTransformer`, those of Kandinsky's published prior and of
  the size that Ramesh et al. name, 1 billion parameters: 20 layers of width 2048, 32 heads, but
  for embeddings as wide as the text encoder; 25 steps and a guidance scale of 4, diffusers'
  defaults. What it predicts is the noise; in theirs it is the sample, which takes as long. The
  pooled state of the text stands for its embedding, without a projection;
* the UNets of frames see the text and, as one token more, the image embedding;
* frame interpolation: as many steps as the base, no guidance;
* SR to 256: the same kind of UNet with channels 128, 256, 512 and 1024, attention at its lowest
  level alone (32 pixels), none before the first level; 27 steps, no guidance, no noise added to
  what it enlarges;
* SR to 768: what Ramesh et al. (arXiv 2204.06125, appendix C) have for 256 to 1024: 192 channels
  times 1, 1, 2, 2, 4, 4, two layers a level, no attention, no text, no guidance, 15 steps, as 27
  above. It has 0.28 billion parameters; that paper says 0.3.

Memory: a batch goes through interpolation and SR video by video, through SR to 768 in chunks of 8
frames, so that no tensor of the full size holds more than 2³¹ numbers. The largest are 384
channels of 76 frames of 256 pixels, and of 8 frames of 768: below 4 GB each, in bfloat16.

`--frames` and `--size` are those of the base frames: n become 5·(n - 1) + 1 in the end, and pixels
are 4 and 12 times as many a side. `--steps` are the base's; the others follow in proportion, and
are at least 1. `--trace-steps` holds for each stage that has steps.

The preset `base` is text encoder and base frames alone; there the UNet sees the text itself. With
a folder of weights, one that diffusers' TextToVideoSDPipeline has saved, the model is the base as
that folder has it: latents of 4 channels, 256 pixels by default, and a VAE that decodes frames.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import AutoencoderKL, UNet3DConditionModel

from tracekit.collectors.models import _make_a_video as further
from tracekit.collectors.models._cascade import TEXT_ENCODER, Cascade, Stage, unet_denoiser
from tracekit.collectors.models._common import check, check_size, describe, make_diffusers
from tracekit.collectors.models._diffusion import (
    Ddim,
    GuidedDiffusion,
    clip_text_encoder,
    decode_latents,
    noise,
    prompts,
)
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._stable_diffusion import CLIP_L, TINY_CLIP
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "make-a-video"
DESCRIPTION: Final = "Make-A-Video: text to 76 frames of 768 px, a cascade of pixel diffusion"
SIZE, FRAMES, STEPS, GUIDANCE = 64, 16, 50, 9.0
LATENT_SIZE = 256
TINY_SIZE, TINY_FRAMES, TINY_STEPS = 16, 4, 3
TINY_FULL_SIZE, TINY_FULL_FRAMES = 8, 3
PRIOR_GUIDANCE = 4.0
OTHER_STEPS: Final = {
    further.PRIOR: 25,
    further.INTERPOLATION: 50,
    further.SR_256: 27,
    further.SR_768: 15,
}
"""Steps of the other stages where the base has `STEPS`."""
TINY_OTHER_STEPS: Final = {
    further.PRIOR: 3,
    further.INTERPOLATION: 2,
    further.SR_256: 2,
    further.SR_768: 2,
}

CLIP: Final = CLIP_L | {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "projection_dim": 512,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "hidden_act": "gelu",
}
UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
    "up_block_types": ("UpBlock3D", *["CrossAttnUpBlock3D"] * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "attention_head_dim": 64,
    "cross_attention_dim": 1024,
    "norm_num_groups": 32,
    "act_fn": "silu",
}
TINY_UNET: Final = UNET | {
    "sample_size": 16,
    "block_out_channels": (16, 32, 32, 32),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 32,
    "norm_num_groups": 8,
}
ASSUMED: Final = (
    "unet.down_block_types",
    "unet.up_block_types",
    "unet.block_out_channels",
    "unet.layers_per_block",
    "unet.attention_head_dim",
    "unet.cross_attention_dim",
    "text_encoder",
    "inputs.steps",
    "inputs.guidance_scale",
    "inputs.sampler",
)
FULL_ASSUMED: Final = (
    *ASSUMED,
    "prior",
    "frame_interpolation.down_block_types",
    "frame_interpolation.up_block_types",
    "frame_interpolation.block_out_channels",
    "frame_interpolation.layers_per_block",
    "frame_interpolation.attention_head_dim",
    "frame_interpolation.cross_attention_dim",
    "super_resolution_256",
    "super_resolution_768",
    "inputs.prior_guidance_scale",
    "inputs.other_steps",
)
PRESETS: Final = {
    "full": Preset(
        about="prior, 16 base frames of 64 px, 76 by interpolation, 256 and 768 px",
        published={
            "text_encoder": 340.4e6,
            "prior": 1e9,
            "unet": 1.41e9,
            # As the UNet that it is fine-tuned from, but for the first convolution.
            "frame_interpolation": 1.41e9,
            # Assumed networks: their own size, which no source gives.
            "super_resolution_256": 607.9e6,
            # 0.3 billion in Ramesh et al., rounded there to one digit.
            "super_resolution_768": 282.1e6,
        },
        assumed=FULL_ASSUMED,
    ),
    "base": Preset(
        about="base frames alone: 16 of 64 px",
        published={"text_encoder": 340.4e6, "unet": 1.41e9},
        assumed=ASSUMED,
    ),
}
_FRAMES_SEEN: Final = {("self", "spatial"), ("cross", "spatial"), ("self", "temporal")}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "prior": {("self", "sequence")},
    "unet": _FRAMES_SEEN,
    "frame_interpolation": _FRAMES_SEEN,
    "super_resolution_256": _FRAMES_SEEN,
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = (TEXT_ENCODER, further.PRIOR, "denoise", *list(OTHER_STEPS)[1:])


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the models by name; of a weights folder that has one, the VAE too."""
    preset = _preset(options)
    clip, unet = (CLIP | TINY_CLIP, TINY_UNET) if options.tiny else (CLIP, UNET)
    encoder = clip_text_encoder(clip, options)
    models = {
        "text_encoder": encoder,
        "unet": make_diffusers(UNet3DConditionModel, unet, options, "unet"),
    }
    if preset == "full":
        length = options.prompt_tokens or encoder.config.max_position_embeddings
        others = further.parts(encoder.config, length, unet, options)
        prior = others.pop(further.PRIOR)
        return {"text_encoder": encoder, further.PRIOR: prior, "unet": models["unet"], **others}
    if options.weights is not None and Path(options.weights, "vae").is_dir():
        models["vae"] = make_diffusers(AutoencoderKL, {}, options, "vae")
    return models


def build(options: ModelOptions) -> Workload:
    """Return one text-to-video inference; its result is (batch, 3, frames, height, width)."""
    check(options, NAME, ignores=("new_tokens",))
    check_size(options.size or SIZE)
    return _build_full(options) if _preset(options) == "full" else _build_base(options)


def _preset(options: ModelOptions) -> str:
    if options.weights is None:
        return choose(PRESETS, options, NAME)[0]
    if choose(PRESETS, options, NAME)[0] == "full" and options.preset is not None:
        raise UsageError("--preset full has random weights: leave out either it or --weights")
    return "base"


def _build_base(options: ModelOptions) -> Workload:
    frames = options.frames or (TINY_FRAMES if options.tiny else FRAMES)
    steps = options.steps or (TINY_STEPS if options.tiny else STEPS)
    sampler = Ddim.of(steps, options)
    models = parts(options)
    vae = models.get("vae")
    default = LATENT_SIZE if vae else TINY_SIZE if options.tiny else SIZE
    size = options.size or default
    side = size // 8 if vae else size
    tokens = prompts(models["text_encoder"], options)
    channels = models["unet"].config.in_channels
    diffusion = GuidedDiffusion(
        text_encoder=models["text_encoder"],
        unet=models["unet"],
        decode=partial(decode_latents, vae) if vae else None,
        tokens=tokens,
        noise=noise((options.batch, channels, frames, side, side), options),
        sampler=sampler,
        guidance=GUIDANCE,
    )
    inputs = {
        "preset": "base",
        "batch": options.batch,
        "size": size,
        "frames": frames,
        "steps": steps,
        "prompt_tokens": tokens.shape[1],
        "guidance_scale": GUIDANCE,
        "sampler": "DDIM",
    }
    config = describe(models, inputs, options, assumed=ASSUMED)
    return diffusion.workload(NAME, models, config, options.trace_steps)


def _build_full(options: ModelOptions) -> Workload:
    frames = options.frames or (TINY_FULL_FRAMES if options.tiny else FRAMES)
    steps = options.steps or (TINY_STEPS if options.tiny else STEPS)
    size = options.size or (TINY_FULL_SIZE if options.tiny else SIZE)
    Ddim.of(steps, options)  # refuses too many before anything is made
    models = parts(options)
    tokens = prompts(models["text_encoder"], options)
    others = _other_steps(steps, options)
    cascade = Cascade(
        encode=partial(_encode, models["text_encoder"], tokens),
        stages=_stages(models, steps, frames, size, tokens.shape[1], options),
        encoder_stages={TEXT_ENCODER: 1},
    )
    inputs = {
        "preset": "full",
        "batch": options.batch,
        "size": size,
        "frames": frames,
        "frames_interpolated": further.interpolated(frames),
        "sizes_enlarged": [4 * size, 12 * size],
        "steps": steps,
        "other_steps": others,
        "prompt_tokens": tokens.shape[1],
        "guidance_scale": GUIDANCE,
        "prior_guidance_scale": PRIOR_GUIDANCE,
        "sampler": "DDIM",
    }
    config = describe(models, inputs, options, assumed=FULL_ASSUMED)
    targets = [name for name in models if name != "text_encoder"]
    return cascade.workload(NAME, models, config, options.trace_steps, targets)


def _other_steps(steps: int, options: ModelOptions) -> dict[str, int]:
    """Return the steps of the other stages, in proportion to those of the base."""
    usual, others = (TINY_STEPS, TINY_OTHER_STEPS) if options.tiny else (STEPS, OTHER_STEPS)
    return {name: max(1, round(count * steps / usual)) for name, count in others.items()}


def _encode(encoder: Any, tokens: torch.Tensor, mark: StageMarker) -> torch.Tensor:
    """Return (2·batch, tokens + 1, width): the states of the text, then the pooled one."""
    with mark(TEXT_ENCODER):
        states, pooled = encoder(tokens, return_dict=False)[:2]
        return torch.cat([states, pooled[:, None]], dim=1)


def _stages(
    models: dict[str, Any], steps: int, frames: int, size: int, tokens: int, options: ModelOptions
) -> list[Stage]:
    others, longer = _other_steps(steps, options), further.interpolated(frames)
    base = Stage(
        name="denoise",
        denoise=unet_denoiser(models["unet"]),
        noise=noise((options.batch, 3, frames, size, size), options),
        sampler=Ddim.of(steps, options),
        guidance=GUIDANCE,
    )

    def stage(make: Any, name: str, *given: Any) -> Stage:
        made: Stage = make(models[name], others[name], *given, options)
        return made

    return [
        stage(further.prior_stage, further.PRIOR, tokens, PRIOR_GUIDANCE),
        base,
        stage(further.interpolation_stage, further.INTERPOLATION, frames, size),
        stage(further.super_resolution_256, further.SR_256, longer, 4 * size),
        stage(further.super_resolution_768, further.SR_768, longer, 12 * size),
    ]
