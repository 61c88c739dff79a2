"""What the tokens of transformers index that no convolution gave them: images, videos, or text.

Tokens of images and videos that are looked up in a codebook, or cut out by a linear layer, leave
traces of their layout all the same: copies cut them into patches or windows, a decoder makes as
many positions of them into an image, a video model attends along its frames and positions. A text
leaves none.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Final

import numpy as np

from tracekit.classifying.call_columns import AttentionCalls
from tracekit.classifying.convolutions import Convolutions
from tracekit.classifying.factorized import EXTRA_TOKENS
from tracekit.classifying.op_index import OpIndex, Shape
from tracekit.classifying.op_rules import plain_op_name
from tracekit.classifying.ops_beside import OpsBeside, by_thread, named_tops, outermost_rows
from tracekit.classifying.patch_layouts import (
    LAYING_OUT,
    LEAST_TOKENS,
    Layout,
    frames_of_patches,
    layout_of,
)
from tracekit.classifying.triton_names import fuses
from tracekit.labels import AXES, KINDS
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.trace import NULL, IntArray, SmallArray

_SEQUENCE, _SPATIAL, _TEMPORAL, _BOTH = (
    AXES.index(axis) for axis in ("sequence", "spatial", "temporal", "spatio-temporal")
)
_CROSS: Final = KINDS.index("cross")
_LOOKUPS: Final = frozenset({"embedding"})
_COPIES: Final = frozenset({"clone"})
_LEAST_GROWTH: Final = 4
"""A decoder ends with so many times the positions that it began with, at least."""

_LAYERS_AHEAD: Final = 128
_CALLS_AHEAD: Final = 8
_LOOKED_AT: Final = 4
"""Lookups before a call, and layouts, among which its own are: positions have theirs too."""

_MOST_SPECIAL: Final = 1024
"""Entries beside those of a codebook: masked, empty, classes."""

_LEAST_VOCABULARY: Final = 1000
_CASCADE: Final = (4, 16, 64)
"""How many times as many tokens the next resolution has."""


@dataclass(slots=True)
class _Model:
    """Calls of one size of heads whose tokens were looked up in one table."""

    entries: int
    rows: list[int] = field(default_factory=list)
    has_cross: bool = False


class TokenGrids:
    """Tells the axes of calls of one trace whose tokens no convolution laid out before.

    `lookups` are the ops of each thread that look up tokens, positions and the like.
    """

    def __init__(
        self,
        linked: Linked,
        index: OpIndex,
        calls: AttentionCalls,
        layers: Convolutions,
    ) -> None:
        self._linked, self._index, self._calls, self._layers = linked, index, calls, layers
        self._start_ns = linked.trace.ops.start_ns
        # These lay out the last tensor that they were given.
        is_fused = index.named(lambda name: fuses(name, _COPIES))
        fused = outermost_rows(linked, is_fused & linked.op_is_forward)
        copies = np.union1d(named_tops(linked, index, LAYING_OUT), fused)
        columns = linked.trace.ops.name[copies], linked.trace.ops.input_dims[copies]
        first, group = distinct_rows(tuple(column.astype(np.int64) for column in columns))
        distinct = copies[first].tolist()
        names = [linked.trace.text(int(linked.trace.ops.name[row])) or "" for row in distinct]
        taken = [index.tensors(row) for row in distinct]
        layouts = [
            layout_of(plain_op_name(name)[1], tensors)
            for name, tensors in zip(names, taken, strict=True)
        ]
        self._frames = {found for one in taken if one and (found := frames_of_patches(one[-1]))}
        codes = zip(*(column[first].tolist() for column in columns), strict=True)
        self._known = dict(zip(codes, layouts, strict=True))
        is_layout = np.array([layout is not None for layout in layouts], np.bool_)
        self._layouts = by_thread(linked, copies[is_layout[group]])
        self._last = {thread: self._different(beside) for thread, beside in self._layouts.items()}
        lookups = named_tops(linked, index, _LOOKUPS)
        is_text = [self._may_be_text(row) for row in lookups.tolist()]
        self.lookups = by_thread(linked, lookups)
        self._texts = by_thread(linked, lookups[np.array(is_text, np.bool_)])

    def tell(self, rows: IntArray, axis: SmallArray, kind: SmallArray) -> None:
        """Decide, in place, for those of some calls whose axis is a sequence's.

        `rows` are in the order of their issue.
        """
        for row in rows[axis[rows] == _SEQUENCE].tolist():
            found = self._before(row)
            if found is not None:
                axis[row] = found
        models = self._models(rows, kind)
        for model in models:
            self._decide_by_decoder(model, rows, axis, kind)
        self._decide_cascades(models, axis)

    def frames(self) -> frozenset[tuple[int, int]]:
        """Return the images that patches of videos are cut out of: how many, and their patches."""
        return frozenset(self._frames)

    def _different(self, copies: OpsBeside) -> list[tuple[tuple[Layout, int], ...]]:
        """Return for each copy the last different layouts up to it, each with its last start.

        Each is made from the one before: a long run has as many copies as calls.
        """
        found: list[tuple[tuple[Layout, int], ...]] = []
        last: tuple[tuple[Layout, int], ...] = ()
        for start_ns, row in zip(copies.starts, copies.rows, strict=True):
            layout = self._layout(row)
            if layout is not None:
                others = (one for one in last if one[0] != layout)
                last = ((layout, start_ns), *others)[:_LOOKED_AT]
            found.append(last)
        return found

    def _layout(self, row: int) -> Layout | None:
        ops = self._linked.trace.ops
        return self._known[int(ops.name[row]), int(ops.input_dims[row])]

    def _may_be_text(self, row: int) -> bool:
        """Say whether a lookup is of tokens, not of positions, biases, classes or a time."""
        tensors = self._index.tensors(row)
        is_known = len(tensors) == 2
        return is_known and prod(tensors[1]) >= LEAST_TOKENS and tensors[0][0] >= _LEAST_VOCABULARY

    def _before(self, row: int) -> int | None:
        """Return the axis of a call whose tokens are patches or windows that were laid out before.

        Nothing is looked up in between: the tokens of a text are.
        """
        calls = self._calls
        thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
        if thread not in self._layouts or calls.causal[row] == 1:
            return None
        texts = self._texts.get(thread)
        looked_up = None if texts is None else texts.last_before(start_ns)
        since_ns = -1 if looked_up is None else int(self._start_ns[looked_up])
        for layout, laid_out_ns in self._last_layouts(thread, start_ns):
            if laid_out_ns < since_ns:
                return None
            axis = layout.axis_of(int(calls.query_length[row]))
            if axis is not None:
                return axis
        return None

    def _last_layouts(self, thread: int, time_ns: int) -> tuple[tuple[Layout, int], ...]:
        """Return the last different layouts before a time, each with when it was last made."""
        at = bisect_left(self._layouts[thread].starts, time_ns)
        return self._last[thread][at - 1] if at else ()

    def _models(self, rows: IntArray, kind: SmallArray) -> list[_Model]:
        """Return the models whose tokens are looked up, with their calls."""
        calls = self._calls
        models: dict[tuple[object, ...], _Model] = {}
        for row in rows[calls.batch[rows] != NULL].tolist():
            table = self._table_of(row)
            if table is not None:
                heads = int(calls.heads[row]), int(calls.head_size[row])
                key = int(calls.thread[row]), table, heads
                model = models.setdefault(key, _Model(table[0]))
                model.rows.append(row)
                model.has_cross |= kind[row] == _CROSS
        return list(models.values())

    def _table_of(self, row: int) -> Shape | None:
        """Return the size of the table in which the tokens of a call were looked up, if any."""
        calls = self._calls
        thread, start_ns = int(calls.thread[row]), int(calls.start_ns[row])
        if thread not in self.lookups:
            return None
        lookups = self.lookups[thread]
        at = bisect_left(lookups.starts, start_ns)
        batch, tokens = int(calls.batch[row]), int(calls.batch[row] * calls.query_length[row])
        for one in lookups.rows[max(at - _LOOKED_AT, 0) : at]:
            tensors = self._index.tensors(one)
            is_own = len(tensors) == 2 and 0 <= tokens - prod(tensors[1]) <= batch * EXTRA_TOKENS
            if is_own:
                return tensors[0]
        return None

    def _decide_by_decoder(
        self, model: _Model, rows: IntArray, axis: SmallArray, kind: SmallArray
    ) -> None:
        """Decide for the calls of a model of whose tokens an image or a video is made."""
        calls = self._calls
        own = np.array(model.rows)
        own = own[axis[own] == _SEQUENCE]
        if not len(own):
            return
        last = int(own[-1])
        is_later = (calls.thread[rows] == calls.thread[last]) & (
            calls.start_ns[rows] >= calls.end_ns[last]
        )
        following = rows[is_later]
        layout, made_ns = self._layout_after(last, following, axis)
        between = following[calls.start_ns[following] < made_ns]
        queries = calls.query_length[own]
        is_codes = not len(between) or self._are_codes(model, int(calls.thread[last]), made_ns)
        for length in np.unique(queries[queries >= LEAST_TOKENS]).tolist():
            found = layout.axis_of(length) if is_codes else None
            if found is not None and self._are_the_same(length, between, kind):
                axis[own[queries == length]] = found
        # One token a step: there are as many as keys in the end, a prompt's aside.
        steps = own[queries == 1]
        keys = calls.key_length[steps[kind[steps] != _CROSS]]
        if len(keys):
            most = int(keys.max())
            for tokens in (most, most - int(keys.min()) + 1):
                found = layout.axis_of(tokens)
                if found is not None and self._are_the_same(tokens, between, kind):
                    axis[steps] = found

    def _are_codes(self, model: _Model, thread: int, made_ns: int) -> bool:
        """Say whether an image is made of codes of the vocabulary of a model before it."""
        lookups = self.lookups.get(thread)
        last = None if lookups is None else lookups.last_before(made_ns)
        tensors = () if last is None else self._index.tensors(last)
        return bool(tensors) and 0 <= model.entries - tensors[0][0] <= _MOST_SPECIAL

    def _are_the_same(self, tokens: int, between: IntArray, kind: SmallArray) -> bool:
        """Say whether calls between a model and what is made of its tokens can be of these tokens.

        A text is attended to by the tokens of the image, or put together with them.
        """
        queries, keys = (of[between] for of in (self._calls.query_length, self._calls.key_length))
        is_asked = (kind[between] == _CROSS) & (abs(keys - tokens) <= EXTRA_TOKENS)
        return bool((abs(queries - tokens) <= EXTRA_TOKENS).all()) and not is_asked.any()

    def _layout_after(self, last: int, following: IntArray, axis: SmallArray) -> tuple[Layout, int]:
        """Return the layout that is made of tokens right after a model's last call, and when."""
        calls, nothing = self._calls, (Layout(), 0)
        thread, end_ns = int(calls.thread[last]), int(calls.end_ns[last])
        video = self._video_after(following[:_CALLS_AHEAD], int(calls.batch[last]), axis)
        if video is not None:
            return video, end_ns
        copies, convolutions = self._layouts.get(thread), self._layers.beside.get(thread)
        copy, layer = (
            ops.after(end_ns, 1) if ops is not None else [] for ops in (copies, convolutions)
        )
        if copy and not (layer and self._start_ns[layer[0]] < self._start_ns[copy[0]]):
            layout = None if self._feeds(thread, copy[0], following) else self._layout(copy[0])
            return nothing if layout is None else (layout, int(self._start_ns[copy[0]]))
        grown = self._grown(convolutions, end_ns) if layer and convolutions is not None else None
        return nothing if grown is None else (grown, int(self._start_ns[layer[0]]))

    def _video_after(self, following: IntArray, batch: int, axis: SmallArray) -> Layout | None:
        """Return how many tokens a video has that the next calls attend to along its axes."""
        calls = self._calls
        if not len(following) or axis[following[0]] not in (_TEMPORAL, _SPATIAL):
            return None
        along_time = following[axis[following] == _TEMPORAL]
        if not len(along_time) or calls.batch[along_time[0]] == NULL:
            return None
        tokens = int(calls.batch[along_time[0]] * calls.query_length[along_time[0]])
        # With guidance the transformer has two clips and the decoder one.
        return Layout(videos=frozenset({tokens, tokens // batch} if batch else {tokens}))

    def _feeds(self, thread: int, copy: int, following: IntArray) -> bool:
        """Say whether a copy lays out the tokens of another model, not an image that is made."""
        start_ns = int(self._start_ns[copy])
        later = following[self._calls.start_ns[following] > start_ns]
        if not len(later):
            return False
        call_ns = int(self._calls.start_ns[later[0]])
        others = (self.lookups.get(thread), self._layers.beside.get(thread))
        return not any(ops is not None and ops.has_between(start_ns, call_ns) for ops in others)

    def _grown(self, convolutions: OpsBeside, since_ns: int) -> Layout | None:
        """Return the first layout of convolutions that make a larger image of it."""
        layers = [self._layers.of[row] for row in convolutions.after(since_ns, _LAYERS_AHEAD)]
        depth, plane = layers[0].volumes[0]
        largest = 0
        for layer in layers:
            if min(layer.planes) < plane:
                break
            largest = max(largest, *layer.planes)
        if largest < _LEAST_GROWTH * plane:
            return None
        tokens = frozenset({depth * plane})
        return Layout(videos=tokens) if depth > 1 else Layout(images=tokens)

    def _decide_cascades(self, models: list[_Model], axis: SmallArray) -> None:
        """Decide for lower resolutions, of whose tokens a model makes those of a higher one.

        They are told from a text by having a text of their own to attend to.
        """
        calls = self._calls
        spatial = np.flatnonzero(axis == _SPATIAL)
        told: dict[int, int] = {}
        for model in models:
            own = np.array(model.rows)
            own = own[axis[own] == _SEQUENCE]
            for length in np.unique(calls.query_length[own]).tolist():
                these = own[calls.query_length[own] == length]
                later = spatial[calls.start_ns[spatial] > calls.end_ns[these[-1]]]
                higher = {length * growth for growth in _CASCADE}
                is_lower = (
                    model.has_cross
                    and length >= LEAST_TOKENS
                    and isqrt(length) ** 2 == length
                    and not higher.isdisjoint(calls.query_length[later].tolist())
                )
                since_ns = told.get(length)
                if is_lower or (since_ns is not None and calls.start_ns[these[0]] > since_ns):
                    axis[these] = _SPATIAL
                    told.setdefault(length, int(calls.start_ns[these[0]]))


def copy_to_recomputed(calls: AttentionCalls, rows: IntArray, axis: SmallArray) -> None:
    """Give calls that backward computes again, on a thread of its own, the axes they had before."""
    columns = (calls.sequences, calls.query_length, calls.key_length, calls.head_size)
    sizes = np.stack([column[rows] for column in columns], axis=1).tolist()
    known: dict[tuple[int, ...], tuple[int, int]] = {}
    for row, size in zip(rows.tolist(), map(tuple, sizes), strict=True):
        thread = int(calls.thread[row])
        first, told = known.setdefault(size, (thread, int(axis[row])))
        if thread != first and axis[row] == _SEQUENCE:
            axis[row] = told
