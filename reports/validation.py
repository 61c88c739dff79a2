"""The reports of a validation: text for the terminal, JSON, and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracekit.reports.validation_cells import Cells
    from tracekit.validation_results import Validation

ValidationFormat = Literal["text", "json", "markdown"]
"""The formats that `render_validation` knows."""

_CONFUSIONS: Final = 6
_EXAMPLES: Final = 2


def render_validation(
    result: Validation,
    format: ValidationFormat,  # noqa: A002 - the word that the command line uses
    *,
    width: int = 100,
    color: bool = False,
) -> str:
    """Return the report on a validation, ending in a newline.

    `width` (terminal cells, at least 60) and `color` matter to `text` only. Raises `ValueError`
    for an unknown format.
    """
    if format == "text":
        return _text(result, width, color)
    if format == "json":
        return _json(result)
    if format == "markdown":
        return _markdown(result)
    raise ValueError(f"unknown format {format!r}: choose from text, json, markdown")


def _json(result: Validation) -> str:
    import msgspec

    from tracekit.reports.json_report import as_text

    fields = msgspec.to_builtins(result)
    return as_text({"schema": fields.pop("schema"), **fields})


def _text(result: Validation, width: int, color: bool) -> str:
    from rich.text import Text

    from tracekit.reports import validation_cells as cells
    from tracekit.reports.console import NOTE, draw

    parts: list[RenderableType | None] = [
        *(Text(line, NOTE) for line in cells.unusable_lines(result)),
        Text(cells.summary(result)),
        _drawn(cells.runs_cells(result)),
        _drawn(cells.other_cells(result)),
        *(_drawn(cells.confusion_cells(row, _CONFUSIONS, _EXAMPLES)) for row in result.overall),
        _drawn(cells.evidence_cells(result)),
        _drawn(cells.confidence_cells(result)),
    ]
    return draw(parts, width, color=color)


def _drawn(cells: Cells) -> RenderableType | None:
    from tracekit.reports.console import Fitted, table

    if not cells.rows:
        return None
    drawn = table(*cells.headers, wide=cells.names, left=cells.words)
    for row in cells.rows:
        drawn.add_row(*(Fitted(cell) if at in cells.names else cell for at, cell in enumerate(row)))
    return drawn


def _markdown(result: Validation) -> str:
    from tracekit.reports import validation_cells as cells
    from tracekit.reports.markdown_text import escape

    blocks = [
        *(escape(line) for line in cells.unusable_lines(result)),
        escape(cells.summary(result)),
        markdown_table(cells.runs_cells(result)),
        markdown_table(cells.other_cells(result)),
    ]
    for row in result.overall:
        blocks.append(f"**{cells.TITLE_OF[row.mode]}**")
        blocks.append(markdown_table(cells.matrix_cells(row.total)))
        blocks.append(markdown_table(cells.confusion_cells(row, _CONFUSIONS, _EXAMPLES)))
    blocks += [
        markdown_table(cells.evidence_cells(result)),
        markdown_table(cells.confidence_cells(result)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def markdown_table(cells: Cells) -> str:
    """Return a table in GitHub's flavour, empty where it has no rows."""
    from tracekit.reports.markdown_text import escape

    if not cells.rows:
        return ""
    texts = (*cells.names, *cells.words)
    rule = (":---" if at in texts else "---:" for at in range(len(cells.headers)))
    rows = (
        [escape(cell) if cell and at in texts else cell for at, cell in enumerate(row)]
        for row in cells.rows
    )
    lines = (map(escape, cells.headers), rule, *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
