"""Turns collected columns into a `Trace`, or says why they are none."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from tracekit.errors import TraceFormatError
from tracekit.loading.columns import OWN_EVENTS, TABLES, Columns
from tracekit.loading.numbers import MAX_TOTAL_NS
from tracekit.loading.refuse import refuse_jax, refuse_xpu
from tracekit.trace import Activities, Trace

_JAX_PROCESSES: Final = ("/host:", "/device:")
_XPU_CATEGORIES: Final = frozenset({"xpu_runtime", "xpu_driver"})


def finish(
    path: str,
    columns: Columns,
    metadata: dict[str, Any],
    warnings: list[str],
    *,
    truncated: bool,
) -> Trace:
    """Return the trace that was collected.

    Raises
    ------
    UnsupportedInputError
        It was written by JAX or for an Intel XPU.
    TraceFormatError
        It has events, and none of them is of a kind that torch.profiler writes.
    """
    _refuse_foreign(path, columns)
    left_out = columns.left_out()
    tables: dict[str, Any] = {name: columns.table(name, kind) for name, kind in TABLES.items()}
    for name in ("activities", "ops"):
        if float(tables[name].dur_ns.sum(dtype=np.float64)) > MAX_TOTAL_NS:
            raise TraceFormatError(f"{path}: its {name} add up to over 146 years; it is damaged")
    activities = tables["activities"]
    _refuse_endless(path, activities)
    order = np.lexsort((np.arange(len(activities)), activities.start_ns))
    tables["activities"] = activities.take(order)
    return Trace(
        path=path,
        strings=columns.texts.strings(),
        threads=columns.threads.threads(),
        metadata=metadata,
        events=columns.events,
        truncated=truncated,
        left_out=left_out,
        warnings=tuple(warnings),
        rank=_rank(metadata),
        **tables,
    )


def _refuse_foreign(path: str, columns: Columns) -> None:
    known = columns.categories & TABLES.keys()
    if known:
        if columns.categories & _XPU_CATEGORIES:
            raise refuse_xpu(path)
        return
    if any(name.startswith(_JAX_PROCESSES) for name in columns.process_names):
        raise refuse_jax(path)
    if {count.what for count in columns.left_out()} == {OWN_EVENTS[0]}:
        raise TraceFormatError(
            f"{path}: holds only tracks that `tracekit annotate --only-tracks` wrote; give the "
            "trace that they were made from"
        )
    if columns.left_out():
        raise TraceFormatError(
            f"{path}: holds {columns.events:,} events and none that torch.profiler writes for "
            "kernels, launches or ops; give a trace that torch.profiler exported"
        )


def _refuse_endless(path: str, activities: Activities) -> None:
    """Raise when the spans of the devices could leave int64 in a sum."""
    if len(activities):
        span_ns = int(activities.end_ns.max()) - int(activities.start_ns.min())
        if span_ns * len(np.unique(activities.device)) > MAX_TOTAL_NS:
            raise TraceFormatError(
                f"{path}: its GPU activities lie over 146 years apart; its timestamps are damaged"
            )


def _rank(metadata: dict[str, Any]) -> int | None:
    info = metadata.get("distributedInfo")
    rank = info.get("rank") if isinstance(info, dict) else None
    is_rank = isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank < 2**31
    return rank if is_rank else None
