"""Operations for a roofline plot: those of one name, category, type and cost are one point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tracekit.analysis.device_peaks import peaks_of, with_override
from tracekit.analysis.roofline import TF32, Work, is_tf32, work_of
from tracekit.categories import CATEGORIES
from tracekit.classifying.table import KernelTable
from tracekit.costing.operations import DTYPES
from tracekit.linking.codes import distinct_rows
from tracekit.report_results import RooflinePoint
from tracekit.trace import NULL, IntArray


def roofline_points(
    table: KernelTable, device_name: str | None, override: Mapping[str, float], limit: int
) -> tuple[tuple[RooflinePoint, ...], int]:
    """Return the points that took most time, `limit` at most, and how many there are.

    `override` holds peaks of the user's in place of the device's.
    """
    peaks = with_override(peaks_of(device_name), override)
    work = work_of(table, peaks)
    rows = _standing_for_operations(table, work)
    if not len(rows):
        return (), 0
    names = _names(table)[rows]
    flops, bytes_ = work.flops[rows], work.bytes_[rows]
    dtypes, dtype = (*DTYPES, TF32), table.operations.dtype[rows].astype(np.int64)
    if peaks is not None and TF32 in peaks.flops:
        dtype[is_tf32(table)[rows]] = len(DTYPES)
    columns = [names, table.category[rows].astype(np.int64), dtype, _code(flops), _code(bytes_)]
    first, group = distinct_rows(columns)
    count = np.bincount(group, minlength=len(first))
    time_ns = np.zeros(len(first), np.int64)
    np.add.at(time_ns, group, work.spent_ns[rows])
    ideal_ns = np.bincount(group, work.ideal_ns[rows], minlength=len(first))
    points = []
    for at in np.lexsort((first, -time_ns))[:limit].tolist():
        row, calls = int(first[at]), int(count[at])
        share = float(ideal_ns[at]) / int(time_ns[at])
        points.append(
            RooflinePoint(
                name=_text(table.op_names, int(names[row])),
                category=CATEGORIES[table.category[rows[row]]],
                operations=calls,
                time_ns=int(time_ns[at]),
                flops=_times(calls, int(flops[row])),
                bytes=_times(calls, int(bytes_[row])),
                dtype=_text(dtypes, int(dtype[row])),
                roofline_share=None if np.isnan(share) else share,
            )
        )
    return tuple(points), len(first)


def _standing_for_operations(table: KernelTable, work: Work) -> IntArray:
    """Return a row for each operation that took time: its longest kernel, else its longest copy.

    Copies and memsets have sizes of their own inside an operation, and its time is counted once.
    """
    rows = np.flatnonzero(work.is_one & (work.spent_ns > 0))
    op = table.operations.op[rows]
    is_copy = np.zeros(len(rows), np.bool_)
    if table.linked.basis == "gpu":
        is_copy = table.linked.trace.activities.kind[rows] != 0
    order = np.lexsort((rows, -table.dur_ns[rows], is_copy, op))
    is_first = np.append(True, np.diff(op[order]) != 0) if len(rows) else is_copy
    return np.sort(rows[order][is_first | (op[order] < 0)])


def _names(table: KernelTable) -> IntArray:
    """Return the name of each row's operation as a position in `op_names`.

    What belongs to no operation (copies, memsets) has its own name.
    """
    ops, op = table.linked.trace.ops, table.operations.op
    is_own = (op >= 0) & (op < len(ops))
    names = np.where(op >= 0, table.op, table.linked.name.astype(np.int64))
    names[is_own] = ops.name[op[is_own]]
    return names


def _code(values: IntArray) -> IntArray:
    """Return a small integer for each distinct value."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _times(count: int, value: int) -> int | None:
    return None if value == NULL else count * value


def _text(names: tuple[str, ...], code: int) -> str | None:
    return None if code < 0 else names[code]
