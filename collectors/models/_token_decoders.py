"""Decoders of discrete tokens: ViT-VQGAN's and VQGAN's for images, C-ViViT's for videos.

In ViT-VQGAN and C-ViViT a token becomes a code of few dimensions (factorized codes), the code a
vector of the width of the transformer, and each vector that comes out the pixels of its patch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import Decoder
from diffusers.models.modeling_utils import ModelMixin

from tracekit.collectors.models._blocks import blocks, pixels_of, positions


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


class VQDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """VQGAN's decoder (Esser et al., arXiv 2012.09841) without attention: tokens to pixels."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        block_out_channels: tuple[int, ...],
        layers_per_block: int,
        codes: int,
        code_width: int,
        latent_channels: int,
        out_channels: int = 3,
        norm_num_groups: int = 32,
        act_fn: str = "silu",
    ) -> None:
        super().__init__()
        self.codebook = torch.nn.Embedding(codes, code_width)
        self.post_quant_conv = torch.nn.Conv2d(code_width, latent_channels, 1)
        self.decoder = Decoder(
            in_channels=latent_channels,
            out_channels=out_channels,
            up_block_types=("UpDecoderBlock2D",) * len(block_out_channels),
            block_out_channels=tuple(block_out_channels),
            # diffusers' decoders have one more than they are asked for.
            layers_per_block=layers_per_block - 1,
            norm_num_groups=norm_num_groups,
            act_fn=act_fn,
            mid_block_add_attention=False,
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return images (batch, channels, …) of tokens, int64 (batch, rows²)."""
        rows = int(tokens.shape[1] ** 0.5)
        codes = self.codebook(tokens).unflatten(1, (rows, rows)).permute(0, 3, 1, 2)
        images: torch.Tensor = self.decoder(self.post_quant_conv(codes))
        return images


class CViViTDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """C-ViViT's decoder (Villegas et al., arXiv 2210.02399, section 2.1): tokens to a video.

    A temporal transformer, in which a token sees those at its place up to its time, then a spatial
    one. The first times' tokens are patches of one frame, the others of `frame_patch` frames.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        temporal_layers: int,
        spatial_layers: int,
        width: int,
        heads: int,
        feed_forward: int,
        codes: int,
        code_width: int,
        shape: Sequence[int],
        patch: int,
        frame_patch: int,
        channels: int = 3,
    ) -> None:
        super().__init__()
        times, rows, columns = shape
        pixels = channels * patch * patch
        self.codebook = torch.nn.Embedding(codes, code_width)
        self.proj_in = torch.nn.Linear(code_width, width)
        self.time_positions = positions(times, 1, 1, width)
        self.place_positions = positions(rows, columns, width)
        self.temporal = blocks(temporal_layers, width, heads, feed_forward)
        self.spatial = blocks(spatial_layers, width, heads, feed_forward)
        self.norm = torch.nn.LayerNorm(width)
        self.proj_first = torch.nn.Linear(width, pixels)
        self.proj_others = torch.nn.Linear(width, frame_patch * pixels)

    def forward(self, tokens: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return videos (batch, channels, frames, height, width) of tokens, int64, in this grid."""
        times, rows, columns = shape
        batch, places = tokens.shape[0], rows * columns
        hidden = self.proj_in(self.codebook(tokens)).unflatten(1, (times, rows, columns))
        hidden = hidden + self.time_positions[:times] + self.place_positions[:rows, :columns]
        along_time = hidden.flatten(2, 3).transpose(1, 2).reshape(batch * places, times, -1)
        later = torch.full((times, times), -torch.inf, dtype=hidden.dtype, device=hidden.device)
        mask = later.triu(1).expand(batch * places, times, times)
        for block in self.temporal:
            along_time = block(along_time, attention_mask=mask)
        frames = along_time.view(batch, places, times, -1).transpose(1, 2)
        frames = frames.reshape(batch * times, places, -1)
        for block in self.spatial:
            frames = block(frames)
        return self._video(self.norm(frames).view(batch, times, places, -1), rows)

    def _video(self, hidden: torch.Tensor, rows: int) -> torch.Tensor:
        """Return the video of vectors (batch, times, places, width)."""
        first, others = self.proj_first(hidden[:, :1]), self.proj_others(hidden[:, 1:])
        channels, patch = self.config.channels, self.config.patch
        parts = []
        for vectors, length in ((first, 1), (others, self.config.frame_patch)):
            images = pixels_of(vectors.flatten(0, 1), rows, patch)
            videos = images.unflatten(1, (length, channels)).unflatten(0, vectors.shape[:2])
            parts.append(videos.flatten(1, 2))
        return torch.cat(parts, dim=1).transpose(1, 2)
