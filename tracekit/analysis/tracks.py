"""The tracks that tracekit adds to a timeline: what each stretch of a device's time was."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.call_table import CallTable, call_table
from tracekit.analysis.idle import idle_pieces
from tracekit.analysis.idle_track import idle_track
from tracekit.analysis.track_columns import in_lanes, numbers, shares
from tracekit.analysis.track_counters import counters
from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying.call_columns import BACKENDS, DTYPES
from tracekit.classifying.table import KernelTable
from tracekit.linking.codes import distinct_rows
from tracekit.trace import NULL, IntArray
from tracekit.track_results import (
    ATTENTION_CALLS,
    CATEGORY,
    STAGES,
    STEPS,
    Column,
    Numbers,
    SliceTrack,
    Texts,
    TrackGroup,
)

_SIZES = ("batch", "heads", "query_length", "key_length", "head_size")


def annotation_tracks(table: KernelTable) -> tuple[TrackGroup, ...]:
    """Return the tracks of each device: stages, steps, attention, idle time, categories, counters.

    Activities have a track for each stream, and several where those of a stream overlap. Empty for
    a trace without any activity.
    """
    if not len(table):
        return ()
    calls, found, is_gpu = call_table(table), idle_pieces(table), table.linked.basis == "gpu"
    groups = []
    for device in np.unique(table.device).tolist():
        rows = np.flatnonzero(table.device == device)
        tracks = (
            *_stages(table, rows),
            *_attention(table, calls, rows),
            *idle_track(table, found, rows),
            *_categories(table, rows),
        )
        name = f"GPU {device}" if is_gpu else "CPU"
        groups.append(TrackGroup(name, True, tracks, counters(table, rows, calls)))
    return tuple(groups)


def _stages(table: KernelTable, rows: IntArray) -> list[SliceTrack]:
    """Return the stretches of time that stages and steps take on a device."""
    rows = rows[table.stages.stage[rows] >= 0]
    if not len(rows):
        return []
    stage, step = table.stages.stage[rows], table.stages.step[rows]
    names = table.stages.names
    tracks = in_lanes(
        "Stages",
        STAGES,
        *_stretches(table, rows, stage),
        lambda first: (
            Texts(stage[first], names),
            {"source": Texts(stage[first], table.stages.sources)},
        ),
    )
    has_step = np.flatnonzero(step != NULL)
    if not len(has_step):
        return tracks
    rows, stage, step = rows[has_step], stage[has_step], step[has_step]
    distinct, code = distinct_rows((stage, step))
    labels = tuple(f"{names[stage[at]]} {step[at]}" for at in distinct.tolist())
    return tracks + in_lanes(
        "Steps",
        STEPS,
        *_stretches(table, rows, code),
        lambda first: (
            Texts(code[first], labels),
            {"stage": Texts(stage[first], names), "step": Numbers(step[first])},
        ),
    )


def _stretches(
    table: KernelTable, rows: IntArray, code: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Return where rows of one code follow each other: start, end, and the place of the first."""
    first = np.flatnonzero(np.diff(code, prepend=code[0] - 1))
    end_ns = np.maximum.reduceat(table.start_ns[rows] + table.dur_ns[rows], first)
    return table.start_ns[rows[first]], end_ns, first


