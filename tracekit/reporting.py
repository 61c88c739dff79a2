"""One HTML page on one or several traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from tracekit.analysis.analyze import Parts, alone_or_combined
from tracekit.analysis.run_facts import run_facts
from tracekit.analysis.run_report import run_report
from tracekit.api import each_analysis, wishes_for
from tracekit.classifying.table import KernelTable
from tracekit.loading.options import LoadOptions
from tracekit.report_results import Report, RunReport
from tracekit.reports.page_render import render_page
from tracekit.results import Analysis, AnalysisSet
from tracekit.runfolder import TraceFile
from tracekit.runrecord import read_manifest

if TYPE_CHECKING:
    from tracekit.caching.cache import Later

    PathInput = str | PathLike[str]
    _Found = tuple[TraceFile, RunReport]

_TITLED = 3


def report(
    paths: PathInput | Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    title: str | None = None,
    peaks: Mapping[str, float] | None = None,
    ncu: PathInput | None = None,
    cache: bool | Later = False,
) -> str:
    """Return an HTML page on one trace, or on several side by side; it needs no network.

    `title` names what the runs are, in place of their files. The page holds its data as one block
    of JSON, which `tracekit.reports.page_read.read_report` reads back. The rest is as for
    `analyze`.

    Raises
    ------
    InputError
        None of the inputs can be used; `ncu` cannot be used.
    UsageError
        `ncu` is given for several traces.
    """
    from tracekit import __version__

    built = build_report(paths, options, title=title, peaks=peaks, ncu=ncu, cache=cache)
    return render_page(built, __version__)


def build_report(
    paths: PathInput | Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    title: str | None = None,
    peaks: Mapping[str, float] | None = None,
    ncu: PathInput | None = None,
    cache: bool | Later = False,
) -> Report:
    """Return what a page on these inputs shows; all is as for `report`."""
    given = [paths] if isinstance(paths, str | PathLike) else list(paths)

    def take(file: TraceFile, table: KernelTable, analysis: Analysis, parts: Parts) -> _Found:
        shown = run_report(table, analysis, parts, peaks)
        return file, replace(shown, facts=run_facts(read_manifest(file)))

    found, unreadable = each_analysis(given, options, cache, wishes_for(False, peaks, ncu), take)
    labels = run_labels([(file, run.analysis.trace.rank) for file, run in found])
    runs = tuple(replace(run, label=label) for (_, run), label in zip(found, labels, strict=True))
    return Report(title or _title(labels, given), runs, tuple(unreadable))


def analyzed(built: Report) -> Analysis | AnalysisSet:
    """Return the analyses that a report shows, as `analyze_all` returns them."""
    return alone_or_combined([run.analysis for run in built.runs], built.unreadable)


def run_labels(files: Sequence[tuple[TraceFile, int | None]]) -> list[str]:
    """Return short names for traces, each given with its rank; no two are the same.

    A trace is called as its run folder or file; of several in one folder, as its rank.
    """
    homes = Counter(_home(file) for file, _ in files)
    labels = [
        f"rank {rank}" if rank is not None and homes[_home(file)] > 1 else _name(file)
        for file, rank in files
    ]
    count = Counter(labels)
    labels = [
        f"{_home(file).name}/{label}" if count[label] > 1 else label
        for (file, _), label in zip(files, labels, strict=True)
    ]
    seen: set[str] = set()
    for at, label in enumerate(labels):
        number = 1
        while labels[at] in seen:
            number += 1
            labels[at] = f"{label} ({number})"
        seen.add(labels[at])
    return labels


def _home(file: TraceFile) -> Path:
    """Return the folder around a file or run folder."""
    return Path(file.folder or file.path).parent


def _name(file: TraceFile) -> str:
    # The current folder is a run folder too, and has no name before its path is absolute.
    path = Path(file.folder or file.path)
    return path.name or path.absolute().name or str(path)


def _title(labels: Sequence[str], given: Sequence[PathInput]) -> str:
    if len(given) == 1 and len(labels) > 1:
        return f"{Path(fspath(given[0])).name}: {len(labels)} traces"
    if len(labels) <= _TITLED:
        return " · ".join(labels)
    return f"{labels[0]} and {len(labels) - 1} more"
