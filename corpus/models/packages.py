"""Image and language models of other people's packages, who write attention their own way.

Sources: the packages, each under the name that pip knows: x-transformers,
denoising-diffusion-pytorch, muse-maskgit-pytorch, parti-pytorch, local-attention,
linear-attention-transformer, perceiver-pytorch, nystrom-attention.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any, Final

from corpus.spec import AttentionRule, Built, Size, model

SPATIAL: Final = AttentionRule(r"Attention$", "spatial")
SEQUENCE: Final = AttentionRule(r"Attention$", "sequence")
WINDOWS: Final = AttentionRule(
    r"^LocalAttention$", "sequence", kind="self", from_product=True, is_given=True
)
"""Attention over windows, with a rotary embedding inside."""
ATTEND: Final = {"Attend": "attention"}
TEXT_WIDTH: Final = 512


def inner_module(name: str) -> Any:
    """Import a module of a package without what its package imports for training."""
    package = name.partition(".")[0]
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        bare = ModuleType(package)
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules[package] = bare
        # Their text encoders ask the network for a configuration while they are imported.
        text: Any = ModuleType(f"{package}.t5")
        text.get_encoded_dim = lambda _name: TEXT_WIDTH
        text.t5_encode_text = text.get_encoded_dim
        text.DEFAULT_T5_NAME = ""
        sys.modules[f"{package}.t5"] = text
    return import_module(name)


@model("x-transformers-decoder", "default math train cudagraph", "x_transformers")
def x_decoder(size: Size) -> Built:
    """Causal decoder: rotary embedding, normalized queries, gated MLP; fused or written out."""
    code = import_module("x_transformers")
    vocabulary, length = size.pick(20000, 100), size.pick(512, 16)
    net = code.TransformerWrapper(
        num_tokens=vocabulary,
        max_seq_len=length,
        attn_layers=code.Decoder(
            dim=size.pick(1024, 32),
            depth=3,
            heads=size.pick(16, 2),
            attn_dim_head=size.pick(64, 16),
            rotary_pos_emb=True,
            ff_glu=True,
            attn_flash=size.fuses,
        ),
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, length)

    def run() -> Any:
        return net(ids)

    return Built(
        run,
        {"model": net},
        (AttentionRule(r"^Attention$", "sequence", inline=False),),
        extra=ATTEND,
    )


@model("x-transformers-encoder", "written compile", "x_transformers")
def x_encoder(size: Size) -> Built:
    """Written-out encoder, then cross-attention: ALiBi biases, scaled normalization."""
    code = import_module("x_transformers")
    width = size.pick(1024, 32)
    settings = {
        "dim": width,
        "depth": 2,
        "heads": size.pick(16, 2),
        "attn_dim_head": size.pick(64, 16),
    }
    encoder = size.place(code.Encoder(alibi_pos_bias=True, use_rmsnorm=True, **settings))
    across = size.place(code.CrossAttender(**settings))
    length = size.pick(384, 16)
    states, context = size.normal(2, length, width), size.normal(2, size.pick(96, 8), width)

    def run() -> Any:
        return across(encoder(states), context=context)

    rule = AttentionRule(r"^Attention$", "sequence", inline=False)
    return Built(run, {"encoder": encoder, "across": across}, (rule,), extra=ATTEND)


@model(
    "denoising-diffusion-unet",
    "default autocast train compile",
    "denoising_diffusion_pytorch",
    "float32",
)
def denoising_unet(size: Size) -> Built:
    """UNet of denoising-diffusion-pytorch: linear and full attention, with memory keys."""
    code = inner_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch")
    net = code.Unet(
        dim=size.pick(128, 16),
        dim_mults=size.pick((1, 2, 4), (1, 2)),
        attn_dim_head=size.pick(64, 16),
        attn_heads=size.pick(8, 2),
        flash_attn=size.fuses,
    )
    net = size.place(net)
    side = size.pick(64, 8)
    image, time = size.normal(4, 3, side, side), size.full(10, 4)

    def run() -> Any:
        return net(image, time)

    return Built(
        run, {"unet": net}, (AttentionRule(r"Attention$", "spatial", kind="self"),), extra=ATTEND
    )


@model("karras-unet", "default written", "denoising_diffusion_pytorch")
def karras_unet(size: Size) -> Built:
    """Magnitude-preserving UNet (arXiv 2312.02696): weights normalized, no normalizations."""
    code = inner_module("denoising_diffusion_pytorch.karras_unet")
    net = code.KarrasUnet(
        image_size=size.pick(64, 16),
        dim=size.pick(192, 16),
        dim_max=size.pick(768, 32),
        num_downsamples=2,
        num_blocks_per_stage=1,
        attn_res=size.pick((16, 32), (4, 8)),
        attn_dim_head=size.pick(64, 16),
        attn_flash=size.fuses,
    )
    net = size.place(net)
    side = size.pick(64, 16)
    image, time = size.normal(4, 4, side, side), size.full(0.5, 4)

    def run() -> Any:
        return net(image, time=time)

    rule = AttentionRule(r"^Attention$", "spatial", kind="self", inline=False)
    names = {**ATTEND, "PixelNorm": "norm"}
    return Built(run, {"unet": net}, (rule,), extra=names)


@model("muse-maskgit", "default written cudagraph", "muse_maskgit_pytorch", "float32")
def muse(size: Size) -> Built:
    """Muse's base transformer: masked image tokens, cross-attention to text, null keys."""
    code = inner_module("muse_maskgit_pytorch.muse_maskgit_pytorch")
    vocabulary, side = size.pick(8192, 100), size.pick(16, 4)
    net = code.MaskGitTransformer(
        num_tokens=vocabulary,
        seq_len=side * side,
        dim=size.pick(1024, 32),
        depth=3,
        dim_head=size.pick(64, 16),
        heads=size.pick(16, 2),
        ff_mult=4,
        flash=not size.written,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, side * side)
    text = size.normal(2, size.pick(77, 8), TEXT_WIDTH)

    def run() -> Any:
        return net(ids, text_embeds=text)

    rule = AttentionRule(r"^Attention$", "spatial", inline=False)
    return Built(run, {"transformer": net}, (rule,), extra=ATTEND)