def _attention(table: KernelTable, calls: CallTable, rows: IntArray) -> list[SliceTrack]:
    """Return the attention calls of a device, from the start of the first kernel to the last end.

    Each is called by its kind, its axis, and its query and key length where they are known.
    """
    here = np.flatnonzero(np.isin(calls.main, rows))
    if not len(here):
        return []
    last_ns = np.full(len(calls), np.iinfo(np.int64).min)
    members = np.flatnonzero(calls.of_row >= 0)
    np.maximum.at(last_ns, calls.of_row[members], table.start_ns[members] + table.dur_ns[members])
    label = _attention_labels(table, calls)
    dtypes = tuple(DTYPES)

    def described(at: IntArray) -> tuple[Texts, dict[str, Column]]:
        own = here[at]
        main, call = calls.main[own], calls.call[own]
        flops = calls.costs.flops[own]
        return Texts(label.code[own], label.texts), {
            "kind": Texts(table.kind[main], table.kinds),
            "axis": Texts(table.axis[main], table.axes),
            **{name: numbers(getattr(calls.calls, name)[call]) for name in _SIZES},
            "phase": Texts(calls.is_backward[own].astype(np.int64), ("forward", "backward")),
            "causal": Texts(table.causal[main], ("no", "yes")),
            "backend": Texts(calls.backend[own], BACKENDS),
            "dtype": Texts(calls.calls.dtype[call], dtypes),
            "kernels": Numbers(calls.kernels[own]),
            "kernel_ns": Numbers(calls.time_ns[own]),
            "flops": numbers(flops),
            "module": Texts(table.module[main], table.module_paths),
            "stage": Texts(table.stages.stage[main], table.stages.names),
            "step": numbers(table.stages.step[main]),
        }

    start, end = calls.start_ns[here], last_ns[here]
    return in_lanes("Attention", ATTENTION_CALLS, start, end, np.arange(len(here)), described)


def _attention_labels(table: KernelTable, calls: CallTable) -> Texts:
    queries = calls.calls.query_length[calls.call]
    keys = calls.calls.key_length[calls.call]
    kind, axis = table.kind[calls.main], table.axis[calls.main]
    backward = calls.is_backward.astype(np.int64)
    first, code = distinct_rows(
        (np.maximum(queries, -1), np.maximum(keys, -1), kind, axis, backward)
    )
    labels = []
    for at in first.tolist():
        words = [
            *([table.axes[axis[at]]] if axis[at] >= 0 else []),
            *([table.kinds[kind[at]]] if kind[at] >= 0 else []),
            "attention",
            *(["backward"] if backward[at] else []),
        ]
        if queries[at] != NULL and keys[at] != NULL:
            words.append(f"{queries[at]}×{keys[at]}")
        labels.append(" ".join(words))
    return Texts(code, tuple(labels))


def _categories(table: KernelTable, rows: IntArray) -> list[SliceTrack]:
    """Return the activities of each stream (or CPU ops of each thread), called by category."""
    is_gpu = table.linked.basis == "gpu"
    owner = table.stream[rows] if is_gpu else table.linked.thread[rows]
    tracks: list[SliceTrack] = []
    for one in np.unique(owner).tolist():
        own = rows[owner == one]
        start = table.start_ns[own]
        name = _owner_name(table, one, is_gpu)
        tracks += in_lanes(
            f"Categories, {name}",
            CATEGORY,
            start,
            start + table.dur_ns[own],
            own,
            lambda at: (Texts(table.category[at], CATEGORIES), _kernel_details(table, at)),
        )
    return tracks


def _owner_name(table: KernelTable, owner: int, is_gpu: bool) -> str:
    if is_gpu:
        return "no stream" if owner == NULL else f"stream {owner}"
    threads = table.linked.trace.threads
    return f"thread {threads[owner][1]}" if 0 <= owner < len(threads) else "no thread"


def _kernel_details(table: KernelTable, at: IntArray) -> dict[str, Column]:
    work = table.operations
    return {
        "category": Texts(table.category[at], CATEGORIES),
        "name": Texts(table.linked.name[at], table.linked.trace.strings),
        "evidence": Texts(table.evidence[at], EVIDENCES),
        "confidence": shares(table.confidence[at]),
        "reason": Texts(table.reason[at], table.reasons),
        "op": Texts(table.op[at], table.op_names),
        "module": Texts(table.module[at], table.module_paths),
        "stage": Texts(table.stages.stage[at], table.stages.names),
        "step": numbers(table.stages.step[at]),
        "flops": numbers(work.flops[at]),
        "bytes": numbers(work.bytes_[at]),
    }
