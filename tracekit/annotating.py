"""Writes a trace with tracks of what tracekit found out, for Perfetto and chrome://tracing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Literal, cast

from tracekit.errors import UsageError
from tracekit.output import refuse_existing, whole_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.caching.cache import Later
    from tracekit.classifying.table import KernelTable
    from tracekit.loading.copying import CopiedTrace
    from tracekit.loading.options import LoadOptions
    from tracekit.results import UnreadableInput
    from tracekit.track_results import TrackGroup

    PathInput = str | PathLike[str]

TraceFormat = Literal["json", "perfetto"]
JSON: Final = "json"
PERFETTO: Final = "perfetto"
_SUFFIXES: Final[dict[str, TraceFormat]] = {
    ".json": JSON,
    ".pftrace": PERFETTO,
    ".perfetto-trace": PERFETTO,
}
_GZIP_LEVEL: Final = 2
_LATEST_NS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Annotated:
    """How many traces were written, what the reader should know, and what could not be read."""

    traces: int
    warnings: tuple[str, ...] = ()
    unreadable: tuple[UnreadableInput, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotateOptions:
    """How to annotate: the format (null: as the name ends), and whether the originals stay out."""

    format: TraceFormat | None = None
    only_tracks: bool = False
    force: bool = False


def annotate(
    path: PathInput,
    output: PathInput,
    annotate_options: AnnotateOptions | None = None,
    options: LoadOptions | None = None,
    *,
    cache: bool | Later = False,
) -> Annotated:
    """Write a trace with tracks for stages, steps, attention, idle time, categories and counters.

    As JSON the events of the file are passed on byte for byte; tracks of an earlier call are
    replaced. In Perfetto's own format, which takes several ranks, all that tracekit reads of a
    trace is written anew. A name that ends in `.gz` is compressed. `cache` is as for
    `tracekit.load`.

    Raises
    ------
    InputError
        The path cannot be read or is no trace; several are to go into one JSON file.
    UsageError
        The name of the output tells no format, and none is given.
    OutputExistsError
        The output exists, and is not to be overwritten.
    MissingDependencyError
        Perfetto's format is asked for, and the extra `perfetto` is not installed.
    HostError
        The output cannot be written.
    """
    wish = annotate_options or AnnotateOptions()
    target = Path(fspath(output))
    format_ = wish.format or format_of(target)
    refuse_existing(target, force=wish.force)
    write = _write_perfetto if format_ == PERFETTO else _write_json
    with (
        whole_file(target, force=wish.force) as temporary,
        _sink(temporary, is_gzip=target.suffix == ".gz") as sink,
    ):
        return write(fspath(path), sink, wish, options, cache)


def format_of(path: Path) -> TraceFormat:
    """Return the format that the name of a file tells.

    Raises
    ------
    UsageError
        It tells none.
    """
    name = path.name.removesuffix(".gz")
    for suffix, format_ in _SUFFIXES.items():
        if name.endswith(suffix):
            return format_
    raise UsageError(
        f"{path}: give a name that ends in .json, .json.gz or .pftrace, or say --format"
    )


def _write_json(
    path: str,
    sink: IO[bytes],
    wish: AnnotateOptions,
    options: LoadOptions | None,
    cache: bool | Later,
) -> Annotated:
    from tracekit.analysis.tracks import annotation_tracks
    from tracekit.api import kernels
    from tracekit.loading.copying import FIRST_ID, LAST_ID, copy_trace
    from tracekit.reports import chrome_tracks

    file = _one_file(path)
    table = kernels(path, options, cache=cache)
    groups = _named(annotation_tracks(table), table)

    def added(taken: frozenset[int]) -> Iterator[bytes]:
        ids = (number for number in range(FIRST_ID, LAST_ID + 1) if number not in taken)
        return chrome_tracks.events(groups, ids)

    if wish.only_tracks:
        for piece in chrome_tracks.document(added(frozenset())):
            sink.write(piece)
        return Annotated(1, _warnings(table))
    copied = copy_trace(file, sink.write, added, options)
    return Annotated(1, (*_warnings(table), *(f"{file}: {text}" for text in _left_out(copied))))


def _left_out(copied: CopiedTrace) -> tuple[str, ...]:
    found = []
    if copied.broken:
        found.append(
            f"{copied.broken:,} damaged events are not in the annotated trace: with them it would "
            "be no JSON"
        )
    if copied.truncated:
        found.append("the annotated trace ends with the last whole event, and is closed behind it")
    return tuple(found)


def _one_file(path: str) -> str:
    from tracekit.errors import InputError
    from tracekit.runfolder import open_run

    files = open_run(path)
    if len(files) > 1:
        names = ", ".join(file.path for file in files[:3]) + (", …" if len(files) > 3 else "")
        raise InputError(
            f"{path}: holds {len(files)} traces ({names}), whose processes may have the same "
            "numbers; give one of them, or --format perfetto, which keeps them apart"
        )
    return files[0].path


def _write_perfetto(
    path: str,
    sink: IO[bytes],
    wish: AnnotateOptions,
    options: LoadOptions | None,
    cache: bool | Later,
) -> Annotated:
    from tracekit.api import kernel_tables
    from tracekit.reports.perfetto_trace import Timeline, write

    tables, unreadable = kernel_tables(path, options, cache=cache)
    timelines = [
        Timeline(_groups(table, wish), _base_ns(table.linked.trace.metadata)) for table in tables
    ]
    write(timelines, sink)
    warnings = tuple(warning for table in tables for warning in _warnings(table))
    return Annotated(len(tables), warnings, tuple(unreadable))


def _warnings(table: KernelTable) -> tuple[str, ...]:
    trace = table.linked.trace
    return tuple(f"{trace.path}: {text}" for text in (*trace.warnings, *table.linked.warnings))


def _groups(table: KernelTable, wish: AnnotateOptions) -> tuple[TrackGroup, ...]:
    from tracekit.analysis.original_tracks import original_tracks
    from tracekit.analysis.tracks import annotation_tracks

    own = _named(annotation_tracks(table), table)
    return own if wish.only_tracks else (*own, *_named(original_tracks(table.linked), table))


def _named(groups: Sequence[TrackGroup], table: KernelTable) -> tuple[TrackGroup, ...]:
    """Return the groups with the rank in their names, where there is one."""
    rank = table.linked.trace.rank
    if rank is None:
        return tuple(groups)
    return tuple(replace(group, name=f"rank {rank}, {group.name}") for group in groups)


def _base_ns(metadata: dict[str, object]) -> int | None:
    """Return the absolute time of 0 in a file, null where it does not say."""
    base = metadata.get("baseTimeNanoseconds")
    if not isinstance(base, int) or isinstance(base, bool):
        return None
    return base if 0 <= base <= _LATEST_NS else None


@contextmanager
def _sink(path: Path, *, is_gzip: bool) -> Iterator[IO[bytes]]:
    if not is_gzip:
        with path.open("wb") as plain:
            yield plain
        return
    from isal import igzip

    pack = cast("Callable[..., IO[bytes]]", igzip.IGzipFile)
    # Neither the time nor the temporary name: the same trace gives the same bytes.
    with (
        path.open("wb") as raw,
        pack("", "wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed,
    ):
        yield packed
