"""Kind and axis of attention calls from their sizes and from what stands around them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from tracekit.classifying.attention_kinds import call_kinds
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.convolutions import Convolution, Convolutions, convolutions
from tracekit.classifying.factorized import (
    EXTRA_TOKENS,
    SPATIAL,
    Call,
    Images,
    Size,
    roles_in_videos,
)
from tracekit.classifying.factorized import TEMPORAL as ROLE_TEMPORAL
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.ops_beside import OpsBeside, by_thread, named_tops, outermost_rows
from tracekit.classifying.reduced_tokens import ReducedTokens
from tracekit.classifying.token_grids import TokenGrids, copy_to_recomputed
from tracekit.classifying.triton_names import fuses, is_triton_name
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked
from tracekit.trace import NULL, IntArray, SmallArray

_JOINT: Final = KINDS.index("joint")
_SEQUENCE, _SPATIAL, _TEMPORAL, _BOTH = (
    AXES.index(axis) for axis in ("sequence", "spatial", "temporal", "spatio-temporal")
)
_COPIES: Final = frozenset({"clone", "contiguous", "copy", "reshape"})
_GRIDS: Final = frozenset({"meshgrid"})
_GRID_AXES: Final = (2, 3)
_LEAST_TURNS: Final = 2
_TURNS: Final = frozenset({"transpose", "permute"})
_TURN_STEPS: Final = 16
"""Kernels of Inductor before a call among which a turn is looked for."""

_CLIP_RANK: Final = 4
_LAYERS_BEHIND: Final = 8
"""Convolutions before a call, of which the last ones may tell nothing."""

_MERGES: Final = (1, 4, 16, 64, 256)
_LEAST_UNIT: Final = 4
_MOST_TEXT_TOKENS: Final = 1024
"""Tokens that stand beside a video's own in one sequence; HunyuanVideo has 256, Wan 512."""


@dataclass(frozen=True, slots=True)
class CallTraits:
    """Axis and kind of each call: positions in `AXES` and `KINDS`, -1 where nothing tells."""

    axis: SmallArray
    kind: SmallArray


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
    sizes = (calls.sequences, calls.query_length, calls.key_length)
    known = np.flatnonzero(np.logical_and.reduce([size != NULL for size in sizes]))
    if not len(known):
        return CallTraits(axis, axis)
    layers = convolutions(linked, shapes)
    grids = TokenGrids(linked, shapes, calls, layers)
    images = _images(layers.of.values(), grids.frames())
    for number in np.unique(model[known]).tolist():
        rows = known[model[known] == number]
        roles = roles_in_videos(_calls(calls, rows), images)
        if all(role is None for role in roles):
            roles = _by_turns(linked, shapes, calls, rows)
        for row, role in zip(rows.tolist(), roles, strict=True):
            if role is not None:
                axis[row] = _TEMPORAL if role == ROLE_TEMPORAL else _SPATIAL
    rest = known[axis[known] < 0]
    axis[rest] = _by_convolutions(linked, shapes, grids.lookups, layers, calls, rest)
    rest = known[axis[known] == _SEQUENCE]
    axis[rest] = _by_position_grids(linked, shapes, calls, rest)
    reduced = ReducedTokens(linked, shapes, calls, layers)
    kind = call_kinds(linked, shapes, calls, known, layers, reduced.of)
    in_order = known[np.lexsort((calls.start_ns[known], calls.thread[known]))]
    reduced.tell(in_order, axis)
    grids.tell(in_order, axis, kind)
    _of_frames(calls, in_order, axis, images)
    copy_to_recomputed(calls, known[np.argsort(calls.start_ns[known], kind="stable")], axis)
    _of_joint(calls, kind, axis, _BOTH if images.volumes else _SPATIAL)
    return CallTraits(axis, kind)


def _by_convolutions(
    linked: Linked,
    shapes: OpIndex,
    lookups: dict[int, OpsBeside],
    layers: Convolutions,
    calls: AttentionCalls,
    rows: IntArray,
) -> list[int]:
    """Return for each of some calls the axis that the last convolution before it tells."""
    found: list[int] = []
    for row in rows.tolist():
        thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
        layer = _last_layout(shapes, layers, calls, row)
        if layer is None:
            found.append(_SEQUENCE)
            continue
        since_ns = int(linked.trace.ops.start_ns[layer])
        has_lookup = thread in lookups and lookups[thread].has_between(since_ns, start_ns)
        found.append(_axis_of(calls, row, layers.of[layer], has_lookup=has_lookup))
    return found


