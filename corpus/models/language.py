"""Language and audio models of transformers, each with 2 to 4 layers of the published width.

Sources: the configurations of the published checkpoints that each docstring names.
"""

from __future__ import annotations

import inspect
from typing import Any, Final

from corpus.spec import AttentionRule, Built, Size, model

SEQUENCE: Final = AttentionRule(r"Attention$", "sequence")


def decoder(kind: str, size: Size, **config: Any) -> Any:
    """Return a causal language model of transformers with random weights."""
    import transformers

    built = getattr(transformers, f"{kind}Config")(**config)
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    chosen = getattr(transformers, kind + head)
    fused = getattr(chosen, "_supports_sdpa", False)
    implementation = size.implementation if fused else "eager"
    return size.place(chosen._from_config(built, attn_implementation=implementation))


def prefill_and_decode(net: Any, size: Size, vocabulary: int, prompt: int) -> Any:
    """Return a run of one prompt and two more tokens with a cache."""
    ids = size.tokens(vocabulary, 1, prompt)
    token = size.tokens(vocabulary, 1, 1)

    # Later versions call it otherwise.
    named = inspect.signature(net.forward).parameters
    name = "cache" if "cache" in named else "past_key_values"

    def run() -> Any:
        import torch
        from transformers import DynamicCache

        if torch.is_grad_enabled():
            return net(ids, use_cache=False).logits
        cache = {name: DynamicCache(config=net.config)}
        net(ids, use_cache=True, **cache)
        net(token, use_cache=True, **cache)
        return net(token, use_cache=True, **cache).logits

    return run


def _prefill(net: Any, size: Size, vocabulary: int, *shape: int) -> Any:
    ids = size.tokens(vocabulary, *shape)

    def run() -> Any:
        return net(ids, use_cache=False).logits

    return run


_LLAMA: Final = {"hidden_act": "silu", "rms_norm_eps": 1e-5}


@model("llama", "default written math train train-checkpoint modules autocast")
def llama(size: Size) -> Built:
    """Llama 3 8B: grouped keys, rotary embedding; a prompt and two tokens."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Llama",
        size,
        num_hidden_layers=3,
        hidden_size=size.pick(4096, 32),
        intermediate_size=size.pick(14336, 64),
        num_attention_heads=size.pick(32, 4),
        num_key_value_heads=size.pick(8, 2),
        vocab_size=vocabulary,
        **_LLAMA,
    )
    run = prefill_and_decode(net, size, vocabulary, size.pick(512, 8))
    return Built(run, {"model": net}, (SEQUENCE,))


@model("llama-prefill", "cudagraph compile compile-train")
def llama_prefill(size: Size) -> Built:
    """Llama 3 8B: a prompt alone."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Llama",
        size,
        num_hidden_layers=3,
        hidden_size=size.pick(4096, 32),
        intermediate_size=size.pick(14336, 64),
        num_attention_heads=size.pick(32, 4),
        num_key_value_heads=size.pick(8, 2),
        vocab_size=vocabulary,
        **_LLAMA,
    )
    return Built(_prefill(net, size, vocabulary, 2, size.pick(512, 8)), {"model": net}, (SEQUENCE,))


@model("gpt2", "default written train cudagraph compile")
def gpt2(size: Size) -> Built:
    """GPT-2: projections as `addmm` of transposed weights, GELU written out as tanh."""
    vocabulary = size.pick(50257, 100)
    net = decoder(
        "GPT2",
        size,
        n_layer=3,
        n_embd=size.pick(1024, 32),
        n_head=size.pick(16, 2),
        vocab_size=vocabulary,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return Built(_prefill(net, size, vocabulary, 2, size.pick(512, 8)), {"model": net}, (SEQUENCE,))


@model("gemma2", "default")
def gemma2(size: Size) -> Built:
    """Gemma 2, always written out: soft-capped scores, local and global layers."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Gemma2",
        size,
        num_hidden_layers=4,
        hidden_size=size.pick(2304, 32),
        intermediate_size=size.pick(9216, 64),
        num_attention_heads=size.pick(8, 2),
        num_key_value_heads=size.pick(4, 1),
        head_dim=size.pick(256, 16),
        vocab_size=vocabulary,
    )
    run = prefill_and_decode(net, size, vocabulary, size.pick(256, 8))
    return Built(run, {"model": net}, (SEQUENCE,))


@model("qwen3", "default written compile")
def qwen3(size: Size) -> Built:
    """Qwen 3: normalized queries and keys before the rotary embedding."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Qwen3",
        size,
        num_hidden_layers=3,
        hidden_size=size.pick(2048, 32),
        intermediate_size=size.pick(6144, 64),
        num_attention_heads=size.pick(16, 4),
        num_key_value_heads=size.pick(8, 2),
        head_dim=size.pick(128, 16),
        vocab_size=vocabulary,
    )
    return Built(_prefill(net, size, vocabulary, 1, size.pick(512, 8)), {"model": net}, (SEQUENCE,))


