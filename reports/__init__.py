"""Renderers: they take results and return text, compute nothing and write nowhere.

>>> from tracekit.reports import render
>>> print(render(result, "text", width=80))

Each format is imported when it is first asked for, so JSON and CSV never load rich's tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracekit.results import Analysis, AnalysisSet

    Renderer = Callable[[Analysis | AnalysisSet, int, bool], str]

__all__ = ["FORMATS", "Format", "render", "renderer"]

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
    return renderer(format)(result, width, color)


def renderer(format: Format) -> Renderer:  # noqa: A002 - the word that the command line uses
    """Return the function that writes one format, with all that it imports.

    Raises `ValueError` for a format that is not in `FORMATS`.
    """
    if format == "text":
        from tracekit.reports import text

        return lambda result, width, color: text.render(result, width=width, color=color)
    if format == "json":
        from tracekit.reports import json_report

        return lambda result, _width, _color: json_report.render(result)
    if format == "csv":
        from tracekit.reports import csv_report

        return lambda result, _width, _color: csv_report.render(result)
    if format == "markdown":
        from tracekit.reports import markdown

        return lambda result, _width, _color: markdown.render(result)
    raise ValueError(f"unknown format {format!r}: choose from {', '.join(FORMATS)}")
