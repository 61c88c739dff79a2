"""`tracekit report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tracekit.cli.figures import write_figures
from tracekit.cli.options import (
    analysis_options,
    helpers_for,
    keeper_for,
    load_options,
    options_from,
)
from tracekit.cli.terminal import echo_warnings
from tracekit.errors import UsageError


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Write the page here; needed unless --figures is given.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write figures for a paper into this folder, as SVG and PNG.",
)
@click.option("--force", is_flag=True, help="Overwrite output files that exist.")
@click.option("--title", help="Heading of the page [the names of the files or run folders].")
@analysis_options
@load_options
def report(
    paths: tuple[str, ...],
    output: Path | None,
    figures: Path | None,
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
    if output is None and figures is None:
        raise UsageError("say where to write: -o FILE.html, or --figures FOLDER")
    with keeper_for(loading) as keeper:
        with helpers_for(paths, loading):
            from tracekit import __version__
            from tracekit.analysis.device_peaks import parse_peaks
            from tracekit.output import refuse_existing, whole_file
            from tracekit.reporting import analyzed, build_report
            from tracekit.reports.page_render import render_page

            if output is not None:
                refuse_existing(output, force=force)
            built = build_report(
                paths,
                options_from(loading),
                title=title,
                peaks=parse_peaks(peaks),
                ncu=ncu,
                cache=keeper,
            )
        result = analyzed(built)
        if figures is not None:
            write_figures(result, figures, force=force)
        if output is not None:
            page = render_page(built, __version__)
            with whole_file(output, force=force) as temporary:
                temporary.write_text(page, encoding="utf-8", newline="")
        echo_warnings(result, shown=False)
