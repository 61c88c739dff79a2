"""The terminal report: the answer first, then the tables it rests on, then what was left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from tracekit.reports import sentences
from tracekit.reports.attention_tables import (
    attention_table,
    cache_hint,
    cache_table,
    inside_table,
    likeness_table,
    profile_table,
)
from tracekit.reports.cells import input_names
from tracekit.reports.console import BOLD, DIM, NARROWEST, NOTE, PROSE, draw, prose, table
from tracekit.reports.idle_tables import causes_table, culprits_table, gaps_table
from tracekit.reports.names import clean, fit
from tracekit.reports.roofline_table import roofline_table
from tracekit.reports.sentences import plural
from tracekit.reports.text_tables import (
    categories_table,
    devices_table,
    kernels_table,
    left_out_table,
    runs_table,
    stages_table,
)
from tracekit.results import Analysis, AnalysisSet
from tracekit.units import MISSING, format_count

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATH_IN_NOTE: Final = 48


def render(result: Analysis | AnalysisSet, *, width: int = 100, color: bool = False) -> str:
    """Return the report as text for a terminal.

    No line is wider than `width` cells (at least 60). Without `color` the text holds no escape
    codes at all.
    """
    width = max(width, NARROWEST)
    parts = _of_one(result, width) if isinstance(result, Analysis) else _of_many(result, width)
    return draw(parts, width, color=color)


def _of_one(result: Analysis, width: int) -> list[RenderableType | None]:
    trace, basis = result.trace, result.trace.basis
    return [
        _head(clean(trace.path), sentences.subject(trace), width, cpu_only=basis == "cpu"),
        _answer(
            sentences.where_time_goes(result.time.kernel_ns, result.categories, basis),
            sentences.idle(result),
            sentences.communication(result),
        ),
        _notes(sentences.doubts(result)),
        _advice(result),
        categories_table(result.categories, basis, width),
        devices_table(result.devices),
        _stages(result, width),
        causes_table(result, width),
        culprits_table(result),
        gaps_table(result),
        kernels_table(result.top_kernels, basis),
        attention_table(result.attention, basis),
        inside_table(result.attention),
        cache_table(result.attention),
        profile_table(result.attention.profile, width),
        likeness_table(result.attention),
        roofline_table(result.roofline),
        _evidence(result),
        _left_out([result]),
        cache_hint(result.attention, trace),
    ]


def _of_many(result: AnalysisSet, width: int) -> list[RenderableType | None]:
    overall, basis = result.overall, sentences.set_basis(result)
    cpu_only = basis == "cpu"
    folder, names = input_names(result.runs)
    unreadable = [
        f"{fit(clean(r.path), _PATH_IN_NOTE)}: {clean(r.error)}" for r in overall.unreadable
    ]
    events = sum(run.trace.events for run in result.runs)
    inputs = f"{len(result.runs)} {plural(len(result.runs), 'input')}"
    if folder:
        inputs += f" in {folder}"
    if unreadable:
        inputs += f" analyzed, {len(unreadable)} could not be used"
    return [
        _head(
            inputs, f"{format_count(events)} {plural(events, 'event')}", width, cpu_only=cpu_only
        ),
        _answer(
            sentences.where_time_goes(overall.time.kernel_ns, overall.categories, basis),
            sentences.idle_of_set(result),
        ),
        _notes(
            [
                *(f"Could not be used: {line}" for line in unreadable),
                *_notes_of_runs(result.runs, names),
            ]
        ),
        categories_table(overall.categories, basis, width),
        runs_table(result.runs, names),
        _left_out(result.runs, names),
        Text(sentences.SET_HINT, DIM) if result.runs else None,
    ]


def _head(title: str, subject: str, width: int, *, cpu_only: bool) -> RenderableType:
    lines: list[RenderableType] = [Text(fit(title, width), BOLD), Text(subject)]
    if cpu_only:
        lines.insert(0, Text(sentences.CPU_ONLY, NOTE))
    return Group(*lines)


def _answer(*lines: str | None) -> RenderableType:
    return Group(*(prose(line) for line in lines if line is not None))


def _stages(result: Analysis, width: int) -> RenderableType | None:
    """Return the stages, what they were found from, and the steps that stand out."""
    drawn = stages_table(result.stages, width)
    if drawn is None:
        return None
    found = sentences.found_stages(result.stages)
    outliers = sentences.outlier_steps(result.stages)
    source = [] if found is None else [prose(found, DIM)]
    return Group(drawn, *(prose(line) for line in outliers), *source)


def _advice(result: Analysis) -> RenderableType | None:
    """Return what to do, by gain; each gain is a bound."""
    if not result.advice:
        return None
    drawn = table("What to do", "At most", wide=(0,))
    for row in result.advice:
        gain = MISSING if row.speedup is None else f"{row.speedup:.2f}x"
        drawn.add_row(prose(clean(row.text)), gain)
    return drawn


def _notes(lines: Sequence[str]) -> RenderableType | None:
    if not lines:
        return None
    grid = Table.grid(padding=(0, 1))
    for line in lines:
        grid.add_row(Text("!", NOTE), Constrain(Text(line, NOTE, overflow="fold"), PROSE - 2))
    return grid


def _notes_of_runs(runs: Sequence[Analysis], names: Sequence[str]) -> list[str]:
    return [
        f"{fit(name, _PATH_IN_NOTE)}: {note}"
        for run, name in zip(runs, names, strict=True)
        for note in sentences.notes_of_run(run)
    ]


def _evidence(result: Analysis) -> RenderableType | None:
    line = sentences.decided_by(result.evidence)
    return None if line is None else prose(line)


def _left_out(runs: Sequence[Analysis], names: Sequence[str] = ()) -> RenderableType:
    if not any(run.left_out for run in runs):
        return Text(sentences.NOTHING_LEFT_OUT, DIM)
    return left_out_table(runs, names)
