"""FLOPs and least memory traffic of attention calls, from their sizes.

A multiply-add is 2 FLOPs. Forward, the two products of B·H sequences of L queries and S keys take
2·B·H·L·S·(D + Dv), which is 4·B·H·L·S·D where values are as wide as keys. Backward there are two
products for each, and fused implementations compute the scores anew (as in
`torch.utils.flop_counter`, `sdpa_backward_flop_count`). Softmax, scale and mask are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.classifying.call_columns import BACKENDS, DTYPES, AttentionCalls
from tracekit.trace import NULL, BoolArray, IntArray, SmallArray

_KEEPS_SCORES: Final = [BACKENDS.index("math"), BACKENDS.index("written_out")]
_BYTES: Final = np.array([*DTYPES.values(), NULL], np.int64)
_LARGEST: Final = 2.0**62
"""No sum of fewer than two calls' FLOPs may leave int64; larger ones are taken as unknown."""


@dataclass(frozen=True, slots=True)
class Costs:
    """FLOPs and bytes of each call, `NULL` where a size is unknown."""

    flops: IntArray
    flops_causal: IntArray
    bytes: IntArray


def costs_of(
    calls: AttentionCalls,
    call: IntArray,
    backend: SmallArray,
    is_backward: BoolArray,
    causal: SmallArray,
) -> Costs:
    """Return the costs of each use of a call; `call` holds rows of `calls`.

    `flops_causal` counts the keys that each query of a causal call has: the first i, S at most.
    With m the smaller of L and S that is m·(m + 1) / 2 + (L - m)·S. Where L and S differ, libraries
    differ in which keys the first query has, and it is known of PyTorch's own attention only.
    """
    sequences, length, keys, size = (
        column[call]
        for column in (calls.sequences, calls.query_length, calls.key_length, calls.head_size)
    )
    value: IntArray = np.where(calls.value_size[call] == NULL, size, calls.value_size[call])
    is_linear = calls.is_linear[call]
    scores_again = is_backward & ~np.isin(backend, _KEEPS_SCORES) & ~is_linear
    of_values: IntArray = 1 + is_backward.astype(np.int64)
    of_keys = of_values + scores_again
    columns = (sequences, length, keys, size, value)
    known: BoolArray = np.logical_and.reduce([column >= 0 for column in columns])
    known &= ~(is_backward & (backend < 0))
    dense = _product(known, 2 * sequences, length, keys, of_keys * size + of_values * value)
    linear = _product(known, 2 * of_values, sequences, length + keys, size, value)
    flops = np.where(is_linear, linear, dense)
    work = of_keys * size + of_values * value
    by_mask = _triangle(known & (calls.is_top_left[call] | (length == keys)), calls, call, work)
    by_mask = np.where((causal == 1) & ~is_linear, by_mask, NULL)
    each = _BYTES[calls.dtype[call]]
    heads, key_heads = calls.heads[call], calls.key_heads[call]
    shared = (key_heads > 0) & (heads > 0)
    key_sequences: IntArray = np.where(
        shared, sequences // np.maximum(heads, 1) * key_heads, sequences
    )
    tokens = sequences * length + key_sequences * keys
    return Costs(
        flops=flops,
        flops_causal=np.where(causal == 0, flops, by_mask),
        bytes=_product((flops != NULL) & (each > 0), of_values, tokens, size + value, each),
    )


def _triangle(known: BoolArray, calls: AttentionCalls, call: IntArray, work: IntArray) -> IntArray:
    """Return the FLOPs of causal calls; `work` is the size of what is multiplied for a pair."""
    sequences = calls.sequences[call]
    length, keys = calls.query_length[call], calls.key_length[call]
    corner = np.minimum(length, keys)
    within = _product(known, sequences, corner, corner + 1, work)
    below = _product(known, 2 * sequences, length - corner, keys, work)
    return np.where((within != NULL) & (below != NULL), within + below, NULL)


def _product(known: BoolArray, *factors: IntArray) -> IntArray:
    """Return the product of columns, `NULL` where it is not known or too large for an int64."""
    kept = [np.where(known, factor, 0) for factor in factors]
    size = np.ones(len(known))
    result = np.ones(len(known), np.int64)
    for factor in kept:
        size = size * factor
        result = result * factor
    return np.where(known & (size < _LARGEST), result, NULL)
