"""The Markdown report: a comment on a pull request, the answer first and details folded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.reports import sentences
from tracekit.reports.cells import OUTSIDE, left_out_row, run_row, stage_row
from tracekit.reports.markdown_details import achieved, attention, idle, kernels
from tracekit.reports.markdown_text import code, escape, folded, name, table
from tracekit.reports.names import clean, fit
from tracekit.reports.palette import label_of
from tracekit.results import Analysis, AnalysisSet
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracekit.results import Basis, CategoryTime, StageTime

_MOST_STAGES: Final = 30
_MOST_BESIDE: Final = 6
"""Inputs that stand side by side at most; more would not fit into a comment."""
_MOST_INPUTS: Final = 50
_MOST_NOTES: Final = 20
_MOST_LEFT_OUT: Final = 30
"""With these a comment stays below the 65,536 characters that GitHub takes."""
_PATH: Final = 80
_NOTE: Final = 400
_WHY: Final = 200


def render(result: Analysis | AnalysisSet) -> str:
    """Return the report as GitHub-flavoured Markdown: the answer, one table, folded details.

    Names from the trace stand in code spans or are escaped; nothing in them is taken for markup,
    a mention or a link.
    """
    blocks = _of_one(result) if isinstance(result, Analysis) else _of_many(result)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _of_one(result: Analysis) -> list[str]:
    trace, basis = result.trace, result.trace.basis
    return [
        f"**{sentences.CPU_ONLY}**" if basis == "cpu" else "",
        f"### {code(fit(clean(trace.path), _PATH))}",
        escape(sentences.subject(trace)),
        _bold(sentences.where_time_goes(result.time.kernel_ns, result.categories, basis)),
        sentences.idle(result) or "",
        sentences.communication(result) or "",
        _notes(sentences.doubts(result)),
        _categories(result.categories, basis),
        _advice(result),
        folded("Stages", _stages(result.stages)),
        folded("Idle time", idle(result)),
        folded("Attention", attention(result.attention, basis)),
        folded("Kernels" if basis == "gpu" else "Ops", kernels(result)),
        folded("Achieved FLOP/s and bytes/s", achieved(result.roofline)),
        folded("How this was told", _told(result)),
    ]


def _of_many(result: AnalysisSet) -> list[str]:
    overall, basis = result.overall, sentences.set_basis(result)
    lines = [f"Could not be used: {row.path}: {row.error}" for row in overall.unreadable]
    lines += [f"{r.trace.path}: {note}" for r in result.runs for note in sentences.notes_of_run(r)]
    rows = [
        (name(run.trace.path, _PATH), *rest)
        for run, (_, *rest) in ((run, run_row(run)) for run in result.runs[:_MOST_INPUTS])
    ]
    sums = [_categories(overall.categories, basis)]
    return [
        f"**{sentences.CPU_ONLY}**" if basis == "cpu" else "",
        f"### {len(result.runs)} {sentences.plural(len(result.runs), 'input')}",
        _bold(sentences.where_time_goes(overall.time.kernel_ns, overall.categories, basis)),
        sentences.idle_of_set(result) or "",
        _notes(lines),
        table(("Input", "Kernels", "Time", "Idle", "Mostly"), "lrrrl", rows),
        _more(len(result.runs) - len(rows), "inputs"),
        folded("Categories, summed over all inputs", sums if overall.time.kernel_ns else []),
        folded("Share of each category, side by side", [_side_by_side(result.runs)]),
        folded("What was left out", [_left_out(result.runs)] if result.runs else []),
        sentences.SET_HINT if result.runs else "",
    ]


def _bold(sentence: str) -> str:
    return f"**{escape(sentence)}**"


def _notes(lines: Sequence[str]) -> str:
    shown = [f"> **Note:** {escape(fit(clean(line), _NOTE))}" for line in lines[:_MOST_NOTES]]
    if len(lines) > len(shown):
        shown.append(f"> … and {len(lines) - len(shown)} more notes")
    return "\n>\n".join(shown)


def _more(count: int, what: str) -> str:
    return f"… and {format_count(count)} more {what}" if count > 0 else ""


def _categories(rows: Iterable[CategoryTime], basis: Basis) -> str:
    kind = "Kernels" if basis == "gpu" else "Ops"
    cells = [
        (
            escape(label_of(row.category)),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.kernels),
        )
        for row in rows
        if row.kernels > 0
    ]
    return table(("Category", "Time", "Share", kind), "lrrr", cells)


def _side_by_side(runs: Sequence[Analysis]) -> str:
    """Return a column an input, in the order of the inputs; nothing where they are too many."""
    if not 1 < len(runs) <= _MOST_BESIDE:
        return ""
    headers = [name(run.trace.path, 30) for run in runs]
    rows = [
        (escape(label_of(same[0].category)), *(format_share(row.time_share) for row in same))
        for same in zip(*(run.categories for run in runs), strict=True)
        if any(row.kernels for row in same)
    ]
    return table(("Category", *headers), "l" + "r" * len(runs), rows)


def _advice(result: Analysis) -> str:
    """Return what to do as a list, each with what it would give at most."""
    return "\n".join(
        f"- {escape(row.text)}" + ("" if row.speedup is None else f" (at most {row.speedup:.2f}x)")
        for row in result.advice
    )


def _stages(rows: Sequence[StageTime]) -> list[str]:
    if sentences.unmarked_whole(rows):
        return []
    cells = [
        (OUTSIDE if row.stage is None else name(row.stage), *rest)
        for row, (_, *rest) in ((row, stage_row(row)) for row in rows[:_MOST_STAGES])
    ]
    headers = ("Stage", "Steps", "Time", "Busy", "Busy share", "Mostly")
    more = len(rows) - len(cells)
    found = sentences.found_stages(rows)
    lines = [*sentences.outlier_steps(rows), *([] if found is None else [found])]
    return [
        table(headers, "lrrrrl", cells),
        _more(more, "stages"),
        escape(" ".join(lines)) if lines else "",
    ]


def _told(result: Analysis) -> list[str]:
    """Return what decided, how the times without the profiler are known, and what is left out."""
    lines = (
        sentences.decided_by(result.evidence),
        None if result.corrected is None else escape(result.corrected.method),
    )
    return [*(line or "" for line in lines), _left_out([result])]


def _left_out(runs: Sequence[Analysis]) -> str:
    if not any(run.left_out for run in runs):
        return sentences.NOTHING_LEFT_OUT
    several = len(runs) > 1
    cells = [
        (
            *([name(run.trace.path, _PATH)] if several else []),
            *(escape(fit(cell, _WHY)) if cell != MISSING else cell for cell in left_out_row(row)),
        )
        for run in runs
        for row in run.left_out
    ]
    headers = (*(["Input"] if several else []), "Left out", "Events", "Time", "Why")
    drawn = table(headers, "llrrl" if several else "lrrl", cells[:_MOST_LEFT_OUT])
    more = _more(len(cells) - _MOST_LEFT_OUT, "rows, which the JSON has")
    return f"{drawn}\n\n{more}" if more else drawn
