"""Time by device, by category, by evidence and by kernel name."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.intervals import union_ns
from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying.table import KernelTable
from tracekit.results import CategoryTime, DeviceTime, EvidenceTime, KernelTime, TimeTotals
from tracekit.trace import NULL, AnyArray, IntArray
from tracekit.units import share_of


def device_times(table: KernelTable) -> tuple[DeviceTime, ...]:
    """Return span, busy, idle and kernel time of each device, in the order of their numbers."""
    end_ns = table.start_ns + table.dur_ns
    times = []
    for device in np.unique(table.device).tolist():
        rows = np.flatnonzero(table.device == device)
        start, end = table.start_ns[rows], end_ns[rows]
        span_ns = int(end.max() - start.min())
        busy_ns = union_ns(start, end)
        times.append(
            DeviceTime(
                device=None if device == NULL else device,
                start_ns=int(start.min()),
                span_ns=span_ns,
                busy_ns=busy_ns,
                idle_ns=span_ns - busy_ns,
                kernel_ns=int(table.dur_ns[rows].sum()),
            )
        )
    return tuple(times)


def total_time(devices: tuple[DeviceTime, ...]) -> TimeTotals:
    """Return the sums over devices."""
    return TimeTotals(
        span_ns=sum(device.span_ns for device in devices),
        busy_ns=sum(device.busy_ns for device in devices),
        idle_ns=sum(device.idle_ns for device in devices),
        kernel_ns=sum(device.kernel_ns for device in devices),
    )


def category_times(table: KernelTable) -> tuple[CategoryTime, ...]:
    """Return kernels and time of all ten categories, in their fixed order."""
    kernels, time_ns = sums_by_code(table.category, table.dur_ns, len(CATEGORIES))
    total_ns = int(time_ns.sum())
    return tuple(
        CategoryTime(slug, int(count), int(time), share_of(int(time), total_ns))
        for slug, count, time in zip(CATEGORIES, kernels, time_ns, strict=True)
    )


def evidence_times(table: KernelTable) -> tuple[EvidenceTime, ...]:
    """Return how much kernel time each kind of evidence decided, strongest first."""
    kernels, time_ns = sums_by_code(table.evidence, table.dur_ns, len(EVIDENCES))
    total_ns = int(time_ns.sum())
    return tuple(
        EvidenceTime(kind, int(count), int(time), share_of(int(time), total_ns))
        for kind, count, time in zip(EVIDENCES, kernels, time_ns, strict=True)
        if count
    )


def top_kernels(table: KernelTable, limit: int) -> tuple[KernelTime, ...]:
    """Return the kernel names that took the most time, with their category."""
    if not len(table):
        return ()
    width = len(CATEGORIES)
    pairs = (table.linked.name.astype(np.int64) + 1) * width + table.category
    distinct, code = np.unique(pairs, return_inverse=True)
    calls, time_ns = sums_by_code(code, table.dur_ns, len(distinct))
    shortest = np.full(len(distinct), np.iinfo(np.int64).max)
    longest = np.zeros(len(distinct), np.int64)
    np.minimum.at(shortest, code, table.dur_ns)
    np.maximum.at(longest, code, table.dur_ns)
    total_ns = int(table.dur_ns.sum())
    texts = [table.linked.trace.text(int(pair) // width - 1) for pair in distinct]
    order = sorted(range(len(distinct)), key=lambda at: (-int(time_ns[at]), texts[at] or ""))
    return tuple(
        KernelTime(
            name=texts[at],
            category=CATEGORIES[int(distinct[at]) % width],
            calls=int(calls[at]),
            time_ns=int(time_ns[at]),
            time_share=share_of(int(time_ns[at]), total_ns),
            min_ns=int(shortest[at]),
            max_ns=int(longest[at]),
        )
        for at in order[:limit]
    )


def sums_by_code(codes: AnyArray, dur_ns: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Return the rows and the summed ns of each code below `size`, in exact integers."""
    count = np.bincount(codes, minlength=size).astype(np.int64)
    time_ns = np.zeros(size, np.int64)
    np.add.at(time_ns, codes, dur_ns)
    return count, time_ns
