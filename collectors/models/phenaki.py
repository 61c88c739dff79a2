"""Phenaki: text to a video of 11 frames of 128 pixels, by parallel decoding of masked tokens.

Villegas et al., *Phenaki: Variable Length Video Generation from Open Domain Textual Descriptions*
(arXiv 2210.02399). T5 reads the text, a bidirectional transformer makes the tokens of the video,
each attending to all, and C-ViViT's decoder the frames. No weights were released.

* Transformer, appendix B.3.1: `1.8b`, 24 layers of width 2048, 32 heads, feed-forward width 8192,
  1.8 B parameters; `0.9b`, the smaller one for comparison with NÜWA, 20 layers of width 1536, 24
  heads, feed-forward width 6144, 0.9 B. Attention to the text in each layer: the same appendix,
  which names T5X embeddings but no size. Both counts come out where each layer projects keys and
  values from T5-XXL's width of 4096 (1.85 B and 0.94 B), and neither does where the text is
  projected to the width of the transformer first (1.65 B and 0.79 B); so T5-XXL, as `_text` says,
  4.76 B parameters, is *assumed*. Learned positions and one hidden layer before the logits are
  *assumed* too.
* C-ViViT's decoder, section 2.1 and appendix B.1.1: 4 temporal layers, causal, then 4 spatial ones
  of width 512, 8 heads, feed-forward width 2048, codes of 32 dimensions, 8,192 of them, patches of
  8 by 8 pixels for the first frame and 2 by 8 by 8 for the others, one linear layer to pixels;
  about 50 M parameters with the encoder, which is the same in reverse: 25 M for the decoder.
  Learned positions are *assumed*.
* 11 frames of 128 pixels make 1,536 tokens (table 3).
* Sampling: a guidance scale of 12, 48 steps, temperature 8 for all videos of the paper (B.3.5); of
  the smaller one 0.1, 12 and 4 (B.3.3). The scale is read as Muse's (`_masked_tokens`), of which 0
  is no guidance. 128 tokens of text are *assumed*.

The transformer sees both prompts at once, the batch is doubled. The paper makes longer videos by
continuing the last frames; a larger `frames` (one more than a multiple of 2) or `size` is one
longer or larger video here, with positions for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from tracekit.collectors.models._common import (
    check,
    check_frames,
    check_size,
    describe,
    make_diffusers,
    spread,
)
from tracekit.collectors.models._masked_tokens import (
    PARALLEL_DECODE,
    MaskedVideoTransformer,
    ParallelDecoding,
    encoded,
    prompts,
    text_encoder,
)
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.models._text import T5_XXL_PARAMETERS
from tracekit.collectors.models._token_decoders import CViViTDecoder
from tracekit.collectors.models._tokens import Draws
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "phenaki"
DESCRIPTION: Final = "Phenaki: text to 11 frames of 128 px, parallel decoding of tokens (1.8B)"
SIZE, FRAMES, TINY_SIZE, TINY_FRAMES, TINY_STEPS = 128, 11, 32, 5, 3
PATCH, FRAME_PATCH = 8, 2

TRANSFORMER: Final[dict[str, Any]] = {
    "layers": 24,
    "width": 2048,
    "heads": 32,
    "feed_forward": 8192,
    "codes": 8192,
    "text_width": 4096,
    "project_text": False,
}
SMALLER: Final[dict[str, Any]] = {"layers": 20, "width": 1536, "heads": 24, "feed_forward": 6144}
VAE: Final[dict[str, Any]] = {
    "temporal_layers": 4,
    "spatial_layers": 4,
    "width": 512,
    "heads": 8,
    "feed_forward": 2048,
    "codes": 8192,
    "code_width": 32,
    "patch": PATCH,
    "frame_patch": FRAME_PATCH,
}
_TINY: Final[dict[str, Any]] = {"width": 32, "heads": 4, "feed_forward": 64, "codes": 64}
TINY_TRANSFORMER: Final[dict[str, Any]] = _TINY | {"layers": 2, "text_width": 32}
TINY_VAE: Final[dict[str, Any]] = _TINY | {
    "temporal_layers": 2,
    "spatial_layers": 2,
    "code_width": 8,
}
ASSUMED: Final = (
    "text_encoder",
    "transformer.text_width",
    "transformer.project_text",
    "inputs.prompt_tokens",
)
ATTENTION: Final = {
    "text_encoder": {("self", "sequence")},
    "transformer": {("self", "spatio-temporal"), ("cross", "spatio-temporal")},
    "vae": {("self", "temporal"), ("self", "spatial")},
}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("text_encoder", PARALLEL_DECODE, "vae_decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhenakiPreset(Preset):
    """One size: its transformer, and how the paper samples from it."""

    transformer: Mapping[str, Any]
    steps: int
    guidance: float
    temperature: float


def _published(transformer: float) -> dict[str, float]:
    return {"text_encoder": T5_XXL_PARAMETERS, "transformer": transformer, "vae": 25e6}


PRESETS: Final = {
    "1.8b": PhenakiPreset(
        about="Phenaki at 11 frames of 128 px",
        published=_published(1.8e9),
        assumed=ASSUMED,
        transformer=TRANSFORMER,
        steps=48,
        guidance=12.0,
        temperature=8.0,
    ),
    "0.9b": PhenakiPreset(
        about="Phenaki, the smaller one compared with NÜWA",
        published=_published(0.9e9),
        assumed=ASSUMED,
        transformer=TRANSFORMER | SMALLER,
        steps=12,
        guidance=0.1,
        temperature=4.0,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One video from its text; `shape` are times, rows and columns of its tokens."""

    parts: Mapping[str, Any]
    prompts: torch.Tensor
    decoding: ParallelDecoding
    shape: tuple[int, int, int]
    options: ModelOptions

    def run(self, steps: Sequence[int], stage: StageMarker) -> torch.Tensor:
        """Do these steps once and return the video, values from 0 to 1."""
        with torch.no_grad():
            text = encoded(self.parts["text_encoder"], self.prompts, stage)
            tokens = self.decoding.run(
                lambda tokens: self.parts["transformer"](tokens, text, self.shape),
                self.prompts,
                Draws(self.options),
                lambda step: stage(PARALLEL_DECODE, step=step),
                steps,
            )
            with stage("vae_decode"):
                video: torch.Tensor = self.parts["vae"](tokens, self.shape).clamp(0, 1)
        return video


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return text encoder, transformer and C-ViViT's decoder, on the device."""
    _, preset = choose(PRESETS, options, NAME)
    transformer, vae = dict(preset.transformer), VAE
    if options.tiny:
        transformer, vae = transformer | TINY_TRANSFORMER, vae | TINY_VAE
    shape = {"shape": _shape(options)}
    return {
        "text_encoder": text_encoder(options),
        "transformer": make_diffusers(
            MaskedVideoTransformer, transformer | shape, options, "transformer"
        ),
        "vae": make_diffusers(CViViTDecoder, vae | shape, options, "vae"),
    }


