"""Cascades: diffusion models in pixels, each of which makes the image of the one before larger.

Ho et al., *Cascaded Diffusion Models for High Fidelity Image Generation* (arXiv 2106.15282). The
base samples a small image, a super-resolution stage a larger one, given the small one; all of them
see the text. A model is a text encoder and `Stage`s, in order; a `Cascade` runs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from diffusers.models.embeddings import AttentionPooling, TextTimeEmbedding

from tracekit.collectors.models._common import spread
from tracekit.collectors.models._diffusion import TRAINING_STEPS, Ddim
from tracekit.collectors.workload import StageMarker, Workload
from tracekit.collectors.written_attention import attention_written_out

TEXT_ENCODER: Final = "text_encoder"
"""The stage that reads the text, once."""

Denoiser = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
"""Of an input, a timestep and a text, the predicted noise; its channels after those are ignored."""


def channels(sample: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Return the sample with the condition as further channels: how SR3 and IF put it in."""
    return torch.cat([sample, condition], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One diffusion model of a cascade, with the steps of its sampler.

    `noise` (batch, channels, …) is what sampling starts from. `guidance` null is none: then only
    the conditional half of the text is seen, and the batch is not doubled. `condition` makes, of
    the sample of the stage before, what this one is given; `put_in` puts that into the sample.
    `to_text`, of a prior, makes of the text and this stage's sample what later stages see as text;
    the sample then goes no further.
    """

    name: str
    denoise: Denoiser
    noise: torch.Tensor
    sampler: Ddim
    guidance: float | None
    condition: Callable[[torch.Tensor], torch.Tensor] | None = None
    put_in: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = channels
    to_text: Callable[[Any, torch.Tensor], Any] | None = None

    @property
    def steps(self) -> int:
        """The true number of steps."""
        return len(self.sampler.scales)

    def run(
        self, steps: Sequence[int], before: torch.Tensor | None, text: Any, mark: StageMarker
    ) -> torch.Tensor:
        """Return the sample after these steps; the first of them prepares the condition as well."""
        sample, condition = self.noise, None
        for step in steps:
            with mark(self.name, step=step):
                if condition is None and self.condition is not None and before is not None:
                    condition = self.condition(before)
                sample = self._advance(step, sample, condition, text)
        return sample

    def _advance(
        self, step: int, sample: torch.Tensor, condition: torch.Tensor | None, text: Any
    ) -> torch.Tensor:
        given = sample if condition is None else self.put_in(sample, condition)
        time = self.sampler.timesteps[step]
        if self.guidance is None:
            predicted = self.denoise(given, time, text.chunk(2)[1])[:, : sample.shape[1]]
            return self.sampler.advance(step, sample, predicted)
        both = self.denoise(torch.cat([given, given]), time, text)[:, : sample.shape[1]]
        unconditional, conditional = both.chunk(2)
        guided = unconditional + self.guidance * (conditional - unconditional)
        return self.sampler.advance(step, sample, guided)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A text encoder and the stages that follow it.

    `encode` marks its own stages, whose steps `encoder_stages` counts, and returns the text of both
    prompts, the unconditional half first.
    """

    encode: Callable[[StageMarker], Any]
    stages: Sequence[Stage]
    encoder_stages: Mapping[str, int]

    def run(self, steps: Mapping[str, Sequence[int]], mark: StageMarker) -> torch.Tensor | None:
        """Do these steps of each stage once and return the last one's sample, from -1 to 1."""
        with torch.no_grad():
            text = self.encode(mark)
            sample = None
            for stage in self.stages:
                sample = stage.run(steps[stage.name], sample, text, mark)
                if stage.to_text is not None:
                    text, sample = stage.to_text(text, sample), None
        return sample

    def workload(
        self,
        name: str,
        parts: Mapping[str, Any],
        config: Mapping[str, Any],
        trace_steps: int | None,
        compile_targets: Sequence[str],
    ) -> Workload:
        """Return the work; `trace_steps` of each stage's steps, spread evenly, are recorded."""
        whole = {stage.name: range(stage.steps) for stage in self.stages}
        traced = {stage.name: spread(stage.steps, trace_steps) for stage in self.stages}
        partly = any(len(traced[stage]) < len(whole[stage]) for stage in whole)
        once = dict(self.encoder_stages)
        counts = {stage: len(steps) for stage, steps in traced.items()}
        return Workload(
            name=name,
            run=partial(self.run, whole),
            modules=dict(parts),
            stages=once | {stage: len(steps) for stage, steps in whole.items()},
            config=config,
            run_traced=partial(self.run, traced) if partly else None,
            traced_stages=once | counts if partly else {},
            compile_targets=tuple(compile_targets),
        )


def unet_denoiser(unet: Any, level: torch.Tensor | None = None) -> Denoiser:
    """Return the call of one of diffusers' conditional UNets.

    `level` (rows,) is the noise that was added to its condition, null where it has none.
    """
    more = {} if level is None else {"class_labels": level}

    def denoise(given: torch.Tensor, time: torch.Tensor, text: Any) -> torch.Tensor:
        predicted: torch.Tensor = unet(
            given, time, encoder_hidden_states=text, return_dict=False, **more
        )[0]
        return predicted

    return denoise


@dataclass(frozen=True, slots=True)
class Enlarged:
    """A condition: the image before, enlarged to the size of `noise`, and noised to a level.

    Noise conditioning augmentation (Ho et al., arXiv 2106.15282, section 3), with the cosine
    schedule of Nichol and Dhariwal (arXiv 2102.09672, eq. 17). Takes (batch, 3, height, width),
    or with frames as third dimension, which are enlarged one by one.
    """

    noise: torch.Tensor
    level: int

    def __call__(self, before: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the shape of `noise`."""
        image = before.clamp(-1, 1)
        frames = image.ndim == 5
        if frames:
            image = image.transpose(1, 2).flatten(0, 1)
        image = torch.nn.functional.interpolate(
            image, self.noise.shape[-2:], mode="bilinear", align_corners=True
        )
        if frames:
            image = image.unflatten(0, (before.shape[0], -1)).transpose(1, 2)
        kept = _kept(self.level + 1) / _kept(0)
        return image * kept**0.5 + self.noise * (1 - kept) ** 0.5


def _kept(level: int) -> float:
    return math.cos((level / TRAINING_STEPS + 0.008) / 1.008 * math.pi / 2) ** 2


class SummaryAttention(torch.nn.Module):  # type: ignore[misc]
    """Attention of one query to a text, with the weights, by name, of diffusers' pooling."""

    def __init__(self, pooling: AttentionPooling, written_out: bool) -> None:
        super().__init__()
        self.heads = pooling.num_heads
        self.written_out = written_out
        self.positional_embedding = pooling.positional_embedding
        self.k_proj, self.q_proj, self.v_proj = pooling.k_proj, pooling.q_proj, pooling.v_proj

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor
    ) -> torch.Tensor:
        """Return (batch, width) of a query (batch, 1, width) and (batch, tokens, width)."""
        keys = encoder_hidden_states
        query, key, value = (
            each.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.q_proj(hidden_states), self.k_proj(keys), self.v_proj(keys))
        )
        # Looked up in each call: what records attention replaces PyTorch's function meanwhile.
        fused = torch.nn.functional.scaled_dot_product_attention
        attend = attention_written_out if self.written_out else fused
        pooled: torch.Tensor = attend(query, key, value).flatten(1)
        return pooled


