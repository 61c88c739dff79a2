"""How close to the limits of its device each category and stage came.

The roofline model (Williams, Waterman and Patterson, CACM 52(4), 2009): an operation takes at
least as long as its FLOPs at the peak of their type, and as its bytes at the memory's bandwidth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.device_peaks import Peaks, peaks_of, with_override
from tracekit.categories import CATEGORIES
from tracekit.classifying.table import KernelTable
from tracekit.costing.operations import DTYPES
from tracekit.linking.link import PHASES
from tracekit.roofline_results import AboveRoof, DevicePeaks, Roofline, RooflineRow
from tracekit.trace import NO_TEXT, NULL, BoolArray, FloatArray, IntArray

TF32: Final = "tf32"
"""What peaks call float32 products on tensor cores."""
_TENSOR_CORES: Final = re.compile(r"tf32|nvjet|s1688|s16816|tensorop|fmha_cutlass|xmma.*f32f32_f32")
"""Names of kernels that do float32 products on tensor cores."""
_HOST_COPY: Final = re.compile(r"HtoD|DtoH|HtoH|PtoP|DtoP|Peer", re.IGNORECASE)
"""Copies that the memory of one device does not bound."""
_RESIDENT: Final = 2
"""Caches full of bytes that an operation need not move: of its inputs that the one before left in
the cache, and of its results that are still to be written."""


@dataclass(frozen=True, slots=True)
class Work:
    """One row an activity; what belongs to an operation stands on its longest kernel.

    `ideal_ns` is the least time of the operation and `peak_ns` that of its FLOPs alone, NaN where
    it has none or a peak is unknown. `known` says that an activity belongs to an operation of
    known cost, `is_one` that it is the one that stands for it; `spent_ns` is its whole time.
    """

    dur_ns: IntArray
    flops: IntArray
    bytes_: IntArray
    known: BoolArray
    is_one: BoolArray
    spent_ns: IntArray
    ideal_ns: FloatArray
    peak_ns: FloatArray


def roofline(
    table: KernelTable, device_name: str | None, override: Mapping[str, float]
) -> Roofline | None:
    """Return what was achieved by category and stage; null where no shapes are in the file.

    `override` holds peaks of the user's in place of the device's. A stage or category without an
    operation of known cost is left out.
    """
    if not (table.operations.op >= 0).any():
        return None
    peaks = with_override(peaks_of(device_name), override)
    work = work_of(table, peaks)
    stages = table.stages
    names: tuple[str | None, ...] = (None, *stages.names)
    by_stage = _rows(work, stages.stage.astype(np.int64) + 1, names)
    first = {row.key: at for at, row in enumerate(by_stage)}
    order = _first_rows(stages.stage, stages.names)
    everything = np.zeros(len(table), np.int64)
    return Roofline(
        device=device_name if peaks is not None else None,
        peaks=_shown(peaks),
        total=_row(work, everything, 0, None),
        by_category=_rows(work, table.category.astype(np.int64), CATEGORIES),
        by_stage=tuple(by_stage[first[name]] for name in order if name in first),
        above_roof=_above_roof(work, peaks, _has_strides(table)),
    )


def _first_rows(stage: IntArray, names: tuple[str, ...]) -> list[str | None]:
    """Return the stages in the order of their first kernels, what is outside of them last."""
    used, first = np.unique(stage, return_index=True)
    order = [int(used[at]) for at in np.argsort(first) if used[at] >= 0]
    return [*(names[code] for code in order), None]


def _shown(peaks: Peaks | None) -> DevicePeaks:
    if peaks is None:
        return DevicePeaks({}, None, None, None)
    return DevicePeaks(dict(peaks.flops), peaks.bandwidth, peaks.cache_bytes, peaks.source)


def work_of(table: KernelTable, peaks: Peaks | None) -> Work:
    """Return what each activity, and the operation that it stands for, does and could take."""
    found = table.operations
    flops, bytes_ = found.flops, _moved(table, found.bytes_)
    belongs = found.op >= 0
    is_one = (flops != NULL) | (bytes_ != NULL)
    spent_ns = np.zeros(len(table), np.int64)
    if belongs.any():
        of_op = np.bincount(found.op[belongs], table.dur_ns[belongs]).astype(np.int64)
        spent_ns[belongs] = of_op[found.op[belongs]]
    alone = is_one & ~belongs
    spent_ns[alone] = table.dur_ns[alone]
    peak_ns = _peak_ns(table, flops, peaks)
    bandwidth = None if peaks is None else peaks.bandwidth
    memory_ns = np.where(bytes_ != NULL, bytes_ * (1e9 / (bandwidth or np.nan)), np.nan)
    # Without its FLOP/s or its bytes/s an operation has no roof.
    counts = flops != NULL
    ideal_ns = np.where(counts, np.maximum(peak_ns, memory_ns), memory_ns)
    return Work(
        dur_ns=table.dur_ns,
        flops=flops,
        bytes_=bytes_,
        known=belongs | alone,
        is_one=is_one,
        spent_ns=spent_ns,
        ideal_ns=np.where(is_one, ideal_ns, np.nan),
        peak_ns=np.where(_is_recomputed(table), 0.0, peak_ns),
    )


def _moved(table: KernelTable, bytes_: IntArray) -> IntArray:
    """Return the bytes that the device's memory moves: a copy inside it reads and writes."""
    if table.linked.basis == "cpu":
        return bytes_
    activities, strings = table.linked.trace.activities, table.linked.trace.strings
    outside = np.array([_HOST_COPY.search(text) is not None for text in strings] + [False])
    is_copy = activities.kind == 1
    moved = np.where(is_copy & (bytes_ != NULL), 2 * bytes_, bytes_)
    return np.where(is_copy & outside[activities.name], NULL, moved)


