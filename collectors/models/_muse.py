"""Muse's own part: the transformer that makes the tokens of a larger image of those of a small."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin

from tracekit.collectors.models._blocks import blocks, positions
from tracekit.collectors.models._masked_tokens import TokenHead


class _MultiAxisBlock(torch.nn.Module):  # type: ignore[misc]
    """A transformer block whose self-attention has two axes (Zhao et al., arXiv 2106.07631).

    Half of the heads attend within square blocks of the image, the others across them, to the
    tokens at the same place of each.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, block: int) -> None:
        super().__init__()
        size = width // heads
        self.block = block
        self.norm1 = torch.nn.LayerNorm(width)
        self.regional = Attention(width, heads=heads // 2, dim_head=size)
        self.dilated = Attention(width, heads=heads // 2, dim_head=size)
        self.norm2 = torch.nn.LayerNorm(width)
        self.cross = Attention(width, width, heads=heads, dim_head=size)
        self.norm3 = torch.nn.LayerNorm(width)
        self.ff = FeedForward(width, activation_fn="gelu", inner_dim=feed_forward)

    def forward(self, hidden: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """Return (batch, side², width) of the same and of (batch, tokens, width) attended to."""
        hidden = hidden + self._two_axes(self.norm1(hidden))
        hidden = hidden + self.cross(self.norm2(hidden), encoder_hidden_states=condition)
        result: torch.Tensor = hidden + self.ff(self.norm3(hidden))
        return result

    def _two_axes(self, hidden: torch.Tensor) -> torch.Tensor:
        batch, count, width = hidden.shape
        side = int(count**0.5) // self.block
        grid = hidden.view(batch, side, self.block, side, self.block, width)
        inside = grid.permute(0, 1, 3, 2, 4, 5)
        across = grid.permute(0, 2, 4, 1, 3, 5)
        regional = self.regional(inside.reshape(-1, self.block**2, width)).view(inside.shape)
        dilated = self.dilated(across.reshape(-1, side**2, width)).view(across.shape)
        both = regional.permute(0, 1, 3, 2, 4, 5) + dilated.permute(0, 3, 1, 4, 2, 5)
        return both.reshape(batch, count, width)


class SuperResolutionImageTransformer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A transformer over masked tokens of a large image, that attends to a small one and a text.

    `side` and `low_side` are the most tokens along a side. The number of the mask is `codes`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        layers: int,
        low_layers: int,
        width: int,
        heads: int,
        feed_forward: int,
        codes: int,
        side: int,
        low_side: int,
        block: int,
        text_width: int,
    ) -> None:
        super().__init__()
        self.embed_low = torch.nn.Embedding(codes, width)
        self.low_positions = positions(low_side, low_side, width)
        self.low_blocks = blocks(low_layers, width, heads, feed_forward)
        self.proj_text = torch.nn.Linear(text_width, width)
        self.embed_tokens = torch.nn.Embedding(codes + 1, width)
        self.positions = positions(side, side, width)
        self.blocks = torch.nn.ModuleList(
            _MultiAxisBlock(width, heads, feed_forward, block) for _ in range(layers)
        )
        self.head = TokenHead(width, codes)

    def forward(self, tokens: torch.Tensor, low: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Return logits (batch, tokens, codes) of tokens, int64, given those of the small image.

        `text` is (batch, text tokens, text width).
        """
        small = self.embed_low(low) + _places(self.low_positions, low.shape[1])
        for block in self.low_blocks:
            small = block(small)
        condition = torch.cat([small, self.proj_text(text)], dim=1)
        hidden = self.embed_tokens(tokens) + _places(self.positions, tokens.shape[1])
        for block in self.blocks:
            hidden = block(hidden, condition)
        logits: torch.Tensor = self.head(hidden)
        return logits


def _places(places: torch.Tensor, count: int) -> torch.Tensor:
    side = int(count**0.5)
    return places[:side, :side].reshape(1, count, -1)
