"""Models written for the corpus the way that people write their own, with everything in the open.

Nothing here calls a library's attention: products by einsum under autocast with casts around them,
scores in chunks, one key head, FlexAttention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corpus.spec import AttentionRule, Built, Size, model
from corpus.truth import unwatched

if TYPE_CHECKING:
    import torch


def _attention(width: int, heads: int, scores: Any) -> Any:
    """Return a module that projects, calls `scores` with (batch, heads, length, head), projects."""
    from torch import nn

    class SelfAttention(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, length, _ = x.shape
            query, key, value = self.qkv(x).chunk(3, dim=-1)
            parts = [
                one.view(batch, length, heads, width // heads).transpose(1, 2)
                for one in (query, key, value)
            ]
            mixed = scores(*parts).transpose(1, 2).reshape(batch, length, width)
            found: torch.Tensor = self.out(mixed)
            return found

    return SelfAttention()


def _blocks(width: int, attention: Any, depth: int) -> Any:
    """Return residual blocks of a normalization, attention, a normalization and an MLP."""
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn = attention()
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attn(self.norm1(x))
            found: torch.Tensor = x + self.mlp(self.norm2(x))
            return found

    return nn.Sequential(*(Block() for _ in range(depth)))


def _einsum_with_casts(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    import torch

    scores = torch.einsum("bhid,bhjd->bhij", query.float(), key.float())
    scores = scores * query.shape[-1] ** -0.5
    scores = scores - scores.amax(dim=-1, keepdim=True)
    weights = scores.exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return torch.einsum("bhij,bhjd->bhid", weights.to(value.dtype), value)


def _causal_matmul(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    import torch

    length = query.shape[-2]
    mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    scores = (query @ key.transpose(-2, -1)) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~mask, float("-inf"))
    found: torch.Tensor = scores.softmax(dim=-1) @ value
    return found


def _in_chunks(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    import torch

    parts = []
    for rows in query.split(max(1, query.shape[-2] // 4), dim=-2):
        scores = torch.matmul(rows, key.transpose(-2, -1)) * query.shape[-1] ** -0.5
        parts.append(torch.matmul(scores.softmax(dim=-1), value))
    return torch.cat(parts, dim=-2)


def _flex(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    compiled: Any = torch.compile(flex_attention)
    with unwatched():
        found: torch.Tensor = compiled(query, key, value)
    return found


def _sequence_model(size: Size, scores: Any, name: str) -> Built:
    width, heads = size.pick(768, 32), size.pick(12, 2)
    net = size.place(_blocks(width, lambda: _attention(width, heads, scores), 3))
    states = size.normal(4, size.pick(512, 16), width)

    def run() -> Any:
        return net(states)

    rule = AttentionRule(r"^SelfAttention$", "sequence", kind="self")
    return Built(run, {"model": net}, (rule,), cores=(f"corpus.models.own:{name}",))


@model("own-einsum", "default autocast train cudagraph compile", dtype="float32")
def own_einsum(size: Size) -> Built:
    """Attention by einsum in float32 with the softmax written out, casts before and after."""
    return _sequence_model(size, lambda *args: _einsum_with_casts(*args), "_einsum_with_casts")


@model("own-causal", "default autocast train cudagraph compile", dtype="float16")
def own_causal(size: Size) -> Built:
    """Causal attention by the `@` operator, as tutorials write it."""
    return _sequence_model(size, lambda *args: _causal_matmul(*args), "_causal_matmul")


@model("own-chunked", "default train")
def own_chunked(size: Size) -> Built:
    """Attention whose scores are computed for a quarter of the queries at a time."""
    return _sequence_model(size, lambda *args: _in_chunks(*args), "_in_chunks")


@model("own-flex", "default")
def own_flex(size: Size) -> Built:
    """FlexAttention, which PyTorch compiles into a Triton kernel."""
    return _sequence_model(size, lambda *args: _flex(*args), "_flex")


@model("own-factorized-video", "default autocast train cudagraph compile modules", dtype="float16")
def own_factorized(size: Size) -> Built:
    """Video transformer by hand: einsum over pixels, einsum over frames, as many of both."""
    from torch import nn

    width, heads = size.pick(768, 32), size.pick(12, 2)
    frames = side_square = size.pick(16, 4)

    class FactorizedBlock(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.spatial = _blocks(width, lambda: _attention(width, heads, _by_einsum), 1)
            self.temporal = _blocks(width, lambda: _attention(width, heads, _by_einsum), 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            batch, length, pixels, _ = x.shape
            x = self.spatial(x.reshape(batch * length, pixels, width))
            x = x.view(batch, length, pixels, width).transpose(1, 2)
            x = self.temporal(x.reshape(batch * pixels, length, width))
            return x.view(batch, pixels, length, width).transpose(1, 2)

    net = size.place(nn.Sequential(*(FactorizedBlock() for _ in range(3))))
    video = size.normal(4, frames, side_square, width)

    def run() -> Any:
        return net(video)

    along = AttentionRule(r"^SelfAttention$", "temporal", path=r"\.temporal\.", kind="self")
    across = AttentionRule(r"^SelfAttention$", "spatial", path=r"\.spatial\.", kind="self")
    return Built(run, {"model": net}, (along, across), cores=("corpus.models.own:_einsum_core",))


def _by_einsum(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return _einsum_core(query, key, value)


def _einsum_core(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    import torch

    scores = torch.einsum("bhid,bhjd->bhij", query, key) * query.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(dim=-1), value)
