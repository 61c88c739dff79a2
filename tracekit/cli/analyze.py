"""`tracekit analyze`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracekit.cli.options import (
    analysis_options,
    helpers_for,
    keeper_for,
    load_options,
    options_from,
    output_options,
)
from tracekit.cli.terminal import echo_warnings, is_colored, text_width

if TYPE_CHECKING:
    from tracekit.reports import Format
    from tracekit.results import Analysis, AnalysisSet


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@output_options(
    "text", "json", "csv", "markdown", about="What to write; csv is the categories table."
)
@analysis_options
@click.option(
    "--all",
    "list_all",
    is_flag=True,
    help="List all gaps and attention calls, not 1,000.",
)
@load_options
def analyze(
    paths: tuple[str, ...],
    format_: Format,
    output: Path | None,
    force: bool,
    peaks: tuple[str, ...],
    ncu: str | None,
    list_all: bool,
    **loading: Any,
) -> None:
    """Say where the GPU time of a trace goes.

    PATH is a torch.profiler trace (.json or .json.gz), a run folder, a folder of ranks, or a URL.
    Several paths give one result each, and their sums.
    """
    with keeper_for(loading) as keeper:
        with helpers_for(paths, loading):
            from tracekit.analysis.device_peaks import parse_peaks
            from tracekit.api import analyze_all
            from tracekit.output import refuse_existing
            from tracekit.reports import renderer

            # Imported while the helpers are reading.
            renderer(format_)
            if output is not None:
                refuse_existing(output, force=force)
            result = analyze_all(
                paths,
                options_from(loading),
                list_all=list_all,
                peaks=parse_peaks(peaks),
                ncu=ncu,
                cache=keeper,
            )
        _write(result, format_, output, force)


def _write(
    result: Analysis | AnalysisSet, format_: Format, output: Path | None, force: bool
) -> None:
    from tracekit.output import whole_file
    from tracekit.reports import render

    to_terminal = output is None
    text = render(
        result, format_, width=text_width(to_terminal), color=is_colored() if to_terminal else False
    )
    echo_warnings(result, shown=format_ == "text" and to_terminal)
    if output is None:
        click.echo(text, nl=False)
        return
    with whole_file(output, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
