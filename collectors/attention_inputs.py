"""What an attention module is given: kind, query and key lengths, heads, from its real inputs.

Covers diffusers' and transformers' attention classes, `nn.MultiheadAttention`, and modules that
name their arguments alike. Nothing here reads a tensor's values, so nothing waits for a GPU.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Final

from tracekit.labels import AttentionLabel

if TYPE_CHECKING:
    import torch

_QUERIES: Final = ("hidden_states", "query", "queries", "x", "inputs", "input", "q")
_KEYS: Final = (
    "encoder_hidden_states", "key_value_states", "key", "context", "memory", "kv", "k", "cond",
)  # fmt: skip
_CACHES: Final = ("cache", "past_key_values", "past_key_value", "layer_past")
_HEADS: Final = ("heads", "num_heads", "num_attention_heads", "n_heads", "n_head", "nheads")
_PROJECTIONS: Final = ("to_q", "q_proj", "q", "query", "to_qkv", "qkv", "group_norm")
_JOINT: Final = re.compile(
    r"Joint|Flux|CogVideoX|CogView|HunyuanVideo|AuraFlow|Mochi|QwenDouble|QwenImage|Chroma|SD3"
)
"""Processors that concatenate text and image tokens in queries and keys."""
_CROSS: Final = re.compile(r"Wan|Cross")
_SINGLE: Final = re.compile(r"(?:^|\.)single_transformer_blocks\.")
"""Blocks that are given text and image tokens as one sequence."""


class AttentionReader:
    """Reads the inputs of one attention module.

    `path` and `axis` are what is known of the module beforehand.
    """

    def __init__(self, module: torch.nn.Module, path: str, axis: str) -> None:
        self._module = module
        self._path = path
        self._axis = axis
        self._names = _parameter_names(module.forward)
        self._heads = _heads_of(module)

    def read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AttentionLabel:
        """Return the label of one call; what cannot be read is null, and nothing is raised."""
        try:
            kind, queries, keys = self._lengths(
                {**dict(zip(self._names, args, strict=False)), **kwargs}
            )
        except Exception:  # a module of an unknown make must run as if nobody looked
            kind, queries, keys = None, None, None
        return AttentionLabel(self._path, kind, self._axis, queries, keys, self._heads)

    def _lengths(self, given: Mapping[str, Any]) -> tuple[str, int, int]:
        query = _first_tensor(given, _QUERIES)
        source = _named_tensor(given, _KEYS)
        if _is_multihead(self._module):
            return _of_multihead(self._module, query, source)
        length = self._tokens(query)
        if source is None or _is_same(source, query):
            kind = "joint" if _SINGLE.search(self._path) else "self"
            return kind, length, _with_cache(self._module, given, length)
        other = self._tokens(source)
        kind, added = self._kind_of_source()
        return kind, length + other * (added == "both"), other + length * (added != "")

    def _kind_of_source(self) -> tuple[str, str]:
        """Return the kind, and to what the other tokens are added: both, keys or nothing."""
        processor = getattr(self._module, "processor", None)
        names = f"{type(processor).__name__} {type(self._module).__name__}"
        if "AddedKV" in names and not getattr(self._module, "only_cross_attention", False):
            return "joint", "keys"
        if _JOINT.search(names):
            return "joint", "both"
        has_added_query = getattr(self._module, "add_q_proj", None) is not None
        if has_added_query and not _CROSS.search(names):
            return "joint", "both"
        return "cross", ""

    def _tokens(self, tensor: torch.Tensor) -> int:
        """Return the number of tokens that a call attends over."""
        shape = tuple(tensor.shape)
        if len(shape) <= 3:
            return int(shape[max(len(shape) - 2, 0)])
        inner = shape[2:] if self._is_channels_first(shape) else shape[1:-1]
        if len(inner) < 3 or self._axis not in ("temporal", "spatial"):
            return prod(inner)
        return int(inner[0]) if self._axis == "temporal" else prod(inner[1:])

    def _is_channels_first(self, shape: tuple[int, ...]) -> bool:
        for name in _PROJECTIONS:
            layer = getattr(self._module, name, None)
            for size in ("in_features", "in_channels", "num_channels"):
                channels = getattr(layer, size, None)
                if channels is not None and shape[1] != shape[-1]:
                    return bool(channels == shape[1])
        return True


def _parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return ()


def _heads_of(module: torch.nn.Module) -> int | None:
    for owner in (module, getattr(module, "config", None)):
        for name in _HEADS:
            heads = getattr(owner, name, None)
            if isinstance(heads, int) and not isinstance(heads, bool):
                return heads
    return None


def _is_tensor(value: object) -> bool:
    return hasattr(value, "shape") and hasattr(value, "data_ptr")


def _named_tensor(given: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if _is_tensor(given.get(name)):
            return given[name]
    return None


def _first_tensor(given: Mapping[str, Any], names: Sequence[str]) -> Any:
    found = _named_tensor(given, names)
    return next(filter(_is_tensor, given.values())) if found is None else found


def _is_same(one: Any, other: Any) -> bool:
    return one is other


def _is_multihead(module: torch.nn.Module) -> bool:
    return hasattr(module, "in_proj_weight") and hasattr(module, "batch_first")


def _of_multihead(module: Any, query: Any, key: Any) -> tuple[str, int, int]:
    at = 1 if query.dim() == 3 and module.batch_first else 0
    kind = "self" if key is None or key is query else "cross"
    return kind, int(query.shape[at]), int((query if key is None else key).shape[at])


def _with_cache(module: torch.nn.Module, given: Mapping[str, Any], length: int) -> int:
    """Return the key length of self-attention: the new tokens and what the cache holds."""
    cache = next((given[name] for name in _CACHES if given.get(name) is not None), None)
    if cache is None:
        return length
    cache = getattr(cache, "self_attention_cache", cache)
    if isinstance(cache, tuple | list):
        return length + int(cache[0].shape[-2])
    layer = getattr(module, "layer_idx", 0) or 0
    try:
        return int(cache.get_mask_sizes(length, layer)[0])
    except (AttributeError, TypeError):
        return length + int(cache.get_seq_length(layer))
