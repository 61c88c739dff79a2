"""Reads Perfetto's format as its documentation describes it, with every rule checked on the way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket

TRACE_CLOCK = 6


@dataclass
class ReadSlice:
    start_ns: int
    end_ns: int
    name: str
    category: str
    args: dict[str, Any]
    flows: list[int]
    depth: int


@dataclass
class ReadTrack:
    name: str
    parent: int | None
    unit: str | None
    slices: list[ReadSlice] = field(default_factory=list)
    values: list[tuple[int, float]] = field(default_factory=list)


@dataclass
class _Sequence:
    track: int
    clocks: dict[int, int] = field(default_factory=dict)
    default_clock: int = 0
    interned: dict[tuple[str, int], str] = field(default_factory=dict)
    open: list[ReadSlice] = field(default_factory=list)
    last_ns: int = 0


def read_perfetto(path: Path) -> dict[int, ReadTrack]:
    """Return the tracks by uuid; fails on anything that Perfetto would drop or misplace."""
    trace = Trace()
    data = path.read_bytes()
    assert trace.ParseFromString(data) == len(data)
    tracks: dict[int, ReadTrack] = {}
    sequences: dict[int, _Sequence] = {}
    for packet in trace.packet:
        sequence = packet.trusted_packet_sequence_id
        assert sequence > 0
        if packet.HasField("track_descriptor"):
            _describe(packet, tracks)
        elif packet.sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED:
            assert sequence not in sequences
            sequences[sequence] = _begin(packet, tracks)
        else:
            assert packet.sequence_flags == TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
            _event(packet, sequences[sequence], tracks)
    for state in sequences.values():
        assert not state.open, "a slice without an end"
    for track in tracks.values():
        assert track.parent is None or track.parent in tracks
    return tracks


def _describe(packet: Any, tracks: dict[int, ReadTrack]) -> None:
    about = packet.track_descriptor
    assert about.uuid
    assert about.uuid not in tracks
    unit = about.counter.unit_name if about.HasField("counter") else None
    parent = about.parent_uuid if about.HasField("parent_uuid") else None
    tracks[about.uuid] = ReadTrack(about.name, parent, unit)


def _begin(packet: Any, tracks: dict[int, ReadTrack]) -> _Sequence:
    defaults = packet.trace_packet_defaults
    state = _Sequence(defaults.track_event_defaults.track_uuid)
    assert state.track in tracks
    clocks = {clock.clock_id: clock for clock in packet.clock_snapshot.clocks}
    state.default_clock = defaults.timestamp_clock_id
    assert state.default_clock >= 64, "no clock of a sequence's own"
    own = clocks[state.default_clock]
    assert own.is_incremental
    assert own.timestamp == clocks[TRACE_CLOCK].timestamp
    state.last_ns = own.timestamp
    for kind in ("event_names", "event_categories", "debug_annotation_names"):
        for entry in getattr(packet.interned_data, kind):
            assert entry.iid > 0
            assert (kind, entry.iid) not in state.interned
            state.interned[kind, entry.iid] = entry.name
    for entry in packet.interned_data.debug_annotation_string_values:
        assert ("values", entry.iid) not in state.interned
        state.interned["values", entry.iid] = entry.str.decode()
    return state


def _event(packet: Any, state: _Sequence, tracks: dict[int, ReadTrack]) -> None:
    event, track = packet.track_event, tracks[state.track]
    state.last_ns += packet.timestamp
    if event.type == event.TYPE_COUNTER:
        assert track.unit is not None
        track.values.append((state.last_ns, event.double_counter_value))
    elif event.type == event.TYPE_SLICE_BEGIN:
        args = {
            state.interned["debug_annotation_names", one.name_iid]: (
                state.interned["values", one.string_value_iid]
                if one.HasField("string_value_iid")
                else one.int_value
            )
            for one in event.debug_annotations
        }
        slice_ = ReadSlice(
            state.last_ns,
            -1,
            state.interned["event_names", event.name_iid] if event.name_iid else "",
            state.interned["event_categories", event.category_iids[0]],
            args,
            list(event.flow_ids),
            len(state.open),
        )
        state.open.append(slice_)
        track.slices.append(slice_)
    else:
        assert event.type == event.TYPE_SLICE_END
        state.open.pop().end_ns = state.last_ns


def paths(tracks: dict[int, ReadTrack]) -> dict[tuple[str, str], ReadTrack]:
    """Return the tracks by the names of their group and their own; names are unique in a group."""
    found: dict[tuple[str, str], ReadTrack] = {}
    for track in tracks.values():
        if track.parent is not None:
            key = (tracks[track.parent].name, track.name)
            assert key not in found
            found[key] = track
    return found


def flows(tracks: dict[int, ReadTrack]) -> dict[int, list[ReadSlice]]:
    """Return the slices of each flow in the order of time."""
    ends: dict[int, list[ReadSlice]] = defaultdict(list)
    for track in tracks.values():
        for slice_ in track.slices:
            for number in slice_.flows:
                ends[number].append(slice_)
    return {number: sorted(of, key=lambda one: one.start_ns) for number, of in ends.items()}
