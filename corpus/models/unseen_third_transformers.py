"""Third hold-out: models of transformers that no rule has seen, of text, sound and video.

Sources: the configurations of the published checkpoints that each docstring names.
"""

from __future__ import annotations

from typing import Any

from corpus.models.language import decoder
from corpus.spec import AttentionRule, Built, Size, unseen_third


@unseen_third("codegen", "default train compile")
def codegen(size: Size) -> Built:
    """CodeGen 2B: one projection in four shards, a part of each head rotated, MLP side by side."""
    vocabulary, width = size.pick(51200, 100), size.pick(2560, 64)
    net = decoder(
        "CodeGen",
        size,
        n_layer=3,
        n_embd=width,
        n_head=size.pick(32, 4),
        rotary_dim=size.pick(64, 8),
        n_positions=size.pick(2048, 32),
        n_ctx=size.pick(2048, 32),
        vocab_size=vocabulary,
    )
    rule = AttentionRule(r"^CodeGenAttention$", "sequence", kind="self")
    return Built(_prompt(net, size, vocabulary, size.pick(512, 8)), {"model": net}, (rule,))


@unseen_third("minimax-text", "default compile")
def minimax(size: Size) -> Built:
    """MiniMax Text: lightning attention in two layers, softmax in the third, routed experts.

    Lightning attention is written out in blocks: what decays within one, and a state of keys and
    values that goes from one to the next. Half of the published width, 4 experts.
    """
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "MiniMax",
        size,
        num_hidden_layers=3,
        layer_types=["linear_attention", "linear_attention", "full_attention"],
        block_size=size.pick(256, 8),
        hidden_size=size.pick(3072, 32),
        intermediate_size=size.pick(4608, 64),
        num_attention_heads=size.pick(32, 2),
        num_key_value_heads=size.pick(8, 1),
        head_dim=size.pick(128, 16),
        num_local_experts=4,
        num_experts_per_tok=2,
        vocab_size=vocabulary,
    )
    rule = AttentionRule(r"^MiniMax(?:Lightning)?Attention$", "sequence", kind="self")
    return Built(_prompt(net, size, vocabulary, size.pick(1024, 16)), {"model": net}, (rule,))


@unseen_third("diffllama", "default train compile")
def diffllama(size: Size) -> Built:
    """DiffLlama: differential attention, the weights of two heads subtracted, then a normalization.

    Half of the values at a time go into an attention call, whichever the version of transformers;
    copies before it and the subtraction after it are left undecided.
    """
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "DiffLlama",
        size,
        num_hidden_layers=3,
        hidden_size=size.pick(2048, 64),
        intermediate_size=size.pick(8192, 128),
        num_attention_heads=size.pick(32, 4),
        num_key_value_heads=size.pick(8, 2),
        max_position_embeddings=2048,
        vocab_size=vocabulary,
    )
    rule = AttentionRule(r"^DiffLlama\w*Attention$", "sequence", kind="self", inline=False)
    return Built(_prompt(net, size, vocabulary, size.pick(512, 8)), {"model": net}, (rule,))


