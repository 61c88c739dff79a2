"""Transformers of discrete tokens are made of these: diffusers' blocks, positions, patches."""

from __future__ import annotations

from typing import Final

import torch
from diffusers.models.attention import BasicTransformerBlock

_SPREAD: Final = 0.02
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
    return torch.nn.Parameter(torch.randn(*shape) * _SPREAD)


def pixels_of(patches: torch.Tensor, rows: int, patch: int) -> torch.Tensor:
    """Return images (batch, channels, …) of patches (batch, patches, channels·patch²), by rows."""
    batch, count, _ = patches.shape
    columns = count // rows
    split = patches.view(batch, rows, columns, -1, patch, patch)
    return split.permute(0, 3, 1, 4, 2, 5).reshape(batch, -1, rows * patch, columns * patch)
