"""How many tokens a copy lays out that cuts images or videos into patches or windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Final

from tracekit.classifying.factorized import EXTRA_TOKENS
from tracekit.classifying.op_index import Shape
from tracekit.labels import AXES

_SPATIAL: Final = AXES.index("spatial")
_BOTH: Final = AXES.index("spatio-temporal")
_SHUFFLE: Final = "pixel_shuffle"
_SUM: Final = "add"
LAYING_OUT: Final = frozenset({"clone", "contiguous", "copy", "reshape", _SHUFFLE, _SUM})
"""Plain names of ops that may lay out tokens, or give rows and columns positions."""

_IMAGE_RANK: Final = 4
_LEAST_RANK: Final = 6
"""Batch, rows, columns, both sides of a patch, channels: fewer dimensions hold no patches."""

_FRAMES_RANK: Final = 7
_LEAST_WINDOW: Final = 4
"""Side of a square that may be a window to attend in, beside a patch that becomes one token."""

LEAST_TOKENS: Final = 16
"""Fewer tokens are no image: a product of small numbers says nothing."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The numbers of tokens that are an image, or a window of one, and those that are a video."""

    images: frozenset[int] = frozenset()
    videos: frozenset[int] = frozenset()

    def axis_of(self, tokens: int) -> int | None:
        """Return the axis that so many tokens index, null where they are not of this layout.

        A few tokens that a module learns may stand beside them.
        """
        for spare in range(min(EXTRA_TOKENS, tokens - LEAST_TOKENS) + 1):
            if tokens - spare in self.images:
                return _SPATIAL
            if tokens - spare in self.videos:
                return _BOTH
        return None


def layout_of(plain: str, tensors: tuple[Shape, ...]) -> Layout | None:
    """Return the layout that an op of `LAYING_OUT` makes or takes, null if none."""
    if plain == _SUM:
        return _outer_sum(tensors)
    dimensions = tensors[-1] if tensors else ()
    if plain == _SHUFFLE and len(dimensions) == _IMAGE_RANK:
        return Layout(images=frozenset({prod(dimensions[2:])}))
    return patch_layout(dimensions)


def _outer_sum(tensors: tuple[Shape, ...]) -> Layout | None:
    """Return the grid of which rows and columns have positions of their own that are added up.

    One tensor is of (…, rows, 1, channels), the other of (…, 1, columns, channels).
    """
    if len(tensors) != 2 or len(tensors[0]) != len(tensors[1]) or len(tensors[0]) < 3:
        return None
    one, other = tensors
    sides = max(one[-3], other[-3]), max(one[-2], other[-2])
    is_crossed = one[-2] == other[-3] == 1 or one[-3] == other[-2] == 1
    is_table = one[-1] == other[-1] > 1 and prod(one[:-3]) == prod(other[:-3]) == 1
    is_grid = is_crossed and is_table and min(sides) > 1 and prod(sides) >= LEAST_TOKENS
    return Layout(images=frozenset({prod(sides)})) if is_grid else None


def patch_layout(dimensions: Shape) -> Layout | None:
    """Return the tokens of a permuted view that is copied, null if it holds no patches.

    Patches are cut and put together, and windows too, by copies of (batch, rows, columns, …, side,
    side, …) or (batch, …, rows, side, columns, side, …); videos have frames before the rows.
    """
    while dimensions and dimensions[-1] == 1:
        dimensions = dimensions[:-1]
    images: set[int] = set()
    videos: set[int] = set()
    if len(dimensions) >= _LEAST_RANK:
        for frames, grid, side in _grids(dimensions):
            images.add(grid)
            if side >= _LEAST_WINDOW:
                images |= {side * side, grid * side * side}
            if frames > 1:
                videos.add(frames * grid)
    videos = {tokens for tokens in videos if tokens >= LEAST_TOKENS}
    images = {tokens for tokens in images if tokens >= LEAST_TOKENS} - videos
    return Layout(frozenset(images), frozenset(videos)) if images or videos else None


def frames_of_patches(dimensions: Shape) -> tuple[int, int] | None:
    """Return how many frames a copy cuts into patches, each for itself, and into how many.

    It is of (clips, frames, rows, columns, side, side, channels).
    """
    if len(dimensions) != _FRAMES_RANK or min(dimensions[:4]) < 1:
        return None
    clips, frames, rows, columns, *rest = dimensions
    is_cut = min(frames, rows, columns) > 1 and rest[0] == rest[1] > 1
    return (clips * frames, rows * columns) if is_cut else None


def _grids(dimensions: Shape) -> Iterator[tuple[int, int, int]]:
    """Yield frames (1 where there are none), rows times columns, and the side of a patch."""
    rank = len(dimensions)
    for at in range(1, rank - 3):
        rows, side, columns, other = dimensions[at : at + 4]
        if side == other > 1 and min(rows, columns) > 1:
            yield 1, rows * columns, side
            if at >= 3:
                # (…, frames, their part of a patch, rows, side, columns, side, …)
                yield dimensions[at - 2], rows * columns, side
    for start in (1, 2):
        grid, rest = dimensions[start : start + 2], dimensions[start + 2 :]
        sides = [one for one, other in pairwise(rest) if one == other > 1]
        if sides and min(grid) > 1 and (start == 1 or rank > _LEAST_RANK):
            yield (1 if start == 1 else dimensions[1]), prod(grid), sides[0]
