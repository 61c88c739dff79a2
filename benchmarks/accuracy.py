"""Measure accuracy and write it down: ``python -m benchmarks.accuracy CORPUS...``.

Validates every labelled run below the folders and replaces what stands between the markers of
``docs/accuracy.md``, so that no figure there is typed by hand. Folders are named MODEL.RECORDED.
With ``--marker holdout``, ``holdout-2`` or ``holdout-3`` it writes what models that were held out get: the tables
of accuracy alone, because who reads what is confused there will mend it, and they are held out no
more.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.document import replace_between
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.analysis.validation_totals import summaries
from tracekit.errors import TracekitError
from tracekit.reports import validation_cells as cells
from tracekit.reports.validation import markdown_table
from tracekit.reports.validation_cells import Cells
from tracekit.units import MISSING, format_count, format_ns, format_share, share_of
from tracekit.validating import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.validation_results import Mode, ModeSummary, RunValidation, Validation

MARKER: Final = "accuracy"
HOLDOUT: Final = "holdout"
SECOND_HOLDOUT: Final = "holdout-2"
THIRD_HOLDOUT: Final = "holdout-3"
_CONFUSIONS: Final = 12
_MATRICES: Final[tuple[Mode, ...]] = ("rich", "kernels_only")
_UNNAMED: Final = "trace"


def split_name(name: str) -> tuple[str, str]:
    """Return the model and the way in which it was recorded, from the name of a run's folder."""
    model, dot, recorded = name.removesuffix(".gz").removesuffix(".json").rpartition(".")
    return (model, recorded) if dot else (recorded, _UNNAMED)


def by_way(result: Validation) -> Cells:
    """Return mean and worst accuracy of the runs that were recorded alike, mode by mode."""
    modes = cells.modes_of(result)
    groups: dict[str, list[RunValidation]] = {}
    for run in result.runs:
        groups.setdefault(split_name(run.name)[1], []).append(run)
    rows = [_of_group(way, groups[way], modes) for way in sorted(groups)]
    if len(groups) > 1:
        rows.append(_of_group("all", list(result.runs), modes))
    headers = ("Recorded as", "Runs", *(cells.TITLE_OF[mode] for mode in modes), "Wrongly in other")
    return Cells(headers, rows, words=(0,))


def by_run(result: Validation) -> Cells:
    """Return the accuracy of every run in every mode."""
    modes = cells.modes_of(result)
    rows = []
    for run in sorted(result.runs, key=lambda run: split_name(run.name)):
        model, recorded = split_name(run.name)
        of_mode = {part.mode: cells.accuracy(part.accuracy) for part in run.modes}
        sizes = (
            format_count(run.kernels),
            format_ns(run.time_ns),
            format_share(run.decidable_share),
        )
        rows.append((model, recorded, *sizes, *(of_mode.get(mode, MISSING) for mode in modes)))
    titles = (cells.TITLE_OF[mode] for mode in modes)
    headers = ("Model", "Recorded as", "Kernels", "Time", "Decidable", *titles)
    return Cells(headers, rows, words=(0, 1))


def document(result: Validation, marker: str = MARKER) -> str:
    """Return what stands between the markers of that name."""
    blocks = [_what(result), markdown_table(by_way(result))]
    blocks += ["Over the time of all runs:", markdown_table(cells.other_cells(result))]
    # Parts of the tables of the corpus are sections of their own, those of a hold-out are not.
    blocks += ["### Run by run" if marker == MARKER else "Run by run:"]
    blocks += [markdown_table(by_run(result))]
    if marker == MARKER:
        blocks += _mistakes(result)
    return "\n\n".join(block for block in blocks if block)


def main(argv: Sequence[str] | None = None) -> int:
    """Validate the runs and write the tables, or change nothing where that fails."""
    args = _parser().parse_args(argv)
    try:
        replace_between(_read(args.docs), args.marker, "")
        result = validate(args.paths)
        for row in result.unusable:
            print(f"benchmarks.accuracy: left out: {row.error}", file=sys.stderr)
        body = document(result, args.marker)
        args.docs.write_text(replace_between(_read(args.docs), args.marker, body), encoding="utf-8")
    except UnusableError as error:
        print(f"benchmarks.accuracy: {error}", file=sys.stderr)
        return error.code
    except TracekitError as error:
        print(f"benchmarks.accuracy: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _what(result: Validation) -> str:
    models = {split_name(run.name)[0] for run in result.runs}
    time_ns = sum(run.time_ns for run in result.runs)
    decidable_ns = sum(run.decidable_ns for run in result.runs)
    kernels = sum(run.kernels for run in result.runs)
    return (
        f"{datetime.now(UTC).date().isoformat()}: {len(result.runs)} runs of {len(models)} models, "
        f"{format_count(kernels)} GPU activities, {format_ns(time_ns)} of GPU time, of which "
        f"{format_share(share_of(decidable_ns, time_ns))} is decidable. Accuracy by that time: "
        "mean over the runs, in parentheses the worst."
    )


def _mistakes(result: Validation) -> list[str]:
    blocks = ["### What is confused"]
    for summary in result.overall:
        if summary.mode in _MATRICES:
            blocks += _confused(summary)
    return [
        *blocks,
        "### What decides, and how sure it is",
        markdown_table(cells.evidence_cells(result)),
        markdown_table(cells.confidence_cells(result)),
    ]


def _of_group(way: str, runs: list[RunValidation], modes: list[Mode]) -> tuple[str, ...]:
    found = {summary.mode: summary for summary in summaries(runs)}
    shares = (_mean_and_worst(found.get(mode)) for mode in modes)
    other = found["rich"].total.other_share
    return way, format_count(len(runs)), *shares, cells.small_share(other)


def _mean_and_worst(summary: ModeSummary | None) -> str:
    if summary is None:
        return MISSING
    mean = cells.accuracy(summary.mean_accuracy)
    return mean if summary.runs == 1 else f"{mean} ({cells.accuracy(summary.worst_accuracy)})"


def _confused(summary: ModeSummary) -> list[str]:
    title = cells.TITLE_OF[summary.mode]
    return [
        f"**{title}**, in shares of the time of each true category:",
        markdown_table(cells.matrix_cells(summary.total)),
        markdown_table(cells.confusion_cells(summary, _CONFUSIONS, 1)),
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableError(f"{path}: cannot be read ({error.strerror})") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="CORPUS", help="folder of labelled runs")
    parser.add_argument(
        "--marker",
        choices=(MARKER, HOLDOUT, SECOND_HOLDOUT, THIRD_HOLDOUT),
        default=MARKER,
        help="which tables to write: of the corpus, or of models held out (default: %(default)s)",
    )
    parser.add_argument(
        "--docs", type=Path, default=CHECKOUT / "docs" / "accuracy.md", help="file of the tables"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
