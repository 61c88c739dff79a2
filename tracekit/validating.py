"""Finds labelled runs, and holds what classification says of them without labels against these."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracekit.analysis.graph_truth import with_replays
from tracekit.analysis.truth import Truth, has_labels, truth_of
from tracekit.analysis.validation import judge
from tracekit.analysis.validation_totals import summaries
from tracekit.analysis.withholding import (
    has_shapes,
    kernels_alone,
    without_labels,
    without_modules,
    without_shapes,
)
from tracekit.api import load
from tracekit.categories import CATEGORIES
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.errors import InputError
from tracekit.linking.link import Linked, link
from tracekit.linking.replays import replay_of
from tracekit.loading.options import LoadOptions
from tracekit.runfolder import EAGER_PASS, RICH, TraceFile, beside, open_run
from tracekit.trace import Trace
from tracekit.units import share_of
from tracekit.validation_results import (
    Mode,
    RunValidation,
    UnusableRun,
    Validation,
)

if TYPE_CHECKING:
    from tracekit.caching.cache import Later

    PathInput = str | PathLike[str]

_NO_LABELS: Final = "holds no tracekit labels: collect with --label all"


def validate(
    paths: PathInput | Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    cache: bool | Later = False,
) -> Validation:
    """Return how well labelled traces are classified once their labels are taken out of them.

    A path is a trace, a run folder, or a folder of these; several inputs that cannot be used are
    listed in `unusable`. `cache` is as for `load`.

    Raises
    ------
    InputError
        None of the inputs can be used, or none holds labels.
    """
    given = [fspath(path) for path in ([paths] if isinstance(paths, str | PathLike) else paths)]
    runs: list[RunValidation] = []
    unusable: list[UnusableRun] = []
    errors: list[InputError] = []

    def give_up(path: str, error: InputError) -> None:
        errors.append(error)
        unusable.append(UnusableRun(path, str(error)))

    for path in given:
        try:
            files = _files(path)
        except InputError as error:
            give_up(path, error)
            continue
        for file in files:
            try:
                runs.append(_validated(file, lambda path: load(path, options, cache=cache)))
            except InputError as error:
                give_up(file.path, error)
    if not runs:
        raise errors[0] if errors else InputError("no input was given")
    return Validation(tuple(runs), summaries(runs), tuple(unusable))


def _files(path: str) -> list[TraceFile]:
    """Return the traces behind a path; a folder without any stands for the folders inside it."""
    try:
        return [*open_run(path)]
    except InputError:
        inside = [file for folder in _folders(path) for file in _files_if_any(folder)]
        if not inside:
            raise
        return inside


def _folders(path: str) -> list[str]:
    try:
        return sorted(str(entry) for entry in Path(path).iterdir() if entry.is_dir())
    except (OSError, ValueError):
        return []


def _files_if_any(folder: str) -> tuple[TraceFile, ...]:
    try:
        return open_run(folder)
    except InputError:
        return ()


@dataclass(frozen=True, slots=True)
class _Eager:
    """The eager pass of a run, with and without its labels."""

    bare: Trace
    labelled: Linked
    truth: Truth


def _validated(file: TraceFile, read: Callable[[str], Trace]) -> RunValidation:
    trace = read(file.path)
    labelled = link(trace)
    truth = truth_of(labelled)
    eager = _eager_pass(file, labelled, read)
    if eager is not None:
        truth = with_replays(truth, labelled, eager.labelled, eager.truth)
    if eager is None and not has_labels(trace):
        raise InputError(f"{file.path}: {_NO_LABELS}")
    dur_ns, decidable = labelled.dur_ns, truth.is_decidable
    time_ns, decidable_ns = int(dur_ns.sum()), int(dur_ns[decidable].sum())
    return RunValidation(
        path=file.path,
        name=Path(file.folder or file.path).name,
        basis="gpu" if labelled.basis == "gpu" else "cpu",
        kernels=len(labelled),
        time_ns=time_ns,
        decidable_kernels=int(decidable.sum()),
        decidable_ns=decidable_ns,
        decidable_share=share_of(decidable_ns, time_ns),
        truth={
            slug: int(dur_ns[truth.category == code].sum()) for code, slug in enumerate(CATEGORIES)
        },
        modes=tuple(
            judge(table, truth, labelled, mode)
            for mode, table in _tables(without_labels(trace), labelled.basis, eager)
        ),
        warnings=(*trace.warnings, *labelled.warnings),
    )


def _tables(bare: Trace, basis: str, eager: _Eager | None) -> Iterator[tuple[Mode, KernelTable]]:
    """Give the kernel table of each mode that withholds something which the run has."""
    donor = None if eager is None else eager.bare
    both = [bare] if donor is None else [bare, donor]
    yield "rich", _classified(bare, donor)
    if any(map(has_shapes, both)):
        yield "no_shapes", _classified(*map(without_shapes, both))
    if any(len(trace.frames) for trace in both):
        yield "no_modules", _classified(*map(without_modules, both))
    if basis == "gpu" and any(len(trace.ops) for trace in both):
        yield "kernels_only", _classified(kernels_alone(bare))
    if donor is not None:
        yield "no_eager", _classified(bare)


def _classified(trace: Trace, donor: Trace | None = None) -> KernelTable:
    return classify(link(trace), [] if donor is None else [classify(link(donor))])


def _eager_pass(file: TraceFile, labelled: Linked, read: Callable[[str], Trace]) -> _Eager | None:
    """Return the eager pass of a run that replays graphs, null where there is none."""
    path = beside(file, EAGER_PASS) if file.pass_name == RICH else None
    if path is None or not (replay_of(labelled) >= 0).any():
        return None
    trace = read(path)
    eager = link(trace)
    return _Eager(without_labels(trace), eager, truth_of(eager))