def _sizes(options: ModelOptions) -> tuple[int, int]:
    """Return side and frames of the video."""
    size = options.size or (TINY_SIZE if options.tiny else SIZE)
    frames = options.frames or (TINY_FRAMES if options.tiny else FRAMES)
    return size, frames


def _shape(options: ModelOptions) -> tuple[int, int, int]:
    """Return times, rows and columns of tokens."""
    size, frames = _sizes(options)
    return 1 + (frames - 1) // FRAME_PATCH, size // PATCH, size // PATCH


def build(options: ModelOptions) -> Workload:
    """Return one text-to-video inference; its result is (batch, 3, frames, size, size)."""
    check(options, NAME, ignores=("new_tokens",))
    name, preset = choose(PRESETS, options, NAME)
    size, frames = _sizes(options)
    check_size(size, PATCH)
    check_frames(frames, FRAME_PATCH)
    models, shape = parts(options), _shape(options)
    known = models["transformer"].config
    if any(one > most for one, most in zip(shape, known.shape, strict=True)):
        raise UsageError(f"--size {size}, --frames {frames}: the weights know {known.shape} tokens")
    decoding = ParallelDecoding(
        steps=options.steps or (TINY_STEPS if options.tiny else preset.steps),
        tokens=shape[0] * shape[1] * shape[2],
        mask=known.codes,
        guidance=(preset.guidance, preset.guidance),
        temperature=preset.temperature,
    )
    generation = Generation(
        parts=models,
        prompts=prompts(models["text_encoder"], options),
        decoding=decoding,
        shape=shape,
        options=options,
    )
    inputs = {
        "preset": name,
        "batch": options.batch,
        "size": size,
        "frames": frames,
        "steps": decoding.steps,
        "video_tokens": decoding.tokens,
        "prompt_tokens": generation.prompts.shape[1],
        "guidance_scale": preset.guidance,
        "temperature": preset.temperature,
    }
    config = describe(models, inputs, options, assumed=preset.assumed)
    return _workload(generation, config)


def _workload(generation: Generation, config: Mapping[str, Any]) -> Workload:
    total = generation.decoding.steps
    traced = spread(total, generation.options.trace_steps)
    stages = {"text_encoder": 1, PARALLEL_DECODE: total, "vae_decode": 1}
    partly = len(traced) < total
    return Workload(
        name=NAME,
        run=partial(generation.run, range(total)),
        modules=dict(generation.parts),
        stages=stages,
        config=config,
        run_traced=partial(generation.run, traced) if partly else None,
        traced_stages={**stages, PARALLEL_DECODE: len(traced)} if partly else {},
        compile_targets=("transformer",),
    )
