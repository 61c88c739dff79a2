"""The report of `tracekit study report`: Markdown, a page of HTML, JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

from tracekit.study_results import HOLDS, IN_PART, NOT_HERE, NOT_MEASURED

if TYPE_CHECKING:
    from tracekit.reports.study_cells import Section, Table
    from tracekit.study_results import StudyReport

StudyFormat = Literal["markdown", "html", "json"]
_LIST_MARKER: Final = re.compile(r"^(\d*)\\([-+=.)])")
_CLASSES: Final = {HOLDS: "holds", IN_PART: "part", NOT_HERE: "not", NOT_MEASURED: "none"}


def render_study(report: StudyReport, format: StudyFormat) -> str:  # noqa: A002 - as elsewhere
    """Return the report on a study, ending in a newline.

    The page is one file without anything from a network. Raises `ValueError` for an unknown format.
    """
    if format == "markdown":
        return _markdown(report)
    if format == "html":
        return _html(report)
    if format == "json":
        return _json(report)
    raise ValueError(f"unknown format {format!r}: choose from markdown, html, json")


def _json(report: StudyReport) -> str:
    import msgspec

    from tracekit.reports.json_report import as_text

    fields = msgspec.to_builtins(report)
    return as_text({"schema": fields.pop("schema"), **fields})


def _markdown(report: StudyReport) -> str:
    from tracekit.reports.markdown_text import escape
    from tracekit.reports.study_sections import sections, title_of

    blocks = ["# Study of generative models", escape(title_of(report))]
    for section in sections(report):
        blocks += _section(section)
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> list[str]:
    from tracekit.reports.markdown_text import escape

    tables = [_table(table) for table in section.tables if table.rows]
    about = [escape(section.about)] if section.about else []
    return [f"## {escape(section.title)}", *about, *tables]


def _table(table: Table) -> str:
    rule = " | ".join("---:" if side == "r" else ":---" for side in table.align)
    rows = (" | ".join(map(_cell, row)) for row in table.rows)
    lines = (" | ".join(map(_cell, table.headers)), rule, *rows)
    return "\n".join(f"| {line} |" for line in lines)


def _cell(text: str) -> str:
    from tracekit.reports.markdown_text import escape

    # What begins a list in a paragraph begins none in a cell.
    return _LIST_MARKER.sub(r"\1\2", escape(text))


def _html(report: StudyReport) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from tracekit.reports.study_figures import figure
    from tracekit.reports.study_sections import sections, title_of

    environment = Environment(
        loader=PackageLoader("tracekit.reports", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found = sections(report)
    figures = {
        # Figures escape what they show themselves.
        one.title: Markup(figure(one.figure, report) if one.figure else "")  # noqa: S704
        for one in found
    }
    return environment.get_template("study.html.j2").render(
        title=title_of(report),
        sections=found,
        claims=report.verdicts,
        classes=_CLASSES,
        figures=figures,
    )
