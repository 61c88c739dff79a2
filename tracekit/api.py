"""The public functions: each arrow of the data flow is one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from os import PathLike, fspath
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from tracekit.analysis.analyze import Parts, alone_or_combined, analyze_table
from tracekit.analysis.corrected import RunBeside
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.counters import CountedLaunch, read_counters
from tracekit.errors import InputError, UsageError
from tracekit.linking.link import link
from tracekit.linking.replays import replay_of
from tracekit.loaded import LoadedTrace
from tracekit.loading.loader import LoadOptions, load_file
from tracekit.results import Analysis, AnalysisSet, UnreadableInput
from tracekit.runfolder import (
    COUNTERS,
    EAGER,
    EAGER_PASS,
    LIGHT_PASS,
    RICH,
    RICH_PASS,
    TraceFile,
    beside,
    open_run,
)
from tracekit.runrecord import read_run_record
from tracekit.trace import Trace

if TYPE_CHECKING:
    from tracekit.caching.cache import Later

    PathInput = str | PathLike[str]

Taken = TypeVar("Taken")

__all__ = [
    "analyze",
    "analyze_all",
    "analyze_with_kernels",
    "classify",
    "kernel_tables",
    "kernels",
    "link",
    "load",
    "open_run",
]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of an analysis, whatever the trace is; `ncu` is where `counted` is from."""

    list_all: bool = False
    peaks: Mapping[str, float] | None = None
    ncu: str | None = None
    counted: tuple[CountedLaunch, ...] | None = None


def load(
    path: PathInput, options: LoadOptions | None = None, *, cache: bool | Later = False
) -> LoadedTrace:
    """Return one trace as columns: a Kineto/Chrome JSON file, plain or gzip, or a run folder.

    It also has what is analyzed of it, when that is asked for: see `LoadedTrace`. With `cache` a
    file loaded before is read from the cache, and one that was not is kept there; a function given
    as `cache` is given the work of keeping it, to be done later.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several.
    """
    with _keeper(cache) as keeper:
        file = _only_file(fspath(path))
        trace = _load(file, options, keeper)
    values = {field.name: getattr(trace, field.name) for field in fields(trace)}
    return LoadedTrace(**values, study=partial(_studied, file, options, cache is True))


def kernels(
    path: PathInput, options: LoadOptions | None = None, *, cache: bool | Later = False
) -> KernelTable:
    """Return the kernel table of one trace: one row a GPU activity, with its category.

    `cache` is as for `load`.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several.
    """
    with _keeper(cache) as keeper:
        return _table(_only_file(fspath(path)), options, keeper)


def analyze(
    path: PathInput,
    options: LoadOptions | None = None,
    *,
    list_all: bool = False,
    peaks: Mapping[str, float] | None = None,
    ncu: PathInput | None = None,
    cache: bool | Later = False,
) -> Analysis:
    """Return the analysis of one trace; `list_all` lists every gap and attention call.

    `peaks` are FLOP/s by type, `bandwidth` in bytes/s and `cache_bytes`, in place of those of the
    device. `ncu` is a CSV file of Nsight Compute, in place of the run folder's. `cache` is as for
    `load`.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several; `ncu` cannot be used.
    """
    wishes = wishes_for(list_all, peaks, ncu)
    with _keeper(cache) as keeper:
        file = _only_file(fspath(path))
        return _analyze(file, _table(file, options, keeper), options, keeper, wishes)[0]


def analyze_all(
    paths: Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    list_all: bool = False,
    peaks: Mapping[str, float] | None = None,
    ncu: PathInput | None = None,
    cache: bool | Later = False,
) -> Analysis | AnalysisSet:
    """Return the analysis of one trace, or of several with their sums.

    Of several inputs those that cannot be used are listed in `overall.unreadable`. The rest is as
    for `analyze`; `ncu` goes with one trace.

    Raises
    ------
    InputError
        None of the inputs can be used; `ncu` cannot be used.
    UsageError
        `ncu` is given for several traces.
    """
    wishes = wishes_for(list_all, peaks, ncu)
    analyses, unreadable = each_analysis(
        paths, options, cache, wishes, lambda _file, _table, analysis, _parts: analysis
    )
    return alone_or_combined(analyses, unreadable)


