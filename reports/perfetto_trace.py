"""Tracks in Perfetto's own format: protobuf packets.

The format is that of https://perfetto.dev/docs/reference/synthetic-track-event.

Each track is a packet sequence of its own: names and arguments are interned once, times are
differences to the packet before, and the track is the sequence's default. Begin and end of slices
come in the order of time, so that every track nests. Times are ns, exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np

from tracekit.errors import MissingDependencyError
from tracekit.reports.track_names import encodable, slice_names
from tracekit.track_results import (
    OWN_CATEGORY,
    Column,
    CounterTrack,
    IntArray,
    Numbers,
    SliceTrack,
    Texts,
    TrackGroup,
)

_TRACE_CLOCK: Final = 6
"""BUILTIN_CLOCK_BOOTTIME, which timestamps of packets are of unless they say otherwise."""
_OWN_CLOCK: Final = 64
"""The first clock that a sequence may define for itself."""
_BEGIN, _END, _COUNTER = 1, 2, 4
_CLEARED, _NEEDED = 1, 2
_PART: Final = 65_536
NOTHING: Final = int(np.iinfo(np.int64).min)
"""Stands for a detail that a slice does not have."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The tracks of one trace; `base_ns` is the absolute time of 0 in it, null if unknown."""

    groups: tuple[TrackGroup, ...]
    base_ns: int | None = None


def write(timelines: Sequence[Timeline], sink: IO[bytes]) -> None:
    """Write traces into one file, above each other: added tracks first, then what files hold.

    Where all traces tell their absolute time they share one axis; else each has its own times.

    Raises
    ------
    MissingDependencyError
        The package `perfetto` is not installed.
    """
    protos = _protos()
    writer = _Writer(protos, sink)
    bases = [timeline.base_ns for timeline in timelines]
    shifts = [0 if base is None or None in bases else base for base in bases]
    least_ns = min(
        (_first_ns(line) + by for line, by in zip(timelines, shifts, strict=True)), default=0
    )
    before_0_ns = max(0, -least_ns)
    for timeline, shift_ns in zip(timelines, shifts, strict=True):
        writer.begin_trace(shift_ns + before_0_ns)
        for group in timeline.groups:
            writer.write_group(group)


def _protos() -> Any:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise MissingDependencyError(
            "Perfetto's own format needs its protos: pip install 'gpu-tracekit[perfetto]'; "
            "--format json needs nothing"
        ) from error
    return perfetto_trace_pb2


def _first_ns(timeline: Timeline) -> int:
    starts = [
        int(track.start_ns[0]) for group in timeline.groups for track in group.slices if len(track)
    ]
    return min(starts, default=0)


class _Writer:
    """Numbers tracks, sequences and flows so that no two are taken for one."""

    def __init__(self, protos: Any, sink: IO[bytes]) -> None:
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

        self._protos = protos
        self._builder = StreamingTraceProtoBuilder(sink)
        self._tracks = 0
        self._groups = 0
        self._shift_ns = 0
        self._first_flow = 0
        self._flows = 0

    def begin_trace(self, shift_ns: int) -> None:
        """Go on with the tracks of another trace, whose times are shifted."""
        self._shift_ns = shift_ns
        self._first_flow += self._flows
        self._flows = 0

    def write_group(self, group: TrackGroup) -> None:
        """Write a group of tracks below a heading."""
        parent = self._describe(f"tracekit: {group.name}" if group.is_own else group.name, None)
        for track in group.slices:
            self._write_slices(track, self._describe(track.name, parent))
        for counter in group.counters:
            self._write_values(counter, self._describe(counter.name, parent, counter.unit))

    def _describe(self, name: str, parent: int | None, unit: str | None = None) -> int:
        self._tracks += 1
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = self._tracks
        about = packet.track_descriptor
        about.uuid = self._tracks
        about.name = encodable(name)
        kinds = self._protos.TrackDescriptor
        about.sibling_merge_behavior = kinds.SIBLING_MERGE_BEHAVIOR_NONE
        about.sibling_order_rank = self._tracks
        if parent is None:
            about.child_ordering = kinds.EXPLICIT
        else:
            about.parent_uuid = parent
        if unit is not None:
            about.counter.unit_name = unit
        self._builder.write_packet(packet)
        return self._tracks

    def _first_packet(self, uuid: int, start_ns: int) -> Any:
        """Return the packet that a sequence starts with: its defaults and its clock."""
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = uuid
        packet.sequence_flags = _CLEARED | _NEEDED
        packet.trace_packet_defaults.timestamp_clock_id = _OWN_CLOCK
        packet.trace_packet_defaults.track_event_defaults.track_uuid = uuid
        packet.clock_snapshot.clocks.add(clock_id=_TRACE_CLOCK, timestamp=start_ns)
        packet.clock_snapshot.clocks.add(
            clock_id=_OWN_CLOCK, timestamp=start_ns, is_incremental=True
        )
        return packet

    def _write_slices(self, track: SliceTrack, uuid: int) -> None:
        if not len(track):
            return
        start_ns = int(track.start_ns[0]) + self._shift_ns
        packet = self._first_packet(uuid, start_ns)
        strings = _Strings(packet.interned_data)
        begins = self._begins(track, uuid, strings)
        self._builder.write_packet(packet)
        end = self._builder.create_packet()
        end.trusted_packet_sequence_id = uuid
        end.sequence_flags = _NEEDED
        end.track_event.type = _END
        now_ns = int(track.start_ns[0])
        for time_ns, is_begin in _edges(track):
            out = next(begins) if is_begin else end
            out.timestamp = time_ns - now_ns
            now_ns = time_ns
            self._builder.write_packet(out)

    def _begins(self, track: SliceTrack, uuid: int, strings: _Strings) -> Iterator[Any]:
        """Return the packets that begin the slices; all strings are interned at once."""
        names = strings.names(track.label, slice_names(track))
        categories = strings.categories(track)
        details = [strings.detail(name, column) for name, column in track.details.items()]
        flows = self._flows_by_slice(track)
        create = self._builder.create_packet

        def packets() -> Iterator[Any]:
            columns = [names, categories, *(values for _, values in details)]
            for at, (name, category, *parts) in enumerate(_rows(columns)):
                packet = create()
                packet.trusted_packet_sequence_id = uuid
                packet.sequence_flags = _NEEDED
                event = packet.track_event
                event.type = _BEGIN
                if name:
                    event.name_iid = name
                event.category_iids.append(category)
                for (key, _), part in zip(details, parts, strict=True):
                    if part != NOTHING:
                        event.debug_annotations.add(name_iid=key[0], **{key[1]: part})
                if at in flows:
                    event.flow_ids.extend(flows[at])
                yield packet

        return packets()

    def _flows_by_slice(self, track: SliceTrack) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        if track.flows is not None:
            for number, at in zip(track.flows.id.tolist(), track.flows.slice.tolist(), strict=True):
                found.setdefault(at, []).append(self._first_flow + number)
                self._flows = max(self._flows, number)
        return found

    def _write_values(self, counter: CounterTrack, uuid: int) -> None:
        if not len(counter):
            return
        now_ns = int(counter.time_ns[0])
        self._builder.write_packet(self._first_packet(uuid, now_ns + self._shift_ns))
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = uuid
        packet.sequence_flags = _NEEDED
        packet.track_event.type = _COUNTER
        for time_ns, value in zip(counter.time_ns.tolist(), counter.value.tolist(), strict=True):
            packet.timestamp = time_ns - now_ns
            now_ns = time_ns
            packet.track_event.double_counter_value = value
            self._builder.write_packet(packet)


