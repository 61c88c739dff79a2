"""`tracekit annotate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracekit.cli.options import helpers_for, keeper_for, load_options, options_from

if TYPE_CHECKING:
    from tracekit.annotating import Annotated, TraceFormat


@click.command()
@click.argument("path")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Write here; .gz at the end of the name compresses.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("json", "perfetto")),
    default=None,
    help="JSON with the file's own events as they are, or Perfetto's protobuf, which is smaller, "
    "exact to the ns and takes several ranks [as the name ends: .json or .pftrace].",
)
@click.option("--only-tracks", is_flag=True, help="Leave the file's own events out.")
@click.option("--force", is_flag=True, help="Overwrite the output file if it exists.")
@load_options
def annotate(
    path: str,
    output: Path,
    format_: TraceFormat | None,
    only_tracks: bool,
    force: bool,
    **loading: Any,
) -> None:
    """Add tracks to a trace, for Perfetto.

    The result opens in ui.perfetto.dev and chrome://tracing: your trace, and above it for each GPU
    stages, steps, attention calls with their lengths, gaps by cause, every kernel by its category,
    and counters (busy share, FLOP/s, sequence length).

    PATH is a torch.profiler trace (.json or .json.gz), a run folder, a folder of ranks, or a URL.
    """
    with keeper_for(loading) as keeper:
        with helpers_for((path,), loading):
            from tracekit.annotating import AnnotateOptions
            from tracekit.annotating import annotate as annotate_trace

            wish = AnnotateOptions(format_, only_tracks, force)
            done = annotate_trace(path, output, wish, options_from(loading), cache=keeper)
        echo_annotated(done)


def echo_annotated(done: Annotated) -> None:
    """Write to stderr what the reader of an annotated trace should know."""
    for warning in done.warnings:
        click.echo(f"tracekit: {warning}", err=True)
    for entry in done.unreadable:
        click.echo(f"tracekit: left out: {entry.error}", err=True)
