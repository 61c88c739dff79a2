"""What the launch grids of fused attention kernels say of batch, heads and lengths.

FlashAttention 2 (github.com/Dao-AILab/flash-attention, flash_fwd_launch_template.h) launches
(query blocks, batch, heads) with the block's rows as second number of `Flash_fwd_kernel_traits`;
with split keys (query blocks, splits, batch·heads). CUTLASS's memory-efficient kernels (PyTorch,
mem_eff_attention/kernel_forward.h) launch (query blocks, heads, batch) and name the block's rows
first in `32x128`. cuDNN's kernels run as many blocks as the GPU has multiprocessors, which tells
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from tracekit.classifying.factorized import TEMPORAL, Call, Images, Size, temporal_calls
from tracekit.classifying.kernel_features import dimensions
from tracekit.labels import AXES
from tracekit.linking.link import Linked
from tracekit.trace import BoolArray, SmallArray

_FLASH: Final = re.compile(r"flash_(fwd|bwd)\w*?(splitkv)?\w*_kernel\w*<[^<]*traits<(\d+), ?(\d+)")
_EFFICIENT: Final = re.compile(r"fmha_cutlassF\w*?_(\d+)x(\d+)_")
_FLAGS: Final = re.compile(r">, ?(true|false), ?(true|false)")
_MOST_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class _Launch:
    batch: int
    shortest: int
    longest: int


def axes_by_grid(linked: Linked, rows: BoolArray) -> SmallArray:
    """Return the axis of fused attention kernels, positions in `AXES`, -1 where nothing tells.

    `rows` says which activities may be such kernels. Kernels that run several times for one call
    (split keys and their combination) each count as a call of their own.
    """
    found = np.full(len(linked), -1, np.int8)
    if linked.basis != "gpu" or not rows.any():
        return found
    activities, text = linked.trace.activities, linked.trace.text
    chosen = np.flatnonzero(rows)
    launches = [
        _launch(text(name) or "", text(grid))
        for name, grid in zip(
            activities.name[chosen].tolist(), activities.grid[chosen].tolist(), strict=True
        )
    ]
    known = [at for at, launch in enumerate(launches) if launch is not None]
    calls = [
        Call(Size(launch.batch, launch.shortest, launch.longest), is_self=True)
        for launch in launches
        if launch is not None
    ]
    roles, _ = temporal_calls(calls, Images())
    for at, role in zip(known, roles, strict=True):
        if role is not None:
            found[chosen[at]] = AXES.index("temporal" if role == TEMPORAL else "spatial")
    return found


@lru_cache(maxsize=1 << 14)
def _launch(name: str, grid: str | None) -> _Launch | None:
    sides = dimensions(grid)
    if sides is None:
        return None
    flash = _FLASH.search(name)
    if flash is not None and not flash[2]:
        return _between(sides[1], sides[0], int(flash[4]))
    efficient = _EFFICIENT.search(name)
    if efficient is not None:
        return _between(sides[2], sides[0], int(efficient[1]))
    return None


def _between(batch: int, blocks: int, rows: int) -> _Launch | None:
    if not 0 < rows <= _MOST_ROWS:
        return None
    return _Launch(batch, (blocks - 1) * rows + 1, blocks * rows)


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