class _Strings:
    """Interns the texts of one sequence; ids start at 1."""

    def __init__(self, interned: Any) -> None:
        self._interned = interned
        self._values: dict[str, int] = {}
        self._keys = 0

    def names(self, column: Texts, names: list[str]) -> IntArray:
        """Return the id of each row's name, 0 for none."""
        used, code = np.unique(column.code, return_inverse=True)
        for number, at in enumerate(used.tolist(), start=1):
            if at >= 0:
                self._interned.event_names.add(iid=number, name=encodable(names[at]))
        ids = np.where(used >= 0, np.arange(1, len(used) + 1), 0)
        return ids[code]

    def categories(self, track: SliceTrack) -> IntArray:
        """Return the id of each row's category."""
        texts = (OWN_CATEGORY,) if track.category is None else track.category.texts
        for number, text in enumerate(texts, start=1):
            self._interned.event_categories.add(iid=number, name=text)
        if track.category is None:
            return np.ones(len(track), np.int64)
        return track.category.code.astype(np.int64) + 1

    def detail(self, name: str, column: Column) -> tuple[tuple[int, str], IntArray]:
        """Return a detail's id and the field of its values, and a value for each row.

        What is missing is `NOTHING`, which no trace holds.
        """
        self._keys += 1
        self._interned.debug_annotation_names.add(iid=self._keys, name=name)
        if isinstance(column, Numbers):
            known = True if column.known is None else column.known
            return (self._keys, "int_value"), np.where(known, column.value, NOTHING)
        used, code = np.unique(column.code, return_inverse=True)
        ids = [self._text(column.texts[at]) if at >= 0 else NOTHING for at in used.tolist()]
        return (self._keys, "string_value_iid"), np.array(ids, np.int64)[code]

    def _text(self, text: str) -> int:
        number = self._values.get(text)
        if number is None:
            number = self._values[text] = len(self._values) + 1
            self._interned.debug_annotation_string_values.add(
                iid=number, str=encodable(text).encode()
            )
        return number


def _rows(columns: list[IntArray]) -> Iterator[tuple[int, ...]]:
    """Yield the rows of columns, of which few are Python's integers at a time."""
    for low in range(0, len(columns[0]), _PART):
        yield from zip(*(column[low : low + _PART].tolist() for column in columns), strict=True)


def _edges(track: SliceTrack) -> Iterator[tuple[int, bool]]:
    """Yield begin and end of nested slices in the order of time; begins in the order of rows."""
    open_until: list[int] = []
    for start_ns, dur_ns in zip(track.start_ns.tolist(), track.dur_ns.tolist(), strict=True):
        while open_until and open_until[-1] <= start_ns:
            yield open_until.pop(), False
        open_until.append(start_ns + dur_ns)
        yield start_ns, True
    while open_until:
        yield open_until.pop(), False
