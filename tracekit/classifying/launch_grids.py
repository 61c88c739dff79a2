"""What the launch grids of attention kernels say of batch, heads and lengths.

FlashAttention 2 (github.com/Dao-AILab/flash-attention, flash_fwd_launch_template.h) launches
(query blocks, batch, heads) with the block's rows as second number of `Flash_fwd_kernel_traits`;
with split keys (query blocks, splits, batch·heads). CUTLASS's memory-efficient kernels (PyTorch,
mem_eff_attention/kernel_forward.h) launch (query blocks, heads, batch) and name the block's rows
first in `32x128`. cuDNN's kernels run as many blocks as the GPU has multiprocessors, which tells
nothing.

Of attention that is written out, the products of xmma and CUTLASS have one z block for each batch
and head, and PyTorch's softmax (PersistentSoftmax.cuh, SoftMax.cu) has rows and, by its template,
the power of two that the keys fit in. cuBLAS's nvjet products run a fixed number of blocks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from tracekit.classifying.factorized import TEMPORAL, Call, Images, Size, temporal_calls
from tracekit.classifying.kernel_features import dimensions
from tracekit.labels import AXES
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray, IntArray, SmallArray

_FLASH: Final = re.compile(r"flash_(fwd|bwd)\w*?(splitkv)?\w*_kernel\w*<[^<]*traits<(\d+), ?(\d+)")
_EFFICIENT: Final = re.compile(r"fmha_cutlassF\w*?_(\d+)x(\d+)_")
_FLAGS: Final = re.compile(r">, ?(true|false), ?(true|false)")
_WARP_SOFTMAX: Final = re.compile(r"softmax_warp_forward<[^<>]*?, ?(\d+), ?(?:true|false)")
_BLOCK_SOFTMAX: Final = re.compile(r"cunn_SoftMaxForward")
_PRODUCT: Final = re.compile(r"^(?!nvjet).*(?:gemm|cutlass|cijk|xmma)", re.IGNORECASE)
_THREADS: Final = 128
_MOST_ROWS: Final = 1024
_MOST_KEYS: Final = 1 << 17
_LONGEST_RUN: Final = 64
"""Kernels of one operator that is written out are fewer."""


def axes_by_grid(linked: Linked, calls: IntArray) -> SmallArray:
    """Return the axes that grids tell, positions in `AXES`, -1 where they tell nothing.

    `calls` numbers the attention call of each activity in the order of the calls, -1 for none.
    """
    found = np.full(len(linked), -1, np.int8)
    if linked.basis != "gpu" or not (calls >= 0).any():
        return found
    sizes = _sizes(linked, calls)
    known = [number for number, call in enumerate(sizes) if call is not None]
    roles, _ = temporal_calls([call for call in sizes if call is not None], Images())
    axis = np.full(len(sizes) + 1, -1, np.int8)
    for number, role in zip(known, roles, strict=True):
        if role is not None:
            axis[number] = AXES.index("temporal" if role == TEMPORAL else "spatial")
    return np.asarray(axis[calls])


def calls_in_order(linked: Linked, rows: BoolArray, calls: IntArray) -> IntArray:
    """Return numbers of the attention calls that kernels form by their order, -1 for none.

    `rows` are attention kernels. A fused kernel is a call by itself, kernels in a row around a
    softmax are one. Those whose call is known (`calls`) keep it.
    """
    activities = linked.trace.activities
    order = np.lexsort((activities.start_ns, activities.stream, activities.device))
    order = order[(activities.kind[order] == 0) | rows[order]]
    chosen = rows[order]
    stream = activities.stream[order] + (activities.device[order] << 32)
    names = activities.name[order]
    text = linked.trace.text
    fused = {code: _is_fused(text(code) or "") for code in set(names[chosen].tolist())}
    known = calls[order]
    number = np.full(len(linked), -1, np.int64)
    current, length, previous = -1, 0, (-2, -1, -1)
    for place in np.flatnonzero(chosen).tolist():
        one = fused[int(names[place])]
        here = (place, int(stream[place]), int(known[place]))
        is_next = here[0] == previous[0] + 1 and here[1:] == previous[1:]
        if here[2] >= 0 and here[2] == previous[2]:
            is_next = True
        elif one or length >= _LONGEST_RUN:
            is_next = False
        if not is_next:
            current, length = current + 1, 0
        number[order[place]] = current
        length += 1
        previous = (-2, -1, -1) if one and here[2] < 0 else here
    return number


def _sizes(linked: Linked, calls: IntArray) -> list[Call | None]:
    activities, text = linked.trace.activities, linked.trace.text
    kernels: list[list[tuple[str, str | None]]] = [[] for _ in range(int(calls.max()) + 1)]
    for row in np.flatnonzero(calls >= 0).tolist():
        name, grid = text(int(activities.name[row])) or "", text(int(activities.grid[row]))
        kernels[calls[row]].append((name, grid))
    return [_call(tuple(ones)) for ones in kernels]


@lru_cache(maxsize=1 << 12)
def _call(kernels: Sequence[tuple[str, str | None]]) -> Call | None:
    """Return what the kernels of one call say of its sizes."""
    count, rows, keys = 0, None, None
    for name, grid in kernels:
        sides = dimensions(grid)
        if sides is None:
            continue
        fused = _fused_size(name, sides)
        if fused is not None:
            return Call(fused, is_self=True)
        softmax = _softmax(name, sides[0])
        if softmax is not None:
            rows, keys = softmax
        elif _PRODUCT.search(name) and sides[2] > 1:
            count = max(count, sides[2])
    if rows is None or keys is None or not count:
        return None
    shortest, longest = -(-rows[0] // count), rows[1] // count
    if longest < shortest or not longest:
        return None
    return Call(
        Size(count, max(shortest, 1), longest, has_heads=True),
        is_self=keys[0] <= longest and shortest <= keys[1],
    )


def _fused_size(name: str, sides: tuple[int, int, int]) -> Size | None:
    flash = _FLASH.search(name)
    if flash is not None and flash[1] == "fwd" and not flash[2]:
        return _between(sides[1], sides[0], int(flash[4]))
    efficient = _EFFICIENT.search(name)
    if efficient is not None:
        return _between(sides[2], sides[0], int(efficient[1]))
    return None


def _between(batch: int, blocks: int, rows: int) -> Size | None:
    if not 0 < rows <= _MOST_ROWS:
        return None
    return Size(batch, (blocks - 1) * rows + 1, blocks * rows)


def _softmax(name: str, blocks: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the ranges of rows and of keys that a softmax was launched for."""
    warp = _WARP_SOFTMAX.search(name)
    if warp is not None and int(warp[1]) <= 11:
        power = 1 << int(warp[1])
        per_block = _THREADS // min(power, 32) * (2 if power <= _THREADS else 1)
        return ((blocks - 1) * per_block + 1, blocks * per_block), (power // 2 + 1, power)
    if _BLOCK_SOFTMAX.search(name):
        return (blocks, blocks), (1025, _MOST_KEYS)
    return None


@lru_cache(maxsize=1 << 14)
def _is_fused(name: str) -> bool:
    return _FLASH.search(name) is not None or _EFFICIENT.search(name) is not None or "sdpa" in name


@lru_cache(maxsize=1 << 14)
def is_causal_kernel(name: str) -> bool | None:
    """Return whether a FlashAttention 2 kernel is causal by its template, null for others.

    The forward kernel's parameters are its traits, dropout, causal, local, …
    (flash_fwd_kernel.h); those of the backward kernel begin alike.
    """
    at = name.find("traits<")
    if at < 0 or _FLASH.search(name) is None:
        return None
    flags = _FLAGS.search(name, name.find(" >", at) + 1 or at)
    return None if flags is None else flags[2] == "true"


def causality_by_name(linked: Linked, rows: BoolArray) -> SmallArray:
    """Return 1 or 0 for activities whose kernel's template says whether it is causal, else -1."""
    found = np.full(len(linked), -1, np.int8)
    if linked.basis != "gpu":
        return found
    names = linked.name[rows]
    told = {code: is_causal_kernel(linked.trace.text(code) or "") for code in set(names.tolist())}
    found[rows] = [-1 if told[code] is None else int(bool(told[code])) for code in names.tolist()]
    return found