@model("mixtral", "default written")
def mixtral(size: Size) -> Built:
    """Mixtral: 8 experts, two for each token."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Mixtral",
        size,
        num_hidden_layers=2,
        hidden_size=size.pick(2048, 32),
        intermediate_size=size.pick(4096, 64),
        num_attention_heads=size.pick(32, 4),
        num_key_value_heads=size.pick(8, 2),
        num_local_experts=8,
        vocab_size=vocabulary,
    )
    return Built(_prefill(net, size, vocabulary, 1, size.pick(256, 8)), {"model": net}, (SEQUENCE,))


@model("bloom", "default train")
def bloom(size: Size) -> Built:
    """BLOOM: attention with ALiBi as `baddbmm`, softmax, `bmm`, in the module itself."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Bloom",
        size,
        n_layer=3,
        hidden_size=size.pick(1536, 32),
        n_head=size.pick(16, 2),
        vocab_size=vocabulary,
    )
    return Built(_prefill(net, size, vocabulary, 2, size.pick(384, 8)), {"model": net}, (SEQUENCE,))


@model("falcon", "default written")
def falcon(size: Size) -> Built:
    """Falcon: one key head for all queries, attention and MLP side by side."""
    vocabulary = size.pick(32000, 100)
    net = decoder(
        "Falcon",
        size,
        num_hidden_layers=2,
        hidden_size=size.pick(4544, 64),
        num_attention_heads=size.pick(71, 4),
        vocab_size=vocabulary,
    )
    return Built(_prefill(net, size, vocabulary, 1, size.pick(256, 8)), {"model": net}, (SEQUENCE,))


@model("mamba2", "default")
def mamba2(size: Size) -> Built:
    """Mamba 2 as plain PyTorch: a short convolution and a scan in chunks; no attention."""
    vocabulary = size.pick(32000, 100)
    width = size.pick(1024, 32)
    net = decoder(
        "Mamba2",
        size,
        num_hidden_layers=2,
        hidden_size=width,
        num_heads=size.pick(32, 4),
        head_dim=size.pick(64, 16),
        state_size=size.pick(128, 16),
        n_groups=1,
        chunk_size=size.pick(128, 8),
        vocab_size=vocabulary,
    )
    return Built(_prefill(net, size, vocabulary, 1, size.pick(256, 16)), {"model": net})


