"""Second hold-out: models of diffusers, chosen after the first hold-out had been measured.

Sources: the configurations in diffusers, which name the papers: Kandinsky 5, Cosmos tokenizer
(arXiv 2501.03575), latent diffusion without text (2112.10752), VQ-Diffusion (2111.14822), PRX,
spectrogram diffusion (2206.05408).
"""

from __future__ import annotations

from typing import Any

from corpus.models.diffusion_unets import write_out
from corpus.spec import AttentionRule, Built, Size, unseen_again


@unseen_again("kandinsky-5-video", "default math cudagraph compile")
def kandinsky_5(size: Size) -> Built:
    """Kandinsky 5 Lite: the whole clip attends to itself, then to text that attended to itself.

    One class of attention in three places. In the blocks of text queries are words, in the others
    patches of all frames at once: 5 x 12 x 20 of them in one sequence. What is between the
    projections and the fused call casts, normalizes and rotates, so only the call is the operator.
    """
    import torch
    from diffusers import Kandinsky5Transformer3DModel

    net = Kandinsky5Transformer3DModel(
        in_visual_dim=16,
        out_visual_dim=16,
        in_text_dim=size.pick(3584, 32),
        in_text_dim2=size.pick(768, 16),
        time_dim=size.pick(512, 16),
        model_dim=size.pick(1792, 32),
        ff_dim=size.pick(7168, 64),
        num_text_blocks=2,
        num_visual_blocks=3,
        axes_dims=size.pick((16, 24, 24), (4, 6, 6)),
    )
    net = size.place(net)
    for name, module in net.named_modules():  # what the model keeps in float32
        if name.endswith(("time_embeddings", "modulation", "rope_embeddings")):
            module.float()
    net.time_embeddings.freqs = net.time_embeddings.freqs.to(size.device)
    frames, height, width = size.pick((5, 24, 40), (2, 4, 4))
    length = size.pick(256, 8)
    video, time = size.normal(1, frames, height, width, 16), size.full(500, 1)
    text, pooled = size.normal(1, length, size.pick(3584, 32)), size.normal(1, size.pick(768, 16))
    places = [
        torch.arange(count, device=size.device) for count in (frames, height // 2, width // 2)
    ]
    words = torch.arange(length, device=size.device)

    def run() -> Any:
        return net(video, text, time, pooled, places, words, return_dict=False)

    name = r"^Kandinsky5Attention$"
    rules = (
        AttentionRule(name, "sequence", path=r"text_transformer", kind="self", inline=False),
        AttentionRule(
            name, "spatio-temporal", path=r"\.cross_attention$", kind="cross", inline=False
        ),
        AttentionRule(
            name, "spatio-temporal", path=r"\.self_attention$", kind="self", inline=False
        ),
    )
    return Built(run, {"transformer": net}, rules)


@unseen_again("vae-cosmos", "default train cudagraph")
def vae_cosmos(size: Size) -> Built:
    """Cosmos' encoder and decoder: wavelets, factorized causal convolutions and attention.

    `attentions` puts frames into the batch and attends over the pixels of one, `temp_attentions`
    puts pixels into the batch and attends over the 5 frames of one, under a causal mask: 1,024
    pixels in the encoder, where the resolution asks for attention, and in the decoder. Projections
    are convolutions of 1x1x1.
    """
    from diffusers import AutoencoderKLCosmos

    side, frames = size.pick((256, 33), (32, 9))
    net = AutoencoderKLCosmos(
        encoder_block_out_channels=size.pick((128, 256, 512, 512), (8, 8, 16, 16)),
        decode_block_out_channels=size.pick((256, 512, 512, 512), (8, 16, 16, 16)),
        attention_resolutions=(side // 8,),
        resolution=side,
        num_layers=1,
    )
    net = size.place(net)
    video = size.normal(1, 3, frames, side, side)

    def run() -> Any:
        return net(video, return_dict=False)

    name = r"^CosmosCausalAttention$"
    along = AttentionRule(name, "temporal", path=r"\.temp_attentions\.", kind="self")
    across = AttentionRule(name, "spatial", path=r"\.attentions\.", kind="self")
    return Built(run, {"vae": net}, (along, across))


@unseen_again("unconditional-unet", "default written train cudagraph")
def unconditional(size: Size) -> Built:
    """UNet of latent diffusion without text: residual blocks and attention over pixels alone."""
    from diffusers import UNet2DModel

    levels = size.pick(4, 2)
    net = UNet2DModel(
        sample_size=size.pick(64, 8),
        block_out_channels=size.pick((224, 448, 672, 896), (32, 64)),
        down_block_types=("DownBlock2D",) + ("AttnDownBlock2D",) * (levels - 1),
        up_block_types=("AttnUpBlock2D",) * (levels - 1) + ("UpBlock2D",),
        attention_head_dim=size.pick(32, 8),
        layers_per_block=1,
    )
    write_out(net, size)
    net = size.place(net)
    side = size.pick(64, 8)
    latents, time = size.normal(4, 3, side, side), size.tokens(1000, 4)

    def run() -> Any:
        return net(latents, time, return_dict=False)

    return Built(run, {"unet": net}, (AttentionRule(r"^Attention$", "spatial", kind="self"),))


@unseen_again("vq-diffusion", "default written compile")
def vq_diffusion(size: Size) -> Built:
    """VQ-Diffusion: codes of an image as tokens, no convolution; text as keys in every block.

    Queries are the 32 x 32 codes of an image. `attn1` has the codes as keys, `attn2` the text.
    """
    from diffusers import Transformer2DModel

    side, codes = size.pick(32, 4), size.pick(4097, 33)
    net = Transformer2DModel(
        num_attention_heads=size.pick(16, 2),
        attention_head_dim=size.pick(64, 8),
        num_layers=3,
        cross_attention_dim=size.pick(512, 32),
        attention_bias=True,
        sample_size=side,
        num_vector_embeds=codes,
        activation_fn="geglu-approximate",
        num_embeds_ada_norm=100,
        norm_type="ada_norm",
    )
    write_out(net, size)
    net = size.place(net)
    ids, time = size.tokens(codes, 4, side * side), size.tokens(100)
    text = size.normal(4, size.pick(77, 8), size.pick(512, 32))

    def run() -> Any:
        return net(ids, text, time, return_dict=False)

    own = AttentionRule(r"^Attention$", "spatial", path=r"\.attn1$", kind="self")
    across = AttentionRule(r"^Attention$", "spatial", path=r"\.attn2$", kind="cross")
    return Built(run, {"transformer": net}, (own, across))


@unseen_again("prx", "default math train")
def prx(size: Size) -> Built:
    """PRX: queries are patches of the image, keys the words of the text and the same patches.

    Text makes keys and values of its own in each block and is never updated, but image and text
    tokens stand in one sequence of keys, which makes it joint. The module also masks, rotates and
    puts keys together, so only the fused call is the operator.
    """
    from diffusers import PRXTransformer2DModel

    net = PRXTransformer2DModel(
        context_in_dim=size.pick(2304, 32),
        hidden_size=size.pick(1792, 32),
        num_heads=size.pick(28, 2),
        depth=3,
        axes_dim=size.pick([32, 32], [8, 8]),
    )
    net = size.place(net)
    side, length = size.pick(64, 8), size.pick(256, 8)
    latents, time = size.normal(2, 16, side, side), size.full(0.5, 2)
    text, mask = size.normal(2, length, size.pick(2304, 32)), size.tokens(1, 2, length) == 0

    def run() -> Any:
        return net(latents, time, text, mask, return_dict=False)

    rule = AttentionRule(r"^PRXAttention$", "spatial", kind="joint", inline=False)
    rotary = ("diffusers.models.transformers.transformer_prx:apply_rope",)
    return Built(run, {"transformer": net}, (rule,), rotary=rotary)


@unseen_again("spectrogram-diffusion", "default train cudagraph")
def spectrogram_diffusion(size: Size) -> Built:
    """Music from notes: 256 slices of a spectrogram attend to each other, then to the notes.

    A token is a slice, all of its pitches together: a sequence, as in other models of sound. Scores
    are not scaled, for which diffusers always writes attention out.
    """
    from diffusers.models.transformers.t5_film_transformer import T5FilmDecoder

    width, length, bins = size.pick(768, 32), size.pick(256, 8), size.pick(128, 16)
    net = T5FilmDecoder(
        input_dims=bins,
        targets_length=length,
        d_model=width,
        num_layers=3,
        num_heads=size.pick(12, 2),
        d_kv=size.pick(64, 16),
        d_ff=size.pick(2048, 64),
        dropout_rate=0.0,
    )
    net = size.place(net)
    counts = size.pick(2048, 16), length
    known = [
        (size.normal(2, count, width), size.full(1, 2, count))  # the notes, what was played before
        for count in counts
    ]
    sound, time = size.normal(2, length, bins), size.full(0.5, 2)

    def run() -> Any:
        return net(known, sound, time)

    own = AttentionRule(r"^Attention$", "sequence", path=r"\.layer\.0\.", kind="self")
    across = AttentionRule(r"^Attention$", "sequence", path=r"\.layer\.1\.", kind="cross")
    return Built(run, {"decoder": net}, (own, across))
