"""Loads one trace file into columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress

from tracekit.errors import LimitExceededError
from tracekit.loading import envelope
from tracekit.loading.columns import Columns
from tracekit.loading.envelope import Opening
from tracekit.loading.finish import finish
from tracekit.loading.limits import LoadLimits
from tracekit.loading.opening import open_events
from tracekit.loading.options import LoadOptions
from tracekit.loading.parallel import plan_segments, read_parallel
from tracekit.loading.reader import EventReader
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
        with closing(source.chunks()) as chunks:
            opening, rest = open_events(source, chunks, self.limits)
            plan = plan_segments(self._path, opening, rest, self._options)
            if plan is not None:
                with suppress(NotParallelError):
                    columns = Columns(self.limits)
                    ending = read_parallel(plan, columns, self._options)
                    return self._finish(columns, opening, ending)
            columns = Columns(self.limits)
            ending = self._read(columns, opening, rest, (source, chunks))
            return self._finish(columns, opening, ending)

    def _read(
        self,
        columns: Columns,
        opening: Opening,
        rest: bytes,
        remaining: tuple[ByteSource, Iterator[bytes]],
    ) -> Ending:
        """Read the event list from its start to its end."""
        source, chunks = remaining
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
