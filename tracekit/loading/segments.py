"""Reads single stretches of a file's event list, so that several workers can share one file.

A segment is the events that start within a fixed number of bytes. Where one begins is found by
looking for the text that separates two events in this file; both neighbours look in the same
place. That all text up to there parses as events proves that the place was no accident; where a
stretch does not parse, the whole file is read from start to end instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tracekit.loading.columns import Columns
from tracekit.loading.options import LoadOptions
from tracekit.loading.reader import EventReader
from tracekit.loading.source import ByteSource


class NotParallelError(Exception):
    """The file cannot be read in segments; reading it from start to end will do."""


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """How the event list of a file is divided.

    `list_start` is the offset of the first event in the decompressed bytes, `separator` the text
    from the end of one event into the next, of which `gap_bytes` belong to neither.
    """

    path: str
    list_start: int
    is_object: bool
    separator: bytes
    gap_bytes: int
    segment_bytes: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What the worker that reached the end of the file knows."""

    truncated: bool
    metadata: dict[str, Any]
    size_bytes: int
    damage: str | None


def read_segments(
    plan: SegmentPlan, columns: Columns, options: LoadOptions, take: Callable[[], int | None]
) -> Ending | None:
    """Read the segments that `take` hands out, in growing order, until there are no more.

    Returns the ending if this worker came to it.

    Raises
    ------
    NotParallelError
        Something does not parse, or is not divided as the first events are.
    """
    source = ByteSource(plan.path, options.window_bytes, options.limits)
    with closing(source.chunks()) as chunks:
        reader = _SegmentReader(plan, columns, options, _ForwardBytes(source, chunks))
        while (segment := take()) is not None:
            columns.segment = segment
            if not reader.read(segment):
                break
    return reader.ending


class _SegmentReader:
    def __init__(
        self, plan: SegmentPlan, columns: Columns, options: LoadOptions, forward: _ForwardBytes
    ) -> None:
        self.ending: Ending | None = None
        self._plan = plan
        self._limits = options.limits
        self._bytes = forward
        self._events = EventReader(columns, options, is_object=plan.is_object)

    def read(self, segment: int) -> bool:
        """Read one segment; return whether the file may go on after it."""
        plan = self._plan
        low = plan.list_start + segment * plan.segment_bytes
        high = low + plan.segment_bytes
        self._bytes.seek(low)
        if segment == 0:
            return self._read_events(b"", low, high)
        found = self._find_start(low)
        if found is None:
            return False
        at, rest = found
        if at >= high:
            self._bytes.unread(rest)
            return True
        return self._read_events(rest, at, high)

    def _find_start(self, low: int) -> tuple[int, bytes] | None:
        """Return the offset of the first separator from `low` on, and what was read from it."""
        # The segment before may have looked beyond `low` already, and found nothing there.
        separator, rest, base = self._plan.separator, b"", self._bytes.offset
        while chunk := self._bytes.read():
            rest += chunk
            position = rest.find(separator)
            if position >= 0:
                return base + position, rest[position:]
            kept = min(len(rest), len(separator) - 1)
            base += len(rest) - kept
            rest = rest[len(rest) - kept :]
            self._check_stretch(base - low)
        return None

    def _read_events(self, rest: bytes, base: int, high: int) -> bool:
        """Read events up to the first separator at or after `high`.

        `rest` stands at `base`; it starts with a separator, or with the first event of the list.
        """
        separator, gap = self._plan.separator, self._plan.gap_bytes
        skip = gap if rest else 0
        scanned = skip
        while True:
            if base + len(rest) > high:
                stop = rest.find(separator, max(high - base, scanned))
                if stop >= 0:
                    self._decode(rest[skip : stop + 1])
                    self._bytes.unread(rest[high - base :])
                    return True
            else:
                cut = rest.rfind(separator, scanned)
                if cut >= 0:
                    self._decode(rest[skip : cut + 1])
                    base += cut
                    rest, skip = rest[cut:], gap
            scanned = max(skip, len(rest) - len(separator) + 1)
            self._check_stretch(len(rest))
            chunk = self._bytes.read()
            if not chunk:
                self._finish(rest[skip:])
                return False
            rest += chunk

    def _check_stretch(self, stretch_bytes: int) -> None:
        """Give up where the separator does not come for longer than an event may be.

        It may be an event that is too long, or another program that went on writing: only who reads
        from start to end can tell.
        """
        if stretch_bytes > self._limits.max_event_bytes:
            raise NotParallelError

    def _decode(self, events_text: bytes) -> None:
        if not self._events.decode(events_text):
            raise NotParallelError

    def _finish(self, rest: bytes) -> None:
        self._events.read_last(rest)
        if self._events.has_damage:
            raise NotParallelError
        damage = self._bytes.source.damage
        self.ending = Ending(
            truncated=self._events.truncated or damage is not None,
            metadata=self._events.metadata,
            size_bytes=self._bytes.offset,
            damage=damage,
        )


class _ForwardBytes:
    """The decompressed bytes of a file, read forward from any offset on."""

    def __init__(self, source: ByteSource, chunks: Iterator[bytes]) -> None:
        self.offset = 0
        self.source = source
        self._chunks = chunks
        self._held = b""

    def read(self) -> bytes:
        """Return the next bytes, none at the end."""
        data = self._held or next(self._chunks, b"")
        self._held = b""
        self.offset += len(data)
        return data

    def unread(self, data: bytes) -> None:
        """Put bytes that were read back in front."""
        self._held = data + self._held
        self.offset -= len(data)

    def seek(self, offset: int) -> None:
        """Go forward to an offset, or to the end of the file."""
        if self.offset == 0 and not self._held:
            # The source opens its file with the first read.
            self.unread(self.read())
        if offset > self.offset + len(self._held) and self.source.skip_to(offset):
            self._held = b""
            self.offset = offset
        while offset > self.offset:
            data = self.read()
            if not data:
                return
            if self.offset > offset:
                self.unread(data[len(data) - (self.offset - offset) :])