@unseen_third("bigbird", "default")
def bigbird(size: Size) -> Built:
    """BigBird base: blocks look at neighbours, at random blocks and at the first and last."""
    from transformers import BigBirdConfig, BigBirdModel

    vocabulary, length = size.pick(50358, 100), size.pick(2048, 64)
    net = BigBirdModel(
        BigBirdConfig(
            block_size=size.pick(64, 4),
            num_random_blocks=size.pick(3, 2),
            hidden_size=size.pick(768, 32),
            intermediate_size=size.pick(3072, 64),
            num_hidden_layers=2,
            num_attention_heads=size.pick(12, 2),
            max_position_embeddings=length,
            vocab_size=vocabulary,
            attention_probs_dropout_prob=0.0,
            hidden_dropout_prob=0.0,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 1, length)

    def run() -> Any:
        return net(ids).last_hidden_state

    name = r"^BigBirdBlockSparseAttention$"
    rule = AttentionRule(name, "sequence", kind="self", has_output=False)
    return Built(run, {"model": net}, (rule,))


@unseen_third("bart", "default written compile")
def bart(size: Size) -> Built:
    """BART large: norms after the residuals; a causal decoder that looks at the encoder."""
    from transformers import BartConfig, BartForConditionalGeneration

    vocabulary, heads = size.pick(50265, 100), size.pick(16, 2)
    hidden = size.pick(4096, 64)
    net = BartForConditionalGeneration._from_config(
        BartConfig(
            vocab_size=vocabulary,
            d_model=size.pick(1024, 32),
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=hidden,
            decoder_ffn_dim=hidden,
            max_position_embeddings=1024,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, size.pick(512, 8))
    summary = size.tokens(vocabulary, 2, size.pick(128, 6))

    def run() -> Any:
        return net(ids, decoder_input_ids=summary, use_cache=False).logits

    return Built(run, {"model": net}, (AttentionRule(r"^BartAttention$", "sequence"),))


@unseen_third("squeezebert", "default train cudagraph compile")
def squeezebert(size: Size) -> Built:
    """SqueezeBERT: every projection a grouped 1-D convolution; channels first, padded text."""
    from transformers import SqueezeBertConfig, SqueezeBertModel

    vocabulary, width = size.pick(30528, 100), size.pick(768, 32)
    net = SqueezeBertModel(
        SqueezeBertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            embedding_size=width,
            intermediate_size=size.pick(3072, 64),
            num_hidden_layers=3,
            num_attention_heads=size.pick(12, 4),
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 4, size.pick(512, 8))
    mask = size.tokens(1, 4, size.pick(512, 8)) + 1
    mask[:, -2:] = 0  # one that hides nothing is left out, but not while a graph is captured

    def run() -> Any:
        return net(ids, attention_mask=mask).last_hidden_state

    rule = AttentionRule(r"^SqueezeBertSelfAttention$", "sequence", kind="self", has_output=False)
    return Built(run, {"model": net}, (rule,), extra={"MatMulWrapper": "attention"})


@unseen_third("fastspeech2-conformer", "default train compile")
def fastspeech_2(size: Size) -> Built:
    """FastSpeech 2 with conformers: the decoder of spectrograms and HiFi-GAN, which makes sound.

    Two products make the scores, one of contents and one of relative positions, which is skewed
    by a copy; depthwise convolutions and batch normalization in each block. Queries are slices of
    a spectrogram, which are a sequence.
    """
    from transformers import FastSpeech2ConformerConfig, FastSpeech2ConformerHifiGanConfig
    from transformers.models.fastspeech2_conformer import modeling_fastspeech2_conformer as code

    width = size.pick(384, 32)
    config = FastSpeech2ConformerConfig(
        hidden_size=width,
        decoder_layers=3,
        decoder_linear_units=size.pick(1536, 64),
        speech_decoder_postnet_units=size.pick(256, 16),
    )
    # The bare classes leave some parameters as the allocator gave them.
    parts = size.place(code.FastSpeech2ConformerEncoder(config, config.decoder_config))
    for name, parameter in parts.named_parameters():
        if "pos_bias" in name:
            parameter.data.zero_()
    after = size.place(code.FastSpeech2ConformerSpeechDecoderPostnet(config))
    vocoder = size.place(
        code.FastSpeech2ConformerHifiGan(
            FastSpeech2ConformerHifiGanConfig(upsample_initial_channel=size.pick(512, 32))
        )
    )
    slices = size.normal(2, size.pick(256, 8), width)

    def run() -> Any:
        return vocoder(after(parts(slices)[0])[1])

    rule = AttentionRule(r"^FastSpeech2ConformerAttention$", "sequence", kind="self")
    return Built(run, {"decoder": parts, "postnet": after, "vocoder": vocoder}, (rule,))


def _prompt(net: Any, size: Size, vocabulary: int, length: int) -> Any:
    ids = size.tokens(vocabulary, 1, length)

    def run() -> Any:
        return net(ids, use_cache=False).logits

    return run
