"""The summary that a notebook shows: HTML without script or style sheet, for light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from tracekit.reports import sentences
from tracekit.reports.cells import OUTSIDE, run_row, stage_row
from tracekit.reports.idle_cells import cause_label, causes_of
from tracekit.reports.names import clean, fit
from tracekit.reports.palette import color_of, label_of
from tracekit.results import Analysis
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracekit.results import AnalysisSet, Basis, CategoryTime

_MOST_STAGES: Final = 12
_MOST_RUNS: Final = 40
_LONGEST: Final = 80
"""Cells of a name at most."""
# Everything else is inherited, so that it fits the theme of the notebook.
_LINE: Final = "border-bottom:1px solid rgba(128,128,128,.35)"
_FAINT: Final = "opacity:.7"


def summary(result: Analysis | AnalysisSet) -> str:
    """Return the answer, a bar of categories, and short tables, as one HTML element.

    Names from the trace are escaped and cut. Notebook viewers that strip style sheets show it the
    same, because every style is inline.
    """
    parts = _of_one(result) if isinstance(result, Analysis) else _of_many(result)
    return f'<div style="max-width:60em;line-height:1.45">{"".join(filter(None, parts))}</div>'


def _of_one(result: Analysis) -> list[str]:
    trace, basis = result.trace, result.trace.basis
    lines = [
        sentences.CPU_ONLY if basis == "cpu" else None,
        sentences.where_time_goes(result.time.kernel_ns, result.categories, basis),
        sentences.idle(result),
        sentences.communication(result),
    ]
    return [
        _line(fit(clean(trace.path), _LONGEST), "font-weight:600"),
        _line(sentences.subject(trace), _FAINT),
        *(_line(line, "margin:.3em 0") for line in lines if line),
        *(_line(f"⚠ {note}", "margin:.3em 0") for note in sentences.doubts(result)),
        _bar(result.categories),
        _categories(result.categories, basis),
        _stages(result),
        _causes(result),
        _advice(result),
    ]


def _of_many(result: AnalysisSet) -> list[str]:
    overall, basis = result.overall, sentences.set_basis(result)
    runs = [(fit(path, _LONGEST), *rest) for path, *rest in map(run_row, result.runs[:_MOST_RUNS])]
    more = len(result.runs) - len(runs)
    lines = [
        sentences.where_time_goes(overall.time.kernel_ns, overall.categories, basis),
        sentences.idle_of_set(result),
        *(f"⚠ Could not be used: {row.path}: {row.error}" for row in overall.unreadable),
    ]
    count = len(result.runs)
    return [
        _line(f"{count} {sentences.plural(count, 'input')}", "font-weight:600"),
        *(_line(clean(line), "margin:.3em 0") for line in lines if line),
        _bar(overall.categories),
        _categories(overall.categories, basis),
        _table(("Input", "Kernels", "Time", "Idle", "Mostly"), "lrrrl", runs),
        _line(f"… and {more} more", _FAINT) if more > 0 else "",
    ]


def _line(text: str, style: str) -> str:
    return f'<div style="{style}">{escape(text)}</div>'


def _bar(rows: Iterable[CategoryTime]) -> str:
    """Return one stacked bar; what a part is stands in its tooltip and in the table below."""
    parts = "".join(
        f'<div title="{escape(label_of(row.category))} {format_share(row.time_share)}" '
        f'style="width:{100 * row.time_share:.2f}%;background:{color_of(row.category)}"></div>'
        for row in rows
        if row.time_share
    )
    box = "display:flex;height:1.1em;max-width:44em;margin:.6em 0;border-radius:3px;overflow:hidden"
    return f'<div style="{box}" role="img" aria-label="Categories">{parts}</div>' if parts else ""


def _categories(rows: Iterable[CategoryTime], basis: Basis) -> str:
    cells = [
        (
            (label_of(row.category), color_of(row.category)),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.kernels),
        )
        for row in rows
        if row.kernels
    ]
    kernels = "Kernels" if basis == "gpu" else "Ops"
    return _table(("Category", "Time", "Share", kernels), "lrrr", cells)


def _stages(result: Analysis) -> str:
    if sentences.unmarked_whole(result.stages):
        return ""
    rows = [stage_row(row) for row in result.stages[:_MOST_STAGES]]
    cells = [(OUTSIDE if name == OUTSIDE else fit(name, _LONGEST), *rest) for name, *rest in rows]
    more = len(result.stages) - len(rows)
    headers = ("Stage", "Steps", "Time", "Busy", "Busy share", "Mostly")
    drawn = _table(headers, "lrrrrl", cells)
    return drawn + (_line(f"… and {more} more stages", _FAINT) if more > 0 else "")


def _causes(result: Analysis) -> str:
    causes, _, is_corrected = causes_of(result)
    cells = [
        (cause_label(row.cause), format_ns(row.time_ns), format_share(row.time_share))
        for row in sorted(causes, key=lambda row: -row.time_ns)
        if row.time_ns
    ]
    if result.trace.basis == "cpu" or not cells:
        return ""
    title = "Idle, without profiler" if is_corrected else "Idle time"
    return _folded("Idle time by cause", _table((title, "Time", "Share"), "lrr", cells))


def _advice(result: Analysis) -> str:
    cells = [
        (clean(row.text), MISSING if row.speedup is None else f"{row.speedup:.2f}x")
        for row in result.advice
    ]
    return _table(("What to do", "At most"), "lr", cells) if cells else ""


def _folded(title: str, inside: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def _table(
    headers: Sequence[str], align: str, rows: Sequence[Sequence[str | tuple[str, str]]]
) -> str:
    """Return a table; a cell is its text, or text and the colour of a mark before it."""
    if not rows:
        return ""
    sides = ["left" if side == "l" else "right;white-space:nowrap" for side in align]

    def row(tag: str, cells: Sequence[str | tuple[str, str]]) -> str:
        made = "".join(
            f'<{tag} style="text-align:{side};padding:.1em .8em .1em 0;background:none">'
            f"{_cell(cell)}</{tag}>"
            for cell, side in zip(cells, sides, strict=True)
        )
        return f'<tr style="background:none">{made}</tr>'

    head = row("th", headers)
    body = "".join(row("td", cells) for cells in rows)
    return (
        f'<table style="border-collapse:collapse;margin:.6em 0;color:inherit;font:inherit">'
        f'<thead style="{_LINE}">{head}</thead><tbody>{body}</tbody></table>'
    )


def _cell(cell: str | tuple[str, str]) -> str:
    if isinstance(cell, str):
        return escape(cell)
    text, color = cell
    mark = f"display:inline-block;width:.7em;height:.7em;margin-right:.5em;background:{color}"
    return f'<span style="{mark}"></span>{escape(text)}'
