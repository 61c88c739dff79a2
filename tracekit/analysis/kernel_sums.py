"""Kernels by what they are and why: of one name, category, evidence and reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.analysis.breakdown import sums_by_code
from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying.graph_reasons import common_reason
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.report_results import KernelKind, KindTime, ModuleTime
from tracekit.trace import NULL, IntArray
from tracekit.units import share_of


@dataclass(frozen=True, slots=True)
class Kinds:
    """The kinds of kernels of a table, those of most time first, and the kind of each row."""

    kinds: tuple[KernelKind, ...]
    of_row: IntArray


def kernel_kinds(table: KernelTable) -> Kinds:
    """Return the kinds of kernels of a table.

    Each node of a replayed graph has a reason of its own, with its number; here they are of one
    kind where nothing else tells them apart.
    """
    reasons, reason = _common_reasons(table)
    columns = (table.linked.name, table.category, table.evidence, reason)
    first, group = distinct_rows([column.astype(np.int64) for column in columns])
    _, time_ns = sums_by_code(group, table.dur_ns, len(first))
    order = np.lexsort((first, -time_ns))
    place = np.empty(len(first), np.int64)
    place[order] = np.arange(len(first))
    lowest = np.full(len(first), np.inf)
    known = ~np.isnan(table.confidence)
    np.minimum.at(lowest, group[known], table.confidence[known])
    kinds = tuple(
        KernelKind(
            name=table.name_at(row),
            category=CATEGORIES[table.category[row]],
            evidence=EVIDENCES[table.evidence[row]],
            confidence=None if np.isinf(lowest[at]) else float(lowest[at]),
            reason=reasons[reason[row]],
        )
        for at, row in zip(order.tolist(), first[order].tolist(), strict=True)
    )
    return Kinds(kinds, place[group] if len(group) else group)


def _common_reasons(table: KernelTable) -> tuple[tuple[str, ...], IntArray]:
    """Return the reasons that several rows may share, and that of each row."""
    position: dict[str, int] = {}
    code = [position.setdefault(common_reason(text), len(position)) for text in table.reasons]
    return tuple(position), np.array(code, np.int64)[table.reason]


def kind_times(table: KernelTable, found: Kinds, limit: int) -> tuple[KindTime, ...]:
    """Return the sums of the kinds of kernels that took most time, `limit` at most."""
    count, group = len(found.kinds), found.of_row
    calls, time_ns = sums_by_code(group, table.dur_ns, count)
    shortest = np.full(count, np.iinfo(np.int64).max)
    longest = np.zeros(count, np.int64)
    np.minimum.at(shortest, group, table.dur_ns)
    np.maximum.at(longest, group, table.dur_ns)
    flops = _known_sums(group, table.operations.flops, count)
    bytes_ = _known_sums(group, table.operations.bytes_, count)
    whole = int(time_ns.sum())
    return tuple(
        KindTime(
            name=kind.name,
            category=kind.category,
            evidence=kind.evidence,
            confidence=kind.confidence,
            reason=kind.reason,
            calls=int(calls[at]),
            time_ns=int(time_ns[at]),
            time_share=share_of(int(time_ns[at]), whole),
            min_ns=int(shortest[at]),
            max_ns=int(longest[at]),
            flops=flops[at],
            bytes=bytes_[at],
        )
        for at, kind in enumerate(found.kinds[:limit])
    )


def module_times(table: KernelTable, limit: int) -> tuple[tuple[ModuleTime, ...], int]:
    """Return the modules whose kernels took most time, `limit` at most, and how many there are.

    Kernels of no module are one of the rows, without a name; a trace without modules has none.
    """
    module = table.module
    if not (module >= 0).any():
        return (), 0
    size, width = len(table.module_paths) + 1, len(CATEGORIES)
    kernels, time_ns = sums_by_code(module + 1, table.dur_ns, size)
    _, by_category = sums_by_code((module + 1) * width + table.category, table.dur_ns, size * width)
    used = np.flatnonzero(kernels)
    order = used[np.argsort(-time_ns[used], kind="stable")]
    whole = int(time_ns.sum())
    rows = tuple(
        ModuleTime(
            module=table.module_paths[code - 1] if code else None,
            kernels=int(kernels[code]),
            time_ns=int(time_ns[code]),
            time_share=share_of(int(time_ns[code]), whole),
            categories={
                slug: time
                for slug, time in zip(
                    CATEGORIES, by_category[code * width : (code + 1) * width].tolist(), strict=True
                )
                if time
            },
        )
        for code in order[:limit].tolist()
    )
    return rows, len(used)


def _known_sums(group: IntArray, values: IntArray, count: int) -> list[int | None]:
    """Return the sum of the known values of each group, null where none is.

    They are summed in halves, because a sum of FLOPs may leave int64.
    """
    known = np.flatnonzero(values != NULL)
    size = np.bincount(group[known], minlength=count)
    low, high = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.add.at(low, group[known], values[known] & 0xFFFFFFFF)
    np.add.at(high, group[known], values[known] >> 32)
    return [(int(high[at]) << 32) + int(low[at]) if size[at] else None for at in range(count)]