class TextSummaryEmbedding(torch.nn.Module):  # type: ignore[misc]
    """diffusers' embedding of a whole text, with the attention that is asked for.

    diffusers writes it out, with a softmax in float32. Its query is the mean of the tokens, which
    is a key as well. Weights are those of the one that it takes the place of, by the same names.
    """

    def __init__(self, embedding: TextTimeEmbedding, written_out: bool) -> None:
        super().__init__()
        self.norm1, self.proj, self.norm2 = embedding.norm1, embedding.proj, embedding.norm2
        self.pool = SummaryAttention(embedding.pool, written_out)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        """Return (batch, width) of (batch, tokens, text width)."""
        text = self.norm1(text)
        mean = text.mean(dim=1, keepdim=True) + self.pool.positional_embedding.to(text.dtype)
        pooled = self.pool(mean, encoder_hidden_states=torch.cat([mean, text], dim=1))
        result: torch.Tensor = self.norm2(self.proj(pooled))
        return result


def use_attention(unet: Any, *, written_out: bool) -> Any:
    """Return the UNet with its embedding of the text replaced, by `TextSummaryEmbedding`."""
    if isinstance(getattr(unet, "add_embedding", None), TextTimeEmbedding):
        unet.add_embedding = TextSummaryEmbedding(unet.add_embedding, written_out)
    return unet
