"""What models of discrete image tokens share: guidance of logits, drawing of tokens.

Nothing here waits for the device.
"""

from __future__ import annotations

import torch

from tracekit.collectors.models._common import device_of
from tracekit.collectors.workload import ModelOptions


def guided(logits: torch.Tensor, guidance: float) -> torch.Tensor:
    """Return logits guided away from the unconditional ones, in float32.

    `logits` is (2·batch, …), the unconditional half first (Ho and Salimans, arXiv 2207.12598, and
    Yu et al., arXiv 2206.10789, eq. 1); the result is (batch, …).
    """
    unconditional, conditional = logits.float().chunk(2)
    return unconditional + guidance * (conditional - unconditional)


class Draws:
    """Random numbers of one run, from the seed, so that runs repeat."""

    def __init__(self, options: ModelOptions) -> None:
        device = device_of(options)
        self._generator: torch.Generator | None = None
        # Nothing is drawn on meta, which has no generator.
        if device.type != "meta":
            self._generator = torch.Generator(device).manual_seed(options.seed)

    def gumbel(self, like: torch.Tensor) -> torch.Tensor:
        """Return Gumbel noise of a tensor's shape and dtype."""
        return -torch.empty_like(like).exponential_(generator=self._generator).log()

    def tokens(self, logits: torch.Tensor) -> torch.Tensor:
        """Return numbers drawn from the softmax of logits (…, vocabulary), int64 (…).

        The largest of logits with Gumbel noise is such a draw.
        """
        return (logits + self.gumbel(logits)).argmax(dim=-1)
