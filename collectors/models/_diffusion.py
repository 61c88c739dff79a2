"""What diffusion models share: a text prompt, a guided sampling loop, the decoder of latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from tracekit.collectors.models._common import device_of, make_transformers, making, spread
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

TRAINING_STEPS: Final = 1000
"""Noise levels of the schedule; SD's published scheduler configuration."""


def clip_text_encoder(config: Mapping[str, Any], options: ModelOptions) -> Any:
    """Return CLIP's text transformer of this configuration, or that of the weights folder."""
    if options.weights is None:
        _prompt_length(config["max_position_embeddings"], options)
    return make_transformers(CLIPTextModel, CLIPTextConfig(**config), options, "text_encoder")


def prompts(encoder: Any, options: ModelOptions) -> torch.Tensor:
    """Return random token numbers, int64 (2·batch, prompt_tokens): unconditional half first.

    A prompt is padded to the encoder's whole context, as pipelines do, unless `prompt_tokens`
    says less. Raises `UsageError` when it says more.
    """
    length = _prompt_length(encoder.config.max_position_embeddings, options)
    with making(options):
        return torch.randint(encoder.config.vocab_size, (2 * options.batch, length))


def _prompt_length(context: int, options: ModelOptions) -> int:
    length = context if options.prompt_tokens is None else options.prompt_tokens
    if length > context:
        raise UsageError(f"--prompt-tokens {length}: the text encoder takes at most {context}")
    return length


def noise(shape: Sequence[int], options: ModelOptions) -> torch.Tensor:
    """Return what sampling starts from: normal numbers, drawn once, so that runs repeat."""
    with making(options):
        return torch.randn(*shape)


@dataclass(frozen=True, slots=True)
class Ddim:
    """DDIM sampling without noise (Song et al., arXiv 2010.02502, eq. 12), in two operations.

    `timesteps` is int64 (steps,) on the device, `scales` what the sample and the predicted noise
    are multiplied by at each step. Noise levels and spacing are those of SD's published scheduler
    configuration: β from 0.00085 to 0.012, evenly in their roots, "leading", offset 1.
    """

    timesteps: torch.Tensor
    scales: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, steps: int, options: ModelOptions) -> Ddim:
        """Return the sampler of this many steps; raise `UsageError` when there are too many."""
        if steps > TRAINING_STEPS:
            raise UsageError(f"--steps {steps}: at most {TRAINING_STEPS}")
        root = [0.00085**0.5, 0.012**0.5]
        alpha, alphas = 1.0, []
        for i in range(TRAINING_STEPS):
            alpha *= 1 - (root[0] + (root[1] - root[0]) * i / (TRAINING_STEPS - 1)) ** 2
            alphas.append(alpha)
        stride = TRAINING_STEPS // steps
        times = [min(i * stride + 1, TRAINING_STEPS - 1) for i in reversed(range(steps))]
        scales = []
        for time in times:
            here, there = alphas[time], alphas[max(time - stride, 0)]
            keep = (there / here) ** 0.5
            scales.append((keep, (1 - there) ** 0.5 - keep * (1 - here) ** 0.5))
        return cls(torch.tensor(times, device=device_of(options)), tuple(scales))

    def advance(self, step: int, sample: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        """Return the sample after this step, given the noise predicted for it."""
        keep, add = self.scales[step]
        return torch.add(sample * keep, predicted, alpha=add)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuidedDiffusion:
    """Text encoder, denoising with classifier-free guidance, decoder (null: pixels are sampled).

    Each step predicts the noise for the unconditional and the conditional prompt at once: the
    batch is doubled. Nothing in the loop waits for the device.
    """

    text_encoder: Any
    unet: Any
    decode: Callable[[torch.Tensor], torch.Tensor] | None
    tokens: torch.Tensor
    noise: torch.Tensor
    sampler: Ddim
    guidance: float

    def run(self, steps: Sequence[int], stage: StageMarker) -> torch.Tensor:
        """Do these steps once and return the image or video, values from 0 to 1."""
        with torch.no_grad():
            with stage("text_encoder"):
                text = self.text_encoder(self.tokens)[0]
            sample = self.noise
            for step in steps:
                with stage("denoise", step=step):
                    sample = self._denoise(step, sample, text)
            if self.decode is None:
                return sample
            with stage("vae_decode"):
                return (self.decode(sample) / 2 + 0.5).clamp(0, 1)

    def _denoise(self, step: int, sample: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        predicted = self.unet(
            torch.cat([sample, sample]),
            self.sampler.timesteps[step],
            encoder_hidden_states=text,
            return_dict=False,
        )[0]
        unconditional, conditional = predicted.chunk(2)
        guided = unconditional + self.guidance * (conditional - unconditional)
        return self.sampler.advance(step, sample, guided)

    def workload(
        self,
        name: str,
        parts: Mapping[str, Any],
        config: Mapping[str, Any],
        trace_steps: int | None,
    ) -> Workload:
        """Return the work; `trace_steps` of the denoising steps, spread evenly, are recorded."""
        total = len(self.sampler.scales)
        traced = spread(total, trace_steps)
        stages = {"text_encoder": 1, "denoise": total}
        if self.decode is not None:
            stages["vae_decode"] = 1
        partly = len(traced) < total
        return Workload(
            name=name,
            run=partial(self.run, range(total)),
            modules=dict(parts),
            stages=stages,
            config=config,
            run_traced=partial(self.run, traced) if partly else None,
            traced_stages={**stages, "denoise": len(traced)} if partly else {},
            compile_targets=("unet",),
        )


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return the pixels of latents (batch, 4, height, width) or (batch, 4, frames, height, width).

    Pixels come as (batch, 3, 8·height, 8·width), of a video (batch, 3, frames, …); frames are
    decoded one by one, all at once.
    """
    latents = latents / vae.config.scaling_factor
    if latents.ndim == 4:
        pixels: torch.Tensor = vae.decode(latents, return_dict=False)[0]
        return pixels
    batch, channels, frames, height, width = latents.shape
    flat = latents.transpose(1, 2).reshape(batch * frames, channels, height, width)
    images = vae.decode(flat, return_dict=False)[0]
    return images.unflatten(0, (batch, frames)).transpose(1, 2)
