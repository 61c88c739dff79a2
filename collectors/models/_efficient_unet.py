"""The Efficient U-Net of Saharia et al. (arXiv 2205.11487, appendix B), of diffusers' blocks.

What the appendix says and is so here: more residual blocks at the lower resolutions; a block makes
its input smaller before its convolutions, and larger after them; skip connections are scaled by
1/√2; a block is given the noise levels and the pooled text once; attention to the text at the
lowest resolution only, and no self-attention. What is diffusers' instead: a residual block adds its
input as it is, where the paper's has a convolution of one pixel; making larger is by the nearest
pixel and a convolution. *Assumed*: that the first block makes its input smaller as well, that skip
connections are added, and one attention to the text a block, after its residual blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D

_SKIP_SCALE = 0.5**0.5


class _Block(torch.nn.Module):  # type: ignore[misc]
    """Residual blocks of one resolution, and after them, where wanted, attention to the text.

    `level` and `text` are the widths of what they are given, `heads` their number and size.
    """

    def __init__(
        self,
        channels: int,
        layers: int,
        level: int,
        groups: int,
        text: int | None,
        heads: tuple[int, int],
    ) -> None:
        super().__init__()
        self.level_proj = torch.nn.Linear(level, channels)
        self.resnets = torch.nn.ModuleList(
            ResnetBlock2D(
                in_channels=channels,
                temb_channels=None,
                groups=groups,
            )
            for _ in range(layers)
        )
        self.attention = None
        if text is not None:
            self.attention = Attention(
                channels,
                text,
                heads=heads[0],
                dim_head=heads[1],
                norm_num_groups=groups,
                residual_connection=True,
            )

    def forward(
        self, hidden: torch.Tensor, level: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        """Return (batch, channels, height, width) of the same."""
        hidden = hidden + self.level_proj(level)[:, :, None, None]
        for resnet in self.resnets:
            hidden = resnet(hidden, None)
        if self.attention is not None:
            hidden = self.attention(hidden, encoder_hidden_states=text)
        return hidden


class EfficientUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A super-resolution UNet, called as diffusers' conditional UNet is."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: Sequence[int],
        cross_attention: Sequence[bool],
        attention_heads: int,
        attention_head_dim: int,
        text_width: int,
        norm_num_groups: int,
    ) -> None:
        super().__init__()
        first, width = block_out_channels[0], block_out_channels[0] * 4
        self.time_proj = Timesteps(first, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_embedding = TimestepEmbedding(first, width)
        self.class_embedding = TimestepEmbedding(first, width)
        self.text_norm = torch.nn.LayerNorm(text_width)
        self.text_proj = torch.nn.Linear(text_width, width)
        self.conv_in = torch.nn.Conv2d(in_channels, first, 3, padding=1)
        self.down, self.down_blocks = torch.nn.ModuleList(), torch.nn.ModuleList()
        self.up_blocks, self.up = torch.nn.ModuleList(), torch.nn.ModuleList()
        before = first
        levels = zip(block_out_channels, layers_per_block, cross_attention, strict=True)
        for channels, layers, attends in levels:
            text = text_width if attends else None
            heads = (attention_heads, attention_head_dim)
            shape = (channels, layers, width, norm_num_groups, text, heads)
            self.down.append(torch.nn.Conv2d(before, channels, 3, stride=2, padding=1))
            self.down_blocks.append(_Block(*shape))
            self.up_blocks.insert(0, _Block(*shape))
            self.up.insert(0, Upsample2D(channels, use_conv=True, out_channels=before))
            before = channels
        self.norm_out = torch.nn.GroupNorm(norm_num_groups, first)
        self.conv_out = torch.nn.Conv2d(first, out_channels, 3, padding=1)

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        class_labels: torch.Tensor,
        return_dict: bool = False,  # noqa: ARG002
    ) -> tuple[torch.Tensor]:
        """Return the predicted noise (batch, out_channels, height, width).

        `sample` is (batch, in_channels, height, width), a side a multiple of 2 for each block;
        `timestep` a scalar, `class_labels` (batch,) the noise level of the condition,
        `encoder_hidden_states` (batch, tokens, text_width). `return_dict` has no effect.
        """
        text = encoder_hidden_states
        level = self._level(timestep.expand(sample.shape[0]), class_labels, text)
        hidden = self.conv_in(sample)
        skips = []
        for down, block in zip(self.down, self.down_blocks, strict=True):
            hidden = block(down(hidden), level, text)
            skips.append(hidden)
        for index, (block, up) in enumerate(zip(self.up_blocks, self.up, strict=True)):
            skip = skips.pop()
            if index:
                hidden = hidden + skip * _SKIP_SCALE
            hidden = up(block(hidden, level, text))
        return (self.conv_out(torch.nn.functional.silu(self.norm_out(hidden))),)

    def _level(
        self, timestep: torch.Tensor, labels: torch.Tensor, text: torch.Tensor
    ) -> torch.Tensor:
        time, noised = (self.time_proj(each).to(text.dtype) for each in (timestep, labels))
        pooled = self.text_proj(self.text_norm(text).mean(dim=1))
        level: torch.Tensor = self.time_embedding(time) + self.class_embedding(noised) + pooled
        return level
