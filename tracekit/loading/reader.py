"""Reads the event list of a file from its start to its end, whatever state it is in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tracekit.loading import envelope
from tracekit.loading.columns import Columns
from tracekit.loading.events import decode_events
from tracekit.loading.options import LoadOptions
from tracekit.loading.salvage import Salvager

SPACE: Final = b" \t\r\n"
_MAX_BRACES: Final = 4096
_LOOK_BACK_BYTES: Final = 256


class EventReader:
    """Takes in the events of one stretch of a file that starts at an event.

    Afterwards `truncated` says whether the event list ends before it is closed, and `metadata`
    holds what follows it; `has_damage` says that what `read_last` saw is broken inside.
    """

    def __init__(self, columns: Columns, options: LoadOptions, *, is_object: bool) -> None:
        self.truncated = False
        self.has_damage = False
        self.metadata: dict[str, Any] = {}
        self._columns = columns
        self._limits = options.limits
        self._is_object = is_object
        self._salvager = Salvager(columns.add)

    def read(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        """Read all events; `rest` is what has been read of them before `chunks`."""
        scanned = 0
        while True:
            cut = last_cut(rest, scanned)
            scanned = len(rest)
            if cut is not None and not self.decode(rest[:cut]):
                if self._end_inside(rest, chunks):
                    return
                cut = self._salvager.take(rest[:cut], tail="keep")
            if cut:
                rest = after_comma(rest[cut:])
                scanned = 0
            self._limits.check_event(len(rest))
            chunk = next(chunks, b"")
            if not chunk:
                break
            rest += chunk
        self.read_last(rest)

    def read_nothing(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        """Read what follows an event list without elements."""
        rest += gather(chunks, self._limits.max_event_bytes)
        ending = envelope.empty_list_ending(rest, self._is_object)
        self.truncated, self.metadata = not ending.complete, ending.metadata

    def read_last(self, rest: bytes) -> None:
        """Read what follows the last sure cut of a file, up to its end."""
        ending = envelope.find_ending(rest, self._is_object)
        if ending is not None:
            last = rest[: ending.offset]
            if not self.decode(last):
                self.has_damage = True
                self._salvager.take(last, tail="count")
            self.truncated = not ending.complete
            self.metadata = ending.metadata
        else:
            self.truncated = True
            if not self._decode_up_to_ending(rest):
                self._salvager.take(rest, tail="cut")
                self.has_damage = self.has_damage or self._salvager.broken > 0

    def decode(self, events_text: bytes) -> bool:
        """Take in events, and return whether their text could be parsed."""
        try:
            events = decode_events(b"[" + events_text + b"]")
        except msgspec.DecodeError:
            return False
        self._limits.check_nesting(events_text)
        self._columns.add(events)
        return True

    def count_broken(self) -> None:
        """Count the pieces that were no event as left out."""
        broken = self._salvager.broken
        if broken:
            why = "their text is broken and cannot be parsed"
            self._columns.leave_out("damaged events", why, broken)
            self._columns.events += broken

    def _decode_up_to_ending(self, rest: bytes) -> int:
        """Decode events that end where the list may end; return their length, or 0."""
        for offset in envelope.possible_endings(rest, self._is_object):
            if self.decode(rest[:offset]):
                return offset
        return 0

    def _end_inside(self, rest: bytes, chunks: Iterator[bytes]) -> bool:
        """Whether the event list ends within these bytes; if so, read what follows it."""
        offset = self._decode_up_to_ending(rest)
        if offset:
            after = rest[offset:] + gather(chunks, self._limits.max_event_bytes)
            metadata = envelope.metadata_after(after, self._is_object)
            self.truncated = metadata is None
            self.metadata = metadata or {}
        return bool(offset)


def gather(chunks: Iterator[bytes], most_bytes: int) -> bytes:
    """Return the rest of a file, as far as it may be metadata."""
    gathered = bytearray()
    for chunk in chunks:
        gathered += chunk
        if len(gathered) > most_bytes:
            break
    return bytes(gathered)


def last_cut(text: bytes, scanned: int = 0) -> int | None:
    """Return where the last event of a text surely ends: after `}` of `},` before `{`.

    `scanned` is how much of the text is known to hold no such place.
    """
    start, end = max(0, scanned - _LOOK_BACK_BYTES), len(text)
    for _ in range(_MAX_BRACES):
        brace = text.rfind(b"{", start, end)
        if brace <= 0:
            break
        low = max(0, brace - _LOOK_BACK_BYTES)
        before = text[low:brace].rstrip(SPACE)
        if before.endswith(b","):
            closed = before[:-1].rstrip(SPACE)
            if closed.endswith(b"}"):
                return low + len(closed)
        end = brace
    return None


def after_comma(text: bytes) -> bytes:
    """Return a text without the comma that separates it from what stood before."""
    return text.lstrip(SPACE + b",")
