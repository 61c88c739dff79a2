"""Finds where the event list of a trace starts and ends, and reads what stands around it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec

_EVENTS_KEY: Final = re.compile(rb'"traceEvents"\s*:\s*\[')
_BARE_NUMBERS: Final = re.compile(r"([:\[,]\s*)(-?(?:nan|inf)(?:inity)?)\b", re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = b" \t\r\n"
_MAX_END_TRIES: Final = 256
_MAX_KEY_TRIES: Final = 64
_MAX_MENDED_TRIES: Final = 4
_KEY_BYTES: Final = 256

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Opening:
    """Where the first event would stand, and what the file says before it.

    `is_object` tells `{"traceEvents": [...]}` from a bare array.
    """

    offset: int
    is_object: bool
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ending:
    """Where the last event ends, and what the file says after the list.

    `complete` is false when the file is cut in what follows the list.
    """

    offset: int
    metadata: dict[str, Any]
    complete: bool


def find_opening(head: bytes, scanned: int = 0) -> Opening | None:
    """Return the start of the event list, null when `head` does not reach it.

    `scanned` is how much of `head` is known to hold no such start. Of many places that look like
    one, only the first 64 are tried.
    """
    text = head.removeprefix(_BOM)
    shift = len(head) - len(text)
    stripped = text.lstrip(_SPACE)
    if stripped.startswith(b"["):
        return Opening(len(head) - len(stripped) + 1, is_object=False, metadata={})
    start = max(0, scanned - _KEY_BYTES)
    matches = list(islice(_EVENTS_KEY.finditer(text, start), _MAX_KEY_TRIES))
    for read, tries in ((_object, _MAX_KEY_TRIES), (_mended_object, _MAX_MENDED_TRIES)):
        for match in matches[:tries]:
            metadata = read(text[: match.start()] + b'"traceEvents":[]}')
            if metadata is not None:
                metadata.pop("traceEvents")
                return Opening(shift + match.end(), is_object=True, metadata=metadata)
    return None


def starts_empty_list(tail: bytes) -> bool:
    """Whether the event list ends before its first element."""
    return tail.lstrip(_SPACE).startswith(b"]")


def empty_list_ending(tail: bytes, is_object: bool) -> Ending:
    """Return the ending of a list without elements."""
    offset = tail.index(b"]")
    metadata = _after_list(tail[offset + 1 :], is_object)
    return Ending(0, metadata or {}, complete=metadata is not None)


def find_ending(tail: bytes, is_object: bool) -> Ending | None:
    """Return the end of the event list in the last bytes of a file, null when it is cut before.

    What follows the list must be the rest of a whole JSON object (or nothing, for a bare array).
    Of the brackets of which that is true the first one closes the list: the others close lists in
    what follows it, and behind a bracket inside an event no rest of an object is whole.
    """
    brackets = list(islice(_brackets_backwards(tail), _MAX_END_TRIES))
    for read, tries in ((_object, _MAX_END_TRIES), (_mended_object, _MAX_MENDED_TRIES)):
        ending = None
        for bracket in brackets[:tries]:
            metadata = _after_list(tail[bracket + 1 :], is_object, read)
            if metadata is not None:
                ending = Ending(_last_character(tail, bracket) + 1, metadata, complete=True)
        if ending is not None:
            return ending
    return None


def possible_endings(piece: bytes, is_object: bool) -> Iterator[int]:
    """Yield the offsets at which the event list may end inside a piece, last one first."""
    for bracket in islice(_objects_backwards(piece), _MAX_END_TRIES):
        rest = piece[bracket + 1 : bracket + 65].lstrip(_SPACE)
        if not is_object or rest[:1] in (b"", b",", b"}"):
            yield _last_character(piece, bracket) + 1


def metadata_after(rest: bytes, is_object: bool) -> dict[str, Any] | None:
    """Return the fields that follow the end of the list, null when they are cut or broken."""
    return _after_list(rest[rest.index(b"]") + 1 :], is_object)


Reading = Callable[[bytes], dict[str, Any] | None]


def _after_list(rest: bytes, is_object: bool, read: Reading | None = None) -> dict[str, Any] | None:
    rest = rest.strip(_SPACE + b"\0")
    if not is_object:
        return {} if not rest else None
    if rest == b"}":
        return {}
    return (read or _object)(b"{" + rest[1:]) if rest.startswith(b",") else None


def _object(text: bytes) -> dict[str, Any] | None:
    try:
        return _decode_object(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _mended_object(text: bytes) -> dict[str, Any] | None:
    """Read an object that is not strict JSON: NaN, huge numbers, bad UTF-8."""
    try:
        value = json.loads(mended_text(text), strict=False)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def mended_text(text: bytes) -> str:
    """Return a text in which what strict JSON forbids is replaced: control bytes, bare NaN."""
    readable = _CONTROL.sub(" ", text.decode("utf-8", "replace"))
    return _BARE_NUMBERS.sub(r"\1null", readable)


def _brackets_backwards(text: bytes) -> Iterator[int]:
    end = len(text)
    while (end := text.rfind(b"]", 0, end)) >= 0:
        yield end


def _objects_backwards(text: bytes) -> Iterator[int]:
    """Yield the brackets that close a list of objects, last one first."""
    for bracket in _brackets_backwards(text):
        brace = _last_character(text, bracket)
        if brace >= 0 and text[brace : brace + 1] == b"}":
            yield bracket


def _last_character(text: bytes, end: int) -> int:
    """Return the position of the last character before `end` that is no space and no comma."""
    position = end - 1
    while position >= 0 and text[position] in b" \t\r\n,":
        position -= 1
    return position
