"""Parti's own parts: the decoder of image tokens with a cache, the super-resolution network."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch.nn.functional import interpolate
from transformers import EncoderDecoderCache, MBartConfig
from transformers.models.mbart.modeling_mbart import MBartDecoderLayer, MBartPreTrainedModel

from tracekit.collectors.models._decoding import cache_argument


class ImageDecoder(MBartPreTrainedModel):  # type: ignore[misc]
    """A decoder of image tokens made of mBART's layers, which are normalized before each part.

    Its vocabulary is that of the image and, last, the token that every image starts with.
    """

    def __init__(self, config: MBartConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.embed_tokens = torch.nn.Embedding(config.vocab_size, width)
        self.embed_positions = torch.nn.Embedding(config.max_position_embeddings, width)
        layers = (MBartDecoderLayer(config, layer_idx=i) for i in range(config.decoder_layers))
        self.layers = torch.nn.ModuleList(layers)
        self.layer_norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, config.vocab_size - 1, bias=False)
        self._cache_name = cache_argument(MBartDecoderLayer.forward)
        self.post_init()

    def forward(
        self, tokens: torch.Tensor, text: torch.Tensor, cache: EncoderDecoderCache
    ) -> torch.Tensor:
        """Return logits (batch, vocabulary) of the token after `tokens`, int64 (batch, 1).

        `text` is (batch, text tokens, width); the cache holds all tokens before, and grows.
        """
        position = cache.get_seq_length()
        hidden = self.embed_tokens(tokens) + self.embed_positions.weight[position]
        caching: dict[str, Any] = {self._cache_name: cache, "use_cache": True}
        for layer in self.layers:
            result = layer(hidden, encoder_hidden_states=text, **caching)
            # Earlier versions of transformers return a tuple.
            hidden = result[0] if isinstance(result, tuple) else result
        logits: torch.Tensor = self.head(self.layer_norm(hidden[:, -1]))
        return logits


def _convolution(channels: int, out_channels: int, kernel: int) -> torch.nn.Conv2d:
    return torch.nn.Conv2d(channels, out_channels, kernel, padding="same")


class _Residual(torch.nn.Module):  # type: ignore[misc]
    """A residual block that is wide before its activation (WDSR-A, arXiv 1808.08718)."""

    def __init__(self, width: int, expansion: int, kernel: int) -> None:
        super().__init__()
        self.widen = _convolution(width, expansion * width, kernel)
        self.narrow = _convolution(expansion * width, width, kernel)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        narrowed: torch.Tensor = self.narrow(self.widen(hidden).relu())
        return hidden + narrowed


class SuperResolution(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Convolutions that double the side of an image `stages` times."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        width: int,
        blocks: int,
        expansion: int,
        stages: int,
        channels: int = 3,
        kernel: int = 3,
    ) -> None:
        super().__init__()
        self.conv_in = _convolution(channels, width, kernel)
        self.doublings = torch.nn.ModuleList(
            torch.nn.Sequential(
                *(_Residual(width, expansion, kernel) for _ in range(blocks)),
                _convolution(width, 4 * width, kernel),
                torch.nn.PixelShuffle(2),
            )
            for _ in range(stages)
        )
        self.conv_out = _convolution(width, channels, kernel)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return images (batch, channels, height·2^stages, …) of images (batch, channels, …)."""
        hidden = self.conv_in(image)
        for doubling in self.doublings:
            hidden = doubling(hidden)
        coarse = interpolate(image, scale_factor=2 ** len(self.doublings), mode="bilinear")
        detail: torch.Tensor = self.conv_out(hidden)
        return coarse + detail