def _last_layout(
    shapes: OpIndex, layers: Convolutions, calls: AttentionCalls, row: int
) -> int | None:
    """Return the last convolution before a call that tells of a layout.

    One over a single position, as gates of channels have, tells of none, nor does one over the
    call's own tokens, in the width of a head.
    """
    beside = layers.beside.get(int(calls.thread[row]))
    if beside is None:
        return None
    own = tuple(int(of[row]) for of in (calls.heads, calls.query_length, calls.head_size))
    before = beside.before(int(calls.start_ns[row]), _LAYERS_BEHIND)
    for layer in reversed(before):
        is_own = shapes.tensors(layer)[0][1:] == own
        if not is_own and any(prod(volume) > 1 for volume in layers.of[layer].volumes):
            return layer
    return None


def _by_position_grids(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, rows: IntArray
) -> list[int]:
    """Return the axes of calls whose tokens are the points of a grid that was made before.

    Rotary and learned positions of images and videos are made from the axes of a grid, of height
    and width, or of frames too; the patches may have come from a linear layer.
    """
    grids = by_thread(linked, named_tops(linked, shapes, _GRIDS))
    found: list[int] = []
    for row in rows.tolist():
        beside, length = grids.get(int(calls.thread[row])), int(calls.query_length[row])
        grid = beside.last_before(int(calls.start_ns[row])) if beside is not None else None
        sides = [prod(side) for side in shapes.tensor_list(grid)] if grid is not None else []
        is_of_points = len(sides) in _GRID_AXES and prod(sides) == length > max(sides)
        is_text = not is_of_points or calls.causal[row] == 1
        has_frames = len(sides) == max(_GRID_AXES) and sides[0] > 1
        found.append(_SEQUENCE if is_text else _BOTH if has_frames else _SPATIAL)
    return found


def _of_joint(calls: AttentionCalls, kind: SmallArray, axis: SmallArray, others: int) -> None:
    """Decide, in place, for joint calls that no convolution told of: text joins images or videos.

    What is computed again in backward has no convolutions before, but is as long as it was.
    """
    told: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero(kind == _JOINT).tolist():
        if axis[row] != _SEQUENCE:
            told[int(calls.sequences[row]), int(calls.query_length[row])] = int(axis[row])
    is_open = (kind == _JOINT) & (axis == _SEQUENCE) & (calls.query_length == calls.key_length)
    for row in np.flatnonzero(is_open).tolist():
        size = int(calls.sequences[row]), int(calls.query_length[row])
        axis[row] = told.get(size, others)


