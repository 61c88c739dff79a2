"""At most three things to do, by what they would give."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from tracekit.analysis.what_if import FLASH_ATTENTION, NO_LAUNCH_GAPS, NO_SYNCHRONIZATIONS, RUN
from tracekit.categories import ATTENTION, CONV, TEMPORAL_ATTENTION
from tracekit.results import Advice, Blame, CauseTime, Corrected, IdleResult, WhatIf
from tracekit.units import format_ns

MOST: Final = 3
_LEAST_SPEEDUP: Final = 1.05
"""Less than this is within what runs differ by anyway."""
_MOST_REPLAYED: Final = 0.5
_LEAST_OF_GRAPH: Final = 0.8
"""A stage is named alone if graphing it gives this share of what graphing all would."""


def advice(
    bounds: tuple[WhatIf, ...],
    idle: IdleResult,
    corrected: Corrected | None,
    replayed_share: float = 0.0,
) -> tuple[Advice, ...]:
    """Return what to do, largest gain first; nothing where nothing gives 5% or more.

    `replayed_share` is how much of the kernels' time is of graphs that are replayed already: from
    half of it on, to make one is no advice.
    """
    base = _base_ns(bounds)
    if base is None:
        return ()
    found = [
        *(_graph(bounds, base) if replayed_share < _MOST_REPLAYED else ()),
        *_waits(bounds, base, idle),
        *_own_code(base, idle, corrected),
        *_fused(bounds, base),
        *_categories(bounds, base),
    ]
    found.sort(key=lambda one: -(one.speedup or 0))
    return tuple(found[:MOST])


def _base_ns(bounds: tuple[WhatIf, ...]) -> int | None:
    for bound in bounds:
        if bound.scope == RUN:
            return round(bound.wall_ns * bound.speedup)
    return None


def _graph(bounds: tuple[WhatIf, ...], base_ns: int) -> Iterator[Advice]:
    """Advise a CUDA graph, of one stage where that gives most of it."""
    rows = [bound for bound in bounds if bound.name == NO_LAUNCH_GAPS]
    whole = next((row for row in rows if row.scope == RUN), None)
    if whole is None or whole.speedup < _LEAST_SPEEDUP:
        return
    saved = {row.scope: _saved_ns(row) for row in rows if row.scope != RUN}
    best = max(saved, key=lambda scope: saved[scope], default=None)
    chosen, wall_ns = whole, whole.wall_ns
    if best is not None and saved[best] >= _LEAST_OF_GRAPH * _saved_ns(whole):
        chosen = next(row for row in rows if row.scope == best)
        wall_ns = base_ns - round(saved[best])
    what = "it" if chosen.scope == RUN else chosen.scope
    speedup = base_ns / wall_ns
    if speedup >= _LEAST_SPEEDUP:
        yield Advice(
            f"The host cannot keep the GPU busy: run {what} from a CUDA graph (torch.compile with "
            f"mode='reduce-overhead', or torch.cuda.graph): {format_ns(base_ns)} become at least "
            f"{format_ns(wall_ns)}.",
            speedup,
            _evidence(chosen),
        )


def _saved_ns(bound: WhatIf) -> float:
    """Return the time in ns that a bound saves."""
    return bound.wall_ns * (bound.speedup - 1)


def _waits(bounds: tuple[WhatIf, ...], base_ns: int, idle: IdleResult) -> Iterator[Advice]:
    for bound in bounds:
        if bound.name == NO_SYNCHRONIZATIONS and bound.scope == RUN:
            if bound.speedup < _LEAST_SPEEDUP:
                return
            gaps = next((row.gaps for row in idle.by_cause if row.cause == "sync"), 0)
            yield Advice(
                "Do without calls that wait for the GPU (.item(), .cpu(), synchronize(), copies "
                f"from pageable memory): {format_ns(base_ns)} become at least "
                f"{format_ns(bound.wall_ns)}.",
                bound.speedup,
                {**_evidence(bound), "gaps": gaps},
            )


def _own_code(base_ns: int, idle: IdleResult, corrected: Corrected | None) -> Iterator[Advice]:
    """Name what the user's own code is to blame for."""
    rows: tuple[Blame, ...] = idle.blame
    causes: tuple[CauseTime, ...] = idle.by_cause
    if corrected is not None and corrected.by_cause is not None:
        rows, causes = corrected.blame, corrected.by_cause
    times: dict[str, int] = {}
    for row in rows:
        who = row.python if row.is_own else row.annotation
        if who is not None and row.cause == "host_late":
            times[who] = times.get(who, 0) + row.time_ns
    for who, time_ns in times.items():
        speedup = base_ns / max(1, base_ns - time_ns)
        if speedup >= _LEAST_SPEEDUP:
            yield Advice(
                f"The GPU waits {format_ns(time_ns)} for {who}: let it run ahead, or on another "
                f"thread.",
                speedup,
                {"idle_ns": time_ns, "of_idle_ns": sum(row.time_ns for row in causes)},
            )


def _fused(bounds: tuple[WhatIf, ...], base_ns: int) -> Iterator[Advice]:
    """Advise fused attention where it runs in parts."""
    row = _fused_bound(bounds)
    if row is not None:
        yield Advice(
            "Let attention be one fused kernel a call in place of matrix product, softmax and "
            "matrix product (scaled_dot_product_attention with a fused backend): "
            f"{format_ns(base_ns)} become at least {format_ns(row.wall_ns)}.",
            row.speedup,
            _evidence(row),
        )


def _fused_bound(bounds: tuple[WhatIf, ...]) -> WhatIf | None:
    for row in bounds:
        if (row.name, row.scope) == (FLASH_ATTENTION, RUN) and row.speedup >= _LEAST_SPEEDUP:
            return row
    return None


def _categories(bounds: tuple[WhatIf, ...], base_ns: int) -> Iterator[Advice]:
    """Name the category whose kernels are worth most, unless that is attention to be fused."""
    rows = [row for row in bounds if row.scope == RUN and row.name.endswith("x_faster")]
    if _fused_bound(bounds) is not None:
        fusing = {f"{category}_2x_faster" for category in (ATTENTION, TEMPORAL_ATTENTION)}
        rows = [row for row in rows if row.name not in fusing]
    best = max(rows, key=lambda row: row.speedup, default=None)
    if best is None or best.speedup < _LEAST_SPEEDUP:
        return
    slug = best.name.removesuffix("_2x_faster")
    category = "convolution" if slug == CONV else slug.replace("_", " ")
    yield Advice(
        f"{category.capitalize()} kernels are worth most: twice as fast, {format_ns(base_ns)} "
        f"become {format_ns(best.wall_ns)}.",
        best.speedup,
        _evidence(best),
    )


def _evidence(bound: WhatIf) -> dict[str, Any]:
    return {
        "what_if": bound.name,
        "scope": bound.scope,
        "wall_ns": bound.wall_ns,
        "assumption": bound.assumption,
    }
