"""The report of `tracekit study memory`: text for the terminal, JSON, CSV and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.units import MISSING, format_bytes, format_count, format_share, share_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from tracekit.memory_results import MemoryStudy, ModelMemory
    from tracekit.reports import Format

_HEADERS: Final = (
    "Model",
    "Size",
    "Frames",
    "Sequences",
    "Tokens",
    "Held",
    "Sum",
    "Flash held",
    "Flash sum",
)
_AXIS_HEADERS: Final = (
    "Model", "Size", "Frames", "Axis", "Calls", "Held", "Sum", "Share"
)  # fmt: skip
_GROWTH_HEADERS: Final = (
    "Grows as a power of", "From", "To", "Held", "Sum", "Flash held", "Sum by axis"
)  # fmt: skip
_COLUMNS: Final = (
    "model", "preset", "architecture", "height", "width", "frames", "prompt_tokens", "tokens",
    "calls", "held_bytes", "step_bytes", "flash_held_bytes", "flash_step_bytes",
)  # fmt: skip


def render_memory(
    result: MemoryStudy,
    format: Format,  # noqa: A002 - the word that the command line uses
    *,
    width: int = 100,
    color: bool = False,
) -> str:
    """Return the report on attention memory, ending in a newline.

    CSV has one row a model and size, lines end in CR LF (RFC 4180). `width` (terminal cells, at
    least 60) and `color` matter to `text` only. Raises `ValueError` for an unknown format.
    """
    if format == "text":
        return _text(result, width, color)
    if format == "json":
        return _json(result)
    if format == "csv":
        return _csv(result)
    if format == "markdown":
        return _markdown(result)
    raise ValueError(f"unknown format {format!r}: choose from text, json, csv, markdown")


def _json(result: MemoryStudy) -> str:
    import msgspec

    from tracekit.reports.json_report import as_text

    fields = msgspec.to_builtins(result)
    return as_text({"schema": fields.pop("schema"), **fields})


def _csv(result: MemoryStudy) -> str:
    import csv
    from io import StringIO

    from tracekit.tabular import csv_row

    buffer = StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow([*_COLUMNS, "batch", "dtype"])
    for row in result.models:
        cells = (*(getattr(row, name) for name in _COLUMNS), result.batch, result.dtype)
        writer.writerow(csv_row(cells))
    return buffer.getvalue()


def _text(result: MemoryStudy, width: int, color: bool) -> str:
    from rich.text import Text

    from tracekit.reports.console import DIM, Fitted, draw, table

    whole = table(*_HEADERS)
    for name, *cells in map(_cells, result.models):
        whole.add_row(Fitted(name), *cells)
    axes = table(*_AXIS_HEADERS, left=(3,))
    for name, *cells in _axis_rows(result):
        axes.add_row(Fitted(name), *cells)
    grown = table(*_GROWTH_HEADERS, left=(6,))
    for name, *cells in _growth_rows(result):
        grown.add_row(Fitted(name), *cells)
    parts: list[RenderableType | None] = [
        Text(_title(result)),
        whole,
        axes if axes.row_count else None,
        grown if grown.row_count else None,
        Text(_notes(result), DIM),
    ]
    return draw(parts, width, color=color)


def _markdown(result: MemoryStudy) -> str:
    from tracekit.reports.markdown_text import escape

    blocks = [
        f"**{escape(_title(result))}**",
        _table(_HEADERS, "lrrrrrrrr", map(_cells, result.models)),
        _table(_AXIS_HEADERS, "lrrlrrrr", _axis_rows(result)),
        _table(_GROWTH_HEADERS, "lrrrrrl", _growth_rows(result)),
        escape(_notes(result)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(headers: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    body = [" | ".join(row) for row in rows]
    if not body:
        return ""
    rule = " | ".join("---:" if side == "r" else ":---" for side in align)
    return "\n".join(f"| {line} |" for line in (" | ".join(headers), rule, *body))


def _title(result: MemoryStudy) -> str:
    heads = "" if result.heads is None else f", {result.heads} heads in every layer"
    return (
        f"Scores of attention in one step of the denoiser: batch {result.batch}, "
        f"{result.dtype}{heads}"
    )


def _notes(result: MemoryStudy) -> str:
    return (
        f"Held: {result.copies} matrices of scores of the largest call, before and after softmax, "
        "are there at once where attention is written out. Sum: one matrix of every call of a "
        "step. Flash Attention has the log-sum-exp of each row in their place. Sequences: batch, "
        "with guidance, frames or positions, times heads."
    )


def _cells(row: ModelMemory) -> tuple[str, ...]:
    largest = row.attention[0]
    return (
        *_model(row),
        format_count(largest.batch * largest.heads),
        format_count(row.tokens),
        format_bytes(row.held_bytes),
        format_bytes(row.step_bytes),
        format_bytes(row.flash_held_bytes),
        format_bytes(row.flash_step_bytes),
    )


def _axis_rows(result: MemoryStudy) -> list[tuple[str, ...]]:
    """Return the axes of the models that attend along several."""
    return [
        (
            *_model(row),
            part.axis,
            format_count(part.calls),
            format_bytes(part.held_bytes),
            format_bytes(part.step_bytes),
            format_share(share_of(part.step_bytes, row.step_bytes)),
        )
        for row in result.models
        if len(row.by_axis) > 1
        for part in row.by_axis
    ]


def _model(row: ModelMemory) -> tuple[str, str, str]:
    side = format_count(row.height)
    return (
        f"{row.model} {row.preset}",
        side if row.height == row.width else f"{row.height}x{row.width}",
        MISSING if row.frames is None else format_count(row.frames),
    )


def _growth_rows(result: MemoryStudy) -> list[tuple[str, ...]]:
    return [
        (
            f"{row.along}, {row.model} {row.preset}",
            f"{row.start:,.0f}",
            f"{row.stop:,.0f}",
            f"{row.held_exponent:.2f}",
            f"{row.step_exponent:.2f}",
            f"{row.flash_held_exponent:.2f}",
            ", ".join(f"{axis} {value:.2f}" for axis, value in row.step_exponent_by_axis.items()),
        )
        for row in result.growth
    ]
