"""What a fused attention op was given: batch, heads, lengths, head size, causal or not.

Layouts are those of the libraries' own signatures: `aten::scaled_dot_product_attention` and its
back ends take (batch, heads, length, head size), and so does the `FlashAttentionFunction` of
github.com/lucidrains/memory-efficient-attention-pytorch; `aten::_flash_attention_forward`,
`aten::_efficient_attention_forward`, flash-attn (github.com/Dao-AILab/flash-attention) and xformers
(github.com/facebookresearch/xformers) take (batch, length, heads, head size), or packed sequences
as (total length, heads, head size).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name

_HEADS_FIRST: Final = re.compile(r"scaled_dot_product|cudnn_attention|flex_attention|sage|sdpa")
_PAGED: Final = re.compile(r"paged|batch_(?:prefill|decode)|with_kv_?cache|mha_fwd_kvcache")
"""Ops that are given all pages of a cache (flash-attn, FlashInfer, aiter): how many of them a
sequence has is in tensors, whose values no trace holds."""
_OF_LUCIDRAINS: Final = ("", "flash_attention")
_CAUSAL_ARGUMENT: Final[dict[str, int]] = {
    "scaled_dot_product_attention": 5,
    "scaled_dot_product_attention_math": 5,
    "scaled_dot_product_flash_attention": 4,
    "scaled_dot_product_efficient_attention": 6,
    "scaled_dot_product_cudnn_attention": 6,
    "flash_attention": 8,
}
"""Position of `is_causal` in the arguments (aten/src/ATen/native/native_functions.yaml)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of one attention call; null where they are not known.

    `sequences` is batch times heads; `batch` and `heads` are known where an op tells them apart.
    `is_linear` says that there are no scores: keys and values are summed over the tokens.
    `key_heads` are the heads of keys and values, `value_size` is the size of those of values.
    `is_top_left` says that the first query of a causal call has the first key alone, however many
    there are of either.
    """

    sequences: int | None
    query_length: int | None
    key_length: int | None
    head_size: int | None
    batch: int | None = None
    heads: int | None = None
    causal: bool | None = None
    is_linear: bool = False
    key_heads: int | None = None
    value_size: int | None = None
    is_top_left: bool = False


def fused_geometry(shapes: OpIndex, op: int, name: str) -> Geometry | None:
    """Return what a fused attention op was given, null where its shapes do not say."""
    namespace, plain = plain_op_name(name)
    is_heads_first = bool(_HEADS_FIRST.search(plain)) or (namespace, plain) == _OF_LUCIDRAINS
    tensors = shapes.tensors(op)
    if len(tensors) < 2 or len(tensors[0]) != len(tensors[1]):
        return None
    query, key = tensors[0], tensors[1]
    causal = _causal(shapes, op, plain)
    is_paged = _PAGED.search(plain) is not None
    # So says the documentation of PyTorch's scaled_dot_product_attention.
    is_top_left = bool(causal) and namespace == "aten" and plain in _CAUSAL_ARGUMENT
    # Which of several dimensions before the tokens are heads, layers around it may tell.
    are_heads_told = len(query) == 4
    if len(query) > 4 and is_heads_first:
        query, key = _folded(query), _folded(key)
    if len(query) == 4:
        first = (2, 1) if is_heads_first else (1, 2)
        length, heads = first
        return Geometry(
            sequences=query[0] * query[heads],
            query_length=query[length],
            key_length=None if is_paged and key[0] != query[0] else key[length],
            head_size=query[3],
            batch=query[0] if are_heads_told else None,
            heads=query[heads] if are_heads_told else None,
            causal=causal,
            key_heads=key[heads] if are_heads_told else None,
            value_size=_value_size(tensors),
            is_top_left=is_top_left,
        )
    if len(query) == 3 and is_heads_first:
        return Geometry(
            *(query[0], query[1], key[1], query[2]),
            causal=causal,
            value_size=_value_size(tensors),
            is_top_left=is_top_left,
        )
    if len(query) != 3:
        return None
    packed = _packed(tensors, causal)
    return replace(packed, key_length=None) if packed is not None and is_paged else packed


def _packed(tensors: tuple[Shape, ...], causal: bool | None) -> Geometry | None:
    """Sequences of several lengths behind one another: the mean length counts."""
    offsets = [shape for shape in tensors[3:] if len(shape) == 1 and shape[0] > 1]
    if not offsets:
        return None
    batch = offsets[0][0] - 1
    (queries, heads, size), (keys, key_heads, _) = tensors[0], tensors[1]
    return Geometry(
        batch * heads,
        queries // batch,
        keys // batch,
        size,
        batch,
        heads,
        causal=causal,
        key_heads=key_heads,
        value_size=_value_size(tensors),
    )


def _value_size(tensors: tuple[Shape, ...]) -> int | None:
    """Return the head size of the values, the third tensor, if it goes with the keys."""
    key, value = tensors[1], tensors[2] if len(tensors) > 2 else ()
    return value[-1] if value and value[:-1] == key[:-1] else None


def _folded(shape: Shape) -> Shape:
    return (prod(shape[:-3]), *shape[-3:])


def _causal(shapes: OpIndex, op: int, plain: str) -> bool | None:
    """Return whether the call says that it is causal; a mask that is given may be so, too."""
    at, arguments = _CAUSAL_ARGUMENT.get(plain), shapes.arguments(op)
    if at is None or at >= len(arguments) or arguments[at] not in ("True", "False"):
        return None
    has_mask = "scaled_dot_product" in plain and shapes.shapes(op)[3:4] not in ((), ((),))
    return None if has_mask and arguments[at] == "False" else arguments[at] == "True"