def _peak_ns(table: KernelTable, flops: IntArray, peaks: Peaks | None) -> FloatArray:
    """Return the time of the FLOPs at the peak of their type, NaN where that is unknown."""
    rate = np.full(len(DTYPES) + 1, np.nan)
    for code, dtype in enumerate(DTYPES):
        value = None if peaks is None else peaks.flops.get(dtype)
        rate[code] = np.nan if value is None else value
    rates = rate[table.operations.dtype]
    tf32 = None if peaks is None else peaks.flops.get(TF32)
    if tf32 is not None:
        rates = np.where(is_tf32(table), tf32, rates)
    return np.where(flops != NULL, flops / rates * 1e9, np.nan)


def is_tf32(table: KernelTable) -> BoolArray:
    """Return which activities stand for float32 products that tensor cores do."""
    names = table.linked.trace.strings
    on_cores = np.array([_TENSOR_CORES.search(text) is not None for text in names] + [False])
    is_float = table.operations.dtype == DTYPES.index("float32")
    return np.asarray(is_float & on_cores[table.linked.name])


def _is_recomputed(table: KernelTable) -> BoolArray:
    """Return which activities do forward work again during backward."""
    linked = table.linked
    again = (linked.phase == PHASES.index("backward")) & (linked.op >= 0)
    again[again] = linked.op_is_forward[linked.op[again]]
    return np.asarray(again)


def _rows(
    work: Work, codes: IntArray, names: tuple[str | None, ...] | tuple[str, ...]
) -> tuple[RooflineRow, ...]:
    used = np.unique(codes[work.is_one]).tolist()
    return tuple(_row(work, codes, code, names[code]) for code in used)


def _row(work: Work, codes: IntArray, code: int, name: str | None) -> RooflineRow:
    chosen = codes == code
    covered_ns = int(work.dur_ns[chosen & work.known].sum())
    counted = chosen & (work.flops != NULL)
    moved = chosen & (work.bytes_ != NULL)
    flops = sum(work.flops[counted].tolist()) if counted.any() else None
    bytes_ = sum(work.bytes_[moved].tolist()) if moved.any() else None
    both = counted.any() and not (counted & ~moved).any()
    return RooflineRow(
        key=name,
        operations=int(np.count_nonzero(chosen & work.is_one)),
        uncounted=int(np.count_nonzero(chosen & ~work.known)),
        time_ns=int(work.dur_ns[chosen].sum()),
        covered_ns=covered_ns,
        flops=flops,
        bytes=bytes_,
        flops_per_s=_rate(flops, covered_ns),
        bytes_per_s=_rate(bytes_, covered_ns),
        intensity=flops / bytes_ if both and flops is not None and bytes_ else None,
        flops_share=_share(work.peak_ns[counted], covered_ns),
        roofline_share=_share(work.ideal_ns[chosen & work.is_one], covered_ns),
    )


def _rate(amount: int | None, time_ns: int) -> float | None:
    return None if amount is None or not time_ns else amount / time_ns * 1e9


def _share(least_ns: FloatArray, time_ns: int) -> float | None:
    """Return a share of the time; null where a part is not known."""
    if not len(least_ns) or not time_ns or np.isnan(least_ns).any():
        return None
    return float(least_ns.sum()) / time_ns


def _has_strides(table: KernelTable) -> BoolArray:
    """Return of which activities the trace has the strides of what their operation is given."""
    op, strides = table.operations.op, table.linked.trace.ops.input_strides
    found = np.zeros(len(op), np.bool_)
    own = (op >= 0) & (op < len(strides))
    found[own] = strides[op[own]] != NO_TEXT
    return found


def _above_roof(work: Work, peaks: Peaks | None, has_strides: BoolArray) -> tuple[AboveRoof, ...]:
    """Return the operations above their roof: by what lies in the cache, and by what does not."""
    fast = work.is_one & (work.spent_ns > 0) & (work.ideal_ns > work.spent_ns)
    if peaks is None or not fast.any():
        return ()
    by_memory = ~(work.peak_ns > work.spent_ns)
    cache, bandwidth = peaks.cache_bytes or 0.0, peaks.bandwidth or np.nan
    fits = work.bytes_ <= cache
    moved_ns = (work.bytes_ - _RESIDENT * cache) / bandwidth * 1e9
    partly = ~fits & (moved_ns <= work.spent_ns)
    reasons = (
        ("arithmetic above the peak", fast & ~by_memory),
        ("fits in the cache", fast & by_memory & fits),
        ("partly in the cache", fast & by_memory & partly),
        ("inputs may be expanded", fast & by_memory & ~fits & ~partly & ~has_strides),
        ("not explained", fast & by_memory & ~fits & ~partly & has_strides),
    )
    return tuple(
        AboveRoof(
            why,
            int(np.count_nonzero(rows)),
            int(work.spent_ns[rows].sum()),
            float((work.ideal_ns[rows] / work.spent_ns[rows]).max()),
        )
        for why, rows in reasons
        if rows.any()
    )
