"""Reads what can be read of a stretch of events that does not parse as a whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from msgspec import Raw

from tracekit.loading.envelope import mended_text
from tracekit.loading.events import Event, decode_events

_BETWEEN_EVENTS: Final = re.compile(rb"\}(\s*,\s*)\{")
_SPACE_AND_COMMA: Final = b" \t\r\n,"
_BETWEEN: Final = " \t\r\n,"
_MAX_JOINED: Final = 64
_MAX_FAILED_JOINS: Final = 4096
_MAX_MENDED: Final = 10_000

EventSink = Callable[[list[Event]], None]
Tail = Literal["keep", "cut", "count"]


class Salvager:
    """Takes in broken stretches of the event list and keeps every event that is whole.

    `broken` counts the pieces that were no event, over all stretches.
    """

    def __init__(self, sink: EventSink) -> None:
        self.broken = 0
        self._sink = sink
        self._joins_left = _MAX_FAILED_JOINS

    def take(self, stretch: bytes, *, tail: Tail) -> int:
        """Read a stretch that starts at an event, and return how many bytes were used.

        `tail` says what a broken piece at the very end is: `keep` leaves it unused, since the
        next bytes may complete it; `cut` is an event cut short by the end of the file, which is
        not counted; `count` is broken as any other.
        """
        starts, ends = _pieces(stretch)
        row, size = 0, len(starts)
        while row < len(starts):
            size = min(size, len(starts) - row)
            if self._accept(stretch[starts[row] : ends[row + size - 1]]):
                row += size
                size *= 2
            elif size > 1:
                size //= 2
            elif joined := self._join(stretch, starts, ends, row):
                row += joined
            elif tail == "keep" and row + _MAX_JOINED >= len(starts):
                return starts[row]
            else:
                self._take_piece(stretch[starts[row] : ends[row]], tail, row + 1 == len(starts))
                row += 1
        return len(stretch)

    def _join(self, stretch: bytes, starts: list[int], ends: list[int], row: int) -> int:
        """Read one event that nested objects cut into pieces; return how many, or 0."""
        for stop in range(row + 1, min(len(starts), row + _MAX_JOINED)):
            if self._joins_left <= 0:
                break
            if self._accept(stretch[starts[row] : ends[stop]]):
                return stop + 1 - row
            self._joins_left -= 1
        return 0

    def _take_piece(self, piece: bytes, tail: Tail, is_last: bool) -> None:
        texts, has_rest = _mend(piece)
        self._take_mended(texts)
        if has_rest and not (is_last and tail == "cut"):
            self.broken += 1

    def _take_mended(self, texts: list[bytes]) -> None:
        self._sink([event for text in texts for event in decode_events(b"[" + text + b"]")])

    def _accept(self, events_text: bytes) -> bool:
        try:
            events = decode_events(b"[" + events_text.strip(_SPACE_AND_COMMA) + b"]")
        except msgspec.DecodeError:
            return False
        self._sink(events)
        return True


def _pieces(stretch: bytes) -> tuple[list[int], list[int]]:
    """Return where each piece between `},` and `{` starts and ends."""
    starts, ends = [0], []
    for match in _BETWEEN_EVENTS.finditer(stretch):
        ends.append(match.start() + 1)
        starts.append(match.end() - 1)
    ends.append(len(stretch))
    return starts, ends


def _mend(piece: bytes) -> tuple[list[bytes], bool]:
    """Return the whole events at the start of a piece, and whether anything is left after them.

    The piece need not be strict JSON: NaN, control bytes, bad UTF-8 and missing commas are mended.
    """
    text = mended_text(piece).rstrip(_BETWEEN)
    texts: list[bytes] = []
    at = _skip(text, 0)
    while text.startswith("{", at) and len(texts) < _MAX_MENDED:
        try:
            fields, end = _DECODER.raw_decode(text, at)
            texts.append(msgspec.json.encode(fields, enc_hook=_digits_back))
        except (ValueError, OverflowError, RecursionError):
            break
        at = _skip(text, end)
    return texts, at < len(text)


def _skip(text: str, at: int) -> int:
    """Return the position of the next character that may start an event."""
    while at < len(text) and text[at] in _BETWEEN:
        at += 1
    return at


class _Digits:
    """A JSON float that keeps its digits."""

    def __init__(self, text: str) -> None:
        self.text = text


_DECODER: Final = json.JSONDecoder(strict=False, parse_float=_Digits)


def _digits_back(value: Any) -> Raw:
    return Raw(value.text.encode())
