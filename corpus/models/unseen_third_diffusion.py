"""Third hold-out: denoisers and an autoencoder of diffusers that no rule has seen.

Sources: the configurations in diffusers, which name the papers: Lumina-Next (arXiv 2406.18583),
SANA-Video (2509.24695), LTX-2, AudioLDM 2 (2308.05734), Dance Diffusion, VidTok (2412.13061).
"""

from __future__ import annotations

from typing import Any

from corpus.models.diffusion_unets import SPATIAL, write_out
from corpus.spec import AttentionRule, Built, Size, unseen_third


@unseen_third("lumina-next", "default math compile")
def lumina_next(size: Size) -> Built:
    """Lumina-Next: pixels, then text, by the same queries; both results make one projection.

    `attn1` has the patches as keys, `attn2` the words; what leaves both is added up before the one
    output projection, which the block calls itself. Between projections and the fused call heads
    are repeated and rotated, so only the call is the operator.
    """
    from diffusers import LuminaNextDiT2DModel
    from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

    heads, head, text_width = size.pick(32, 2), size.pick(72, 16), size.pick(2048, 32)
    net = LuminaNextDiT2DModel(
        hidden_size=heads * head,
        num_layers=3,
        num_attention_heads=heads,
        num_kv_heads=size.pick(8, 1),
        multiple_of=size.pick(256, 16),
        cross_attention_dim=text_width,
    )
    net.pad_token.data.zero_()
    net = size.place(net)
    side, length = size.pick(128, 8), size.pick(256, 8)
    latents, time = size.normal(1, 4, side, side), size.full(0.5, 1)
    text, mask = size.normal(1, length, text_width), size.tokens(1, 1, length) == 0
    places = get_2d_rotary_pos_embed_lumina(head, side, side).to(size.device)

    def run() -> Any:
        return net(latents, time, text, mask, places, {}, return_dict=False)

    rules = (
        AttentionRule(r"^Attention$", "spatial", path=r"\.attn1$", kind="self", inline=False),
        AttentionRule(r"^Attention$", "spatial", path=r"\.attn2$", kind="cross", inline=False),
    )
    return Built(run, {"transformer": net}, rules)


@unseen_third("sana-video", "default train-checkpoint cudagraph compile")
def sana_video(size: Size) -> Built:
    """SANA-Video: linear attention over all patches of 20 frames, fused attention to the text.

    Keys and values are summed up in float32 before queries meet them. The MLP is of convolutions,
    the last one along the frames.
    """
    from diffusers import SanaVideoTransformer3DModel

    heads, head = size.pick(20, 2), size.pick(112, 16)
    width, text_width = heads * head, size.pick(2304, 32)
    net = SanaVideoTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=head,
        num_layers=2,
        num_cross_attention_heads=heads,
        cross_attention_head_dim=head,
        cross_attention_dim=width,
        caption_channels=text_width,
        rope_max_seq_len=size.pick(1024, 32),
    )
    net = size.place(net)
    video = size.normal(1, 16, *size.pick((20, 24, 40), (3, 4, 8)))
    text, time = size.normal(1, size.pick(300, 8), text_width), size.full(500, 1)

    def run() -> Any:
        return net(video, text, time, return_dict=False)

    rules = (
        AttentionRule(r"^Attention$", "spatio-temporal", path=r"\.attn1$", kind="self"),
        AttentionRule(
            r"^Attention$", "spatio-temporal", path=r"\.attn2$", kind="cross", inline=False
        ),
    )
    return Built(run, {"transformer": net}, rules)


@unseen_third("ltx-2", "default math compile")
def ltx_2(size: Size) -> Built:
    """LTX-2: a stream of video and one of audio, each with text, that attend to each other.

    Queries are patches of all frames at once in the attention of the video, and in that from video
    to audio; slices of sound, which are a sequence, in the others. Heads differ in width.
    """
    from diffusers import LTX2VideoTransformer3DModel

    heads, head, heard = size.pick(32, 2), size.pick(128, 16), size.pick(64, 8)
    text_width = size.pick(3840, 32)
    net = LTX2VideoTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=head,
        cross_attention_dim=heads * head,
        audio_num_attention_heads=heads,
        audio_attention_head_dim=heard,
        audio_cross_attention_dim=heads * heard,
        num_layers=2,
        caption_channels=text_width,
    )
    net = size.place(net)
    frames, height, width = size.pick((7, 12, 16), (3, 2, 4))
    slices, length = size.pick(126, 6), size.pick(256, 8)
    video, audio = size.normal(1, frames * height * width, 128), size.normal(1, slices, 128)
    text, heard_text = size.normal(1, length, text_width), size.normal(1, length, text_width)
    time = size.full(500, 1)

    def run() -> Any:
        return net(
            video,
            audio,
            text,
            heard_text,
            time,
            num_frames=frames,
            height=height,
            width=width,
            audio_num_frames=slices,
            return_dict=False,
        )

    name = r"^LTX2Attention$"
    seen, heard_axis = "spatio-temporal", "sequence"
    rules = (
        AttentionRule(name, seen, path=r"\.attn1$", kind="self", inline=False),
        AttentionRule(name, heard_axis, path=r"\.audio_attn1$", kind="self", inline=False),
        AttentionRule(name, seen, path=r"\.attn2$", kind="cross", inline=False),
        AttentionRule(name, heard_axis, path=r"\.audio_attn2$", kind="cross", inline=False),
        AttentionRule(name, seen, path=r"\.audio_to_video_attn$", kind="cross", inline=False),
        AttentionRule(name, heard_axis, path=r"\.video_to_audio_attn$", kind="cross", inline=False),
    )
    return Built(run, {"transformer": net}, rules)


