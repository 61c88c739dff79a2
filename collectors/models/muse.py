"""Muse: text to image at 512 pixels, by parallel decoding of masked tokens.

Chang et al., *Muse: Text-To-Image Generation via Masked Generative Transformers* (arXiv
2301.00704), its largest model. T5-XXL reads the text; a base transformer makes the 16 by 16 tokens
of an image of 256 pixels in 24 steps, a super-resolution transformer the 64 by 64 tokens of one of
512 in 8 (section 2.8), and VQGAN's decoder the image. No weights were released.

* Text encoder: T5-XXL (section 2.1), as `_text` says; 4.76 B parameters, where section 3 says 4.6.
* Base: 48 layers of width 2048, feed-forward width 8192 (section 3, table 4), attention to the
  text, which is projected to the width of the transformer first (section 2.1), learned positions
  and a multilayer perceptron to logits (section 2.3). The paper calls it 3 B; the layers of table 4
  alone have 3.22 B, all of it 3.27 B, which is what stands in the preset. Heads of 64 are
  *assumed*, and one hidden layer before the logits.
* Super-resolution: 16 layers for the small image's tokens, 32 multi-axis layers of width 1024,
  feed-forward width 4096, that attend to these and to the text (section 3, figure 4, table 6).
  No size is published; its dimensions come to 0.77 B, which stands in the preset. Multi-axis
  attention is that of Zhao et al. (arXiv 2106.07631): half of the heads within square blocks, the
  others across them; blocks of 8 by 8 tokens and heads of 64 are *assumed*. So self-attention is
  over 64 tokens at a time, not over 4,096. The small image's layers run in every step.
* VQGAN: of the finetuned decoder (section 2.5, A.2) 4 residual blocks at each resolution, 256 base
  channels, no attention, 8,192 codes, an eighth of the side. Its multipliers of channels (1, 1, 2
  and 4) and codes of 256 dimensions are *assumed*; no size is published, these come to 0.16 B. The
  base's own VQGAN, of a sixteenth, has no part in making an image of 512 pixels.
* Guidance (section 2.7): a scale that grows linearly, from none; the largest is *assumed*, as are
  the temperature of MaskGIT's sampling and 128 tokens of text.

Both transformers see both prompts at once, the batch is doubled. `size` is the side of the image
that comes out, with positions for as many tokens as it has; `steps` are those of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from tracekit.collectors.models._common import (
    check,
    check_size,
    describe,
    make_diffusers,
    spread,
)
from tracekit.collectors.models._masked_tokens import (
    PARALLEL_DECODE,
    MaskedImageTransformer,
    ParallelDecoding,
    encoded,
    prompts,
    text_encoder,
)
from tracekit.collectors.models._muse import SuperResolutionImageTransformer
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._text import T5_XXL_PARAMETERS
from tracekit.collectors.models._token_decoders import VQDecoder
from tracekit.collectors.models._tokens import Draws
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "muse"
DESCRIPTION: Final = "Muse: text to image at 512 px, parallel decoding of masked tokens (3B)"
SIZE, TINY_SIZE = 512, 128
STEPS, SUPER_STEPS = 24, 8
TINY_STEPS, TINY_SUPER_STEPS = 4, 3
LOW_PATCH, PATCH, BLOCK = 32, 8, 8
"""Pixels of the image to a token of the base and of the super-resolution, tokens to a block."""
GUIDANCE, TEMPERATURE = 8.0, 4.5

TRANSFORMER: Final[dict[str, Any]] = {
    "layers": 48,
    "width": 2048,
    "heads": 32,
    "feed_forward": 8192,
    "codes": 8192,
    "text_width": 4096,
    "project_text": True,
}
SUPER_RESOLUTION: Final[dict[str, Any]] = {
    "layers": 32,
    "low_layers": 16,
    "width": 1024,
    "heads": 16,
    "feed_forward": 4096,
    "codes": 8192,
    "block": BLOCK,
    "text_width": 4096,
}
VAE: Final[dict[str, Any]] = {
    "block_out_channels": (256, 256, 512, 1024),
    "layers_per_block": 4,
    "codes": 8192,
    "code_width": 256,
    "latent_channels": 256,
}
_TINY: Final[dict[str, Any]] = {
    "layers": 2,
    "width": 32,
    "heads": 4,
    "feed_forward": 64,
    "codes": 64,
    "text_width": 32,
}
TINY_TRANSFORMER: Final = TRANSFORMER | _TINY
TINY_SUPER_RESOLUTION: Final = SUPER_RESOLUTION | _TINY | {"low_layers": 1}
TINY_VAE: Final = VAE | {
    "block_out_channels": (8, 8, 16, 16),
    "layers_per_block": 2,
    "codes": 64,
    "code_width": 8,
    "latent_channels": 8,
    "norm_num_groups": 4,
}
ASSUMED: Final = (
    "transformer.heads",
    "super_resolution.heads",
    "super_resolution.block",
    "vae.block_out_channels",
    "vae.code_width",
    "vae.latent_channels",
    "inputs.prompt_tokens",
    "inputs.guidance_scale",
    "inputs.temperature",
)
PRESETS: Final = {
    "3b": Preset(
        about="Muse-3B at 512 px",
        published={
            "text_encoder": T5_XXL_PARAMETERS,
            "transformer": 3.27e9,
            "super_resolution": 0.77e9,
            "vae": 0.162e9,
        },
        assumed=ASSUMED,
    )
}
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("self", "spatial"), ("cross", "spatial")},
    "super_resolution": {("self", "spatial"), ("cross", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", PARALLEL_DECODE, "super_resolution", "vae_decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One image from its text; `low` and `high` are the schedules of the two transformers."""

    parts: Mapping[str, Any]
    prompts: torch.Tensor
    low: ParallelDecoding
    high: ParallelDecoding
    options: ModelOptions

    def run(
        self, steps: Sequence[int], super_steps: Sequence[int], stage: StageMarker
    ) -> torch.Tensor:
        """Do these steps once and return the image, values from 0 to 1."""
        draws = Draws(self.options)
        side = int(self.low.tokens**0.5)
        with torch.no_grad():
            text = encoded(self.parts["text_encoder"], self.prompts, stage)
            low = self.low.run(
                lambda tokens: self.parts["transformer"](tokens, text, (side, side)),
                self.prompts,
                draws,
                lambda step: stage(PARALLEL_DECODE, step=step),
                steps,
            )
            both = torch.cat([low, low])
            tokens = self.high.run(
                lambda tokens: self.parts["super_resolution"](tokens, both, text),
                self.prompts,
                draws,
                lambda step: stage("super_resolution", step=step),
                super_steps,
            )
            with stage("vae_decode"):
                image: torch.Tensor = self.parts["vae"](tokens).clamp(0, 1)
        return image


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return text encoder, both transformers and VQGAN's decoder, on the device."""
    choose(PRESETS, options, NAME)
    size = _size(options)
    low, side = size // LOW_PATCH, size // PATCH
    transformer, super_resolution, vae = TRANSFORMER, SUPER_RESOLUTION, VAE
    if options.tiny:
        transformer, super_resolution, vae = TINY_TRANSFORMER, TINY_SUPER_RESOLUTION, TINY_VAE
    transformer = transformer | {"shape": (low, low)}
    super_resolution = super_resolution | {"side": side, "low_side": low}
    return {
        "text_encoder": text_encoder(options),
        "transformer": make_diffusers(MaskedImageTransformer, transformer, options, "transformer"),
        "super_resolution": make_diffusers(
            SuperResolutionImageTransformer, super_resolution, options, "super_resolution"
        ),
        "vae": make_diffusers(VQDecoder, vae, options, "vae"),
    }


