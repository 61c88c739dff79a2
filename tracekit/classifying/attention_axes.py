"""Kind and axis of attention calls from their sizes and from what stands around them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from tracekit.categories import CONV
from tracekit.classifying.attention_calls import AttentionCalls
from tracekit.classifying.factorized import SPATIAL, Call, Images, Size, temporal_calls
from tracekit.classifying.factorized import TEMPORAL as ROLE_TEMPORAL
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name, rule_for_op
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked
from tracekit.linking.nesting import outermost_marked
from tracekit.trace import NULL, BoolArray, CodeArray, IntArray, SmallArray

_SELF, _CROSS, _JOINT = (KINDS.index(kind) for kind in ("self", "cross", "joint"))
_SEQUENCE, _SPATIAL, _TEMPORAL, _BOTH = (
    AXES.index(axis) for axis in ("sequence", "spatial", "temporal", "spatio-temporal")
)
_JOINS: Final = frozenset({"cat", "concat"})
_CACHE_WRITES: Final = frozenset({"index_copy", "index_put", "slice_scatter"})
_COPIES: Final = frozenset({"clone", "contiguous", "copy", "reshape"})
_LEAST_TURNS: Final = 2
_EXTRA_TOKENS: Final = 8
_MOST_TEXT_TOKENS: Final = 1024
"""Tokens that stand beside a video's own in one sequence; HunyuanVideo has 256, Wan 512."""


