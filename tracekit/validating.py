"""Finds labelled runs, and holds what classification says of them without labels against these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

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
from tracekit.errors import InputError
from tracekit.linking.link import Linked, link
from tracekit.loading.options import LoadOptions
from tracekit.runfolder import TraceFile, open_run
from tracekit.trace import Trace
from tracekit.units import share_of
from tracekit.validation_results import (
    Mode,
    ModeAccuracy,
    RunValidation,
    UnusableRun,
    Validation,
)

if TYPE_CHECKING:
    from tracekit.caching.cache import Later

    PathInput = str | PathLike[str]

TRUTH: Final = "truth.json"
"""True categories of kernels by name, beside traces of compiled models."""

_NO_LABELS: Final = "holds no tracekit labels: collect with --label all"


def validate(
    paths: PathInput | Iterable[PathInput],
    options: LoadOptions | None = None,
    *,
    cache: bool | Later = False,
) -> Validation:
    """Return how well traces with labels are classified when the labels are taken out of them.

    A path is a trace, a run folder, or a folder of these. Inputs that cannot be used are listed in
    `unusable`.

    Raises
    ------
    InputError
        None of the inputs can be used, or none holds labels.
    """
    given = [paths] if isinstance(paths, str | PathLike) else list(paths)
    runs: list[RunValidation] = []
    unusable: list[UnusableRun] = []
    errors: list[InputError] = []
    for path in given:
        try:
            for file in _files(fspath(path)):
                try:
                    runs.append(_run(file, options, cache))
                except InputError as error:
                    errors.append(error)
                    unusable.append(UnusableRun(file.path, str(error)))
        except InputError as error:
            errors.append(error)
            unusable.append(UnusableRun(fspath(path), str(error)))
    if not runs:
        raise errors[0] if errors else InputError("no input was given")
    return Validation(tuple(runs), summaries(runs), tuple(unusable))


def _files(path: str) -> Iterator[TraceFile]:
    """Give the traces behind a path; a folder without any stands for the folders inside it."""
    try:
        yield from open_run(path)
        return
    except InputError as error:
        inside = _folders(path)
        if not inside:
            raise
        first = error
    found = False
    for folder in inside:
        try:
            files = open_run(str(folder))
        except InputError:
            continue
        found = True
        yield from files
    if not found:
        raise first


def _folders(path: str) -> list[Path]:
    try:
        return sorted(entry for entry in Path(path).iterdir() if entry.is_dir())
    except (OSError, ValueError):
        return []


def _run(file: TraceFile, options: LoadOptions | None, cache: bool | Later) -> RunValidation:
    trace = load(file.path, options, cache=cache)
    labelled = link(trace)
    if not has_labels(trace):
        raise InputError(f"{file.path}: {_NO_LABELS}")
    truth = truth_of(labelled)
    decidable = truth.is_decidable
    dur_ns = labelled.dur_ns
    time_ns, decidable_ns = int(dur_ns.sum()), int(dur_ns[decidable].sum())
    return RunValidation(
        path=file.path,
        name=Path(file.folder).name if file.folder else Path(file.path).name,
        kernels=len(labelled),
        time_ns=time_ns,
        decidable_kernels=int(decidable.sum()),
        decidable_ns=decidable_ns,
        decidable_share=share_of(decidable_ns, time_ns),
        truth={
            slug: int(dur_ns[truth.category == code].sum()) for code, slug in enumerate(CATEGORIES)
        },
        modes=tuple(_modes(trace, labelled, truth)),
        warnings=(*trace.warnings, *labelled.warnings),
    )


def _modes(trace: Trace, labelled: Linked, truth: Truth) -> Iterator[ModeAccuracy]:
    bare = without_labels(trace)
    views: list[tuple[Mode, Trace]] = [("rich", bare)]
    if has_shapes(trace):
        views.append(("no_shapes", without_shapes(bare)))
    if len(trace.frames):
        views.append(("no_modules", without_modules(bare)))
    if len(trace.ops) and labelled.basis == "gpu":
        views.append(("kernels_only", kernels_alone(bare)))
    for mode, view in views:
        yield judge(classify(link(view)), truth, labelled, mode)