@unseen_third("audioldm-2-unet", "default written train")
def audioldm_2(size: Size) -> Built:
    """AudioLDM 2: a UNet of spectrograms, in which three transformers follow each residual block.

    The first attends to the pixels of the spectrogram twice, the second to the audio tokens of a
    language model, the third to text. Queries are pixels, along time and pitch.
    """
    from diffusers.pipelines.audioldm2.modeling_audioldm2 import AudioLDM2UNet2DConditionModel

    sound, words = size.pick(768, 16), size.pick(1024, 24)
    net = AudioLDM2UNet2DConditionModel(
        in_channels=8,
        out_channels=8,
        block_out_channels=size.pick((128, 256, 384, 640), (32, 32, 32, 32)),
        layers_per_block=1,
        cross_attention_dim=[[None, sound, words]] * 4,
        attention_head_dim=size.pick([4, 8, 12, 20], [2, 2, 2, 2]),
    )
    write_out(net, size)
    net = size.place(net)
    latents, time = size.normal(2, 8, *size.pick((256, 16), (16, 8))), size.tokens(1000, 2)
    heard, text = size.normal(2, 8, sound), size.normal(2, size.pick(77, 6), words)

    def run() -> Any:
        return net(latents, time, heard, encoder_hidden_states_1=text, return_dict=False)

    return Built(run, {"unet": net}, (SPATIAL,))


@unseen_third("dance-diffusion", "default train cudagraph compile")
def dance_diffusion(size: Size) -> Built:
    """Dance Diffusion: a UNet of samples, 1-D convolutions, resampling with a fixed kernel.

    Queries are positions of a sound, which are a sequence. Attention is written out, with the scale
    split over queries and keys, and the residual is added in the module.
    """
    from diffusers import UNet1DModel

    down = ("DownBlock1DNoSkip", "DownBlock1D", *("AttnDownBlock1D",) * 2)
    up = (*("AttnUpBlock1D",) * 2, "UpBlock1D", "UpBlock1DNoSkip")
    net = UNet1DModel(
        sample_size=size.pick(16384, 256),
        sample_rate=16000,
        extra_in_channels=16,
        time_embedding_dim=16,
        flip_sin_to_cos=True,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=size.pick((128, 256, 512, 512), (32, 32, 64, 64)),
    )
    net = size.place(net)
    samples, time = size.normal(4, 2, size.pick(16384, 256)), size.full(0.5, 1)

    def run() -> Any:
        return net(samples, time, return_dict=False)

    return Built(
        run, {"unet": net}, (AttentionRule(r"^SelfAttention1d$", "sequence", kind="self"),)
    )


@unseen_third("vae-vidtok", "default train")
def vae_vidtok(size: Size) -> Built:
    """VidTok's encoder and decoder of 13 frames: space and time convolved apart, mixed by weights.

    Attention is over the pixels of a frame, in one fused call in which the frames stand where heads
    usually do. Projections are causal convolutions of 1x1x1.
    """
    from diffusers import AutoencoderVidTok

    net = AutoencoderVidTok(
        ch=size.pick(128, 32), ch_mult=size.pick([1, 2, 4, 4], [1, 1, 1, 1]), num_res_blocks=1
    )
    net = size.place(net)
    side, frames = size.pick(128, 16), size.pick(13, 5)
    video = size.normal(1, 3, frames, side, side)

    def run() -> Any:
        return net(video, sample_posterior=False, return_dict=False)

    rule = AttentionRule(r"^VidTokAttnBlock$", "spatial", kind="self")
    return Built(run, {"vae": net}, (rule,))
