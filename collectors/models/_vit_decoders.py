"""Decoders of discrete tokens that are transformers: that of ViT-VQGAN, for images.

A token becomes a code of few dimensions (factorized codes), the code a vector of the width of the
transformer, and each vector that comes out the pixels of its patch.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.modeling_utils import ModelMixin

SPREAD = 0.02
"""Standard deviation of positions as they are made."""


def blocks(
    count: int, width: int, heads: int, feed_forward: int, text: int | None = None
) -> torch.nn.ModuleList:
    """Return transformer blocks, normalized before each part, without gates.

    They attend to a text of width `text` where one is given.
    """
    return torch.nn.ModuleList(
        BasicTransformerBlock(
            width,
            heads,
            width // heads,
            cross_attention_dim=text,
            activation_fn="gelu",
            ff_inner_dim=feed_forward,
        )
        for _ in range(count)
    )


def positions(*shape: int) -> torch.nn.Parameter:
    """Return learned positions of this shape."""
    return torch.nn.Parameter(torch.randn(*shape) * SPREAD)


def pixels_of(patches: torch.Tensor, rows: int, patch: int) -> torch.Tensor:
    """Return images (batch, channels, …) of patches (batch, patches, channels·patch²), by rows."""
    batch, count, _ = patches.shape
    columns = count // rows
    split = patches.view(batch, rows, columns, -1, patch, patch)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, rows * patch, columns * patch)


class ViTDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """ViT-VQGAN's decoder (Yu et al., arXiv 2110.04627): tokens of square patches to pixels."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        layers: int,
        width: int,
        heads: int,
        feed_forward: int,
        codes: int,
        code_width: int,
        side: int,
        patch: int,
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.codebook = torch.nn.Embedding(codes, code_width)
        self.proj_in = torch.nn.Linear(code_width, width)
        self.positions = positions(side, side, width)
        self.blocks = blocks(layers, width, heads, feed_forward)
        self.norm = torch.nn.LayerNorm(width)
        self.proj_out = torch.nn.Linear(width, channels * patch * patch)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return images (batch, channels, rows·patch, …) of tokens, int64 (batch, rows²)."""
        rows = int(tokens.shape[1] ** 0.5)
        places = self.positions[:rows, :rows].reshape(1, rows * rows, -1)
        hidden = self.proj_in(self.codebook(tokens)) + places
        for block in self.blocks:
            hidden = block(hidden)
        return pixels_of(self.proj_out(self.norm(hidden)), rows, self.config.patch)