@model("parti", "default train", "parti_pytorch einops_exts", "float32")
def parti(size: Size) -> Built:
    """Parti: autoregressive image tokens, one key head, keys that are values too, text across."""
    code = inner_module("parti_pytorch.parti_pytorch")
    vocabulary, side = size.pick(8192, 100), size.pick(16, 4)
    tokenizer = SimpleNamespace(  # only its sizes are asked for
        codebook_size=vocabulary,
        image_size=16 * side,
        get_encoded_fmap_size=lambda _size: side,
        parameters=lambda: iter([size.normal(1)]),
    )
    net = code.Parti(
        dim=size.pick(1024, 32),
        depth=3,
        dim_head=size.pick(64, 16),
        heads=size.pick(16, 2),
        vae=tokenizer,
        text_embed_dim=TEXT_WIDTH,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, side * side - 1)
    text = size.normal(2, size.pick(77, 8), TEXT_WIDTH)
    mask = size.tokens(1, 2, size.pick(77, 8)).bool().logical_not()

    def run() -> Any:
        return net(text_token_embeds=text, text_mask=mask, image_token_ids=ids, cond_drop_prob=0.0)

    return Built(run, {"model": net}, (AttentionRule(r"^Attention$", "spatial"),))


@model("local-attention", "default train", "local_attention hyper_connections", "float32")
def local_attention(size: Size) -> Built:
    """Causal transformer over windows of the sequence and the window before."""
    vocabulary, length = size.pick(20000, 100), size.pick(1024, 32)
    net = import_module("local_attention").LocalTransformer(
        num_tokens=vocabulary,
        max_seq_len=length,
        dim=size.pick(768, 32),
        depth=3,
        heads=size.pick(12, 2),
        dim_head=size.pick(64, 16),
        local_attn_window_size=size.pick(128, 8),
        causal=True,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, length)

    def run() -> Any:
        return net(ids)

    rule = AttentionRule(r"^LocalMHA$", "sequence", kind="self", inline=False)
    return Built(run, {"model": net}, (rule, WINDOWS))


@model("linear-attention-transformer", "default", "linear_attention_transformer linformer")
def linear_transformer(size: Size) -> Built:
    """Linear attention transformer: linear in some heads, local in others."""
    code = import_module("linear_attention_transformer")
    vocabulary, length = size.pick(20000, 100), size.pick(1024, 32)
    net = code.LinearAttentionTransformerLM(
        num_tokens=vocabulary,
        dim=size.pick(512, 32),
        heads=size.pick(8, 2),
        depth=3,
        max_seq_len=length,
        n_local_attn_heads=size.pick(4, 1),
        local_attn_window_size=size.pick(128, 8),
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, length)

    def run() -> Any:
        return net(ids)

    rule = AttentionRule(r"^SelfAttention$", "sequence", kind="self")
    return Built(run, {"model": net}, (rule, WINDOWS))


@model("perceiver", "default cudagraph", "perceiver_pytorch")
def perceiver(size: Size) -> Built:
    """Perceiver: latents look at the bytes of an image, then at one another."""
    net = import_module("perceiver_pytorch").Perceiver(
        input_channels=3,
        input_axis=2,
        num_freq_bands=6,
        max_freq=10.0,
        depth=2,
        num_latents=size.pick(256, 8),
        latent_dim=size.pick(512, 32),
        cross_heads=1,
        latent_heads=size.pick(8, 2),
        cross_dim_head=64,
        latent_dim_head=64,
        num_classes=1000,
        self_per_cross_attn=2,
    )
    net = size.place(net)
    side = size.pick(96, 8)
    image = size.normal(1, side, side, 3)

    def run() -> Any:
        return net(image)

    return Built(run, {"model": net}, (AttentionRule(r"^Attention$", "sequence"),))


@model("nystromformer", "default train", "nystrom_attention", "float32")
def nystromformer(size: Size) -> Built:
    """Nyströmformer: landmarks, and a pseudo-inverse by iterated products."""
    width = size.pick(512, 32)
    net = import_module("nystrom_attention").Nystromformer(
        dim=width, depth=2, heads=size.pick(8, 2), dim_head=64, num_landmarks=size.pick(64, 4)
    )
    net = size.place(net)
    states = size.normal(2, size.pick(1024, 16), width)

    def run() -> Any:
        return net(states)

    rule = AttentionRule(r"^NystromAttention$", "sequence", kind="self")
    core = "nystrom_attention.nystrom_attention:moore_penrose_iter_pinv"
    return Built(run, {"model": net}, (rule,), cores=(core,))
