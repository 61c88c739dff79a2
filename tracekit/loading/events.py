"""The typed form of one trace event: the fields that tracekit reads, and no others.

What is not listed here is skipped by the parser without building a Python object. Scalars that
writers type loosely are `Any` and checked by column; timestamps stay text until they become int64.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from tracekit.trace import NULL

_NO_TEXT: Final = Raw(b"")


class EventArgs(msgspec.Struct, gc=False):
    """The `args` of an event, by Kineto's names (libkineto, `output_json.cpp`)."""

    correlation: Any = NULL
    device: Any = NULL
    stream: Any = NULL
    size_bytes: Any = msgspec.field(name="bytes", default=NULL)
    graph_node: Any = msgspec.field(name="graph node id", default=NULL)
    grid: Raw = _NO_TEXT
    block: Raw = _NO_TEXT
    input_dims: Raw = msgspec.field(name="Input Dims", default=_NO_TEXT)
    input_types: Raw = msgspec.field(name="Input type", default=_NO_TEXT)
    input_strides: Raw = msgspec.field(name="Input Strides", default=_NO_TEXT)
    concrete_inputs: Raw = msgspec.field(name="Concrete Inputs", default=_NO_TEXT)
    sequence_number: Any = msgspec.field(name="Sequence number", default=NULL)
    forward_thread: Any = msgspec.field(name="Fwd thread id", default=NULL)
    python_id: Any = msgspec.field(name="Python id", default=NULL)
    python_parent_id: Any = msgspec.field(name="Python parent id", default=NULL)
    label: Any = msgspec.field(name="name", default=None)


class Event(msgspec.Struct, gc=False):
    """One element of `traceEvents`; `ts` and `dur` are the file's digits, in microseconds."""

    ph: str = ""
    cat: str | None = None
    name: str | None = None
    pid: Any = None
    tid: Any = None
    ts: Raw = _NO_TEXT
    dur: Raw = _NO_TEXT
    args: EventArgs | None = None


class LooseEvent(msgspec.Struct, gc=False):
    """An event whose fields may be of any type: the second try on a window that is not typed."""

    ph: Any = ""
    cat: Any = None
    name: Any = None
    pid: Any = None
    tid: Any = None
    ts: Raw = _NO_TEXT
    dur: Raw = _NO_TEXT
    args: Raw = _NO_TEXT


NO_ARGS: Final = EventArgs()
"""Stands for the args of an event that has none."""

NOT_AN_EVENT: Final = Event(ph="\0")
"""Stands for an element of the list that is no event: not an object, or numbers out of range."""

_decode_events = msgspec.json.Decoder(list[Event]).decode
_decode_raws = msgspec.json.Decoder(list[Raw]).decode
_decode_loose = msgspec.json.Decoder(LooseEvent).decode
_decode_args = msgspec.json.Decoder(EventArgs).decode


def decode_events(array: bytes) -> list[Event]:
    """Return the events of a JSON array.

    Raises
    ------
    msgspec.DecodeError
        The text is not a JSON array.
    RecursionError
        It is nested too deeply for the parser.
    """
    try:
        try:
            return _decode_events(array)
        except msgspec.ValidationError:
            return [_loosely(raw) for raw in _decode_raws(array)]
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError("not UTF-8") from error


def parses_as_events(events_text: bytes) -> bool:
    """Whether a text is events separated by commas."""
    try:
        decode_events(b"[" + events_text + b"]")
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _loosely(raw: Raw) -> Event:
    try:
        loose = _decode_loose(raw)
    except msgspec.ValidationError:
        return NOT_AN_EVENT
    try:
        args = _decode_args(loose.args) if bytes(loose.args) else None
    except msgspec.ValidationError:
        args = None
    return Event(
        ph=loose.ph if isinstance(loose.ph, str) else "",
        cat=loose.cat if isinstance(loose.cat, str) else None,
        name=loose.name if isinstance(loose.name, str) else _as_name(loose.name),
        pid=loose.pid,
        tid=loose.tid,
        ts=loose.ts,
        dur=loose.dur,
        args=args,
    )


def _as_name(value: Any) -> str | None:
    return None if value is None else str(value)
