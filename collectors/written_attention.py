"""Attention written out as matmul, softmax, matmul in the model's dtype, whoever asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@contextmanager
def written_out() -> Iterator[None]:
    """Replace PyTorch's attention function by its operations, as long as the block lasts.

    Models that call something else (flash-attn, xformers, flex attention) keep that.
    """
    import torch.nn.functional as functional

    before = functional.scaled_dot_product_attention
    ours: Any = attention_written_out
    functional.scaled_dot_product_attention = ours
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = before


def attention_written_out(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> torch.Tensor:
    """Return what `scaled_dot_product_attention` does, softmax in the dtype of the scores.

    Shapes: query (…, heads, L, E), key (…, heads, S, E), value (…, heads, S, Ev).
    """
    import torch

    if more.get("enable_gqa"):
        groups = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
    scale = more.get("scale")
    scores = torch.matmul(query, key.transpose(-2, -1))
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        length, keys = query.shape[-2], key.shape[-2]
        attn_mask = torch.ones(length, keys, dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    shares = scores.softmax(dim=-1)
    if dropout_p:
        shares = torch.nn.functional.dropout(shares, dropout_p)
    return torch.matmul(shares, value)
