"""Renderers: they take results and return text, compute nothing and write nowhere.

>>> from tracekit.reports import render
>>> print(render(result, "text", width=80))

Each format is imported when it is first asked for, so JSON and CSV never load rich's tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from tracekit.results import Analysis, AnalysisSet

__all__ = ["FORMATS", "Format", "render"]

Format = Literal["text", "json", "csv", "markdown"]
"""The formats that `render` knows."""

FORMATS: Final[tuple[Format, ...]] = get_args(Format)
"""The same, as a tuple for choices on a command line."""


def render(
    result: Analysis | AnalysisSet,
    format: Format,  # noqa: A002 - the word that the command line uses
    *,
    width: int = 100,
    color: bool = False,
) -> str:
    """Return the report on one analysis or several, ending in a newline.

    `width` (terminal cells, at least 60) and `color` matter to `text` only. CSV lines end in
    CR LF as RFC 4180 asks. Raises `ValueError` for a format that is not in `FORMATS`.
    """
    if format == "text":
        from tracekit.reports import text

        return text.render(result, width=width, color=color)
    if format == "json":
        from tracekit.reports import json_report

        return json_report.render(result)
    if format == "csv":
        from tracekit.reports import csv_report

        return csv_report.render(result)
    if format == "markdown":
        from tracekit.reports import markdown

        return markdown.render(result)
    raise ValueError(f"unknown format {format!r}: choose from {', '.join(FORMATS)}")
