"""`tracekit open`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from tracekit.cli.options import helpers_for, keeper_for, load_options, options_from
from tracekit.cli.terminal import echo_warnings
from tracekit.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracekit.annotating import TraceFormat
    from tracekit.serving import OneFileServer


@click.command("open")
@click.argument("path")
@click.option("--plain", is_flag=True, help="Open the file as it is, without added tracks.")
@click.option(
    "--report", is_flag=True, help="Open tracekit's HTML report, of a trace or as it was written."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(("json", "perfetto")),
    default=None,
    help="What to send, as for annotate [json; perfetto for several ranks].",
)
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening it.")
@load_options
def open_(
    path: str,
    plain: bool,
    report: bool,
    format_: TraceFormat | None,
    no_browser: bool,
    **loading: Any,
) -> None:
    """Open a trace with tracks in Perfetto, or its report.

    It is ui.perfetto.dev that shows the trace, with the tracks of tracekit annotate. The trace
    stays on this machine: a server on 127.0.0.1 gives it to the page, to nobody else, and ends when
    the page has it (or on Ctrl-C).

    PATH is a torch.profiler trace (.json or .json.gz), a run folder, a folder of ranks, or a URL;
    with --report also a page that tracekit report wrote (.html).
    """
    if plain and format_ is not None:
        raise UsageError("--plain opens the file as it is: it goes without --format")
    if report:
        if plain or format_ is not None:
            raise UsageError("--report opens a page: it goes without --plain and --format")
        _open_report(path, no_browser, loading)
        return
    # Bound before anything is read: that the port is taken should not show after minutes.
    with _bound() as server, TemporaryDirectory(prefix="tracekit-") as folder:
        file, name = _plain(path) if plain else _annotated(path, Path(folder), format_, loading)
        _serve(server, file, name, no_browser)


@contextmanager
def _bound() -> Iterator[OneFileServer]:
    from tracekit.serving import PERFETTO_ORIGIN, PERFETTO_PORT, OneFileServer

    try:
        server = OneFileServer(origin=PERFETTO_ORIGIN, port=PERFETTO_PORT)
    except HostError as error:
        raise HostError(
            f"{error}; ui.perfetto.dev fetches from no other port of this machine: end what "
            "uses it (trace_processor? another tracekit open?), or write a file with tracekit "
            "annotate and open that in the page"
        ) from error
    with server:
        yield server


def _plain(path: str) -> tuple[Path, str]:
    from tracekit.runfolder import open_run

    files = open_run(path)
    if len(files) > 1:
        raise UsageError(f"{path}: holds {len(files)} traces; --plain opens one of them")
    if "://" in files[0].path:
        raise UsageError(f"{path}: --plain opens files of this machine; leave it out")
    file = Path(files[0].path)
    return file, file.name


def _annotated(
    path: str, folder: Path, format_: TraceFormat | None, loading: dict[str, Any]
) -> tuple[Path, str]:
    from tracekit.cli.annotate import echo_annotated
    from tracekit.runfolder import open_run

    if sys.stderr.isatty():
        click.echo(f"Reading {click.format_filename(path)} …", err=True)
    chosen = format_ or ("json" if len(open_run(path)) == 1 else "perfetto")
    file = folder / ("trace.json.gz" if chosen == "json" else "trace.pftrace.gz")
    with keeper_for(loading) as keeper:
        with helpers_for((path,), loading):
            from tracekit.annotating import AnnotateOptions, annotate

            done = annotate(
                path, file, AnnotateOptions(chosen), options_from(loading), cache=keeper
            )
        echo_annotated(done)
    stem = Path(path).name.removesuffix(".gz").removesuffix(".json") or "trace"
    return file, f"{stem}{''.join(file.suffixes)}"


def _open_report(path: str, no_browser: bool, loading: dict[str, Any]) -> None:
    from tracekit.serving import OneFileServer

    with (
        OneFileServer(origin=None) as server,
        TemporaryDirectory(prefix="tracekit-") as folder,
    ):
        is_written = Path(path).suffix.lower() == ".html"
        page = Path(path) if is_written else _reported(path, Path(folder), loading)
        address = server.start(page, page.name, content_type="text/html; charset=utf-8")
        _show(address, no_browser)
        server.wait()


def _reported(path: str, folder: Path, loading: dict[str, Any]) -> Path:
    page = folder / "report.html"
    with keeper_for(loading) as keeper:
        with helpers_for((path,), loading):
            from tracekit.reporting import analyzed, build_report

            built = build_report(path, options_from(loading), cache=keeper)
        from tracekit import __version__
        from tracekit.reports.page_render import render_page

        page.write_text(render_page(built, __version__), encoding="utf-8", newline="")
        echo_warnings(analyzed(built), shown=False)
    return page


def _serve(server: OneFileServer, file: Path, name: str, no_browser: bool) -> None:
    from tracekit.serving import perfetto_address

    _show(perfetto_address(server.start(file, name)), no_browser)
    server.wait()


def _show(address: str, no_browser: bool) -> None:
    if no_browser or not _opened(address):
        click.echo(address)
        sys.stdout.flush()
    if sys.stderr.isatty():
        click.echo("Waiting for the browser to fetch it; Ctrl-C ends this.", err=True)


def _opened(address: str) -> bool:
    import webbrowser

    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False
