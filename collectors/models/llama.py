"""LLaMA 2 7B: a language model, prefill of a prompt and decoding with a key/value cache.

Dimensions:

* 32 layers, width 4096, 32 heads: Touvron et al., *LLaMA* (arXiv 2302.13971), table 2; LLaMA 2
  (arXiv 2307.09288, section 2.2 and table 1) keeps that architecture for 7B, without grouped
  queries, and doubles the context to 4,096 tokens; vocabulary of 32,000 tokens (section 2.2).
* feed-forward width 11008 (2/3 of 4·4096, section 2.2 of LLaMA, rounded up to a multiple of 256 by
  its code), ε of RMSNorm 10⁻⁵ and untied output weights: `config.json` of
  meta-llama/Llama-2-7b-hf. 6.738 B parameters.
* 512 tokens of prompt and 128 decoding steps are this tool's choice: *assumed*.

The prompt's own forward pass yields the first token; each decoding step takes the last token and
yields the next, chosen greedily on the device, so nothing waits for it. The cache grows by
concatenation, as in transformers' `generate`.

**Part of the steps.** Decoding step i attends to prompt_tokens + i + 1 keys, so which steps are
recorded matters: they are spread over the whole length, the first and the last among them. To
record step i alone, the cache is set to its length from tensors filled with random numbers, of
the same shapes and layout as the real ones (they are made at the first traced run and kept: as
much memory as the full cache). That launches no kernel, so the steps cost what they cost in a
whole run and nothing stands between them; only the tokens that come out mean nothing.
"""

from __future__ import annotations

import inspect
from collections import deque
from typing import Any, Final

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM
from transformers.cache_utils import DynamicLayer

from tracekit.collectors.models._common import check, describe, make_transformers, making, spread
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

NAME: Final = "llama"
DESCRIPTION: Final = "LLaMA 2 7B: language model, prefill and decoding (6.74 B parameters)"
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
TINY_CONFIG: Final = CONFIG | {
    "vocab_size": 1000,
    "hidden_size": 64,
    "intermediate_size": 172,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
ASSUMED: Final = ("inputs.prompt_tokens", "inputs.new_tokens")


class Generation:
    """Greedy generation from one prompt, int64 (batch, prompt_tokens)."""

    def __init__(self, model: Any, prompt: torch.Tensor, new_tokens: int, options: ModelOptions):
        self.model = model
        self.prompt = prompt
        self.new_tokens = new_tokens
        self.options = options
        self.traced = spread(new_tokens, options.trace_steps)
        self._filling: torch.Tensor | None = None
        # Later versions of transformers warn of the old name.
        names = inspect.signature(model.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"

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
        caches = deque(self._filled_cache(length + step) for step in self.traced)
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

    def _filled_cache(self, length: int) -> DynamicCache:
        """Return a cache of this many tokens, its layers contiguous views of what is kept."""
        config = self.model.config
        width = config.hidden_size // config.num_attention_heads
        shape = (self.prompt.shape[0], config.num_key_value_heads, length, width)
        if self._filling is None:
            longest = self.prompt.shape[1] + self.new_tokens
            numbers = shape[0] * shape[1] * longest * width
            with making(self.options):
                self._filling = torch.randn(config.num_hidden_layers, 2, numbers)
        size = shape[0] * shape[1] * length * width
        cache = DynamicCache()
        for keys, values in self._filling:
            layer = DynamicLayer()
            layer.keys, layer.values = keys[:size].view(shape), values[:size].view(shape)
            layer.dtype, layer.device = keys.dtype, keys.device
            layer.is_initialized = True
            cache.layers.append(layer)
        return cache


def parts(options: ModelOptions) -> dict[str, Any]:
    """Return the language model, on the device."""
    config = LlamaConfig(**(TINY_CONFIG if options.tiny else CONFIG))
    return {"model": make_transformers(LlamaForCausalLM, config, options)}


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
        _check_context(length, new_tokens, CONFIG["max_position_embeddings"])
    models = parts(options)
    model = models["model"]
    _check_context(length, new_tokens, model.config.max_position_embeddings)
    with making(options):
        prompt = torch.randint(model.config.vocab_size, (options.batch, length))
    generation = Generation(model, prompt, new_tokens, options)
    inputs = {"batch": options.batch, "prompt_tokens": length, "new_tokens": new_tokens}
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
