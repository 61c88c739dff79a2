"""Loads one trace file into columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from tracekit.errors import LimitExceededError, TraceFormatError
from tracekit.loading import envelope
from tracekit.loading.columns import Columns
from tracekit.loading.envelope import Opening
from tracekit.loading.finish import finish
from tracekit.loading.limits import LoadLimits
from tracekit.loading.options import LoadOptions
from tracekit.loading.parallel import plan_segments, read_parallel
from tracekit.loading.reader import SPACE, EventReader
from tracekit.loading.segments import Ending, NotParallelError
from tracekit.loading.source import ByteSource
from tracekit.trace import Trace

__all__ = ["LoadLimits", "LoadOptions", "load_file"]


def load_file(path: str, options: LoadOptions | None = None) -> Trace:
    """Return one Kineto/Chrome trace (plain or gzip JSON) as columns.

    Memory is bounded by the columns and a few windows a worker. A file that ends early yields
    every complete event and `truncated`; what is broken inside is counted in `left_out`.

    Raises
    ------
    InputError
        The file cannot be read, or is no trace.
    LimitExceededError
        It is larger than `options.limits` allow.
    """
    loading = _Loading(path, options or LoadOptions())
    try:
        return loading.run()
    except LimitExceededError as error:
        raise LimitExceededError(f"{path}: {error}") from error
    except RecursionError as error:
        raise LimitExceededError(f"{path}: {loading.limits.nesting_error()}") from error


class _Loading:
    """The state of reading one file."""

    def __init__(self, path: str, options: LoadOptions) -> None:
        self.limits = options.limits
        self._path = path
        self._options = options

    def run(self) -> Trace:
        source = ByteSource(self._path, self._options.window_bytes, self.limits)
        chunks = iter(source)
        opening, rest = self._open(source, chunks)
        plan = plan_segments(self._path, opening, rest, self._options)
        if plan is not None:
            with suppress(NotParallelError):
                columns = Columns(self.limits)
                return self._finish(columns, opening, read_parallel(plan, columns, self._options))
        columns = Columns(self.limits)
        return self._finish(columns, opening, self._read(columns, opening, rest, source, chunks))

    def _open(self, source: ByteSource, chunks: Iterator[bytes]) -> tuple[Opening, bytes]:
        """Read up to the event list and return where it starts, and what was read of it."""
        head = b""
        for chunk in chunks:
            head += chunk
            opening = envelope.find_opening(head)
            if opening is not None:
                rest = head[opening.offset :]
                while not rest.strip(SPACE) and (more := next(chunks, b"")):
                    rest += more
                if rest.strip(SPACE) and rest.lstrip(SPACE)[:1] not in (b"{", b"]"):
                    raise TraceFormatError(
                        f"{self._path}: is JSON but no trace: its event list does not hold objects"
                    )
                return opening, rest
            self.limits.check_header(len(head))
        raise TraceFormatError(f"{self._path}: {_why_no_events(head, source.damage)}")

    def _read(
        self,
        columns: Columns,
        opening: Opening,
        rest: bytes,
        source: ByteSource,
        chunks: Iterator[bytes],
    ) -> Ending:
        """Read the event list from its start to its end."""
        reader = EventReader(columns, self._options, is_object=opening.is_object)
        if envelope.starts_empty_list(rest):
            reader.read_nothing(rest, chunks)
        else:
            reader.read(rest, chunks)
        reader.count_broken()
        return Ending(
            truncated=reader.truncated or source.damage is not None,
            metadata=reader.metadata,
            size_bytes=source.size_bytes,
            damage=source.damage,
        )

    def _finish(self, columns: Columns, opening: Opening, ending: Ending) -> Trace:
        metadata = {**opening.metadata, **ending.metadata}
        warnings = []
        if ending.truncated:
            why = ending.damage or "its event list is not closed"
            warnings.append(
                f"the file ends early ({why}): read {ending.size_bytes:,} bytes and "
                f"{columns.events:,} complete events; what came after is missing"
            )
        if metadata.pop("traceEvents", None) is not None:
            warnings.append("the file holds a second event list, which was not read")
        return finish(self._path, columns, metadata, warnings, truncated=ending.truncated)


def _why_no_events(head: bytes, damage: str | None) -> str:
    """Say why no event list was found in the first bytes of a file."""
    if not head and damage:
        return f"holds nothing that can be read: {damage}; copy the file again"
    try:
        value = msgspec.json.decode(head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        if head.lstrip(SPACE + b"\xef\xbb\xbf").startswith(b"{"):
            cause = damage or "it ends, or is broken, before its event list"
            return f"is no complete JSON object: {cause}; record or copy the trace again"
        return "is not JSON; give a trace that torch.profiler exported"
    kind = "object without `traceEvents`" if isinstance(value, dict) else type(value).__name__
    return f"is JSON but no trace ({kind}); give a trace that torch.profiler exported"
