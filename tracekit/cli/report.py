"""`tracekit report`."""

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
)

if TYPE_CHECKING:
    from tracekit.report_results import Report


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.html",
    help="Write the page here.",
)
@click.option("--force", is_flag=True, help="Overwrite the output file if it exists.")
@click.option("--title", help="Heading of the page [the names of the files or run folders].")
@analysis_options
@load_options
def report(
    paths: tuple[str, ...],
    output: Path,
    force: bool,
    title: str | None,
    peaks: tuple[str, ...],
    ncu: str | None,
    **loading: Any,
) -> None:
    """Write an HTML page on a trace, or on several side by side.

    The page is one file that needs no network. PATH is a torch.profiler trace (.json or .json.gz),
    a run folder, a folder of ranks, or a URL.
    """
    with keeper_for(loading) as keeper:
        with helpers_for(paths, loading):
            from tracekit import __version__
            from tracekit.analysis.device_peaks import parse_peaks
            from tracekit.output import refuse_existing, whole_file
            from tracekit.reporting import build_report
            from tracekit.reports.page_render import render_page

            refuse_existing(output, force=force)
            built = build_report(
                paths,
                options_from(loading),
                title=title,
                peaks=parse_peaks(peaks),
                ncu=ncu,
                cache=keeper,
            )
        page = render_page(built, __version__)
        with whole_file(output, force=force) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="")
        _tell(built)


def _tell(built: Report) -> None:
    """Write warnings and unreadable inputs to stderr."""
    for run in built.runs:
        for warning in run.analysis.trace.warnings:
            click.echo(f"tracekit: {run.analysis.trace.path}: {warning}", err=True)
    for entry in built.unreadable:
        click.echo(f"tracekit: left out: {entry.error}", err=True)