def _size(options: ModelOptions) -> int:
    return options.size or (TINY_SIZE if options.tiny else SIZE)


def build(options: ModelOptions) -> Workload:
    """Return one text-to-image inference; its result is (batch, 3, size, size), from 0 to 1."""
    check(options, NAME, ignores=("frames", "new_tokens"))
    name, preset = choose(PRESETS, options, NAME)
    size = _size(options)
    check_size(size, PATCH * BLOCK)
    models = parts(options)
    most = models["super_resolution"].config.side * PATCH
    if size > most:
        raise UsageError(f"--size {size}: the weights know images of at most {most}")
    steps = options.steps or (TINY_STEPS if options.tiny else STEPS)
    super_steps = TINY_SUPER_STEPS if options.tiny else SUPER_STEPS
    low, high = (
        ParallelDecoding(
            steps=count,
            tokens=(size // patch) ** 2,
            mask=models[part].config.codes,
            guidance=(0.0, GUIDANCE),
            temperature=TEMPERATURE,
        )
        for part, count, patch in (
            ("transformer", steps, LOW_PATCH),
            ("super_resolution", super_steps, PATCH),
        )
    )
    tokens = prompts(models["text_encoder"], options)
    generation = Generation(parts=models, prompts=tokens, low=low, high=high, options=options)
    inputs = {
        "preset": name,
        "batch": options.batch,
        "size": size,
        "steps": steps,
        "super_resolution_steps": super_steps,
        "image_tokens": [low.tokens, high.tokens],
        "prompt_tokens": tokens.shape[1],
        "guidance_scale": GUIDANCE,
        "temperature": TEMPERATURE,
    }
    config = describe(models, inputs, options, assumed=preset.assumed)
    return _workload(generation, config)


def _workload(generation: Generation, config: Mapping[str, Any]) -> Workload:
    low, high = generation.low.steps, generation.high.steps
    trace_steps = generation.options.trace_steps
    traced_low, traced_high = spread(low, trace_steps), spread(high, trace_steps)
    partly = len(traced_low) + len(traced_high) < low + high
    return Workload(
        name=NAME,
        run=partial(generation.run, range(low), range(high)),
        modules=dict(generation.parts),
        stages=_stages(low, high),
        config=config,
        run_traced=partial(generation.run, traced_low, traced_high) if partly else None,
        traced_stages=_stages(len(traced_low), len(traced_high)) if partly else {},
        compile_targets=("transformer", "super_resolution"),
    )


def _stages(low: int, high: int) -> dict[str, int]:
    return {"text_encoder": 1, PARALLEL_DECODE: low, "super_resolution": high, "vae_decode": 1}
