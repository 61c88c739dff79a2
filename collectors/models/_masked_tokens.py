"""What models share that decode masked tokens in parallel: transformer, schedule, sampling, text.

Chang et al., *MaskGIT: Masked Generative Image Transformer* (arXiv 2202.04200), section 3.2: all
tokens are masked at first. Each step predicts every token, draws those that are masked, and masks
again the ones of least confidence, as many as a cosine of the step says; confidence is the
probability of what was drawn, with noise that fades from a temperature to nothing. Guidance is that
of Muse (arXiv 2301.00704, eq. 1), of which a scale of 0 is none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from transformers import T5Config, T5EncoderModel

from tracekit.collectors.models._blocks import blocks, positions
from tracekit.collectors.models._common import make_transformers, making
from tracekit.collectors.models._text import T5_XXL, TINY_T5
from tracekit.collectors.models._tokens import Draws, guided
from tracekit.collectors.workload import ModelOptions, StageMarker

PARALLEL_DECODE: Final = "parallel_decode"
"""The stage whose steps each predict all tokens."""
TEXT_TOKENS: Final = 128


class TokenHead(torch.nn.Sequential):  # type: ignore[misc]
    """Logits of vectors: normalized, a hidden layer, and the linear layer."""

    def __init__(self, width: int, codes: int) -> None:
        super().__init__(
            torch.nn.LayerNorm(width),
            torch.nn.Linear(width, width),
            torch.nn.GELU(),
            torch.nn.LayerNorm(width),
            torch.nn.Linear(width, codes),
        )


class MaskedTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A bidirectional transformer over tokens, masked ones among them, with attention to a text.

    `shape` are the most tokens along each axis. The text of width `text_width` is projected to the
    width of the transformer at once (`project_text`) or by the keys and values of each layer. The
    number of the mask is `codes`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        feed_forward: int,
        codes: int,
        shape: Sequence[int],
        text_width: int,
        project_text: bool,
    ) -> None:
        super().__init__()
        self.embed_tokens = torch.nn.Embedding(codes + 1, width)
        self.positions = positions(*shape, width)
        self.proj_text = torch.nn.Linear(text_width, width) if project_text else None
        text = width if project_text else text_width
        self.blocks = blocks(layers, width, heads, feed_forward, text)
        self.head = TokenHead(width, codes)

    def forward(
        self, tokens: torch.Tensor, text: torch.Tensor, shape: Sequence[int]
    ) -> torch.Tensor:
        """Return logits (batch, tokens, codes) of tokens, int64, in a grid of this shape.

        `text` is (batch, text tokens, text width).
        """
        places = self.positions[tuple(slice(size) for size in shape)]
        hidden = self.embed_tokens(tokens) + places.reshape(1, tokens.shape[1], -1)
        if self.proj_text is not None:
            text = self.proj_text(text)
        for block in self.blocks:
            hidden = block(hidden, encoder_hidden_states=text)
        logits: torch.Tensor = self.head(hidden)
        return logits


class MaskedImageTransformer(MaskedTransformer):
    """The same, over the tokens of an image."""


class MaskedVideoTransformer(MaskedTransformer):
    """The same, over the tokens of a video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelDecoding:
    """The schedule of `steps` steps for `tokens` tokens, of which `mask` is the masked one.

    `guidance` is the scale at the first and at the last step, linear between; `temperature` that
    of the noise on the confidence at the first.
    """

    steps: int
    tokens: int
    mask: int
    guidance: tuple[float, float]
    temperature: float

    def run(
        self,
        predict: Callable[[torch.Tensor], torch.Tensor],
        prompts: torch.Tensor,
        draws: Draws,
        marked: Callable[[int], Any],
        which: Sequence[int],
    ) -> torch.Tensor:
        """Return tokens, int64 (batch, tokens), after the steps `which`, each marked as a stage.

        `predict` returns logits of (2·batch, tokens), the unconditional half first, as in
        `prompts`. What no step has drawn becomes the last code.
        """
        shape = (prompts.shape[0] // 2, self.tokens)
        tokens = torch.full(shape, self.mask, device=prompts.device)
        for step in which:
            with marked(step):
                logits = predict(torch.cat([tokens, tokens]))
                tokens = self.advance(step, tokens, logits, draws)
        return tokens if self.steps - 1 in which else tokens.clamp(max=self.mask - 1)

    def advance(
        self, step: int, tokens: torch.Tensor, logits: torch.Tensor, draws: Draws
    ) -> torch.Tensor:
        """Return the tokens after this step, of those before and the logits."""
        logits = guided(logits, 1 + self._guidance(step))
        drawn = draws.tokens(logits)
        masked = tokens == self.mask
        filled = torch.where(masked, drawn, tokens)
        remaining = self.remaining(step)
        if not remaining:
            return filled
        chances = logits.gather(-1, drawn.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(dim=-1)
        noise = self.temperature * (1 - (step + 1) / self.steps)
        confidence = torch.add(chances, draws.gumbel(chances), alpha=noise)
        confidence = confidence.masked_fill(~masked, math.inf)
        least = confidence.sort(dim=-1).values[:, remaining - 1 : remaining]
        return filled.masked_fill(confidence <= least, self.mask)

    def remaining(self, step: int) -> int:
        """Return how many tokens are masked after this step."""
        return int(self.tokens * math.cos(math.pi / 2 * (step + 1) / self.steps) + 1e-9)

    def _guidance(self, step: int) -> float:
        first, last = self.guidance
        return first + (last - first) * step / max(self.steps - 1, 1)


def text_encoder(options: ModelOptions) -> Any:
    """Return T5-XXL's encoder, on the device."""
    config = T5Config(**(T5_XXL | TINY_T5 if options.tiny else T5_XXL))
    return make_transformers(T5EncoderModel, config, options, "text_encoder")


def prompts(encoder: Any, options: ModelOptions) -> torch.Tensor:
    """Return random token numbers, int64 (2·batch, text tokens): unconditional half first."""
    length = options.prompt_tokens or TEXT_TOKENS
    with making(options):
        return torch.randint(encoder.config.vocab_size, (2 * options.batch, length))


def encoded(encoder: Any, tokens: torch.Tensor, stage: StageMarker) -> torch.Tensor:
    """Return the text (2·batch, text tokens, width) of prompts, in a stage of its own."""
    with stage("text_encoder"):
        text: torch.Tensor = encoder(tokens)[0]
    return text
