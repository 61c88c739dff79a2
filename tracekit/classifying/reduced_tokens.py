"""Attention within one image or sequence between fewer and more of its tokens.

Pyramid transformers attend from a smaller version of their tokens, or to one: convolutions make the
queries of a stage (MViTv2), or its keys (PVT, SegFormer, Twins), smaller, or every other row and
column is taken (LeViT). Queries and keys are then of the same tokens, and index the same grid.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Final

from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.convolutions import Convolution, Convolutions
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.ops_beside import by_thread, named_tops
from tracekit.labels import AXES
from tracekit.linking.link import Linked
from tracekit.trace import IntArray, SmallArray

_SEQUENCE, _SPATIAL, _BOTH = (
    AXES.index(axis) for axis in ("sequence", "spatial", "spatio-temporal")
)
_SLICES: Final = frozenset({"slice"})
_SPECIAL_TOKENS: Final = 1
"""A class token stands beside those of the grid."""


class ReducedTokens:
    """Tells which calls attend between two sizes of the same tokens.

    `of` maps their rows to the axis of their queries, a sequence's where no grid is known.
    """

    def __init__(
        self, linked: Linked, index: OpIndex, calls: AttentionCalls, layers: Convolutions
    ) -> None:
        slices = by_thread(linked, named_tops(linked, index, _SLICES))
        ended: dict[int, int] = {}
        self._calls = calls
        self.of: dict[int, int] = {}
        for row in range(len(calls)):
            thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
            since_ns, ended[thread] = ended.get(thread, -1), int(calls.end_ns[row])
            queries, keys = int(calls.query_length[row]), int(calls.key_length[row])
            if queries == keys or calls.causal[row] == 1:
                continue
            taken = slices[thread].between(since_ns, start_ns) if thread in slices else []
            axis = _by_slices([_slice(index, one) for one in taken], queries, keys)
            if axis is None and thread in layers.beside:
                made = layers.beside[thread].between(since_ns, start_ns)
                axis = _by_convolutions([layers.of[one] for one in made], queries, keys)
            if axis is not None:
                self.of[row] = axis

    def tell(self, rows: IntArray, axis: SmallArray) -> None:
        """Decide, in place, for those of some calls whose axis is a sequence's.

        `rows` are in the order of their issue. Calls that follow, over as many tokens as these
        queries, are over the same.
        """
        calls = self._calls
        smaller: dict[tuple[int, int], int] = {}
        for row in rows.tolist():
            length = int(calls.query_length[row])
            size = int(calls.thread[row]), length
            found = self.of.get(row)
            if found is not None and axis[row] == _SEQUENCE:
                axis[row] = found
            if found is not None:
                smaller[size] = int(axis[row])
            elif axis[row] == _SEQUENCE and length == calls.key_length[row]:
                axis[row] = _SEQUENCE if calls.causal[row] == 1 else smaller.get(size, _SEQUENCE)


def _by_convolutions(layers: list[Convolution], queries: int, keys: int) -> int | None:
    """Return the axis of queries where convolutions make them, or the keys, of the same tokens."""
    sizes = [(layer.volumes[0], layer.volumes[-1]) for layer in layers]
    sizes = [(before, after) for before, after in sizes if prod(before) > prod(after)]
    made_queries = [pair for pair in sizes if _are_of(queries, pair[1])]
    made_keys = [pair for pair in sizes if _are_of(keys, pair[1])]
    for whole, smaller in made_queries:
        if _are_of(keys, whole) or any(whole == other for other, _ in made_keys):
            return _SPATIAL if smaller[0] == 1 else _BOTH
    for whole, _ in made_keys:
        if _are_of(queries, whole):
            return _SPATIAL if whole[0] == 1 else _BOTH
    return None


def _are_of(tokens: int, volume: tuple[int, int]) -> bool:
    return 0 <= tokens - prod(volume) <= _SPECIAL_TOKENS


def _by_slices(slices: list[tuple[Shape, Shape] | None], queries: int, keys: int) -> int | None:
    """Return the axis of queries that are every other token of a grid, or line, of the keys."""
    whole: dict[Shape, Shape] = {}
    for one in slices:
        if one is None:
            continue
        before, after = one
        origin = whole[after] = whole.get(before, before)
        # Channels come last, or behind the batch.
        for place in (slice(1, -1), slice(2, None)):
            grid = origin[place]
            if grid and prod(grid) == keys and prod(after[place]) == queries:
                return {1: _SEQUENCE, 2: _SPATIAL}.get(len(grid), _BOTH)
    return None


def _slice(index: OpIndex, op: int) -> tuple[Shape, Shape] | None:
    """Return the shapes before and after a slice with a step, null for one without."""
    tensors, arguments = index.tensors(op), index.arguments(op)
    if len(tensors) != 1 or len(arguments) < 5:
        return None
    try:
        axis, start, step = (int(arguments[at] or 0) for at in (1, 2, 4))
        # Compiled code leaves out the end of what is taken to the end.
        end = int(arguments[3] or sys.maxsize)
    except ValueError:
        return None
    shape = tensors[0]
    if step < 2 or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis]
    first, last = (min(max(one + size * (one < 0), 0), size) for one in (start, end))
    after = list(shape)
    after[axis] = max(-(-(last - first) // step), 0)
    return shape, tuple(after)
