"""Copies a trace with events added to its event list; what was in it stays as it is.

The text of every event, and what stands between and around them, is passed on byte for byte. Left
out are the events that were added before, what is damaged beyond reading, and an event that the end
of the file cuts short: with those in it the copy would be no JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import Raw

from tracekit.labels import OWN_CATEGORY
from tracekit.loading import envelope
from tracekit.loading.opening import open_events
from tracekit.loading.options import LoadOptions
from tracekit.loading.reader import after_comma, gather, last_cut
from tracekit.loading.salvage import Salvager, Tail
from tracekit.loading.source import ByteSource

Write = Callable[[bytes], object]
FIRST_ID: Final = 2_100_000_000
"""Process and thread ids for what is added are looked for from here to `LAST_ID`."""
LAST_ID: Final = FIRST_ID + 99_999
_IDS: Final = re.compile(rb'[pt]id"\s*:\s*"?(21000\d{5})(?!\d)')
_OWN_TEXT: Final = f'"{OWN_CATEGORY}"'.encode()
_BETWEEN: Final = b",\n"


class _Marked(msgspec.Struct):
    cat: Any = None


_decode_raws: Final = msgspec.json.Decoder(list[Raw]).decode
_decode_mark: Final = msgspec.json.Decoder(_Marked).decode


@dataclass(frozen=True, slots=True)
class CopiedTrace:
    """What became of a trace's events: how many earlier additions and broken pieces are left out.

    `truncated` says that the file ends before its event list, or what follows it, does.
    """

    replaced: int
    broken: int
    truncated: bool


def copy_trace(
    path: str,
    write: Write,
    added: Callable[[frozenset[int]], Iterable[bytes]],
    options: LoadOptions | None = None,
) -> CopiedTrace:
    """Copy a trace, decompressed, and add events at the end of its event list.

    `added` is given the ids from `FIRST_ID` to `LAST_ID` that events of the file have as process
    or thread, and gives the text of the events to add, with commas between events but neither
    before nor after any piece. Memory is a few windows.

    Raises
    ------
    InputError
        The file cannot be read, or is no trace.
    LimitExceededError
        It is larger than `options.limits` allow.
    """
    return _Copy(path, write, options or LoadOptions()).run(added)


class _Copy:
    def __init__(self, path: str, write: Write, options: LoadOptions) -> None:
        self._source = ByteSource(path, options.window_bytes, options.limits)
        self._limits = options.limits
        self._write = write
        self._salvager = _TextSalvager(self._put)
        self._ids: set[int] = set()
        self._gap = b""
        self._has_events = False
        self._replaced = 0
        self._is_object = True
        self._tail: bytes | None = None

    def run(self, added: Callable[[frozenset[int]], Iterable[bytes]]) -> CopiedTrace:
        with closing(self._source.chunks()) as chunks:
            recorded = _Recorded(chunks)
            opening, rest = open_events(self._source, recorded.chunks(), self._limits)
            self._is_object = opening.is_object
            self._write(recorded.stop()[: opening.offset])
            if envelope.starts_empty_list(rest):
                self._end(rest, chunks)
            else:
                self._copy_events(rest, chunks)
            for piece in added(frozenset(self._ids)):
                self._write(_BETWEEN + piece if self._has_events else piece)
                self._has_events = True
            closes = b"\n]}" if self._is_object else b"\n]"
            self._write(closes if self._tail is None else _without_comma(self._tail))
            for chunk in chunks:
                self._write(chunk)
        return CopiedTrace(self._replaced, self._salvager.broken, self._tail is None)

    def _copy_events(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        """Copy the events up to the end of the list; `EventReader.read` is its model."""
        scanned = 0
        while True:
            cut = last_cut(rest, scanned)
            scanned = len(rest)
            if cut is not None and not self._take(rest[:cut]):
                if self._end_inside(rest, chunks):
                    return
                cut = self._salvage(rest[:cut], tail="keep")
            if cut:
                rest = self._after_gap(rest[cut:])
                scanned = 0
            self._limits.check_event(len(rest))
            chunk = next(chunks, b"")
            if not chunk:
                break
            rest += chunk
        self._copy_last(rest)

    def _copy_last(self, rest: bytes) -> None:
        ending = envelope.find_ending(rest, self._is_object)
        if ending is not None and self._take(rest[: ending.offset]):
            self._tail = rest[ending.offset :]
        elif self._end_inside(rest, iter(())):
            return
        elif ending is not None:
            self._salvage(rest[: ending.offset], tail="count")
            self._tail = rest[ending.offset :]
        else:
            self._salvage(rest, tail="cut")

    def _end_inside(self, rest: bytes, chunks: Iterator[bytes]) -> bool:
        """Whether the event list ends within these bytes; if so, keep what follows it."""
        offset = self._take_up_to_ending(rest)
        if offset:
            self._end(rest[offset:], chunks)
        return bool(offset)

    def _take_up_to_ending(self, rest: bytes) -> int:
        endings = envelope.possible_endings(rest, self._is_object)
        return next((offset for offset in endings if self._take(rest[:offset])), 0)

    def _end(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        """Keep what follows the list, unless it is cut short."""
        rest += gather(chunks, self._limits.max_event_bytes)
        is_long = len(rest) > self._limits.max_event_bytes
        if is_long or envelope.metadata_after(rest, self._is_object) is not None:
            self._tail = rest

    def _take(self, text: bytes) -> bool:
        """Copy events separated by commas; false where the text is none."""
        try:
            raws = _decode_raws(b"[" + text + b"]")
        except (msgspec.DecodeError, RecursionError):
            return False
        if _OWN_TEXT in text:
            self._put_others(text, raws)
        else:
            self._put(text)
        return True

    def _put_others(self, text: bytes, raws: list[Raw]) -> None:
        """Copy the events that are not ours, each with what separates it from the one before."""
        position = 0
        for raw in raws:
            event = bytes(raw)
            start = text.index(event, position)
            if position:
                self._gap = text[position:start]
            position = start + len(event)
            if _is_own(event):
                self._replaced += 1
            else:
                self._put(event)

    def _put(self, text: bytes) -> None:
        self._ids.update(map(int, _IDS.findall(text)))
        self._write((self._gap or _BETWEEN) + text if self._has_events else text)
        self._has_events, self._gap = True, b""

    def _salvage(self, stretch: bytes, *, tail: Tail) -> int:
        return self._salvager.take(stretch, tail=tail)

    def _after_gap(self, text: bytes) -> bytes:
        rest = after_comma(text)
        self._gap = text[: len(text) - len(rest)]
        return rest


class _TextSalvager(Salvager):
    """Keeps the text of the events that are whole, and not what they say."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        super().__init__(lambda _: None)
        self._put = put

    def _take_mended(self, texts: list[bytes]) -> None:
        for text in texts:
            self._put_unless_own(text)

    def _accept(self, events_text: bytes) -> bool:
        text = events_text.strip(b" \t\r\n,")
        try:
            raws = _decode_raws(b"[" + text + b"]")
        except (msgspec.DecodeError, RecursionError):
            return False
        if _OWN_TEXT in text:
            for raw in raws:
                self._put_unless_own(bytes(raw))
        elif text:
            self._put(text)
        return True

    def _put_unless_own(self, event: bytes) -> None:
        if not _is_own(event):
            self._put(event)


class _Recorded:
    """Chunks of bytes that are kept until they have been looked at."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._kept = bytearray()

    def chunks(self) -> Generator[bytes]:
        for chunk in self._chunks:
            self._kept += chunk
            yield chunk

    def stop(self) -> bytes:
        return bytes(self._kept)


def _without_comma(tail: bytes) -> bytes:
    """Return what follows the events without the comma that no JSON has there."""
    rest = after_comma(tail)
    return rest if b"," in tail[: len(tail) - len(rest)] else tail


def _is_own(event: bytes) -> bool:
    try:
        return bool(_decode_mark(event).cat == OWN_CATEGORY)
    except msgspec.DecodeError:
        return False
