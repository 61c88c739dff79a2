"""LLaMA: language models, prefill of a prompt and decoding with a key/value cache.

Dimensions of the presets; what they share is LLaMA 2 7B's:

* `2-7b`, `2-13b`, `2-70b`: layers, width and heads from Touvron et al., *LLaMA* (arXiv 2302.13971),
  table 2; LLaMA 2 (arXiv 2307.09288, section 2.2 and table 1) keeps that architecture, doubles the
  context to 4,096 tokens and gives 70B grouped queries, 8 heads of keys and values; vocabulary of
  32,000 tokens (section 2.2). Feed-forward widths (11008, 13824, 28672), ε of RMSNorm 10⁻⁵ and
  untied output weights: `config.json` of meta-llama/Llama-2-7b-hf, -13b-hf and -70b-hf. 6.738,
  13.016 and 68.977 B parameters.
* `3.1-8b`, `3.1-70b`: *The Llama 3 Herd of Models* (arXiv 2407.21783), table 3: layers, width,
  feed-forward width, heads, 8 heads of keys and values, vocabulary of 128,000 and 256 more,
  rotary base 500,000; its scaling to a context of 131,072 tokens from `config.json` of
  meta-llama/Llama-3.1-8B and -70B. 8.030 and 70.554 B parameters.
* `3.2-1b`, `3.2-3b`: `config.json` of meta-llama/Llama-3.2-1B and -3B; output weights tied to the
  embedding. 1.236 and 3.213 B parameters.
* 512 tokens of prompt and 128 decoding steps are this tool's choice: *assumed*.

The prompt's own forward pass yields the first token; each decoding step takes the last token and
yields the next, chosen greedily on the device, so nothing waits for it. The cache grows by
concatenation, as in transformers' `generate`.

Decoding step i attends to prompt_tokens + i + 1 keys; how a part of the steps is recorded says
`_decoding`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from tracekit.collectors.models._common import check, describe, make_transformers, making, spread
from tracekit.collectors.models._decoding import FilledCaches, cache_argument
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "llama"
DESCRIPTION: Final = "LLaMA: language model, prefill and decoding (2 7B, of 6.74 B parameters)"
PROMPT_TOKENS, NEW_TOKENS = 512, 128
TINY_PROMPT_TOKENS, TINY_NEW_TOKENS = 16, 6

CONFIG: Final[dict[str, Any]] = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
ROPE_SCALING: Final[dict[str, Any]] = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
GROUPED: Final[dict[str, Any]] = {
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": ROPE_SCALING,
}
"""What the third generation differs in."""
TINY: Final[dict[str, Any]] = {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 16,
}
ASSUMED: Final = ("inputs.prompt_tokens", "inputs.new_tokens")
ATTENTION: Final = {"model": {("self", "sequence")}}
"""Kinds and axes of the attention in each part."""
STAGES: Final = ("prefill", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaPreset(Preset):
    """One size: what differs from LLaMA 2 7B."""

    config: Mapping[str, Any]


def _preset(about: str, parameters: float, **config: Any) -> LlamaPreset:
    published = {"model": parameters}
    return LlamaPreset(about=about, published=published, assumed=ASSUMED, config=config)


def _width(layers: int, width: int, feed_forward: int, heads: int) -> dict[str, Any]:
    return {
        "num_hidden_layers": layers,
        "hidden_size": width,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
    }


_13B: Final = _width(40, 5120, 13824, 40)
_70B: Final = _width(80, 8192, 28672, 64) | {"num_key_value_heads": 8}
_8B: Final = _width(32, 4096, 14336, 32) | GROUPED
_3B: Final = _width(28, 3072, 8192, 24) | GROUPED
_1B: Final = _width(16, 2048, 8192, 32) | GROUPED
_TIED: Final = {"tie_word_embeddings": True, "rope_scaling": ROPE_SCALING | {"factor": 32.0}}
PRESETS: Final = {
    "2-7b": _preset("LLaMA 2 7B", 6.738e9),
    "2-13b": _preset("LLaMA 2 13B", 13.016e9, **_13B),
    "2-70b": _preset("LLaMA 2 70B, grouped queries", 68.977e9, **_70B),
    "3.1-8b": _preset("Llama 3.1 8B, grouped queries", 8.030e9, **_8B),
    "3.1-70b": _preset("Llama 3.1 70B, grouped queries", 70.554e9, **(_70B | GROUPED)),
    "3.2-1b": _preset("Llama 3.2 1B, grouped queries", 1.236e9, **(_1B | _TIED)),
    "3.2-3b": _preset("Llama 3.2 3B, grouped queries", 3.213e9, **(_3B | _TIED)),
}


class Generation:
    """Greedy generation from one prompt, int64 (batch, prompt_tokens)."""

    def __init__(self, model: Any, prompt: torch.Tensor, new_tokens: int, options: ModelOptions):
        self.model = model
        self.prompt = prompt
        self.new_tokens = new_tokens
        self.traced = spread(new_tokens, options.trace_steps)
        self._cache_name = cache_argument(model.forward)
        config = model.config
        self._caches = FilledCaches(
            layers=config.num_hidden_layers,
            batch=prompt.shape[0],
            heads=config.num_key_value_heads,
            width=config.hidden_size // config.num_attention_heads,
            longest=prompt.shape[1] + new_tokens,
            options=options,
        )

    def run(self, stage: StageMarker) -> torch.Tensor:
        """Prefill, then decode every step; return the prefill's token and the new ones."""
        cache = DynamicCache()
        with torch.no_grad():
            token = tokens = self._prefill(stage, cache)
            for step in range(self.new_tokens):
                with stage("decode", step=step):
                    token = self._next(token, cache)
                    tokens = torch.cat([tokens, token], dim=1)
        return tokens

    def run_traced(self, stage: StageMarker) -> torch.Tensor:
        """Prefill, then decode only the steps that are recorded, each at its own length."""
        length = self.prompt.shape[1]
        caches = deque(self._caches.of(length + step) for step in self.traced)
        with torch.no_grad():
            token = tokens = self._prefill(stage, DynamicCache())
            for step in self.traced:
                cache = caches.popleft()
                with stage("decode", step=step):
                    token = self._next(token, cache)
                    tokens = torch.cat([tokens, token], dim=1)
        return tokens

    def _prefill(self, stage: StageMarker, cache: DynamicCache) -> torch.Tensor:
        with stage("prefill"):
            return self._next(self.prompt, cache)

    def _next(self, tokens: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        caching = {self._cache_name: cache, "use_cache": True}
        output = self.model(input_ids=tokens, logits_to_keep=1, **caching)
        chosen: torch.Tensor = output.logits[:, -1:].argmax(dim=-1)
        return chosen


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the language model, on the device."""
    config = LlamaConfig(**_config(options))
    return {"model": make_transformers(LlamaForCausalLM, config, options)}


def _config(options: ModelOptions) -> dict[str, Any]:
    _, preset = choose(PRESETS, options, NAME)
    config = {**CONFIG, **preset.config}
    if options.tiny:
        groups = config["num_attention_heads"] // config["num_key_value_heads"]
        config |= TINY | {"num_key_value_heads": max(1, TINY["num_attention_heads"] // groups)}
    return config


def _check_context(length: int, new_tokens: int, context: int) -> None:
    if length + new_tokens > context:
        raise UsageError(
            f"--prompt-tokens {length} and --new-tokens {new_tokens}: "
            f"together they must not exceed the context of {context}"
        )


def build(options: ModelOptions) -> Workload:
    """Return one generation; its result is int64 (batch, 1 + new_tokens)."""
    check(options, NAME, ignores=("size", "frames", "steps"))
    length = options.prompt_tokens or (TINY_PROMPT_TOKENS if options.tiny else PROMPT_TOKENS)
    new_tokens = options.new_tokens or (TINY_NEW_TOKENS if options.tiny else NEW_TOKENS)
    if options.weights is None:
        _check_context(length, new_tokens, _config(options)["max_position_embeddings"])
    models = parts(options)
    model = models["model"]
    _check_context(length, new_tokens, model.config.max_position_embeddings)
    with making(options):
        prompt = torch.randint(model.config.vocab_size, (options.batch, length))
    generation = Generation(model, prompt, new_tokens, options)
    name, _ = choose(PRESETS, options, NAME)
    inputs = {"preset": name, "batch": options.batch, "prompt_tokens": length}
    inputs["new_tokens"] = new_tokens
    traced = len(generation.traced)
    partly = traced < new_tokens
    return Workload(
        name=NAME,
        run=generation.run,
        modules=models,
        stages={"prefill": 1, "decode": new_tokens},
        config=describe(models, inputs, options, assumed=ASSUMED),
        run_traced=generation.run_traced if partly else None,
        traced_stages={"prefill": 1, "decode": traced} if partly else {},
        compile_targets=("model",),
    )
