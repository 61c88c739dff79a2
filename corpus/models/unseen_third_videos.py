"""Third hold-out: video models with attention along frames and within them, and one of images.

Sources: denoising-diffusion-pytorch (magnitude-preserving UNets, arXiv 2312.02696), PE-AV of
transformers with timm's Perception Encoder (2504.13181), PyTorch's own transformer layers, ViViT's
factorised dot-product attention (2103.15691, model 4), Swin 2 of timm (2111.09883).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from corpus.models.packages import ATTEND, inner_module
from corpus.spec import AttentionRule, Built, Size, unseen_third

if TYPE_CHECKING:
    import torch


@unseen_third("karras-unet-3d", "default autocast train", "denoising_diffusion_pytorch")
def karras_3d(size: Size) -> Built:
    """Magnitude-preserving UNet of clips: attention within a frame, along the frames, and over all.

    Where the clip is made smaller or larger attention is a pair: the first puts frames into the
    batch, the second pixels. In the other blocks it is over all frames and pixels at once. There
    are 16 frames, of 32 x 32 pixels and of 16 x 16. Keys have four learned ones before them, and
    projections are convolutions whose weights are normalized each time, which is undecided.
    """
    code = inner_module("denoising_diffusion_pytorch.karras_unet_3d")
    side, frames = size.pick(64, 8), size.pick(16, 4)
    net = code.KarrasUnet3D(
        image_size=side,
        frames=frames,
        dim=size.pick(96, 16),
        dim_max=size.pick(384, 32),
        num_downsamples=size.pick(2, 1),
        downsample_types=("image",) * size.pick(2, 1),
        num_blocks_per_stage=1,
        attn_res=(side // 2, side // 4),
        attn_dim_head=size.pick(64, 16),
        attn_flash=size.fuses,
        factorize_space_time_attn=True,
    )
    net = size.place(net)
    video, time = size.normal(1, 4, frames, side, side), size.full(0.5, 1)

    def run() -> Any:
        return net(video, time=time)

    name = r"^Attention$"
    across = AttentionRule(name, "spatial", path=r"\.attn\.0$", kind="self", inline=False)
    along = AttentionRule(name, "temporal", path=r"\.attn\.1$", kind="self", inline=False)
    both = AttentionRule(name, "spatio-temporal", path=r"\.attn$", kind="self", inline=False)
    # A layer that first scales its own weights: only the function of the layer is decided.
    layers = {"Conv3d": "mixed", "Linear": "mixed"}
    extra = {**ATTEND, "PixelNorm": "norm", **layers}
    return Built(run, {"unet": net}, (across, along, both), extra=extra)


@unseen_third("pe-video", "default train cudagraph compile", "timm torchvision PIL")
def pe_video(size: Size) -> Built:
    """PE-AV's video encoder: 24 frames each summed up by a vision transformer, then one of frames.

    In the vision transformer queries are a frame's patches, rotated, and its class token; a learned
    query pools them. In the encoder after it there is one token of each frame, and one more.
    """
    from transformers import PeVideoEncoder, PeVideoEncoderConfig, TimmWrapperConfig

    side, width = size.pick(168, 28), size.pick(1024, 64)
    vision = TimmWrapperConfig(
        architecture="vit_pe_core_large_patch14_336",
        num_labels=size.pick(1024, 16),
        model_args={
            "depth": 2,
            "img_size": side,
            "embed_dim": width,
            "num_heads": size.pick(16, 4),
            "ref_feat_shape": (side // 14, side // 14),
        },
    )
    net = PeVideoEncoder(
        PeVideoEncoderConfig(
            vision_config=vision,
            hidden_size=size.pick(1792, 32),
            intermediate_size=size.pick(4800, 64),
            num_hidden_layers=3,
            num_attention_heads=size.pick(14, 2),
            head_dim=size.pick(128, 16),
        )
    )
    net = size.place(net)
    video = size.normal(size.pick(2, 1), size.pick(24, 3), 3, side, side)

    def run() -> Any:
        return net(video).last_hidden_state

    rules = (
        AttentionRule(r"^PeVideoEncoderAttention$", "temporal", kind="self"),
        AttentionRule(r"^AttentionRope$", "spatial", kind="self", inline=False),
        AttentionRule(r"^AttentionPoolLatent$", "sequence", kind="cross", inline=False),
    )
    return Built(run, {"encoder": net}, rules)


@unseen_third("torch-video", "default autocast train cudagraph compile")
def torch_video(size: Size) -> Built:
    """PyTorch's own layers for a clip of 12 frames, tokens first: frames within, then along.

    The first layer of a pair is given the patches of a frame with all frames in the batch, the
    second the frames with all patches in the batch, which needs no copy in this layout.
    """
    frames, side = size.pick(12, 3), size.pick(14, 4)
    width = size.pick(768, 32)
    net = size.place(_layers_in_pairs(width, size.pick(12, 2), frames, side * side))
    video = size.normal(frames, size.pick(2, 1), 3, side * 16, side * 16)

    def run() -> Any:
        return net(video)

    name = r"^MultiheadAttention$"
    across = AttentionRule(name, "spatial", path=r"\.within\.", kind="self")
    along = AttentionRule(name, "temporal", path=r"\.along\.", kind="self")
    return Built(run, {"model": net}, (across, along))


def _layers_in_pairs(width: int, heads: int, frames: int, patches: int) -> Any:
    """Return a model of (frames, batch, 3, height, width) with two pairs of layers."""
    import torch
    from torch import nn

    def layer() -> Any:
        return nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", norm_first=True
        )

    class Video(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, width, 16, stride=16)
            self.places = nn.Parameter(torch.zeros(patches, 1, width))
            self.times = nn.Parameter(torch.zeros(frames, 1, width))
            self.within = nn.ModuleList(layer() for _ in range(2))
            self.along = nn.ModuleList(layer() for _ in range(2))
            self.norm = nn.LayerNorm(width)

        def forward(self, video: torch.Tensor) -> torch.Tensor:
            batch = video.shape[1]
            x = self.patches(video.flatten(0, 1)).flatten(2).permute(2, 0, 1) + self.places
            for within, along in zip(self.within, self.along, strict=True):
                x = within(x)
                x = x.unflatten(1, (frames, batch)).transpose(0, 1).flatten(1, 2)
                x = along(x + self.times)
                x = x.unflatten(1, (patches, batch)).transpose(0, 1).flatten(1, 2)
            found: torch.Tensor = self.norm(x)
            return found

    return Video()


@unseen_third("vivit-split-heads", "default train cudagraph compile")
def split_heads(size: Size) -> Built:
    """ViViT's factorised dot products on 20 frames: half of the heads in space, half in time.

    One projection makes queries, keys and values of five axes; the fused call is given all five,
    with the axis that is attended over moved to the end but one.
    """
    frames, side = size.pick(20, 3), size.pick(16, 4)
    width = size.pick(768, 32)
    net = size.place(_split(width, size.pick(12, 4), size.pick(3, 2)))
    video = size.normal(size.pick(2, 1), frames, side * side, width)

    def run() -> Any:
        return net(video)

    across = AttentionRule(
        r"^HeadsInSpace$", "spatial", kind="self", is_given=True, has_output=False
    )
    along = AttentionRule(
        r"^HeadsInTime$", "temporal", kind="self", is_given=True, has_output=False
    )
    return Built(run, {"model": net}, (across, along))


def _split(width: int, heads: int, depth: int) -> Any:
    """Return a model of (batch, frames, patches, channels) whose heads are split by axis."""
    import torch
    from torch import nn

    fused = nn.functional.scaled_dot_product_attention

    class HeadsInSpace(nn.Module):  # type: ignore[misc]
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = fused(q, k, v)
            return found

    class HeadsInTime(nn.Module):  # type: ignore[misc]
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            q, k, v = (one.transpose(2, 3) for one in (q, k, v))
            found: torch.Tensor = fused(q, k, v).transpose(2, 3)
            return found

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.space, self.time = HeadsInSpace(), HeadsInTime()
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            parts = self.qkv(self.norm1(x)).unflatten(-1, (3, heads, -1))
            q, k, v = parts.permute(3, 0, 4, 1, 2, 5)  # batch, heads, frames, patches, channels
            half = heads // 2
            space = self.space(q[:, :half], k[:, :half], v[:, :half])
            time = self.time(q[:, half:], k[:, half:], v[:, half:])
            mixed = torch.cat((space, time), dim=1).permute(0, 2, 3, 1, 4).flatten(3)
            x = x + self.proj(mixed)
            found: torch.Tensor = x + self.mlp(self.norm2(x))
            return found

    return nn.Sequential(*(Block() for _ in range(depth)), nn.LayerNorm(width))


@unseen_third("timm-swin-2", "default autocast cudagraph compile", "timm torchvision")
def swin_2(size: Size) -> Built:
    """Swin 2 tiny: cosines as scores in shifted windows, biases made by an MLP in the module."""
    side = size.pick(256, 64)
    net = import_module("timm").create_model(
        "swinv2_tiny_window8_256",
        pretrained=False,
        img_size=side,
        window_size=size.pick(8, 4),
        depths=size.pick((2, 2, 2, 1), (2, 1, 1, 1)),
        drop_path_rate=0.0,
    )
    net = size.place(net)
    image = size.normal(size.pick(8, 1), 3, side, side)

    def run() -> Any:
        return net(image)

    rule = AttentionRule(r"^WindowAttention$", "spatial", kind="self", from_product=True)
    return Built(run, {"model": net}, (rule,))
