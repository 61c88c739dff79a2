"""Which runtime and driver calls make the host wait for the device."""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from tracekit.trace import BoolArray, Trace

_WAITS: Final = re.compile(
    r"^(?:cuda|hip)(?:Stream|Device|Event)Synchronize(?:_|$)"
    r"|^cu(?:Stream|Ctx|Event)Synchronize(?:_|$)"
    r"|^(?:cuda|hip)(?:Free|FreeHost|HostFree)(?:_|$)"
    r"|^cuMem(?:Free|FreeHost)(?:_|$)"
    r"|^(?:cuda|hip)Memcpy(?!.*Async)"
    r"|^hipMemcpyWithStream"
    r"|^cuMemcpy(?!.*Async)"
)
"""Synchronizing calls by name; CUDA C Programming Guide, "Implicit Synchronization" and CUDA
Runtime API, "API synchronization behavior": freeing memory and copies that are not asynchronous
wait for the device."""
_COPY: Final = re.compile(r"^(?:cuda|hip|cu)Memcpy")
_PAGEABLE: Final = re.compile(r"\bPageable\b")


def blocking_calls(trace: Trace) -> BoolArray:
    """Return which rows of `trace.calls` make the host wait.

    Synchronizing calls and copies that are not asynchronous by their name, and asynchronous ones
    from or to pageable memory, which are staged through the host (CUDA Runtime API, "API
    synchronization behavior").
    """
    if not len(trace.calls):
        return np.zeros(0, np.bool_)
    by_name = _named(trace, _WAITS)[trace.calls.name]
    is_copy = _named(trace, _COPY)[trace.calls.name] & ~by_name
    if not is_copy.any() or not len(trace.activities):
        return by_name
    pageable = trace.activities.correlation[_named(trace, _PAGEABLE)[trace.activities.name]]
    blocked: BoolArray = by_name | (is_copy & np.isin(trace.calls.correlation, pageable))
    return blocked


def _named(trace: Trace, pattern: re.Pattern[str]) -> BoolArray:
    """Return for each text whether it matches; the last one stands for no text."""
    return np.array([*(pattern.search(text) is not None for text in trace.strings), False])
