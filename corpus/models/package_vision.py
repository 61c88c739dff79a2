"""Vision models of other people's packages, who write attention their own way.

Sources: the packages, each under the name that pip knows: vit-pytorch, open_clip_torch, timm.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from corpus.spec import AttentionRule, Built, Size, model


@model("vit-pytorch-cait", "default train", "vit_pytorch")
def cait(size: Size) -> Built:
    """CaiT: einsum attention with heads mixed before and after the softmax; class attention."""
    side = size.pick(256, 64)
    net = import_module("vit_pytorch.cait").CaiT(
        image_size=side,
        patch_size=16,
        num_classes=1000,
        dim=size.pick(768, 32),
        depth=3,
        cls_depth=1,
        heads=size.pick(12, 2),
        mlp_dim=size.pick(3072, 64),
        dim_head=size.pick(64, 16),
    )
    net = size.place(net)
    image = size.normal(4, 3, side, side)

    def run() -> Any:
        return net(image)

    # A class token is no position, and all but one of its keys are other tokens.
    of_class = AttentionRule(r"^Attention$", "sequence", path=r"cls_transformer", kind="cross")
    of_patches = AttentionRule(r"^Attention$", "spatial", kind=None)
    return Built(run, {"model": net}, (of_class, of_patches))


@model("vit-pytorch-maxvit", "default autocast", "vit_pytorch")
def maxvit(size: Size) -> Built:
    """MaxViT: convolution blocks, attention in windows and on grids, relative biases."""
    net = import_module("vit_pytorch.max_vit").MaxViT(
        num_classes=1000,
        dim=size.pick(96, 32),
        dim_head=size.pick(32, 16),
        dim_conv_stem=size.pick(64, 16),
        depth=size.pick((1, 1, 2, 1), (1, 1)),
        window_size=7,
    )
    net = size.place(net)
    side = size.pick(224, 56)
    image = size.normal(2, 3, side, side)

    def run() -> Any:
        return net(image)

    return Built(run, {"model": net}, (AttentionRule(r"^Attention$", "spatial", kind="self"),))


@model("vit-pytorch-twins", "default cudagraph", "vit_pytorch")
def twins(size: Size) -> Built:
    """Twins-SVT: projections are convolutions; local windows, and keys from a smaller image."""
    widths = size.pick((64, 128, 256, 512), (16, 16, 32, 32))
    names = {f"s{level + 1}_emb_dim": width for level, width in enumerate(widths)}
    net = size.place(
        import_module("vit_pytorch.twins_svt").TwinsSVT(
            num_classes=1000, s3_depth=1, s4_depth=1, **names
        )
    )
    image = size.normal(2, 3, 224, 224)

    def run() -> Any:
        return net(image)

    rule = AttentionRule(r"^(?:Local|Global)Attention$", "spatial", kind="self")
    return Built(run, {"model": net}, (rule,))


@model("open-clip", "default train", "open_clip ftfy torchvision timm")
def open_clip(size: Size) -> Built:
    """OpenCLIP: both towers with PyTorch's own multi-head attention."""
    code = import_module("open_clip.model")
    vocabulary, side = size.pick(49408, 1000), size.pick(224, 32)
    net = code.CLIP(
        embed_dim=size.pick(512, 32),
        vision_cfg=code.CLIPVisionCfg(
            layers=2, width=size.pick(768, 32), head_width=size.pick(64, 16), image_size=side
        ),
        text_cfg=code.CLIPTextCfg(
            layers=2, width=size.pick(512, 32), heads=size.pick(8, 2), vocab_size=vocabulary
        ),
    )
    net = size.place(net)
    image, ids = size.normal(4, 3, side, side), size.tokens(vocabulary, 4, 77)

    def run() -> Any:
        found = net(image, ids)
        return list(found[:2]) if isinstance(found, tuple) else found

    seen = AttentionRule(r"^MultiheadAttention$", "spatial", path=r"visual", kind="self")
    read = AttentionRule(r"^MultiheadAttention$", "sequence", kind="self")
    return Built(run, {"model": net}, (seen, read))


@model("timm-levit", "default cudagraph", "timm torchvision")
def levit(size: Size) -> Built:
    """LeViT: convolutions, then attention with learned biases and batch normalization."""
    return _timm("levit_128", size, r"^Attention(?:Downsample)?$", 224)


@model("timm-mvitv2", "default", "timm torchvision")
def mvit(size: Size) -> Built:
    """MViT 2: keys and values pooled by convolutions, relative positions of two axes."""
    code = import_module("timm.models.mvitv2")
    net = code.MultiScaleVit(code.MultiScaleVitCfg(depths=size.pick((1, 1, 2, 1), (1, 1, 1, 1))))
    return _image_model(size.place(net), size, r"^MultiScaleAttention$", 224)


@model("timm-beit", "default train", "timm torchvision")
def beit(size: Size) -> Built:
    """BEiT base: relative position biases from a table, scaled residuals."""
    return _timm("beit_base_patch16_224", size, r"^Attention$", 224, depth=3)


@model("timm-xcit", "default", "timm torchvision")
def xcit(size: Size) -> Built:
    """XCiT: attention between channels, local convolutions, class attention at the end."""
    built = _timm("xcit_tiny_12_p16_224", size, r"^XCA$|^ClassAttn$", 224, depth=3)
    channels = AttentionRule(r"^XCA$", "", kind="self", from_product=True)  # no axis of tokens
    of_class = AttentionRule(r"^ClassAttn$", "sequence", kind="cross")
    return replace(built, attention=(channels, of_class, *built.attention))


def _timm(name: str, size: Size, classes: str, side: int, **settings: Any) -> Built:
    net = size.place(import_module("timm").create_model(name, pretrained=False, **settings))
    return _image_model(net, size, classes, side)


def _image_model(net: Any, size: Size, classes: str, side: int) -> Built:
    image = size.normal(size.pick(8, 1), 3, side, side)

    def run() -> Any:
        return net(image)

    rule = AttentionRule(classes, "spatial", kind="self", from_product=True)
    return Built(run, {"model": net}, (rule,))
