"""Whether attention calls take their keys from the queries' own tokens, from others, or both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import pairwise
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import LINEAR
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.convolutions import Convolutions
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.classifying.ops_beside import by_thread, named_tops, outermost_rows
from tracekit.classifying.triton_names import fuses, is_triton_name
from tracekit.labels import KINDS
from tracekit.linking.link import Linked
from tracekit.trace import NULL, IntArray, SmallArray

_SELF, _CROSS, _JOINT = (KINDS.index(kind) for kind in ("self", "cross", "joint"))
_JOINS: Final = frozenset({"cat", "concat"})
_CACHE_WRITES: Final = frozenset({"index_copy", "index_put", "slice_scatter"})
_EXTRA_TOKENS: Final = 8
"""Keys that a module learns, which stand beside those of the tokens."""

_PROJECTIONS: Final = 3
_STACKED_RANK: Final = 5
"""Queries, keys and values, batch, heads, tokens and the width of a head."""

_MOST_OVERLAP: Final = 4
"""Windows of keys that reach into their neighbours hold each token up to so many times."""


def call_kinds(
    linked: Linked,
    index: OpIndex,
    calls: AttentionCalls,
    known: IntArray,
    images: Convolutions,
    reduced: Collection[int],
) -> SmallArray:
    """Return the kind of each of the `known` calls, a position in `KINDS`, -1 for the others.

    As many keys as queries are self, and joint where both, or the tokens that they are made of,
    were put together of two sequences before. Other numbers are self where a cache was written to,
    where all projections before took the same tokens (chunks, windows, pooled queries), in calls
    between more and fewer of the same tokens, which `reduced` holds, or but for a few learned keys;
    joint where text was added to the keys; else cross. `images` are the convolutions.
    """
    kind = np.full(len(calls), -1, np.int8)
    joins = by_thread(linked, _joins(linked, index))
    layers = by_thread(linked, _linear_tops(linked, index))
    others: dict[int, set[int]] = defaultdict(set)
    joined: list[tuple[int, int]] = []
    ended = dict.fromkeys(np.unique(calls.thread).tolist(), -1)
    for row in known.tolist():
        thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
        queries, keys = int(calls.query_length[row]), int(calls.key_length[row])
        since_ns, ended[thread] = ended[thread], int(calls.end_ns[row])
        # What is fused with a layout for the operator is its own work, before its first op.
        until_ns = max(start_ns, int(linked.trace.ops.start_ns[calls.op[row]]))
        between = joins[thread].between(since_ns, until_ns) if thread in joins else []
        parts = [
            part
            for one in between
            for part in [_put_together(linked, index, one, calls, row)] * _holds(index, one)
        ]
        before = layers[thread].between(since_ns, start_ns) if thread in layers else []
        if queries == keys:
            is_joint = _is_joint(index, parts, before, calls, row)
            kind[row] = _JOINT if is_joint and not _is_whole(images, calls, row) else _SELF
        elif any(part is not None and _holds_own(part, queries) for part in parts):
            kind[row] = _SELF
            is_longer = keys > queries + _EXTRA_TOKENS and queries > 1
            is_added = any(part and set(part) != {queries} for part in parts)
            if is_longer and is_added and calls.causal[row] != 1:
                others[queries].add(keys)
                joined.append((row, queries))
        elif not before and row and _is_chunk(calls, row):
            kind[row] = kind[row - 1]
        else:
            is_own = row in reduced or (
                _are_own(index, before, calls, row)
                and not _are_projected_apart(index, before, calls, row)
            )
            kind[row] = _SELF if is_own else _CROSS
    for row, queries in joined:
        # A cache grows; text that is added to the keys stays as long as it is.
        if len(others[queries]) == 1 and sum(one == queries for _, one in joined) > 1:
            kind[row] = _JOINT
    _join_refined(calls, known, kind)
    _spread_joint(calls, known, kind)
    return kind


def _holds(index: OpIndex, join: int) -> int:
    """Return how many of queries, keys and values an op puts together at once."""
    parts = index.tensor_list(join)
    if not parts or len(parts[0]) < _STACKED_RANK:
        return 1
    others = {(*part[:-2], part[-1]) for part in parts}
    return max((size for size in parts[0][:-2] if size in (2, 3) and len(others) == 1), default=1)


def _holds_own(part: tuple[int, ...], queries: int) -> bool:
    """Say whether keys that were put together are the queries' own and what came before them.

    A cache is written to, or stands before the new tokens; a learned key stands before others, also
    where the query is a single one.
    """
    if not part or part[-1] == queries:
        return True
    with_learned = range(queries, queries + _EXTRA_TOKENS + 1)
    return queries > _EXTRA_TOKENS and any(length in with_learned for length in part)


def _is_whole(images: Convolutions, calls: AttentionCalls, row: int) -> bool:
    """Say whether a call has as many tokens as the image or video that was convolved last.

    Text would add to them; parts of one image that are put together again (masked and visible
    patches) do not.
    """
    convolved = images.beside.get(int(calls.thread[row]))
    last = None if convolved is None else convolved.last_before(int(calls.start_ns[row]))
    return last is not None and any(
        0 <= int(calls.key_length[row]) - prod(volume) <= 1 for volume in images.of[last].volumes
    )


def _are_own(index: OpIndex, layers: list[int], calls: AttentionCalls, row: int) -> bool:
    """Say whether keys that are not as many as the queries are of the same tokens."""
    queries, keys = int(calls.query_length[row]), int(calls.key_length[row])
    if 0 < keys - queries <= _EXTRA_TOKENS:
        # Keys that a module learns are added to those that are projected.
        tokens = {_taken(index, one) for one in layers[-_PROJECTIONS:]}
        return not any(one * keys == queries * other for one in tokens for other in tokens if other)
    return _take_the_same(index, layers, calls, row)


def _are_projected_apart(
    index: OpIndex, layers: list[int], calls: AttentionCalls, row: int
) -> bool:
    """Say whether some layers before a call took as many tokens as it has queries, others as keys.

    Compilers move projections of a text: those of queries and keys need not be the last ones.
    """
    batch = int(calls.sequences[row]) // max(int(calls.heads[row]), 1)
    queries, keys = (batch * int(of[row]) for of in (calls.query_length, calls.key_length))
    own = {_taken(index, layer) for layer in layers}
    return queries != keys and {queries, keys} <= own


def _factors(index: OpIndex, layer: int) -> tuple[Shape, Shape] | None:
    """Return the shapes of what a layer takes and of its weight, null where they are not known.

    A bias may stand before them, and where the result is to go behind them.
    """
    return next(
        (
            (one, weight)
            for one, weight in pairwise(index.tensors(layer))
            if len(one) > 1 and len(weight) == 2 and one[-1] in weight
        ),
        None,
    )


def _taken(index: OpIndex, layer: int) -> int:
    """Return how many tokens a layer takes, 0 where that is not known."""
    factors = _factors(index, layer)
    return 0 if factors is None else prod(factors[0][:-1])


def _made(index: OpIndex, layer: int) -> int:
    """Return how wide the tokens are that a layer makes, 0 where that is not known."""
    factors = _factors(index, layer)
    if factors is None:
        return 0
    taken, weight = factors
    return weight[0] if weight[1] == taken[-1] else weight[1]


def _take_the_same(index: OpIndex, layers: list[int], calls: AttentionCalls, row: int) -> bool:
    """Say whether the projections before a call all took the same tokens, keys among them."""
    taken, made = set(), 0
    for layer in layers[-_PROJECTIONS:]:
        if _factors(index, layer) is None:
            return False
        taken.add(_taken(index, layer))
        made += _made(index, layer)
    # One projection is of the queries alone, unless it makes the keys and values as well.
    heads = max(int(calls.heads[row]), 1)
    width = heads * int(calls.head_size[row])
    if len(taken) != 1 or not (len(layers) > 1 or 0 < width < made):
        return False
    wanted = int(calls.sequences[row]) // heads * int(calls.key_length[row])
    if wanted <= _MOST_OVERLAP * taken.pop():
        return True
    # A step of decoding has fewer tokens than keys. Of an encoder the keys were projected before,
    # of a cache that is written to in place those of the step are.
    return len(layers) >= _PROJECTIONS or _made(index, layers[-1]) > width


def _is_chunk(calls: AttentionCalls, row: int) -> bool:
    """Say whether a call takes the same keys as the one right before it."""
    same = ("key_length", "sequences", "head_size", "thread")
    return all(getattr(calls, name)[row] == getattr(calls, name)[row - 1] for name in same)


def _is_joint(
    index: OpIndex,
    parts: Sequence[tuple[int, ...] | None],
    layers: list[int],
    calls: AttentionCalls,
    row: int,
) -> bool:
    """Say whether the tokens of a call were put together of two sequences.

    Queries and keys were, alike, or what each sequence was projected to, or the tokens that all
    projections take. A few learned
    tokens are no sequence, and what is causal is a text with something in it.
    """
    lists = [part for part in parts if part]
    if any(lists.count(part) >= 2 and len(part) >= 2 for part in lists):
        return True
    lists = [part for part in lists if sum(length > _EXTRA_TOKENS for length in part) >= 2]
    if not lists:
        return False
    batch = int(calls.sequences[row]) // max(int(calls.heads[row]), 1)
    taken = {_taken(index, layer) for layer in layers}
    if any(len(part) > 1 and {batch * length for length in part} <= taken for part in lists):
        return True  # each has projections of its own
    tokens = {_taken(index, layer) for layer in layers[-_PROJECTIONS:]}
    return tokens == {batch * int(calls.key_length[row])} and calls.causal[row] != 1


def _join_refined(calls: AttentionCalls, known: IntArray, kind: SmallArray) -> None:
    """Tell joint attention over two sequences that were attended to apart before, as in Lumina.

    Layers of the same heads refine text and image each for itself; nothing need put them together
    in one op.
    """
    lengths: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for row in known.tolist():
        length = int(calls.query_length[row])
        if kind[row] != _SELF or calls.key_length[row] != length or calls.causal[row] == 1:
            continue
        model = tuple(int(of[row]) for of in (calls.thread, calls.sequences, calls.head_size))
        before = lengths[model]
        if any(one != length - one > _EXTRA_TOKENS < one and length - one in before
               for one in before):  # fmt: skip
            kind[row] = _JOINT
        elif length > _EXTRA_TOKENS:
            before.add(length)


def _spread_joint(calls: AttentionCalls, known: IntArray, kind: SmallArray) -> None:
    """Later blocks are given the sequences as one, as long as the joint ones before."""
    lengths: set[tuple[int, int]] = set()
    for row in known.tolist():
        shape = (int(calls.sequences[row]), int(calls.query_length[row]))
        if kind[row] == _JOINT and calls.query_length[row] == calls.key_length[row]:
            lengths.add(shape)
        elif kind[row] == _SELF and shape in lengths:
            kind[row] = _JOINT


def _widths(calls: AttentionCalls, row: int) -> tuple[int, ...]:
    """Return the widths that tokens of a call may have: of one head, of all heads."""
    size = int(calls.head_size[row])
    heads = int(calls.heads[row])
    return (size, size * heads) if heads != NULL else (size,)


def _put_together(
    linked: Linked, index: OpIndex, op: int, calls: AttentionCalls, row: int
) -> tuple[int, ...] | None:
    """Return the lengths of which an op makes as many tokens as there are keys, null if not.

    Tokens have the width of a head or of all heads. Empty for a cache of that length, also of what
    keys are made of, into which something is written.
    """
    queries, keys = int(calls.query_length[row]), int(calls.key_length[row])
    name = linked.trace.text(int(linked.trace.ops.name[op])) or ""
    if is_triton_name(name):
        return _put_together_in_one(index.tensors(op), calls, row)
    _, plain = plain_op_name(name)
    if plain in _CACHE_WRITES:
        tensors = index.tensors(op)
        is_part = len(tensors) > 1 and len(tensors[0]) >= 3 and tensors[0] != tensors[1]
        return () if is_part and keys in tensors[0][1:-1] else None
    parts = index.tensor_list(op)
    if len(parts) < 2 or len({len(part) for part in parts}) != 1 or len(parts[0]) < 3:
        return None
    has_width = parts[0][-1] in _widths(calls, row)
    heads = int(calls.heads[row])
    for dimension in range(1, len(parts[0]) - 1):
        # Channels of images stand there too; of tokens only heads and their width stand behind.
        behind = parts[0][dimension + 1 : -1]
        if behind and heads != NULL and behind != (heads,) and prod(behind) != 1:
            continue
        lengths = tuple(part[dimension] for part in parts)
        is_cache = queries < keys and lengths == (keys - queries, queries)
        if is_cache and queries > _EXTRA_TOKENS:
            return lengths  # of what keys are made of; a step of decoding is a single token
        if sum(lengths) == keys and min(lengths) > 0 and (has_width or is_cache):
            return lengths if has_width else ()
    return None


def _put_together_in_one(
    tensors: tuple[Shape, ...], calls: AttentionCalls, row: int
) -> tuple[int, ...] | None:
    """Return the lengths of which a fused kernel makes as many tokens as there are keys.

    It is given two sequences, in the width of all heads or with heads apart, and what it writes.
    """
    batch, heads, size = (int(of[row]) for of in (calls.batch, calls.heads, calls.head_size))
    width, keys = heads * size, int(calls.key_length[row])
    if (
        min(batch, width) < 1
        or NULL in (heads, size)
        or not any(prod(shape) == batch * keys * width and len(shape) > 2 for shape in tensors)
    ):
        return None
    counts = [
        prod(shape) // (batch * width)
        for shape in tensors
        if prod(shape) % (batch * width) == 0 and _ends_in(shape, (width, size))
    ]
    pairs = (
        (one, other)
        for at, one in enumerate(counts)
        for other in counts[at + 1 :]
        if one + other == keys
    )
    return next(pairs, None)


def _ends_in(shape: Shape, widths: tuple[int, ...]) -> bool:
    """Say whether the last dimensions of a shape are a width, in one or in complex pairs."""
    return any(prod(shape[at:]) in widths for at in range(1, len(shape)))


def _joins(linked: Linked, index: OpIndex) -> IntArray:
    """Return the ops that put sequences together or write into caches, also fused by Inductor."""
    rows = named_tops(linked, index, _JOINS | _CACHE_WRITES)
    is_fused = index.named(lambda name: fuses(name, _JOINS))
    fused = outermost_rows(linked, is_fused & linked.op_is_forward)
    return np.union1d(rows, fused)


def _linear_tops(linked: Linked, index: OpIndex) -> IntArray:
    return outermost_rows(linked, index.named(_is_linear) & linked.op_is_forward)


def _is_linear(name: str) -> bool:
    rule = rule_for_op(name)
    return rule is not None and rule.decisive and rule.category == LINEAR
