"""The tables of a validation as text cells, for the terminal and for Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from tracekit.categories import CATEGORIES
from tracekit.reports.names import clean, readable_name
from tracekit.reports.palette import label_of
from tracekit.reports.sentences import plural
from tracekit.units import MISSING, format_ns, format_share, share_of
from tracekit.validation_results import MODES

if TYPE_CHECKING:
    from tracekit.validation_results import (
        AttentionAccuracy,
        Mode,
        ModeAccuracy,
        ModeSummary,
        RunValidation,
        Validation,
    )

    Row = tuple[str, ...]

TITLE_OF: Final[dict[Mode, str]] = {
    "rich": "Rich",
    "no_shapes": "No shapes",
    "no_modules": "No modules",
    "kernels_only": "Kernels only",
    "no_eager": "No eager pass",
}
"""What people read instead of the names of modes."""

_QUESTIONS: Final = {
    "temporal": "temporal or not",
    "axis": "axis",
    "kind": "kind",
    "causal": "causal or not",
}


class Cells(NamedTuple):
    """One table: its headers, the columns that hold names or words, and its rows.

    Names give way where there is little room, words do not; all other columns hold numbers.
    """

    headers: Row
    rows: Sequence[Row]
    names: tuple[int, ...] = ()
    words: tuple[int, ...] = ()


def accuracy(share: float | None) -> str:
    """Return an accuracy as a percentage, rounded down: 100.00% means that nothing is wrong."""
    return MISSING if share is None else f"{math.floor(share * 10_000 + 1e-9) / 100:.2f}%"


def modes_of(result: Validation) -> list[Mode]:
    """Return the modes that a run has, in their order."""
    held = {part.mode for run in result.runs for part in run.modes}
    return [mode for mode in MODES if mode in held]


def summary(result: Validation) -> str:
    """Return in a sentence how much of the work is decidable."""
    time_ns = sum(run.time_ns for run in result.runs)
    decidable_ns = sum(run.decidable_ns for run in result.runs)
    count, bases = len(result.runs), {run.basis for run in result.runs}
    what = (
        {"gpu": "GPU time", "cpu": "CPU ops' own time"}[bases.pop()] if len(bases) == 1 else "time"
    )
    return (
        f"The labels of {count} {plural(count, 'run')} decide {format_ns(decidable_ns)} "
        f"({format_share(share_of(decidable_ns, time_ns))}) of {format_ns(time_ns)} of {what}. "
        "Accuracy by this time, with every label removed:"
    )


def runs_cells(result: Validation) -> Cells:
    """Return the accuracy of every run in every mode, and their mean and worst."""
    modes = modes_of(result)
    rows = [_run_row(run, modes) for run in result.runs]
    if len(rows) > 1:
        of_mode = {row.mode: row for row in result.overall}
        for name in ("mean_accuracy", "worst_accuracy"):
            shares = (accuracy(getattr(of_mode[mode], name)) for mode in modes)
            rows.append((name.removesuffix("_accuracy").capitalize(), "", "", *shares))
        rows.append(
            ("All time", "", "", *(accuracy(of_mode[mode].total.accuracy) for mode in modes))
        )
    headers = ("Run", "Time", "Decidable", *(TITLE_OF[mode] for mode in modes))
    return Cells(headers, rows, names=(0,))


def evidence_cells(result: Validation) -> Cells:
    """Return for each kind of evidence how much it decided and how often it is right."""
    rows = [
        (
            TITLE_OF[row.mode],
            found.evidence,
            format_share(share_of(found.time_ns, row.total.time_ns)),
            accuracy(found.accuracy),
            MISSING if found.confidence is None else f"{found.confidence:.2f}",
        )
        for row in result.overall
        for found in row.total.evidence
    ]
    headers = ("Mode", "Decided by", "Time", "Accuracy", "Confidence")
    return Cells(headers, _said_once(rows), words=(0, 1))


def confidence_cells(result: Validation) -> Cells:
    """Return how often guesses are right, by the confidence that they carry."""
    rows = [
        (
            TITLE_OF[row.mode],
            f"{found.low:.2f}–{found.high:.2f}",
            format_share(share_of(found.time_ns, row.total.time_ns)),
            MISSING if found.confidence is None else f"{found.confidence:.2f}",
            accuracy(found.accuracy),
        )
        for row in result.overall
        for found in row.total.confidence
    ]
    headers = ("Mode", "Confidence", "Time", "Mean", "Accuracy")
    return Cells(headers, _said_once(rows), words=(0, 1))


def other_cells(result: Validation) -> Cells:
    """Return what share of decidable time is put into `other`, and what attention is known."""
    modes = [row.mode for row in result.overall]
    rows = [("Wrongly in other", *(small_share(row.total.other_share) for row in result.overall))]
    for question, title in _QUESTIONS.items():
        found = [_answer(row.total, question) for row in result.overall]
        if any(found):
            shares = (accuracy(None if one is None else one.accuracy) for one in found)
            rows.append((f"Attention: {title}", *shares))
    headers = ("Over all runs", *(TITLE_OF[mode] for mode in modes))
    return Cells(headers, rows, words=(0,))


def confusion_cells(result: ModeSummary, most: int, examples: int) -> Cells:
    """Return the largest confusions of one mode over all runs, with the kernels in question."""
    headers = (f"{TITLE_OF[result.mode]}: wrong", "Time", "Kernel", "of it", "Because")
    rows: list[Row] = []
    for row in result.total.confusions[:most]:
        pair = (f"{label_of(row.truth)} → {label_of(row.category)}", small_share(row.time_share))
        for index, kernel in enumerate(row.examples[:examples]):
            part = share_of(kernel.time_ns, row.time_ns)
            shown = (readable_name(kernel.name), _whole_percent(part), clean(kernel.reason))
            rows.append((*(("", "") if index else pair), *shown))
    return Cells(headers, rows, names=(2, 4), words=(0,))


def small_share(share: float | None) -> str:
    """Return a small share as a percentage with two decimals."""
    return MISSING if share is None else f"{100 * share:.2f}%"


def matrix_cells(result: ModeAccuracy) -> Cells:
    """Return the confusion matrix in shares of each true category's time."""
    used = [
        code
        for code in range(len(result.matrix))
        if sum(result.matrix[code]) or sum(row[code] for row in result.matrix)
    ]
    rows = []
    for code in used:
        row_ns = sum(result.matrix[code])
        if not row_ns:
            continue
        shares = (share_of(result.matrix[code][given], row_ns) for given in used)
        cells = ("" if not share else small_share(share) for share in shares)
        rows.append((_name(code), format_ns(row_ns), *cells))
    return Cells(("True \\ given", "Time", *map(_name, used)), rows, words=(0,))


def _whole_percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def _name(code: int) -> str:
    return label_of(CATEGORIES[code])


def _run_row(run: RunValidation, modes: Sequence[Mode]) -> Row:
    of_mode = {part.mode: part.accuracy for part in run.modes}
    return (
        clean(run.name),
        format_ns(run.time_ns),
        format_share(run.decidable_share),
        *(accuracy(of_mode.get(mode)) for mode in modes),
    )


def _answer(result: ModeAccuracy, question: str) -> AttentionAccuracy | None:
    return next((row for row in result.attention if row.question == question), None)


def _said_once(rows: Sequence[Row]) -> list[Row]:
    """Leave the first cell empty where it repeats that of the row above."""
    return list(_without_repeats(rows))


def _without_repeats(rows: Sequence[Row]) -> Iterator[Row]:
    above: str | None = None
    for row in rows:
        yield row if row[0] != above else ("", *row[1:])
        above = row[0]


def unusable_lines(result: Validation) -> list[str]:
    """Return a sentence for each input that could not be validated."""
    return [f"Could not be used: {clean(row.error)}" for row in result.unusable]