@dataclass(frozen=True, slots=True)
class CallTraits:
    """Axis and kind of each call: positions in `AXES` and `KINDS`, -1 where nothing tells."""

    axis: SmallArray
    kind: SmallArray


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution over `batch` images or clips: its depth (1 in 2-D) and positions a plane.

    `planes` are the positions before it, and after it if it cuts an image into patches.
    """

    batch: int
    depths: tuple[int, ...]
    planes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Beside:
    """Ops of one thread that tell of calls, by start: their starts in ns, and rows."""

    starts: list[int]
    rows: list[int]

    def last_before(self, time_ns: int) -> int | None:
        at = bisect_left(self.starts, time_ns)
        return self.rows[at - 1] if at else None

    def between(self, from_ns: int, to_ns: int) -> list[int]:
        return self.rows[bisect_left(self.starts, from_ns) : bisect_left(self.starts, to_ns)]


def call_traits(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, model: IntArray
) -> CallTraits:
    """Return axis and kind of each call; `model` numbers the parts of a run that it is of.

    Axis: temporal and spatial in videos that are factorized into both; else what the last
    convolution before lays out, frames and positions or positions alone; else a sequence. Kind:
    self where queries and keys are as many, cross where not; joint where queries and keys are put
    together of two sequences right before; self where a cache was written to.
    """
    axis = np.full(len(calls), -1, np.int8)
    kind = np.full(len(calls), -1, np.int8)
    known = np.flatnonzero((calls.sequences != NULL) & (calls.query_length != NULL))
    if not len(known):
        return CallTraits(axis, kind)
    convolutions = _convolutions(linked, shapes)
    images = _images(convolutions.values())
    for number in np.unique(model[known]).tolist():
        rows = known[model[known] == number]
        roles, _ = temporal_calls(_calls(calls, rows), images)
        if all(role is None for role in roles):
            roles = _by_turns(linked, shapes, calls, rows)
        for row, role in zip(rows.tolist(), roles, strict=True):
            if role is not None:
                axis[row] = _TEMPORAL if role == ROLE_TEMPORAL else _SPATIAL
    before = _by_thread(linked, np.fromiter(convolutions, np.int64, len(convolutions)))
    for row in known[axis[known] < 0].tolist():
        axis[row] = _axis_of(calls, row, convolutions, before.get(int(calls.thread[row])))
    _fill_kinds(linked, shapes, calls, known, kind)
    return CallTraits(axis, kind)


def _calls(calls: AttentionCalls, rows: IntArray) -> list[Call]:
    """Return the sizes of calls: batches where all tell them, else batch times heads."""
    has_heads = bool((calls.batch[rows] == NULL).any())
    sequences = (calls.sequences if has_heads else calls.batch)[rows].tolist()
    queries, keys = calls.query_length[rows].tolist(), calls.key_length[rows].tolist()
    return [
        Call(Size(count, length, length, has_heads), 0 <= others - length <= _EXTRA_TOKENS)
        for count, length, others in zip(sequences, queries, keys, strict=True)
    ]


def _by_turns(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, rows: IntArray
) -> list[int | None]:
    """Tell the axes of a video of one resolution with as many positions as frames.

    All calls look the same. Between them hidden states of (clips, frames, positions, channels) are
    laid out anew where the axis changes; the first is space, as in Latte and most others.
    """
    none: list[int | None] = [None] * len(rows)
    if len(rows) < _LEAST_TURNS or (calls.batch[rows] == NULL).any():
        return none
    copies = _by_thread(linked, _named(linked, shapes, _COPIES))
    turn, changes = 0, 0
    found: list[int | None] = []
    ended = None
    for row in rows.tolist():
        beside = copies.get(int(calls.thread[row]))
        start_ns = int(calls.start_ns[row])
        if ended is not None and beside is not None:
            between = beside.between(ended, start_ns)
            turned = sum(_is_turned(shapes.tensors(one), calls, row) for one in between)
            turn, changes = (turn + turned) % 2, changes + turned
        ended = int(calls.end_ns[row])
        found.append((SPATIAL, ROLE_TEMPORAL)[turn])
    return found if changes >= len(rows) // 2 else none


def _is_turned(tensors: tuple[Shape, ...], calls: AttentionCalls, row: int) -> bool:
    """Say whether a copy lays out (clips, frames, positions, channels) with as many of both."""
    length = int(calls.query_length[row])
    channels = int(calls.heads[row]) * int(calls.head_size[row])
    clips, rest = divmod(int(calls.batch[row]), length)
    return not rest and tensors[:1] == ((clips, length, length, channels),)


def _axis_of(
    calls: AttentionCalls,
    row: int,
    convolutions: dict[int, _Convolution],
    before: _Beside | None,
) -> int:
    found = before.last_before(int(calls.start_ns[row])) if before is not None else None
    if found is None:
        return _SEQUENCE
    convolution, length = convolutions[found], int(calls.query_length[row])
    for depth in convolution.depths:
        for plane in convolution.planes:
            spare = length - depth * plane
            if depth > 1 and 0 <= spare <= _MOST_TEXT_TOKENS and spare < depth * plane:
                return _BOTH
            if 0 <= length - plane <= _EXTRA_TOKENS:
                return _SPATIAL
    return _SEQUENCE


def _convolutions(linked: Linked, shapes: OpIndex) -> dict[int, _Convolution]:
    """Return the outermost convolution ops whose shapes are known, by row."""
    ops = linked.trace.ops
    is_conv = shapes.named(_is_convolution)
    if not is_conv.any():
        return {}
    rows = _tops(linked, is_conv & linked.op_is_forward)
    known: dict[int, _Convolution | None] = {}
    found: dict[int, _Convolution] = {}
    for row in rows.tolist():
        code = int(ops.input_dims[row])
        if code not in known:
            known[code] = _convolution(shapes.tensors(row))
        convolution = known[code]
        if convolution is not None:
            found[row] = convolution
    return found


def _convolution(tensors: tuple[Shape, ...]) -> _Convolution | None:
    if len(tensors) < 2 or len(tensors[0]) != len(tensors[1]) or len(tensors[0]) not in (4, 5):
        return None
    image, window = tensors[0][2:], tensors[1][2:]
    sizes = [image]
    if all(
        size > 1 and side % size == 0 for side, size in zip(image[-2:], window[-2:], strict=True)
    ):
        sizes.append(tuple(max(side // size, 1) for side, size in zip(image, window, strict=True)))
    depths = tuple(dict.fromkeys(size[0] if len(size) == 3 else 1 for size in sizes))
    return _Convolution(tensors[0][0], depths, tuple(dict.fromkeys(prod(s[-2:]) for s in sizes)))


def _images(convolutions: Iterable[_Convolution]) -> Images:
    distinct = set(convolutions)
    return Images(
        frozenset((c.batch, plane) for c in distinct if c.depths == (1,) for plane in c.planes),
        frozenset(depth for c in distinct for depth in c.depths if depth > 1),
        frozenset(
            (c.batch, depth, plane)
            for c in distinct
            for depth in c.depths
            for plane in c.planes
            if depth > 1
        ),
    )


def _fill_kinds(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, known: IntArray, kind: SmallArray
) -> None:
    joins = _by_thread(linked, _named(linked, shapes, _JOINS | _CACHE_WRITES))
    others: dict[int, set[int]] = defaultdict(set)
    joined: list[tuple[int, int]] = []
    ended = dict.fromkeys(np.unique(calls.thread).tolist(), -1)
    for row in known.tolist():
        thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
        queries, keys = int(calls.query_length[row]), int(calls.key_length[row])
        beside = joins.get(thread)
        between = beside.between(ended[thread], start_ns) if beside is not None else []
        ended[thread] = int(calls.end_ns[row])
        parts = [_put_together(linked, shapes, one, keys) for one in between]
        made = sum(part is not None for part in parts)
        if queries == keys:
            lists = [part for part in parts if part]
            kind[row] = _JOINT if len(lists) >= 2 and _is_joint(lists) else _SELF
        elif not made:
            kind[row] = _CROSS
        else:
            kind[row] = _SELF
            if keys > queries > 1 and calls.causal[row] != 1:
                others[queries].add(keys)
                joined.append((row, queries))
    for row, queries in joined:
        # A cache grows; text that is added to the keys stays as long as it is.
        if len(others[queries]) == 1 and _has_many(joined, queries):
            kind[row] = _JOINT
    _spread_joint(calls, known, kind)


def _has_many(joined: list[tuple[int, int]], queries: int) -> bool:
    return sum(one == queries for _, one in joined) > 1


def _is_joint(lists: list[tuple[int, ...]]) -> bool:
    """Say whether queries and keys were put together alike, of two sequences of some length."""
    return any(lists.count(part) >= 2 and len(part) >= 2 for part in lists)


def _spread_joint(calls: AttentionCalls, known: IntArray, kind: SmallArray) -> None:
    """Later blocks are given the sequences as one, as long as the joint ones before."""
    lengths: set[tuple[int, int]] = set()
    for row in known.tolist():
        shape = (int(calls.sequences[row]), int(calls.query_length[row]))
        if kind[row] == _JOINT and calls.query_length[row] == calls.key_length[row]:
            lengths.add(shape)
        elif kind[row] == _SELF and shape in lengths:
            kind[row] = _JOINT


def _put_together(linked: Linked, shapes: OpIndex, op: int, keys: int) -> tuple[int, ...] | None:
    """Return the lengths of which an op makes as many tokens as there are keys, null if not.

    Empty for what is written into a cache of that length.
    """
    _, plain = plain_op_name(linked.trace.text(int(linked.trace.ops.name[op])) or "")
    if plain in _CACHE_WRITES:
        tensors = shapes.tensors(op)
        into_part = len(tensors) > 1 and len(tensors[0]) >= 3 and tensors[0] != tensors[1]
        return () if into_part and keys in tensors[0][1:-1] else None
    parts = shapes.tensor_list(op)
    if len(parts) < 2 or len({len(part) for part in parts}) != 1 or len(parts[0]) < 3:
        return None
    for dimension in range(1, len(parts[0]) - 1):
        lengths = tuple(part[dimension] for part in parts)
        if sum(lengths) == keys and min(lengths) > 0:
            return lengths
    return None


def _named(linked: Linked, shapes: OpIndex, plain_names: frozenset[str]) -> IntArray:
    chosen = shapes.named(lambda name: plain_op_name(name)[1] in plain_names)
    return _tops(linked, chosen & linked.op_is_forward)


def _tops(linked: Linked, marked: BoolArray) -> IntArray:
    top = outermost_marked(linked.ops.parent, marked)
    return np.flatnonzero(marked & (top == np.arange(len(top))))


def _by_thread(linked: Linked, rows: IntArray) -> dict[int, _Beside]:
    ops = linked.trace.ops
    rows = rows[np.argsort(ops.start_ns[rows], kind="stable")]
    owners: CodeArray = ops.thread[rows]
    return {
        thread: _Beside(
            ops.start_ns[rows[owners == thread]].tolist(), rows[owners == thread].tolist()
        )
        for thread in np.unique(owners).tolist()
    }


def _is_convolution(name: str) -> bool:
    rule = rule_for_op(name)
    return rule is not None and rule.decisive and rule.category == CONV