@model("t5", "default written train compile")
def t5(size: Size) -> Built:
    """T5: relative position biases, encoder and decoder; normalizations without means."""
    from transformers import T5Config, T5ForConditionalGeneration

    vocabulary = size.pick(32128, 100)
    net = T5ForConditionalGeneration._from_config(
        T5Config(
            d_model=size.pick(1024, 32),
            d_kv=size.pick(64, 16),
            d_ff=size.pick(2816, 64),
            num_layers=3,
            num_decoder_layers=2,
            num_heads=size.pick(16, 2),
            feed_forward_proj="gated-gelu",
            vocab_size=vocabulary,
            dropout_rate=0.0,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, size.pick(256, 8))
    outputs = size.tokens(vocabulary, 2, size.pick(64, 4))

    def run() -> Any:
        return net(input_ids=ids, decoder_input_ids=outputs, use_cache=False).logits

    return Built(run, {"model": net}, (AttentionRule(r"^T5Attention$", "sequence", inline=False),))


@model("bert", "default written train train-written cudagraph")
def bert(size: Size) -> Built:
    """BERT large with a padding mask."""
    from transformers import BertConfig, BertModel

    vocabulary = size.pick(30522, 100)
    net = BertModel._from_config(
        BertConfig(
            hidden_size=size.pick(1024, 32),
            intermediate_size=size.pick(4096, 64),
            num_hidden_layers=3,
            num_attention_heads=size.pick(16, 2),
            vocab_size=vocabulary,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 4, size.pick(256, 8))

    def run() -> Any:
        return net(ids).last_hidden_state

    return Built(run, {"model": net}, (AttentionRule(r"^BertSelfAttention$", "sequence"),))


@model("deberta", "default")
def deberta(size: Size) -> Built:
    """DeBERTa v3: scores of content and of positions, added before the softmax."""
    from transformers import DebertaV2Config, DebertaV2Model

    vocabulary = size.pick(32000, 100)
    net = DebertaV2Model(
        DebertaV2Config(
            hidden_size=size.pick(1024, 32),
            intermediate_size=size.pick(4096, 64),
            num_hidden_layers=2,
            num_attention_heads=size.pick(16, 2),
            vocab_size=vocabulary,
            relative_attention=True,
            position_buckets=size.pick(256, 8),
            norm_rel_ebd="layer_norm",
            share_att_key=True,
            pos_att_type=["p2c", "c2p"],
            position_biased_input=False,
        )
    )
    net = size.place(net)
    ids = size.tokens(vocabulary, 2, size.pick(256, 8))

    def run() -> Any:
        return net(ids).last_hidden_state

    rule = AttentionRule(r"^DisentangledSelfAttention$", "sequence", has_output=False)
    return Built(run, {"model": net}, (rule,))


@model("whisper", "default written cudagraph train")
def whisper(size: Size) -> Built:
    """Whisper small: convolutions over the spectrogram, encoder, decoder with cross-attention."""
    from transformers import WhisperConfig, WhisperModel

    vocabulary, frames = size.pick(51865, 100), size.pick(1500, 16)
    net = WhisperModel._from_config(
        WhisperConfig(
            d_model=size.pick(768, 32),
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=size.pick(12, 2),
            decoder_attention_heads=size.pick(12, 2),
            encoder_ffn_dim=size.pick(3072, 64),
            decoder_ffn_dim=size.pick(3072, 64),
            max_source_positions=frames,
            vocab_size=vocabulary,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            num_mel_bins=80,
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    audio = size.normal(1, 80, 2 * frames)
    ids = size.tokens(vocabulary, 1, size.pick(64, 4))

    def run() -> Any:
        return net(input_features=audio, decoder_input_ids=ids, use_cache=False).last_hidden_state

    return Built(run, {"model": net}, (SEQUENCE,))


@model("bark", "default")
def bark(size: Size) -> Built:
    """Bark's semantic model: causal attention written in the module itself."""
    from transformers import BarkSemanticConfig, BarkSemanticModel

    vocabulary = size.pick(10048, 100)
    net = BarkSemanticModel(
        BarkSemanticConfig(
            hidden_size=size.pick(1024, 32),
            num_layers=3,
            num_heads=size.pick(16, 2),
            block_size=size.pick(512, 16),
            input_vocab_size=vocabulary,
            output_vocab_size=vocabulary,
        )
    )
    net = size.place(net)
    return Built(_prefill(net, size, vocabulary, 1, size.pick(512, 8)), {"model": net}, (SEQUENCE,))


@model("wav2vec2", "default written")
def wav2vec2(size: Size) -> Built:
    """wav2vec 2.0: a stack of 1-D convolutions over samples, one over positions, then layers."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    net = Wav2Vec2Model._from_config(
        Wav2Vec2Config(
            hidden_size=size.pick(768, 32),
            intermediate_size=size.pick(3072, 64),
            num_hidden_layers=2,
            num_attention_heads=size.pick(12, 2),
            conv_dim=size.pick((512,) * 7, (32,) * 7),
            num_conv_pos_embeddings=size.pick(128, 16),
            num_conv_pos_embedding_groups=size.pick(16, 4),
        ),
        attn_implementation=size.implementation,
    )
    net = size.place(net)
    samples = size.normal(2, size.pick(80000, 4000))

    def run() -> Any:
        return net(samples).last_hidden_state

    return Built(run, {"model": net}, (SEQUENCE,))
