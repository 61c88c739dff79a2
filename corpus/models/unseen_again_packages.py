"""Second hold-out: models of other people's packages, chosen after the first had been measured.

Sources: stam-pytorch (arXiv 2103.13915), axial-attention (1912.12180), flamingo-pytorch
(2204.14198), mmdit (2403.03206), each under the name that pip knows.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corpus.models.packages import ATTEND
from corpus.spec import AttentionRule, Built, Size, unseen_again

if TYPE_CHECKING:
    import torch


@unseen_again("stam", "default autocast train cudagraph", "stam_pytorch")
def stam(size: Size) -> Built:
    """STAM: a transformer within frames by einsum, then one over the summaries of the frames.

    In `space_transformer` frames go into the batch and queries are a frame's patches and its class
    token; in `time_transformer` there is one token of each of the 16 frames, and one more.
    """
    side, frames = size.pick(224, 32), size.pick(16, 3)
    heads, head = size.pick(12, 2), size.pick(64, 16)
    net = import_module("stam_pytorch").STAM(
        dim=size.pick(768, 32),
        image_size=side,
        patch_size=size.pick(16, 8),
        num_frames=frames,
        num_classes=400,
        space_depth=3,
        space_heads=heads,
        space_mlp_dim=size.pick(3072, 64),
        time_depth=2,
        time_heads=heads,
        time_mlp_dim=size.pick(3072, 64),
        space_dim_head=head,
        time_dim_head=head,
    )
    net = size.place(net)
    video = size.normal(size.pick(4, 2), frames, 3, side, side)

    def run() -> Any:
        return net(video)

    along = AttentionRule(r"^Attention$", "temporal", path=r"\.time_transformer\.", kind="self")
    across = AttentionRule(r"^Attention$", "spatial", path=r"\.space_transformer\.", kind="self")
    return Built(run, {"model": net}, (along, across))


@unseen_again("axial-video", "default autocast train compile", "axial_attention")
def axial_video(size: Size) -> Built:
    """Axial attention over a clip: along frames, along rows, along columns, all three added up.

    The package makes one module for each axis of a (batch, frames, height, width, channels) tensor
    in this order. The first has the frames of a pixel as queries; the others the pixels of a column
    and of a row of one frame, which is space.
    """
    width, shape = size.pick(512, 32), size.pick((16, 32, 24), (3, 4, 5))
    channels = size.pick(192, 12)
    net = size.place(_axial(channels, width, size.pick(8, 2), shape))
    video = size.normal(1, *shape, channels)

    def run() -> Any:
        return net(video)

    along = AttentionRule(
        r"^SelfAttention$", "temporal", path=r"\.axial_attentions\.0\.fn$", kind="self"
    )
    across = AttentionRule(
        r"^SelfAttention$", "spatial", path=r"\.axial_attentions\.[12]\.fn$", kind="self"
    )
    return Built(run, {"model": net}, (along, across))


def _axial(channels: int, width: int, heads: int, shape: tuple[int, ...]) -> Any:
    """Return a projection and two blocks of axial attention and an MLP."""
    from torch import nn

    code = import_module("axial_attention")

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn = code.AxialAttention(width, num_dimensions=3, heads=heads)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + self.attn(self.norm1(x))
            found: torch.Tensor = x + self.mlp(self.norm2(x))
            return found

    return nn.Sequential(
        nn.Linear(channels, width),
        code.AxialPositionalEmbedding(width, shape, len(shape) + 1),
        *(Block() for _ in range(2)),
        nn.LayerNorm(width),
    )


@unseen_again("flamingo", "default autocast", "flamingo_pytorch einops_exts")
def flamingo(size: Size) -> Built:
    """Flamingo: latents sum up each image, then text looks at the image right before it.

    Queries of the resampler are learned latents, which are a sequence; its keys are the patches of
    an image and the latents themselves. The gated blocks have words as queries and the latents of
    all images as keys, masked by which image stands before a word.
    """
    from torch import nn

    code = import_module("flamingo_pytorch")
    width, heads, head = size.pick(1024, 32), size.pick(8, 2), size.pick(64, 16)
    shared = {"dim": width, "dim_head": head, "heads": heads}
    resampler = code.PerceiverResampler(depth=2, num_latents=size.pick(64, 4), **shared)
    across = nn.ModuleList(code.GatedCrossAttentionBlock(**shared) for _ in range(3))
    resampler, across = size.place(resampler), size.place(across)
    images, length = 3, size.pick(512, 12)
    media = size.normal(2, images, size.pick(256, 9), width)
    text, places = size.normal(2, length, width), size.tokens(1, 2, length) == 1
    places[:, :: length // images] = True

    def run() -> Any:
        found, seen = text, resampler(media)
        for block in across:
            found = block(found, seen, media_locations=places)
        return found

    rules = (
        AttentionRule(r"^PerceiverAttention$", "sequence", kind="joint"),
        AttentionRule(r"^MaskedCrossAttention$", "sequence", kind="cross"),
    )
    return Built(run, {"resampler": resampler, "across": across}, rules)


@unseen_again("mmdit", "default written train", "mmdit x_transformers hyper_connections")
def mmdit(size: Size) -> Built:
    """MMDiT as others write it: text and image projected apart, then one sequence of both.

    Queries and keys are the tokens of both; the operator is a module of x-transformers.
    """
    code = import_module("mmdit")
    text_width, width = size.pick(768, 32), size.pick(1024, 32)
    net = code.MMDiT(
        depth=3,
        dim_image=width,
        dim_text=text_width,
        dim_cond=size.pick(256, 16),
        dim_head=size.pick(64, 16),
        heads=size.pick(16, 2),
        num_residual_streams=1,
        flash_attn=size.fuses,
    )
    net = size.place(net)
    text = size.normal(2, size.pick(154, 8), text_width)
    image, time = size.normal(2, size.pick(1024, 16), width), size.normal(2, size.pick(256, 16))
    mask = size.tokens(1, 2, size.pick(154, 8)) == 0

    def run() -> Any:
        return net(text_tokens=text, image_tokens=image, text_mask=mask, time_cond=time)

    rule = AttentionRule(r"^JointAttention$", "spatial", kind="joint")
    return Built(run, {"model": net}, (rule,), extra=ATTEND)
