"""Video models of other people's packages, who write attention their own way.

Sources: video-diffusion-pytorch, make-a-video-pytorch, imagen-pytorch, phenaki-pytorch,
vit-pytorch, each under the name that pip knows.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from corpus.models.packages import ATTEND, TEXT_WIDTH, inner_module
from corpus.spec import AttentionRule, Built, Size, model


@model(
    "video-diffusion-unet",
    "default train autocast cudagraph modules",
    "video_diffusion_pytorch einops_exts rotary_embedding_torch torchvision",
    "float32",
)
def video_diffusion(size: Size) -> Built:
    """3-D UNet: linear attention in frames, full attention along them with rotary embedding."""
    code = inner_module("video_diffusion_pytorch.video_diffusion_pytorch")
    net = code.Unet3D(
        dim=size.pick(128, 16),
        dim_mults=size.pick((1, 2, 4), (1, 2)),
        attn_heads=size.pick(8, 2),
        attn_dim_head=size.pick(64, 16),
    )
    net = size.place(net)
    side, frames = size.pick(32, 8), size.pick(16, 3)
    video, time = size.normal(1, 3, frames, side, side), size.full(10, 1)

    def run() -> Any:
        return net(video, time)

    along = AttentionRule(
        r"^Attention$", "temporal", path=r"temporal_attn|(?:downs|ups)\.\d+\.3\.", kind="self"
    )
    across = AttentionRule(r"^(?:SpatialLinear)?Attention$", "spatial", kind="self")
    return Built(run, {"unet": net}, (along, across), extra={"RelativePositionBias": ""})


@model("make-a-video-unet", "default autocast train compile", "make_a_video_pytorch", "float32")
def make_a_video(size: Size) -> Built:
    """Pseudo 3-D convolutions; attention over pixels, then over frames, biases from an MLP."""
    code = inner_module("make_a_video_pytorch.make_a_video")
    net = code.SpaceTimeUnet(
        dim=size.pick(128, 16),
        channels=3,
        dim_mult=size.pick((1, 2, 4), (1, 2)),
        self_attns=size.pick((False, True, True), (False, True)),
        temporal_compression=size.pick((False, True, True), (False, True)),
        resnet_block_depths=size.pick((1, 1, 1), (1, 1)),
        attn_dim_head=size.pick(64, 16),
        attn_heads=size.pick(8, 2),
        attn_pos_bias=not size.fuses,
        flash_attn=size.fuses,
    )
    net = size.place(net)
    side, frames = size.pick(32, 8), size.pick(8, 4)
    video, time = size.normal(1, 3, frames, side, side), size.full(10, 1)

    def run() -> Any:
        return net(video, timestep=time)

    along = AttentionRule(r"^Attention$", "temporal", path=r"temporal_attn$", kind="self")
    across = AttentionRule(r"^Attention$", "spatial", path=r"spatial_attn$", kind="self")
    return Built(run, {"unet": net}, (along, across), extra=ATTEND)


@model("imagen-video-unet", "default autocast", "imagen_pytorch kornia torchvision", "float32")
def imagen_video(size: Size) -> Built:
    """UNet of Imagen Video: one key head, normalized queries, attention along frames."""
    code = inner_module("imagen_pytorch.imagen_video")
    net = code.Unet3D(
        dim=size.pick(128, 16),
        cond_dim=size.pick(512, 32),
        text_embed_dim=TEXT_WIDTH,
        dim_mults=(1, 2),
        layer_attns=(False, True),
        layer_cross_attns=(False, True),
        attn_dim_head=size.pick(64, 16),
        attn_heads=size.pick(8, 2),
        num_resnet_blocks=1,
    )
    net = size.place(net)
    side, frames = size.pick(32, 8), size.pick(8, 4)
    video, time = size.normal(1, 3, frames, side, side), size.full(0.5, 1)
    text = size.normal(1, size.pick(77, 8), TEXT_WIDTH)

    def run() -> Any:
        return net(video, time, text_embeds=text)

    return Built(
        run,
        {"unet": net},
        (
            AttentionRule(
                r"^Attention$",
                "temporal",
                path=r"temporal_attn|(?:downs|ups)\.\d+\.[45]\.fn",
                kind="self",
                from_product=True,
            ),
            AttentionRule(r"^PerceiverAttention$", "sequence", kind="joint", from_product=True),
            AttentionRule(r"^CrossAttention$", "spatio-temporal", kind="cross", from_product=True),
            AttentionRule(
                r"^Attention$", "spatio-temporal", path=r"mid_attn", kind="self", from_product=True
            ),
            AttentionRule(r"^Attention$", "spatio-temporal", kind="joint", from_product=True),
        ),
        extra={"GlobalContext": "silent"},
    )


@model(
    "phenaki-cvivit",
    "default train",
    "phenaki_pytorch beartype vector_quantize_pytorch torchvision",
    "float32",
)
def phenaki_cvivit(size: Size) -> Built:
    """C-ViViT: attention over patches, then causal over frames; a table of codes between."""
    code = inner_module("phenaki_pytorch.cvivit")
    side = size.pick(128, 32)
    net = code.CViViT(
        dim=size.pick(512, 32),
        codebook_size=size.pick(4096, 64),
        image_size=side,
        patch_size=size.pick(16, 8),
        temporal_patch_size=2,
        spatial_depth=2,
        temporal_depth=2,
        dim_head=size.pick(64, 16),
        heads=size.pick(8, 2),
        use_vgg_and_gan=False,
    )
    net = size.place(net)
    video = size.normal(1, 3, size.pick(17, 5), side, side)

    def run() -> Any:
        return net(video, return_recons_only=True)

    along = AttentionRule(
        r"^Attention$", "temporal", path=r"temporal_transformer", kind="self", from_product=True
    )
    across = AttentionRule(
        r"^Attention$", "spatial", path=r"spatial_transformer", kind="self", from_product=True
    )
    return Built(run, {"model": net}, (along, across), extra={"LFQ": ""})


@model(
    "phenaki-maskgit",
    "default",
    "phenaki_pytorch beartype vector_quantize_pytorch torchvision",
    "float32",
)
def phenaki_maskgit(size: Size) -> Built:
    """Phenaki's transformer over all tokens of a clip, with cross-attention to text."""
    code = inner_module("phenaki_pytorch.phenaki_pytorch")
    shape = size.pick((5, 8, 8), (2, 4, 4))
    count = shape[0] * shape[1] * shape[2]
    net = code.MaskGit(
        num_tokens=size.pick(4096, 64),
        max_seq_len=count,
        dim=size.pick(512, 32),
        dim_context=TEXT_WIDTH,
        depth=2,
        dim_head=size.pick(64, 16),
        heads=size.pick(8, 2),
    )
    net = size.place(net)
    ids = size.tokens(size.pick(4096, 64), 1, *shape)
    text = size.normal(1, size.pick(77, 8), TEXT_WIDTH)
    mask = size.tokens(1, 1, size.pick(77, 8)).bool().logical_not()

    def run() -> Any:
        return net(ids, context=text, text_mask=mask)

    rule = AttentionRule(r"^Attention$", "spatio-temporal", from_product=True)
    return Built(run, {"model": net}, (rule,))


@model("vivit-factorized", "default written cudagraph train", "vit_pytorch")
def vivit_factorized(size: Size) -> Built:
    """ViViT of vit-pytorch, factorized self-attention: patches, then frames, one MLP."""
    side, frames = size.pick(128, 32), size.pick(16, 4)
    net = import_module("vit_pytorch.vivit").ViViT(
        image_size=side,
        image_patch_size=16,
        frames=frames,
        frame_patch_size=2,
        num_classes=1000,
        dim=size.pick(768, 32),
        spatial_depth=3,
        temporal_depth=3,
        heads=size.pick(12, 2),
        mlp_dim=size.pick(3072, 64),
        dim_head=size.pick(64, 16),
        pool="mean",
        variant="factorized_self_attention",
        use_flash_attn=size.fuses,
    )
    net = size.place(net)
    video = size.normal(2, 3, frames, side, side)

    def run() -> Any:
        return net(video)

    along = AttentionRule(r"^Attention$", "temporal", path=r"layers\.\d+\.1$", kind="self")
    across = AttentionRule(r"^Attention$", "spatial", path=r"layers\.\d+\.0$", kind="self")
    return Built(run, {"model": net}, (along, across))
