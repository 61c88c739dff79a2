"""What autoregressive models share: caches of keys and values, drawn tokens, steps recorded alone.

**Part of the steps.** A decoding step attends to all tokens before it, so which steps are recorded
matters: they are spread over the whole length, the first and the last among them. To record one
alone, its cache is set to its length from tensors filled with random numbers, of the same shapes
and layout as the real ones (they are made at the first traced run and kept: as much memory as the
full cache). That launches no kernel, so the steps cost what they cost in a whole run and nothing
stands between them; only the tokens that come out mean nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from tracekit.collectors.models._common import making
from tracekit.collectors.workload import ModelOptions


def cache_argument(forward: Callable[..., Any]) -> str:
    """Return what a forward method of transformers calls its cache; later versions warn of the old.

    It is `cache` or `past_key_values`.
    """
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


@dataclass(slots=True)
class FilledCaches:
    """Caches of any length up to `longest` tokens, of random numbers, for `layers` layers.

    `heads` is the number of heads of keys and values, `width` the size of one.
    """

    layers: int
    batch: int
    heads: int
    width: int
    longest: int
    options: ModelOptions
    _filling: torch.Tensor | None = None

    def of(self, length: int) -> DynamicCache:
        """Return a cache of this many tokens, its layers contiguous views of what is kept."""
        cache = DynamicCache()
        if not length:
            return cache
        shape = (self.batch, self.heads, length, self.width)
        size = self.batch * self.heads * length * self.width
        for keys, values in self._filled():
            layer = DynamicLayer()
            layer.keys, layer.values = keys[:size].view(shape), values[:size].view(shape)
            layer.dtype, layer.device = keys.dtype, keys.device
            layer.is_initialized = True
            cache.layers.append(layer)
        return cache

    def _filled(self) -> torch.Tensor:
        if self._filling is None:
            numbers = self.batch * self.heads * self.longest * self.width
            with making(self.options):
                self._filling = torch.randn(self.layers, 2, numbers)
        return self._filling
