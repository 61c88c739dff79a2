"""What a trace holds, as tracks: for formats in which it has to be written anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.analysis.track_columns import numbers
from tracekit.analysis.track_lanes import flat_lanes, nested_lanes
from tracekit.linking.backward import forward_ops
from tracekit.linking.link import Linked
from tracekit.trace import ACTIVITY_KINDS, NULL, AnyArray, CodeArray, IntArray, Table, Trace
from tracekit.track_results import (
    ORIGINAL,
    Column,
    Flows,
    Numbers,
    SliceTrack,
    Texts,
    TrackGroup,
)

_HOST_TABLES = ("annotations", "frames", "ops", "calls", "overheads", "synchronizations")
_HOST_KINDS = ("user_annotation", "python_function", "cpu_op", "runtime", "overhead", "cuda_sync")
"""Tables of host threads, what may hold the others first, and the `cat` of their slices."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Events of one kind of track, sorted by track and start, longer ones first."""

    track: IntArray
    start_ns: IntArray
    dur_ns: IntArray
    name: AnyArray
    kind: AnyArray
    details: dict[str, Column]
    order: IntArray


def original_tracks(linked: Linked) -> tuple[TrackGroup, ...]:
    """Return devices with their streams, and processes with their threads, and what links them.

    Flows lead from a launch to its activities, and from an op to its backward work.
    """
    trace = linked.trace
    offsets = _offsets(trace)
    ends = _joined_flows(_launch_flows(linked, offsets["calls"]), _backward_flows(linked, offsets))
    return (*_devices(trace, ends[0]), *_processes(trace, ends[1]))


def _offsets(trace: Trace) -> dict[str, int]:
    offsets, total = {}, 0
    for name in _HOST_TABLES:
        offsets[name] = total
        total += len(getattr(trace, name))
    return offsets


def _launch_flows(linked: Linked, offset: int) -> tuple[Flows, Flows]:
    """Return the ends of the flows at activities and at their launching calls."""
    known = np.flatnonzero(linked.launch >= 0) if linked.basis == "gpu" else np.empty(0, np.int64)
    number = known + 1
    return Flows(number, known), Flows(number, offset + linked.launch[known])


def _backward_flows(linked: Linked, offsets: dict[str, int]) -> tuple[Flows, Flows]:
    """Return both ends, on the host, of the flows from ops to their backward work."""
    serves, parent = forward_ops(linked.trace, linked.ops).serves, linked.ops.parent
    own = np.arange(len(serves))
    is_top = (parent < 0) | (serves[parent] != serves) if len(serves) else own >= 0
    rows = np.flatnonzero((serves != own) & is_top)
    number = len(linked.trace.activities) + 1 + np.arange(len(rows))
    offset = offsets["ops"]
    both = Flows(np.append(number, number), offset + np.append(serves[rows], rows))
    return Flows(np.empty(0, np.int64), np.empty(0, np.int64)), both


def _joined_flows(*pairs: tuple[Flows, Flows]) -> tuple[Flows, Flows]:
    first, second = (
        Flows(
            np.concatenate([pair[side].id for pair in pairs]),
            np.concatenate([pair[side].slice for pair in pairs]),
        )
        for side in (0, 1)
    )
    return first, second


def _devices(trace: Trace, flows: Flows) -> list[TrackGroup]:
    activities = trace.activities
    place = np.unique(np.stack([activities.device, activities.stream]), axis=1)
    track = np.searchsorted(
        _combined(place[0], place[1]), _combined(activities.device, activities.stream)
    )
    rows = _Rows(
        track=track,
        start_ns=activities.start_ns,
        dur_ns=activities.dur_ns,
        name=activities.name,
        kind=activities.kind,
        details={
            "correlation": numbers(activities.correlation),
            "grid": Texts(activities.grid, trace.strings),
            "block": Texts(activities.block, trace.strings),
            "bytes": numbers(activities.size_bytes),
            "graph node id": numbers(activities.graph_node),
        },
        order=np.lexsort((-activities.dur_ns, activities.start_ns, track)),
    )
    names = ["no stream" if one == NULL else f"stream {one}" for one in place[1].tolist()]
    tracks = _tracks(trace, rows, names, ACTIVITY_KINDS, flows)
    groups = []
    for device in np.unique(place[0]).tolist():
        own = np.flatnonzero(place[0] == device).tolist()
        name = "GPU" if device == NULL else f"GPU {device}"
        groups.append(
            TrackGroup(f"{name}, activities", False, tuple(t for at in own for t in tracks[at]))
        )
    return groups


