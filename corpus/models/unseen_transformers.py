"""Hold-out: models of transformers that nobody looked at while classification was being built.

Sources: the configurations of the published checkpoints that each docstring names.
"""

from __future__ import annotations

from typing import Any

from corpus.models.language import SEQUENCE, decoder, prefill_and_decode
from corpus.spec import AttentionRule, Built, Size, unseen


@unseen("opt", "default written train")
def opt(size: Size) -> Built:
    """OPT 2.7B: learned positions, biases, ReLU; a prompt and two tokens."""
    vocabulary, width = size.pick(50272, 100), size.pick(2560, 32)
    net = decoder(
        "OPT",
        size,
        num_hidden_layers=3,
        hidden_size=width,
        word_embed_proj_dim=width,
        ffn_dim=size.pick(10240, 64),
        num_attention_heads=size.pick(32, 2),
        max_position_embeddings=size.pick(2048, 32),
        vocab_size=vocabulary,
        dropout=0.0,
    )
    run = prefill_and_decode(net, size, vocabulary, size.pick(512, 8))
    return Built(run, {"model": net}, (SEQUENCE,))


@unseen("deepseek-v3", "default written")
def deepseek_v3(size: Size) -> Built:
    """DeepSeek V3: latent keys and values, routed experts in groups; a prompt and two tokens."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "DeepseekV3",
        size,
        num_hidden_layers=3,
        first_k_dense_replace=1,
        hidden_size=size.pick(2048, 32),
        intermediate_size=size.pick(8192, 64),
        moe_intermediate_size=size.pick(1024, 32),
        num_attention_heads=size.pick(32, 2),
        num_key_value_heads=size.pick(32, 2),
        n_routed_experts=size.pick(16, 8),
        n_group=4,
        topk_group=2,
        num_experts_per_tok=4,
        q_lora_rank=size.pick(768, 16),
        kv_lora_rank=size.pick(512, 16),
        qk_nope_head_dim=size.pick(128, 16),
        qk_rope_head_dim=size.pick(64, 8),
        v_head_dim=size.pick(128, 16),
        max_position_embeddings=4096,
        rope_scaling=None,
        vocab_size=vocabulary,
    )
    run = prefill_and_decode(net, size, vocabulary, size.pick(256, 8))
    # Between projections and operator, keys are put together by copies, which is undecided.
    rule = AttentionRule(r"^DeepseekV3Attention$", "sequence", kind="self", inline=False)
    return Built(run, {"model": net}, (rule,))


@unseen("xlnet", "default train")
def xlnet(size: Size) -> Built:
    """XLNet large: scores of content, position and segment by einsum; so are the projections."""
    from transformers import XLNetConfig, XLNetModel

    vocabulary = size.pick(32000, 100)
    net = XLNetModel(
        XLNetConfig(
            d_model=size.pick(1024, 32),
            d_inner=size.pick(4096, 64),
            n_layer=3,
            n_head=size.pick(16, 2),
            vocab_size=vocabulary,
            dropout=0.0,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, size.pick(512, 8))
    segments = size.tokens(2, 2, size.pick(512, 8))

    def run() -> Any:
        return net(ids, token_type_ids=segments, use_mems=False).last_hidden_state

    return Built(
        run,
        {"model": net},
        (AttentionRule(r"^XLNetRelativeAttention$", "sequence", kind="self", inline=False),),
        cores=("transformers.models.xlnet.modeling_xlnet:XLNetRelativeAttention.rel_attn_core",),
    )


@unseen("longformer", "default train", dtype="float32")
def longformer(size: Size) -> Built:
    """Longformer base: attention in overlapping chunks, whose scores are skewed into bands."""
    from transformers import LongformerConfig, LongformerModel

    vocabulary, length = size.pick(50265, 100), size.pick(2048, 32)
    net = LongformerModel(
        LongformerConfig(
            attention_window=size.pick(512, 8),
            hidden_size=size.pick(768, 32),
            intermediate_size=size.pick(3072, 64),
            num_hidden_layers=3,
            num_attention_heads=size.pick(12, 2),
            max_position_embeddings=length + 2,
            vocab_size=vocabulary,
            attention_probs_dropout_prob=0.0,
            hidden_dropout_prob=0.0,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary - 2, 1, length) + 2
    mask = size.tokens(1, 1, length) + 1

    def run() -> Any:
        return net(ids, attention_mask=mask).last_hidden_state

    rule = AttentionRule(r"^LongformerSelfAttention$", "sequence", kind="self", has_output=False)
    return Built(run, {"model": net}, (rule,))


@unseen("encodec", "default autocast", dtype="float32")
def encodec(size: Size) -> Built:
    """EnCodec at 24 kHz: normalized weights, a recurrent layer, residual tables of codes."""
    from transformers import EncodecConfig, EncodecModel

    net = EncodecModel(
        EncodecConfig(
            num_filters=size.pick(32, 4),
            hidden_size=size.pick(128, 16),
            codebook_size=size.pick(1024, 16),
            codebook_dim=size.pick(128, 16),
        )
    )
    net = size.place(net)
    samples = size.normal(2, 1, size.pick(48000, 1920))

    def run() -> Any:
        return net(samples, return_dict=False)

    # That weights are normalized inside the convolution is neither convolution nor normalization.
    mixed = dict.fromkeys(("ParametrizedConv1d", "ParametrizedConvTranspose1d"), "")
    return Built(run, {"model": net}, extra={**mixed, "_WeightNorm": "silent"})


@unseen("qwen2-vl-vision", "default written train")
def qwen2_vl(size: Size) -> Built:
    """Qwen2-VL's image tower: images of several sizes in one row of patches, apart in attention."""
    import torch
    from transformers.models.qwen2_vl.configuration_qwen2_vl import Qwen2VLVisionConfig
    from transformers.models.qwen2_vl.modeling_qwen2_vl import (
        Qwen2VisionTransformerPretrainedModel as Tower,
    )

    net = Tower._from_config(
        Qwen2VLVisionConfig(
            depth=3,
            embed_dim=size.pick(1280, 32),
            hidden_size=size.pick(3584, 32),
            num_heads=size.pick(16, 2),
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    sides = size.pick(((1, 32, 32), (1, 24, 40)), ((1, 4, 4), (1, 4, 6)))
    grid = torch.tensor(sides, device=size.device)
    patches = size.normal(sum(height * width for _, height, width in sides), 3 * 2 * 14 * 14)

    def run() -> Any:
        return net(patches, grid).pooler_output

    # In the open it only computes where each image begins and ends.
    rule = AttentionRule(r"^VisionAttention$", "spatial", kind="self", inline=False)
    return Built(run, {"model": net}, (rule,))


@unseen("speecht5", "default train")
def speecht5(size: Size) -> Built:
    """SpeechT5, text to speech: relative positions in the encoder, convolutions at the end."""
    from transformers import SpeechT5Config, SpeechT5ForTextToSpeech

    vocabulary, bins = size.pick(81, 40), size.pick(80, 16)
    net = SpeechT5ForTextToSpeech(
        SpeechT5Config(
            hidden_size=size.pick(768, 32),
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=size.pick(12, 2),
            decoder_attention_heads=size.pick(12, 2),
            encoder_ffn_dim=size.pick(3072, 64),
            decoder_ffn_dim=size.pick(3072, 64),
            num_mel_bins=bins,
            speech_decoder_prenet_units=size.pick(256, 16),
            speech_decoder_postnet_units=size.pick(256, 16),
            speaker_embedding_dim=size.pick(512, 16),
            vocab_size=vocabulary,
            encoder_layerdrop=0.0,
            decoder_layerdrop=0.0,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, size.pick(200, 8))
    audio = size.normal(2, size.pick(400, 8), bins)
    speaker = size.normal(2, size.pick(512, 16))

    def run() -> Any:
        found = net.speecht5(
            input_values=ids,
            decoder_input_values=audio,
            speaker_embeddings=speaker,
            use_cache=False,
        )
        return net.speech_decoder_postnet(found.last_hidden_state)

    rule = AttentionRule(r"^SpeechT5Attention$", "sequence")
    return Built(run, {"model": net}, (rule,))
