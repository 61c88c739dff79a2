"""Hold-out: models of other people's packages that nobody looked at while building classification.

Sources: lumiere-pytorch (arXiv 2401.12945), magvit2-pytorch (2310.05737), coca-pytorch
(2205.01917), each under the name that pip knows.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from corpus.models.packages import ATTEND, inner_module
from corpus.spec import AttentionRule, Built, Size, unseen


@unseen(
    "lumiere",
    "default autocast",
    "lumiere_pytorch denoising_diffusion_pytorch x_transformers beartype",
    "float32",
)
def lumiere(size: Size) -> Built:
    """Lumiere: a UViT of images, inflated by convolutions and attention along frames."""
    image = inner_module("denoising_diffusion_pytorch.simple_diffusion").UViT(
        dim=size.pick(128, 16),
        dim_mults=(1, 2),
        vit_depth=2,
        attn_dim_head=size.pick(64, 16),
        attn_heads=size.pick(8, 2),
    )
    side, frames = size.pick(64, 16), size.pick(16, 8)
    net = inner_module("lumiere_pytorch.lumiere").Lumiere(
        image,
        image_size=side,
        unet_time_kwarg="time",
        conv_module_names=["downs.0.1", "downs.1.1", "ups.0.2", "ups.1.2"],
        attn_module_names=["downs.1.2", "ups.0.3"],
        downsample_module_names=["downs.0.3"],
        upsample_module_names=["ups.1.0"],
        attn_inflation_kwargs={
            "depth": 2,
            "heads": size.pick(8, 2),
            "dim_head": size.pick(64, 16),
            "flash": size.fuses,
        },
    )
    net = size.place(net)
    video, time = size.normal(1, 3, frames, side, side), size.full(0.5, 1)

    def run() -> Any:
        return net(video, time=time)

    along = AttentionRule(r"^Attention$", "temporal", path=r"\.attns\.", kind="self", inline=False)
    linear = AttentionRule(r"^LinearAttention$", "spatial", kind="self")
    across = AttentionRule(r"^Attention$", "spatial", kind="self", from_product=True)
    return Built(run, {"model": net}, (along, linear, across), extra=ATTEND)


@unseen(
    "magvit2",
    "default train",
    "magvit2_pytorch taylor_series_linear_attention gateloop_transformer jaxtyping kornia"
    " vector_quantize_pytorch torchvision",
    "float32",
)
def magvit2(size: Size) -> Built:
    """MAGVIT-2: causal convolutions, attention over frames and pixels, linear attention, codes."""
    side = size.pick(64, 16)
    net = inner_module("magvit2_pytorch.magvit2_pytorch").VideoTokenizer(
        image_size=side,
        init_dim=size.pick(64, 8),
        layers=(
            "residual",
            ("compress_space", size.pick(128, 16)),
            "linear_attend_space",
            ("compress_space", size.pick(256, 16)),
            "attend_space",
            ("compress_time", size.pick(256, 16)),
            "attend_time",
        ),
        codebook_size=size.pick(1024, 16),
        attn_dim_head=size.pick(32, 8),
        attn_heads=size.pick(8, 2),
        linear_attn_heads=size.pick(16, 2),
        flash_attn=size.fuses,
        use_gan=False,
        perceptual_loss_weight=0.0,
        discr_kwargs={"dim": 8, "image_size": 16},
    )
    net = size.place(net)
    video = size.normal(1, 3, size.pick(17, 9), side, side)

    def run() -> Any:
        return net(video)

    return Built(
        run,
        {"model": net},
        (
            AttentionRule(r"^TimeAttention$", "temporal", kind="self", inline=False),
            AttentionRule(r"^SpaceAttention$", "spatial", kind="self", inline=False),
            AttentionRule(r"^TaylorSeriesLinearAttn$", "spatial", kind="self"),
        ),
        # Pooling with a softmax is attention to some; the table of codes is many things.
        extra={**ATTEND, "SqueezeExcite": "silent", "LFQ": ""},
    )


@unseen("coca", "default train", "coca_pytorch", "float32")
def coca(size: Size) -> Built:
    """CoCa: attention and MLP in one projection, one key head, image tokens pooled by queries."""
    vocabulary, width = size.pick(20000, 100), size.pick(512, 32)
    net = import_module("coca_pytorch").CoCa(
        dim=width,
        num_tokens=vocabulary,
        unimodal_depth=2,
        multimodal_depth=2,
        image_dim=size.pick(1024, 32),
        num_img_queries=size.pick(256, 8),
        dim_head=size.pick(64, 16),
        heads=size.pick(8, 2),
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 4, size.pick(255, 8))
    image = size.normal(4, size.pick(256, 16), size.pick(1024, 32))

    def run() -> Any:
        return net(ids, image_tokens=image)

    own = AttentionRule(r"^ParallelTransformerBlock$", "sequence", kind="self")
    across = AttentionRule(r"^CrossAttention$", "sequence", kind="cross")
    return Built(run, {"model": net}, (own, across))
