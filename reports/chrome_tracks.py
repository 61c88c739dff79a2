"""Tracks as events of the Trace Event Format, which Perfetto and chrome://tracing read.

Events carry the category `tracekit`. Each group of tracks is a process, each track of slices a
thread of it, each counter a counter of it. Times have three decimals, as Kineto writes them, and
are made of the integers: no float ever holds a point in time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np

from tracekit.errors import InputError
from tracekit.reports.track_names import CNAME_OF, encodable, slice_names
from tracekit.track_results import (
    CATEGORY,
    OWN_CATEGORY,
    Column,
    CounterTrack,
    Numbers,
    SliceTrack,
    Texts,
    TrackGroup,
)

_BATCH: Final = 4096
_PART: Final = 65_536
"""Rows whose texts are in memory at a time."""
_BETWEEN: Final = ",\n"
_MARK: Final = f'"cat":"{OWN_CATEGORY}"'
_FIRST_PLACE: Final = -1_000_000
"""Sort index of the first group: above the processes of the file, whose indices start at 0."""


def events(groups: Sequence[TrackGroup], ids: Iterator[int]) -> Iterator[bytes]:
    """Yield pieces of JSON: events with commas between them, to be joined with commas.

    `ids` are free process and thread ids of the file.

    Raises
    ------
    InputError
        There are more tracks than free ids.
    """
    for place, group in enumerate(groups):
        pid = _next(ids)
        yield _joined(_process(group, pid, _FIRST_PLACE + place))
        for number, track in enumerate(group.slices):
            tid = _next(ids)
            yield _joined(_thread(track, pid, tid, number))
            head = f'{_MARK},"pid":{pid},"tid":{tid}'
            for low in range(0, len(track), _PART):
                yield from _batches(_slices(track.part(slice(low, low + _PART)), head))
        for counter in group.counters:
            yield from _batches(_values(counter, f'{_MARK},"pid":{pid},"tid":{pid}'))


def document(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a file that holds these events alone."""
    yield b'{"displayTimeUnit":"ms","traceEvents":[\n'
    for at, piece in enumerate(pieces):
        yield _BETWEEN.encode() + piece if at else piece
    yield b"\n]}\n"


def time_text(time_ns: int) -> str:
    """Return ns as µs with three decimals."""
    whole, rest = divmod(abs(time_ns), 1000)
    return f"{'-' if time_ns < 0 else ''}{whole}.{rest:03d}"


def _process(group: TrackGroup, pid: int, place: int) -> list[str]:
    name = _text(f"tracekit: {group.name}")
    head = f'{{"ph":"M",{_MARK},"ts":0,"pid":{pid},"tid":{pid}'
    return [
        f'{head},"name":"process_name","args":{{"name":{name}}}}}',
        f'{head},"name":"process_sort_index","args":{{"sort_index":{place}}}}}',
    ]


def _thread(track: SliceTrack, pid: int, tid: int, place: int) -> list[str]:
    head = f'{{"ph":"M",{_MARK},"ts":0,"pid":{pid},"tid":{tid}'
    return [
        f'{head},"name":"thread_name","args":{{"name":{_text(track.name)}}}}}',
        f'{head},"name":"thread_sort_index","args":{{"sort_index":{place}}}}}',
    ]


def _slices(track: SliceTrack, head: str) -> Iterator[str]:
    labels = [f'"name":{_text(name)}' for name in slice_names(track)]
    if track.kind == CATEGORY:
        labels = [
            f'{label},"cname":"{CNAME_OF[slug]}"'
            for label, slug in zip(labels, track.label.texts, strict=True)
        ]
    details = [_fragments(name, column) for name, column in track.details.items()]
    for code, start_ns, dur_ns, *parts in zip(
        track.label.code.tolist(),
        track.start_ns.tolist(),
        track.dur_ns.tolist(),
        *details,
        strict=True,
    ):
        known = ",".join(filter(None, parts))
        yield (
            f'{{"ph":"X",{head},{labels[code]},"ts":{time_text(start_ns)},'
            f'"dur":{time_text(dur_ns)},"args":{{{known}}}}}'
        )


def _fragments(name: str, column: Column) -> list[str]:
    """Return a field of JSON for each row, empty where there is nothing."""
    key = _text(name)
    if isinstance(column, Numbers):
        values = column.value.tolist()
        if column.known is None:
            return [f"{key}:{value}" for value in values]
        pairs = zip(values, column.known.tolist(), strict=True)
        return [f"{key}:{value}" if known else "" for value, known in pairs]
    return _text_fragments(key, column)


def _text_fragments(key: str, column: Texts) -> list[str]:
    used, code = np.unique(column.code, return_inverse=True)
    texts = [f"{key}:{_text(column.texts[at])}" if at >= 0 else "" for at in used.tolist()]
    return [texts[at] for at in code.tolist()]


def _values(counter: CounterTrack, head: str) -> Iterator[str]:
    name, unit = _text(counter.name), _text(counter.unit)
    for time_ns, value in zip(counter.time_ns.tolist(), counter.value.tolist(), strict=True):
        yield (
            f'{{"ph":"C",{head},"name":{name},"ts":{time_text(time_ns)},'
            f'"args":{{{unit}:{value:.9g}}}}}'
        )


def _batches(lines: Iterator[str]) -> Iterator[bytes]:
    while batch := list(islice(lines, _BATCH)):
        yield _joined(batch)


def _joined(lines: list[str]) -> bytes:
    return _BETWEEN.join(lines).encode()


def _text(text: str) -> str:
    return json.dumps(encodable(text))


def _next(ids: Iterator[int]) -> int:
    found = next(ids, None)
    if found is None:
        raise InputError("the trace has too many tracks for the ids that are left")
    return found
