"""The public functions: each arrow of the data flow is one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING

from tracekit.analysis.analyze import analyze_table, combine
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.errors import InputError
from tracekit.linking.link import link
from tracekit.loading.loader import LoadOptions, load_file
from tracekit.results import Analysis, AnalysisSet, UnreadableInput
from tracekit.runfolder import TraceFile, open_run
from tracekit.trace import Trace

if TYPE_CHECKING:
    PathInput = str | PathLike[str]

__all__ = [
    "analyze",
    "analyze_all",
    "classify",
    "kernel_tables",
    "kernels",
    "link",
    "load",
    "open_run",
]


def load(path: PathInput, options: LoadOptions | None = None) -> Trace:
    """Return one trace as columns: a Kineto/Chrome JSON file, plain or gzip, or a run folder.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several.
    """
    return _load(_only_file(fspath(path)), options)


def kernels(path: PathInput, options: LoadOptions | None = None) -> KernelTable:
    """Return the kernel table of one trace: one row a GPU activity, with its category.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several.
    """
    return classify(link(load(path, options)))


def analyze(
    path: PathInput, options: LoadOptions | None = None, *, list_all: bool = False
) -> Analysis:
    """Return the analysis of one trace; `list_all` lists every gap instead of the 1,000 largest.

    Raises
    ------
    InputError
        The path cannot be read, is no trace, or stands for several.
    """
    return _analyze(_only_file(fspath(path)), options, list_all)


def analyze_all(
    paths: Iterable[PathInput], options: LoadOptions | None = None, *, list_all: bool = False
) -> Analysis | AnalysisSet:
    """Return the analysis of one trace, or of several with their sums.

    Of several inputs those that cannot be used are listed in `overall.unreadable`.

    Raises
    ------
    InputError
        None of the inputs can be used.
    """
    analyses: list[Analysis] = []
    errors: list[InputError] = []
    unreadable: list[UnreadableInput] = []
    inputs = 0
    for path in paths:
        try:
            files = open_run(fspath(path))
        except InputError as error:
            files = ()
            inputs += 1
            errors.append(error)
            unreadable.append(UnreadableInput(fspath(path), str(error)))
        for file in files:
            inputs += 1
            try:
                analyses.append(_analyze(file, options, list_all))
            except InputError as error:
                errors.append(error)
                unreadable.append(UnreadableInput(file.path, str(error)))
    if not analyses:
        raise errors[0] if errors else InputError("no input was given")
    return analyses[0] if inputs == 1 else combine(analyses, unreadable)


def kernel_tables(
    path: PathInput, options: LoadOptions | None = None
) -> tuple[list[KernelTable], list[UnreadableInput]]:
    """Return the kernel tables of all traces behind a path, and those that cannot be used.

    Raises
    ------
    InputError
        None of them can be used.
    """
    tables: list[KernelTable] = []
    unreadable: list[UnreadableInput] = []
    first_error: InputError | None = None
    for file in open_run(fspath(path)):
        try:
            tables.append(classify(link(_load(file, options))))
        except InputError as error:
            first_error = first_error or error
            unreadable.append(UnreadableInput(file.path, str(error)))
    if not tables and first_error is not None:
        raise first_error
    return tables, unreadable


def _analyze(file: TraceFile, options: LoadOptions | None, list_all: bool) -> Analysis:
    table = classify(link(_load(file, options)))
    return analyze_table(table, pass_name=file.pass_name, list_all=list_all)


def _load(file: TraceFile, options: LoadOptions | None) -> Trace:
    trace = load_file(file.path, options)
    return trace if trace.rank is not None else replace(trace, rank=file.rank)


def _only_file(path: str) -> TraceFile:
    files = open_run(path)
    if len(files) > 1:
        raise InputError(f"{path}: holds {len(files)} traces; give one of them, or use analyze_all")
    return files[0]
