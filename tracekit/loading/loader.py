"""Loads one trace file into columns, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tracekit.errors import TraceFormatError
from tracekit.loading import envelope
from tracekit.loading.columns import Columns
from tracekit.loading.events import decode_events
from tracekit.loading.finish import finish
from tracekit.loading.salvage import Salvager
from tracekit.loading.source import ByteSource
from tracekit.trace import Trace

_SPACE: Final = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a trace is read.

    `window_bytes` is how much JSON is parsed at a time: small windows stay in the processor's
    cache. `max_header_bytes` bounds what may stand before the event list, `max_event_bytes` how
    long one event may be before it is given up as broken.
    """

    window_bytes: int = 1 << 19
    max_header_bytes: int = 1 << 26
    max_event_bytes: int = 1 << 26


def load_file(path: str, options: LoadOptions | None = None) -> Trace:
    """Return one Kineto/Chrome trace (plain or gzip JSON) as columns.

    Memory is bounded by the columns and a few windows. A file that ends early yields every
    complete event and `truncated`; what is broken inside is counted in `left_out`.

    Raises
    ------
    InputError
        The file cannot be read, or is no trace.
    """
    return _Loading(path, options or LoadOptions()).run()


class _Loading:
    """The state of reading one file."""

    def __init__(self, path: str, options: LoadOptions) -> None:
        self._path = path
        self._options = options
        self._source = ByteSource(path, options.window_bytes)
        self._columns = Columns()
        self._salvager = Salvager(self._columns.add)
        self._metadata: dict[str, Any] = {}
        self._is_object = True
        self._ended = False
        self._truncated = False

    def run(self) -> Trace:
        chunks = iter(self._source)
        rest = self._open(chunks)
        if envelope.starts_empty_list(rest):
            rest += self._gather(chunks)
            self._end(envelope.empty_list_ending(rest, self._is_object))
        else:
            self._read_events(rest, chunks)
        if self._source.damage is not None:
            self._truncated = True
        if self._salvager.broken:
            why = "their text is broken and cannot be parsed"
            self._columns.leave_out("damaged events", why, self._salvager.broken)
            self._columns.events += self._salvager.broken
        return finish(
            self._path, self._columns, self._metadata, self._warnings(), truncated=self._truncated
        )

    def _open(self, chunks: Iterator[bytes]) -> bytes:
        """Read up to the event list and return what was read of it."""
        head = b""
        for chunk in chunks:
            head += chunk
            opening = envelope.find_opening(head)
            if opening is not None:
                self._metadata = opening.metadata
                self._is_object = opening.is_object
                rest = head[opening.offset :]
                while not rest.strip(_SPACE) and (more := next(chunks, b"")):
                    rest += more
                if rest.strip(_SPACE) and rest.lstrip(_SPACE)[:1] not in (b"{", b"]"):
                    raise TraceFormatError(
                        f"{self._path}: is JSON but no trace: its event list does not hold objects"
                    )
                return rest
            if len(head) > self._options.max_header_bytes:
                break
        raise TraceFormatError(f"{self._path}: {_why_no_events(head, self._source.damage)}")

    def _read_events(self, rest: bytes, chunks: Iterator[bytes]) -> None:
        cut = _last_cut(rest)
        while True:
            if cut is not None and not self._decode(rest[:cut]):
                if self._end_inside(rest, chunks):
                    return
                cut = self._salvager.take(rest[:cut], tail="keep")
            if cut:
                rest = _after_comma(rest[cut:])
            elif len(rest) > self._options.max_event_bytes:
                self._salvager.take(rest, tail="count")
                rest = b""
            chunk = next(chunks, b"")
            if not chunk:
                break
            rest += chunk
            cut = _last_cut(rest)
        self._read_last(rest)

    def _read_last(self, rest: bytes) -> None:
        """Read what follows the last sure cut of a file."""
        ending = envelope.find_ending(rest, self._is_object)
        if ending is not None:
            last = rest[: ending.offset]
            if not self._decode(last):
                self._salvager.take(last, tail="count")
            self._end(ending)
            return
        self._truncated = True
        for offset in envelope.possible_endings(rest, self._is_object):
            if self._decode(rest[:offset]):
                return
        self._salvager.take(rest, tail="cut")

    def _end_inside(self, rest: bytes, chunks: Iterator[bytes]) -> bool:
        """Whether the event list ends within these bytes; if so, read it and what follows."""
        for offset in envelope.possible_endings(rest, self._is_object):
            if self._decode(rest[:offset]):
                after = rest[offset:] + self._gather(chunks)
                metadata = envelope.metadata_after(after, self._is_object)
                self._truncated = metadata is None
                self._metadata.update(metadata or {})
                return True
        return False

    def _decode(self, events: bytes) -> bool:
        try:
            decoded = decode_events(b"[" + events + b"]")
        except msgspec.DecodeError:
            return False
        self._columns.add(decoded)
        return True

    def _end(self, ending: envelope.Ending) -> None:
        self._truncated = not ending.complete
        self._metadata.update(ending.metadata)

    def _gather(self, chunks: Iterator[bytes]) -> bytes:
        """Return the rest of the file, as far as it may be metadata."""
        gathered = b""
        for chunk in chunks:
            gathered += chunk
            if len(gathered) > self._options.max_header_bytes:
                break
        return gathered

    def _warnings(self) -> list[str]:
        warnings = []
        if self._truncated:
            why = self._source.damage or "its event list is not closed"
            warnings.append(
                f"the file ends early ({why}): read {self._source.size_bytes:,} bytes and "
                f"{self._columns.events:,} complete events; what came after is missing"
            )
        if "traceEvents" in self._metadata:
            self._metadata.pop("traceEvents")
            warnings.append("the file holds a second event list, which was not read")
        return warnings


def _last_cut(text: bytes) -> int | None:
    """Return where the last event of a text surely ends: after `}` of `},` before `{`."""
    end = len(text)
    while (brace := text.rfind(b"{", 0, end)) > 0:
        before = text[max(0, brace - 256) : brace].rstrip(_SPACE)
        if before.endswith(b","):
            closed = before[:-1].rstrip(_SPACE)
            if closed.endswith(b"}"):
                return max(0, brace - 256) + len(closed)
        end = brace
    return None


def _after_comma(text: bytes) -> bytes:
    return text.lstrip(_SPACE + b",")


def _why_no_events(head: bytes, damage: str | None) -> str:
    """Say why no event list was found in the first bytes of a file."""
    if not head and damage:
        return f"holds nothing that can be read: {damage}; copy the file again"
    try:
        value = msgspec.json.decode(head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if head.lstrip(_SPACE + b"\xef\xbb\xbf").startswith(b"{"):
            cause = damage or "it ends, or is broken, before its event list"
            return f"is no complete JSON object: {cause}; record or copy the trace again"
        return "is not JSON; give a trace that torch.profiler exported"
    kind = "object without `traceEvents`" if isinstance(value, dict) else type(value).__name__
    return f"is JSON but no trace ({kind}); give a trace that torch.profiler exported"