def _combined(device: IntArray, stream: IntArray) -> IntArray:
    """Return one number for each pair, in the order of pairs."""
    _, first = np.unique(device, return_inverse=True)
    distinct, second = np.unique(stream, return_inverse=True)
    return first * np.int64(max(1, len(distinct))) + second


def _processes(trace: Trace, flows: Flows) -> list[TrackGroup]:
    tables: list[Table] = [getattr(trace, name) for name in _HOST_TABLES]
    columns: list[CodeArray] = [getattr(trace, name).thread for name in _HOST_TABLES]
    thread = np.concatenate(columns).astype(np.int64)
    start = np.concatenate([table.start_ns for table in tables])
    dur = np.concatenate([table.dur_ns for table in tables])
    kind = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    rows = _Rows(
        track=thread,
        start_ns=start,
        dur_ns=dur,
        name=np.concatenate([table.name for table in tables]).astype(np.int64),
        kind=kind,
        details=_host_details(trace, tables),
        order=np.lexsort((kind, -dur, start, thread)),
    )
    names = [f"thread {tid}" for _, tid in trace.threads]
    tracks = _tracks(trace, rows, names, _HOST_KINDS, flows)
    by_process: dict[str, list[SliceTrack]] = {}
    for (pid, _), of_thread in zip(trace.threads, tracks, strict=True):
        by_process.setdefault(pid, []).extend(of_thread)
    return [
        TrackGroup(f"process {pid}", False, tuple(of_process))
        for pid, of_process in by_process.items()
        if of_process
    ]


def _host_details(trace: Trace, tables: list[Table]) -> dict[str, Column]:
    ops, calls = trace.ops, trace.calls

    def spread(owner: Table, values: AnyArray, missing: int) -> IntArray:
        parts = [
            values.astype(np.int64) if table is owner else np.full(len(table), missing, np.int64)
            for table in tables
        ]
        return np.concatenate(parts)

    return {
        "correlation": numbers(spread(calls, calls.correlation, NULL)),
        "Input Dims": Texts(spread(ops, ops.input_dims, -1), trace.strings),
        "Input type": Texts(spread(ops, ops.input_types, -1), trace.strings),
        "Concrete Inputs": Texts(spread(ops, ops.concrete_inputs, -1), trace.strings),
        "Sequence number": numbers(spread(ops, ops.sequence_number, NULL)),
    }


def _tracks(
    trace: Trace, rows: _Rows, names: list[str], kinds: tuple[str, ...], flows: Flows
) -> list[list[SliceTrack]]:
    """Return the tracks of each name, several where slices cross."""
    bounds = np.searchsorted(rows.track[rows.order], np.arange(len(names) + 1))
    by_slice = np.argsort(flows.slice, kind="stable")
    flows = Flows(flows.id[by_slice], flows.slice[by_slice])
    is_host = kinds is _HOST_KINDS
    found: list[list[SliceTrack]] = []
    for at, name in enumerate(names):
        of_track = rows.order[bounds[at] : bounds[at + 1]]
        start, end = rows.start_ns[of_track], rows.start_ns[of_track] + rows.dur_ns[of_track]
        lane = nested_lanes(start, end) if is_host else flat_lanes(start, end)
        found.append(
            [
                _track(
                    trace,
                    rows,
                    of_track[lane == one],
                    (name if one == 0 else f"{name} ({one + 1})", kinds, flows),
                )
                for one in range(int(lane.max(initial=-1)) + 1)
            ]
        )
    return found


def _track(
    trace: Trace, rows: _Rows, own: IntArray, about: tuple[str, tuple[str, ...], Flows]
) -> SliceTrack:
    name, kinds, flows = about
    return SliceTrack(
        name=name,
        kind=ORIGINAL,
        start_ns=rows.start_ns[own],
        dur_ns=rows.dur_ns[own],
        label=Texts(rows.name[own], trace.strings),
        category=Texts(rows.kind[own], kinds),
        details={key: _taken(column, own) for key, column in rows.details.items()},
        flows=_flows_of(flows, own),
    )


def _taken(column: Column, own: IntArray) -> Column:
    if isinstance(column, Texts):
        return Texts(column.code[own], column.texts)
    return Numbers(column.value[own], None if column.known is None else column.known[own])


def _flows_of(flows: Flows, own: IntArray) -> Flows:
    """Return the ends of flows at some rows, by their place among them."""
    low = np.searchsorted(flows.slice, own, side="left")
    count = np.searchsorted(flows.slice, own, side="right") - low
    place = np.repeat(np.arange(len(own)), count)
    within = np.arange(len(place)) - np.repeat(np.cumsum(count) - count, count)
    return Flows(flows.id[low[place] + within], place)
