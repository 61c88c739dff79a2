"""Costs of fused attention ops, forward and backward; causal ones count in full."""

from __future__ import annotations

from typing import Final

from tracekit.costing.op_call import Cost, OpCall, Shape, total

_HEADS_FIRST: Final = frozenset(
    {
        "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_fused_attention_overrideable", "_cudnn_attention_forward",
        "scaled_dot_product_attention",
    }
)  # fmt: skip
"""(batch, heads, length, head size)."""
_TOKENS_FIRST: Final = frozenset(
    {
        "_flash_attention_forward", "_efficient_attention_forward", "_flash_attn_forward",
        "_flash_attn_3_forward", "efficient_attention_forward_cutlass", "flash_fwd",
    }
)  # fmt: skip
"""(batch, length, heads, head size)."""
_BACKWARD: Final = {
    "_scaled_dot_product_flash_attention_backward": True,
    "_scaled_dot_product_efficient_attention_backward": True,
    "_scaled_dot_product_cudnn_attention_backward": True,
    "_scaled_dot_product_flash_attention_for_cpu_backward": True,
    "_flash_attention_backward": False,
    "_efficient_attention_backward": False,
    "_flash_attn_backward": False,
}
"""Ops that take the gradient, queries, keys and values, and whether heads come first."""

ATTENTIONS: Final = _HEADS_FIRST | _TOKENS_FIRST | frozenset(_BACKWARD)


def attention_cost(call: OpCall) -> Cost | None:
    """Return the cost of an attention op: the two products forward, five backward.

    For queries of length q, keys of length k and head sizes d (keys) and e (values) that is
    2·q·k·(d + e) FLOPs a head, and 2·q·k·(3·d + 2·e) backward, where scores are computed again
    (Dao et al., arXiv 2205.14135); the same as `torch.utils.flop_counter`. Each tensor moves once.
    Null for sequences of several lengths behind one another, whose lengths are not in a trace.
    """
    first = 1 if call.name in _BACKWARD else 0
    heads_first = _BACKWARD.get(call.name, call.name in _HEADS_FIRST)
    sizes = _sizes(call, first, heads_first)
    if sizes is None:
        return None
    rows, queries, keys, key_size, value_size = sizes
    each = 3 * key_size + 2 * value_size if first else key_size + value_size
    made = (1, 2, 3) if first else ()
    written = [call.size_of_like(at) for at in made] or [_output(call, value_size, key_size)]
    moved = total(call.size_of_inputs(), *written)
    return Cost(2 * rows * queries * keys * each, moved, call.dtype(first))


def _output(call: OpCall, value_size: int, key_size: int) -> int | None:
    size = call.size_of_like(0)
    return None if size is None or not key_size else size // key_size * value_size


def _sizes(call: OpCall, first: int, heads_first: bool) -> tuple[int, int, int, int, int] | None:
    """Return sequences times heads, lengths of queries and keys, head sizes of keys and values."""
    query, key, value = (call.shape(first + at) for at in range(3))
    if query is None or key is None or value is None:
        return None
    if not len(query) == len(key) == len(value) == 4 or query[3] != key[3]:
        return None
    length, heads = (2, 1) if heads_first else (1, 2)
    if not _fit(query, key, value, length, heads):
        return None
    return query[0] * query[heads], query[length], key[length], query[3], value[3]


def _fit(query: Shape, key: Shape, value: Shape, length: int, heads: int) -> bool:
    """Say whether these are queries, keys and values: heads may be shared by groups of queries."""
    shared = key[heads] > 0 and query[heads] % key[heads] == 0
    return shared and query[0] == key[0] == value[0] and key[length] == value[length]