def _calls(calls: AttentionCalls, rows: IntArray) -> list[Call]:
    """Return the sizes of calls: batches where all tell them, else batch times heads."""
    has_heads = bool((calls.batch[rows] == NULL).any())
    sequences = (calls.sequences if has_heads else calls.batch)[rows].tolist()
    queries, keys = calls.query_length[rows].tolist(), calls.key_length[rows].tolist()
    return [
        Call(Size(count, length, length, has_heads), 0 <= others - length <= EXTRA_TOKENS)
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
    sizes = {*zip(calls.sequences[rows].tolist(), calls.query_length[rows].tolist(), strict=True)}
    if len(rows) < _LEAST_TURNS or len(sizes) > 1:
        return none
    fused = _by_fused_turns(linked, shapes, calls, rows)
    if any(role is not None for role in fused):
        return fused
    if (calls.batch[rows] == NULL).any():
        return none
    if (calls.batch[rows] % np.maximum(calls.query_length[rows], 1) != 0).all():
        return none
    copies = by_thread(linked, named_tops(linked, shapes, _COPIES))
    turn = 0
    found: list[int | None] = []
    ended = None
    for row in rows.tolist():
        beside = copies.get(int(calls.thread[row]))
        start_ns = int(calls.start_ns[row])
        if ended is not None and beside is not None:
            between = beside.between(ended, start_ns)
            turn += sum(_is_turned(shapes.tensors(one), calls, row) for one in between)
        ended = int(calls.end_ns[row])
        found.append((SPATIAL, ROLE_TEMPORAL)[turn % 2])
    changes = sum(role != last for role, last in zip(found[1:], found, strict=False))
    return found if changes >= len(rows) // 2 else none


def _by_fused_turns(
    linked: Linked, shapes: OpIndex, calls: AttentionCalls, rows: IntArray
) -> list[int | None]:
    """Tell the same of a compiled video, where a turn is fused with the norm before a call.

    That reads hidden states of (clips, frames, positions, channels) and writes sequences; where it
    names a transposition, they are along time.
    """
    fused = by_thread(linked, outermost_rows(linked, shapes.named(is_triton_name)))
    found: list[int | None] = []
    for row in rows.tolist():
        beside, length = fused.get(int(calls.thread[row])), int(calls.query_length[row])
        start_ns = int(calls.start_ns[row])
        before = beside.before(start_ns, _TURN_STEPS) if beside is not None else []
        turned = next(
            (
                fuses(linked.trace.text(name) or "", _TURNS)
                for one in reversed(before)
                if _writes_sequences(shapes.tensors(one), length)
                for name in (int(linked.trace.ops.name[one]),)
            ),
            None,
        )
        found.append(None if turned is None else (SPATIAL, ROLE_TEMPORAL)[turned])
    is_told = {SPATIAL, ROLE_TEMPORAL} == set(found)
    return found if is_told else [None] * len(rows)


def _writes_sequences(tensors: tuple[Shape, ...], length: int) -> bool:
    """Say whether clips with as many frames as positions are read and their sequences written."""
    clips = [shape for shape in tensors if len(shape) == _CLIP_RANK and shape[1:3] == (length,) * 2]
    sequences = tensors[-1:]
    return any(sequences == ((shape[0] * length, length, shape[3]),) for shape in clips)


def _is_turned(tensors: tuple[Shape, ...], calls: AttentionCalls, row: int) -> bool:
    """Say whether a copy lays out (clips, frames, positions, channels) with as many of both."""
    length = int(calls.query_length[row])
    channels = int(calls.heads[row]) * int(calls.head_size[row])
    clips, rest = divmod(int(calls.batch[row]), max(length, 1))
    return not rest and tensors[:1] == ((clips, length, length, channels),)


def _axis_of(calls: AttentionCalls, row: int, convolution: Convolution, *, has_lookup: bool) -> int:
    """Return the axis that the last convolution before a call tells."""
    length = int(calls.query_length[row])
    batch = int(calls.batch[row]) if calls.batch[row] != NULL else convolution.batch
    if not length or not convolution.batch:
        return _SEQUENCE  # nothing lies in empty tensors
    if convolution.cuts_patches and batch * length <= convolution.batch:
        # Patches of images of any size in one batch; tokens of a text would be looked up.
        return _SEQUENCE if has_lookup or calls.causal[row] == 1 else _SPATIAL
    # Convolutions over single frames have them in their batch.
    frames = convolution.batch // batch if batch and convolution.batch % batch == 0 else 1
    for depth in {*convolution.depths, frames} - {1}:
        for plane in convolution.planes:
            spare = length - depth * plane
            if 0 <= spare <= _MOST_TEXT_TOKENS and spare < depth * plane:
                return _BOTH
    for plane in convolution.planes:
        if 0 <= length - plane <= EXTRA_TOKENS:
            return _SPATIAL
    if not has_lookup and calls.heads[row] > 1 and batch % convolution.batch == 0:
        # Masked units and the like stand where heads do: (batch · heads, units, tokens).
        units, rest = divmod(max(convolution.planes), int(calls.heads[row]) * length)
        if not rest and units in _MERGES and length >= _LEAST_UNIT:
            return _SPATIAL
    tokens, positions = batch * length, convolution.batch * max(convolution.planes)
    # Windows, and stages that merge four patches into one.
    is_part = tokens and positions % tokens == 0 and (positions // tokens) in _MERGES
    return _SPATIAL if is_part and length < max(convolution.planes) else _SEQUENCE


def _of_frames(calls: AttentionCalls, rows: IntArray, axis: SmallArray, images: Images) -> None:
    """Decide, in place, for calls over one token a frame, which encoders of videos end with.

    The frames were a batch of images that spatial attention was over.
    """
    rows = rows[calls.batch[rows] != NULL]
    spatial = rows[axis[rows] == _SPATIAL]
    sizes = {*zip(calls.batch[spatial].tolist(), calls.query_length[spatial].tolist(), strict=True)}
    frames = {
        count
        for count, plane in images.planes
        if any((count, plane + extra) in sizes for extra in range(EXTRA_TOKENS + 1))
    }
    for row in rows[axis[rows] == _SEQUENCE].tolist():
        batch, length = int(calls.batch[row]), int(calls.query_length[row])
        counts = {batch * (length - extra) for extra in (0, 1) if length - extra > 1}
        is_own = calls.key_length[row] == length and calls.causal[row] != 1
        if is_own and not counts.isdisjoint(frames):
            axis[row] = _TEMPORAL


def _images(convolutions: Iterable[Convolution], frames: frozenset[tuple[int, int]]) -> Images:
    distinct = set(convolutions)
    planes = {(c.batch, plane) for c in distinct for depth, plane in c.volumes if depth == 1}
    return Images(
        frozenset(planes | frames),
        frozenset(depth for c in distinct for depth in c.depths if depth > 1),
        frozenset((c.batch, *volume) for c in distinct for volume in c.volumes if volume[0] > 1),
    )
