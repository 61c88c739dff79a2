"""Bounds on what a change would give, each with its assumption: the run paced anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.fused_attention import LEAST_NS, PEAK_SHARE, FusedCalls
from tracekit.analysis.pacing import GraphPauses, Pace, Paced
from tracekit.categories import CATEGORIES
from tracekit.classifying.table import KernelTable
from tracekit.results import WhatIf
from tracekit.trace import IntArray
from tracekit.units import format_ns, format_share, share_of

RUN: Final = "run"
NO_LAUNCH_GAPS, NO_SYNCHRONIZATIONS = "no_launch_gaps", "no_synchronizations"
FLASH_ATTENTION: Final = "flash_attention"
_TIMES: Final = 2
_GRAPH: Final = GraphPauses(between=100, after_memset=1_200, shorter=250)
"""Of graphs replayed without a profiler, on an H100 (`docs/idle.md`): pauses as in the faster of
the two kinds of graph that there are, and kernels as chains of single kernels take them."""
_LEAST_SHARE: Final = 0.02
"""Stages and categories that take less of the time have no bounds of their own."""


@dataclass(frozen=True, slots=True)
class _Base:
    """The run as it is without the profiler, as far as that is known, and how it is cut."""

    pace: Pace
    scale: float
    stage: IntArray
    names: tuple[str, ...]
    category: IntArray
    walls: IntArray


def what_if(
    table: KernelTable, pace: Pace, scale: float, fused: FusedCalls | None = None
) -> tuple[WhatIf, ...]:
    """Return bounds for the run and its stages.

    What is sped up is the run with the costs of profiling removed `scale` times, 0 for the trace as
    it is. A stage lasts from the end of the activity before it to the end of its last one. `fused`
    tells how long attention in parts would take as fused kernels, null where that is not known.
    """
    rows = pace.device.rows
    stage, names = table.stages.stage[rows], table.stages.names
    base = _Base(
        pace,
        scale,
        stage,
        names,
        table.category[rows].astype(np.int64),
        _walls(pace.run(scale), stage, len(names)),
    )
    return (*_bounds(base), *(() if fused is None else _fused(base, fused)))


def _bounds(base: _Base) -> Iterator[WhatIf]:
    pace, scale = base.pace, base.scale
    yield from _compared(
        base,
        NO_LAUNCH_GAPS,
        pace.alone(_GRAPH),
        "the device never waits for the host, as in one CUDA graph of it all: pauses of at most "
        f"{_GRAPH.between} ns between kernels, each of which takes {_GRAPH.shorter} ns less than "
        "with a profiler, and the host's work before, between and after them costs nothing",
    )
    if len(pace.host.waits):
        yield from _compared(
            base,
            NO_SYNCHRONIZATIONS,
            pace.without_waits(scale),
            "no call waits for the device, and what the host does after a wait does not need its "
            "result",
        )
    dur_ns = pace.device.dur_ns
    whole = int(dur_ns.sum())
    for code, category in enumerate(CATEGORIES):
        chosen = base.category == code
        if (share_of(int(dur_ns[chosen].sum()), whole) or 0) < _LEAST_SHARE:
            continue
        faster = np.where(chosen, dur_ns // _TIMES, dur_ns)
        yield from _compared(
            base,
            f"{category}_{_TIMES}x_faster",
            pace.run(scale, faster),
            f"every kernel of {category} takes 1/{_TIMES} of its time, and the host stays as it is",
        )


def _fused(base: _Base, fused: FusedCalls) -> Iterator[WhatIf]:
    """Bound the run whose attention calls are one fused kernel each, where they count."""
    dur_ns, rows = base.pace.device.dur_ns, base.pace.device.rows
    becomes = fused.dur_ns[rows]
    saved = int((dur_ns - becomes).sum())
    if (share_of(saved, int(dur_ns.sum())) or 0) < _LEAST_SHARE:
        return
    run = base.pace.run(base.scale, becomes, fused.merged[rows])
    for bound in _compared(base, FLASH_ATTENTION, run, _assumption_of(fused)):
        # A stage may begin earlier and wait longer for the host: then it is no faster.
        if bound.speedup >= 1:
            yield bound


def _assumption_of(fused: FusedCalls) -> str:
    how = []
    if fused.measured:
        how.append(f"{fused.measured:,} as fast as fused calls of like size in this trace")
    if assumed := fused.calls - fused.measured:
        how.append(
            f"{assumed:,} in an assumed {format_ns(LEAST_NS)} and what {format_share(PEAK_SHARE)} "
            f"of the peak of {fused.device} (the most that FlashAttention-3 reaches, arXiv "
            "2407.08608) or the bandwidth of its memory allows"
        )
    return (
        f"{fused.calls:,} of the {fused.in_parts:,} attention calls that are written out or "
        f"PyTorch's math are one fused kernel each, {', '.join(how)}; none needs a mask that it "
        "refuses, and the host issues the first part of each alone"
    )


def _compared(base: _Base, name: str, run: Paced, assumption: str) -> Iterator[WhatIf]:
    walls = _walls(run, base.stage, len(base.names))
    before, after = int(base.walls.sum()), int(walls.sum())
    if before and after:
        yield WhatIf(name, RUN, after, before / after, assumption)
    for at, stage in enumerate(base.names):
        was, becomes = int(base.walls[at]), int(walls[at])
        if becomes and was >= _LEAST_SHARE * before:
            yield WhatIf(name, stage, becomes, was / becomes, assumption)


def _walls(run: Paced, stage: IntArray, stages: int) -> IntArray:
    """Return the time of each stage; the last row is outside of all, with the run's own end."""
    reach = np.maximum.accumulate(run.start_ns + run.dur_ns)
    walls = np.zeros(stages + 1, np.int64)
    np.add.at(walls, stage, np.diff(reach, prepend=0))
    walls[-1] += max(0, run.end_ns - int(reach[-1])) if len(reach) else 0
    return walls
