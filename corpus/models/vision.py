"""Vision models of transformers, image and video, each with few layers of the published width.

Sources: the configurations of the published checkpoints that each docstring names.
"""

from __future__ import annotations

from typing import Any

from corpus.spec import AttentionRule, Built, Size, model


def _built(kind: str, size: Size, **config: Any) -> Any:
    """Return a model of transformers, by the stem of its classes, with random weights."""
    import transformers

    made = getattr(transformers, f"{kind}Model")._from_config(
        getattr(transformers, f"{kind}Config")(**config),
        attn_implementation=size.implementation,
    )
    return size.place(made)


def _common(size: Size, layers: int) -> dict[str, Any]:
    return {
        "hidden_size": size.pick(1024, 32),
        "intermediate_size": size.pick(4096, 64),
        "num_hidden_layers": layers,
        "num_attention_heads": size.pick(16, 2),
    }


@model("vit", "default written cudagraph compile train")
def vit(size: Size) -> Built:
    """ViT large, 224 px in patches of 16."""
    side = size.pick(224, 32)
    net = _built("ViT", size, image_size=side, patch_size=16, **_common(size, 3))
    image = size.normal(4, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^ViT(?:Self)?Attention$", "spatial")
    return Built(run, {"model": net}, (rule,))


@model("dinov2", "default written")
def dinov2(size: Size) -> Built:
    """DINOv2 large: scaled residuals, patches of 14."""
    side = size.pick(224, 28)
    config = _common(size, 3)
    config.pop("intermediate_size")
    net = _built("Dinov2", size, image_size=side, patch_size=14, use_swiglu_ffn=True, **config)
    image = size.normal(4, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^Dinov2(?:Self)?Attention$", "spatial")
    return Built(run, {"model": net}, (rule,))


@model("clip", "default written train-checkpoint cudagraph")
def clip(size: Size) -> Built:
    """CLIP large: a causal text tower and an image tower."""
    from transformers import CLIPConfig, CLIPModel

    vocabulary, side = size.pick(49408, 1000), size.pick(224, 28)
    config = CLIPConfig(
        text_config={
            "hidden_size": size.pick(768, 32),
            "intermediate_size": size.pick(3072, 64),
            "num_hidden_layers": 2,
            "num_attention_heads": size.pick(12, 2),
            "vocab_size": vocabulary,
        },
        vision_config={**_common(size, 2), "image_size": side, "patch_size": 14},
    )
    net = size.place(CLIPModel._from_config(config, attn_implementation=size.implementation))
    image, ids = size.normal(4, 3, side, side), size.tokens(vocabulary, 4, 77)

    def run() -> Any:
        found = net(input_ids=ids, pixel_values=image)
        return [found.text_embeds, found.image_embeds]

    text = AttentionRule(r"^CLIPAttention$", "sequence", path=r"text_model")
    return Built(run, {"model": net}, (text, AttentionRule(r"^CLIPAttention$", "spatial")))


@model("swin", "default written train")
def swin(size: Size) -> Built:
    """Swin tiny: attention in shifted windows with relative biases."""
    side = size.pick(224, 56)
    net = _built(
        "Swin",
        size,
        image_size=side,
        embed_dim=size.pick(96, 24),
        depths=size.pick([2, 2, 2, 2], [2, 2]),
        num_heads=size.pick([3, 6, 12, 24], [3, 6]),
        window_size=7,
    )
    image = size.normal(2, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^Swin(?:Self)?Attention$", "spatial", kind="self")
    return Built(run, {"model": net}, (rule,))


@model("convnext", "default cudagraph compile train")
def convnext(size: Size) -> Built:
    """ConvNeXt base: depthwise convolutions, normalization of channels, no attention."""
    from transformers import ConvNextConfig, ConvNextModel

    side = size.pick(224, 64)
    net = ConvNextModel(
        ConvNextConfig(
            hidden_sizes=size.pick([128, 256, 512, 1024], [16, 32, 32, 32]), depths=[2, 2, 3, 2]
        )
    )
    net = size.place(net)
    image = size.normal(4, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    return Built(run, {"model": net})


@model("detr", "default written")
def detr(size: Size) -> Built:
    """DETR's transformer on a small convolutional backbone: queries look at pixels."""
    from transformers import DetrConfig, DetrModel, ResNetConfig

    backbone = ResNetConfig(
        embedding_size=size.pick(64, 16),
        hidden_sizes=size.pick([256, 512, 1024, 2048], [16, 16, 32, 32]),
        depths=[1, 1, 1, 1],
        out_features=["stage4"],
    )
    config = DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone_config=backbone,
        backbone=None,
        d_model=size.pick(256, 32),
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=size.pick(8, 2),
        decoder_attention_heads=size.pick(8, 2),
        encoder_ffn_dim=size.pick(2048, 64),
        decoder_ffn_dim=size.pick(2048, 64),
        num_queries=size.pick(100, 8),
    )
    chosen = {"": size.implementation, "backbone_config": "eager"}
    net = size.place(DetrModel._from_config(config, attn_implementation=chosen))
    side = size.pick(640, 96)
    image = size.normal(1, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    name = r"^Detr(?:Self|Cross)?Attention$"
    slots = AttentionRule(name, "sequence", path=r"\.?decoder\.")  # queries are slots for objects
    return Built(run, {"model": net}, (slots, AttentionRule(name, "spatial")))


@model("sam", "default written")
def sam(size: Size) -> Built:
    """SAM's image encoder: windows and whole images, with relative positions of two axes."""
    from transformers import SamVisionConfig, SamVisionModel

    side = size.pick(512, 64)
    net = SamVisionModel._from_config(
        SamVisionConfig(
            hidden_size=size.pick(768, 32),
            num_hidden_layers=3,
            num_attention_heads=size.pick(12, 2),
            mlp_dim=size.pick(3072, 64),
            image_size=side,
            window_size=size.pick(14, 2),
            global_attn_indexes=[2],
            output_channels=size.pick(256, 16),
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    image = size.normal(1, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^SamVision(?:Sdpa)?Attention$", "spatial", kind="self")
    return Built(run, {"model": net}, (rule,))


@model("segformer", "default written compile")
def segformer(size: Size) -> Built:
    """SegFormer B1: keys from an image that a strided convolution has made smaller."""
    net = _built(
        "Segformer",
        size,
        depths=[1, 1, 1, 1],
        hidden_sizes=size.pick([64, 128, 320, 512], [16, 32, 32, 32]),
        num_attention_heads=size.pick([1, 2, 5, 8], [1, 2, 2, 2]),
    )
    side = size.pick(512, 64)
    image = size.normal(1, 3, side, side)

    def run() -> Any:
        return net(image).last_hidden_state

    rule = AttentionRule(r"^Segformer(?:EfficientSelf)?Attention$", "spatial", kind="self")
    return Built(run, {"model": net}, (rule,))


@model("timesformer", "default train cudagraph")
def timesformer(size: Size) -> Built:
    """TimeSformer base: attention along frames, then over the patches of a frame."""
    from transformers import TimesformerConfig, TimesformerModel

    side, frames = size.pick(224, 32), 8
    net = TimesformerModel(
        TimesformerConfig(
            hidden_size=size.pick(768, 32),
            intermediate_size=size.pick(3072, 64),
            num_hidden_layers=2,
            num_attention_heads=size.pick(12, 2),
            image_size=side,
            patch_size=16,
            num_frames=frames,
        )
    )
    net = size.place(net)
    video = size.normal(1, frames, 3, side, side)

    def run() -> Any:
        return net(video).last_hidden_state

    name = r"^TimesformerSelfAttention$"
    along = AttentionRule(name, "temporal", path=r"temporal_attention", kind="self")
    return Built(run, {"model": net}, (along, AttentionRule(name, "spatial", kind="self")))


@model("videomae", "default written cudagraph")
def videomae(size: Size) -> Built:
    """VideoMAE base: attention over all tubes of a clip."""
    side, frames = size.pick(224, 32), size.pick(16, 4)
    net = _built(
        "VideoMAE",
        size,
        hidden_size=size.pick(768, 32),
        intermediate_size=size.pick(3072, 64),
        num_hidden_layers=2,
        num_attention_heads=size.pick(12, 2),
        image_size=side,
        num_frames=frames,
    )
    video = size.normal(1, frames, 3, side, side)

    def run() -> Any:
        return net(video).last_hidden_state

    rule = AttentionRule(r"^VideoMAESelfAttention$", "spatio-temporal", kind="self")
    return Built(run, {"model": net}, (rule,))


@model("vivit", "default written")
def vivit(size: Size) -> Built:
    """ViViT base: attention over all tubelets of a clip."""
    side, frames = size.pick(224, 32), size.pick(16, 4)
    net = _built(
        "Vivit",
        size,
        hidden_size=size.pick(768, 32),
        intermediate_size=size.pick(3072, 64),
        num_hidden_layers=2,
        num_attention_heads=size.pick(12, 2),
        image_size=side,
        num_frames=frames,
    )
    video = size.normal(1, frames, 3, side, side)

    def run() -> Any:
        return net(video).last_hidden_state

    rule = AttentionRule(r"^Vivit(?:Self)?Attention$", "spatio-temporal", kind="self")
    return Built(run, {"model": net}, (rule,))