def each_analysis(
    paths: Iterable[PathInput],
    options: LoadOptions | None,
    cache: bool | Later,
    wishes: Wishes,
    take: Callable[[TraceFile, KernelTable, Analysis, Parts], Taken],
) -> tuple[list[Taken], list[UnreadableInput]]:
    """Return what `take` makes of each trace behind some paths, and the inputs that fail.

    A kernel table is held no longer than `take` needs it. The rest is as for `analyze_all`.
    """
    taken: list[Taken] = []
    errors: list[InputError] = []
    unreadable: list[UnreadableInput] = []

    def give_up(path: str, error: InputError) -> None:
        errors.append(error)
        unreadable.append(UnreadableInput(path, str(error)))

    with _keeper(cache) as keeper:
        for path in paths:
            try:
                files = open_run(fspath(path))
            except InputError as error:
                give_up(fspath(path), error)
                continue
            if wishes.counted is not None and len(files) + len(taken) + len(errors) > 1:
                raise UsageError(f"{wishes.ncu}: are the counters of one run; give one trace")
            for file in files:
                try:
                    table = _table(file, options, keeper)
                    analysis, parts = _analyze(file, table, options, keeper, wishes)
                    taken.append(take(file, table, analysis, parts))
                except InputError as error:
                    give_up(file.path, error)
    if not taken:
        raise errors[0] if errors else InputError("no input was given")
    return taken, unreadable


def kernel_tables(
    path: PathInput, options: LoadOptions | None = None, *, cache: bool | Later = False
) -> tuple[list[KernelTable], list[UnreadableInput]]:
    """Return the kernel tables of all traces behind a path, and those that cannot be used.

    `cache` is as for `load`.

    Raises
    ------
    InputError
        None of them can be used.
    """
    tables: list[KernelTable] = []
    unreadable: list[UnreadableInput] = []
    first_error: InputError | None = None
    with _keeper(cache) as keeper:
        for file in open_run(fspath(path)):
            try:
                tables.append(_table(file, options, keeper))
            except InputError as error:
                first_error = first_error or error
                unreadable.append(UnreadableInput(file.path, str(error)))
    if not tables and first_error is not None:
        raise first_error
    return tables, unreadable


def analyze_with_kernels(
    paths: Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    list_all: bool = False,
    peaks: Mapping[str, float] | None = None,
    ncu: PathInput | None = None,
    cache: bool | Later = False,
) -> tuple[Analysis | AnalysisSet, list[KernelTable]]:
    """Return what `analyze_all` returns, and the kernel tables that it rests on, from one reading.

    Raises
    ------
    InputError
        None of the inputs can be used; `ncu` cannot be used.
    UsageError
        `ncu` is given for several traces.
    """
    wishes = wishes_for(list_all, peaks, ncu)
    both, unreadable = each_analysis(
        paths, options, cache, wishes, lambda _file, table, analysis, _parts: (analysis, table)
    )
    analyses, tables = [one for one, _ in both], [table for _, table in both]
    return alone_or_combined(analyses, unreadable), tables


def wishes_for(list_all: bool, peaks: Mapping[str, float] | None, ncu: PathInput | None) -> Wishes:
    """Return what is wanted, with the counters that a file holds.

    Raises
    ------
    InputError
        `ncu` cannot be used.
    """
    if ncu is None:
        return Wishes(list_all, peaks)
    return Wishes(list_all, peaks, fspath(ncu), read_counters(fspath(ncu)))


def _analyze(
    file: TraceFile,
    table: KernelTable,
    options: LoadOptions | None,
    keeper: Later | None,
    wishes: Wishes,
) -> tuple[Analysis, Parts]:
    run = _beside(file, table, options, keeper)
    counted = wishes.counted
    path = beside(file, COUNTERS)
    if run is not None and counted is None and path is not None:
        try:
            counted = read_counters(path)
        except InputError as error:
            run = replace(run, warnings=(*run.warnings, _unusable(COUNTERS, path, error)))
    return analyze_table(
        table, beside=run, list_all=wishes.list_all, peaks=wishes.peaks, counted=counted
    )


def _table(file: TraceFile, options: LoadOptions | None, keeper: Later | None) -> KernelTable:
    """Return the kernel table of one trace; the eager pass tells what replayed graphs hold."""
    return _classified(_load(file, options, keeper), file, options, keeper)


def _classified(
    trace: Trace, file: TraceFile, options: LoadOptions | None, keeper: Later | None
) -> KernelTable:
    linked = link(trace)
    if file.folder is None or file.pass_name == EAGER or not (replay_of(linked) >= 0).any():
        return classify(linked)
    path = beside(file, EAGER_PASS)
    if path is None:
        warning = (
            f"The run folder holds no {EAGER_PASS}: what kernels of CUDA graphs do is told by "
            "their names and order"
        )
        return classify(replace(linked, warnings=(*linked.warnings, warning)))
    try:
        eager = classify(link(_load(replace(file, path=path), options, keeper)))
    except InputError as error:
        warning = _unusable(EAGER_PASS, path, error)
        return classify(replace(linked, warnings=(*linked.warnings, warning)))
    return classify(linked, [eager])


def _beside(
    file: TraceFile, table: KernelTable, options: LoadOptions | None, keeper: Later | None
) -> RunBeside | None:
    """Return what the run folder of a trace holds beside it, null outside of one."""
    if file.folder is None:
        return None
    run = RunBeside(file.pass_name, read_run_record(file))
    if file.pass_name != RICH or table.linked.basis == "cpu":
        return run
    path = beside(file, LIGHT_PASS)
    if path is None:
        missing = f"The run folder holds no {LIGHT_PASS}: kernel durations are those of {RICH_PASS}"
        return replace(run, warnings=(missing,))
    try:
        return replace(run, light=_load(replace(file, path=path), options, keeper))
    except InputError as error:
        return replace(run, warnings=(_unusable(LIGHT_PASS, path, error),))


def _unusable(name: str, path: str, error: InputError) -> str:
    return f"{name} cannot be used: {str(error).removeprefix(f'{path}: ')}"


def _studied(
    file: TraceFile, options: LoadOptions | None, cache: bool, trace: Trace
) -> tuple[KernelTable, Analysis]:
    """Return kernel table and analysis of a trace that was loaded from a file."""
    with _keeper(cache) as keeper:
        table = _classified(trace, file, options, keeper)
        return table, _analyze(file, table, options, keeper, Wishes())[0]


def _load(file: TraceFile, options: LoadOptions | None, keeper: Later | None) -> Trace:
    if keeper is None:
        trace = load_file(file.path, options)
    else:
        from tracekit.caching.cache import cached_load

        # How many processes read does not change what they read; other options may.
        key = repr(replace(options or LoadOptions(), workers=None))
        trace = cached_load(file.path, key, lambda: load_file(file.path, options), keeper)
    return trace if trace.rank is not None else replace(trace, rank=file.rank)


@contextmanager
def _keeper(cache: bool | Later) -> Iterator[Later | None]:
    """Give what keeps traces, in the background unless the caller has its own; null without.

    Writing an entry is mostly hashing and compressing outside of the interpreter's lock, which
    runs beside linking and classifying. It is done when the block ends.
    """
    if not cache or callable(cache):
        yield cache or None
        return
    threads: list[Thread] = []

    def keep_later(work: Callable[[], None]) -> None:
        threads.append(Thread(target=work, name="tracekit-cache"))
        threads[-1].start()

    try:
        yield keep_later
    finally:
        for thread in threads:
            thread.join()


def _only_file(path: str) -> TraceFile:
    files = open_run(path)
    if len(files) > 1:
        raise InputError(f"{path}: holds {len(files)} traces; give one of them, or use analyze_all")
    return files[0]
