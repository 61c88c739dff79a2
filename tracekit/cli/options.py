"""Options that every command which reads traces takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from tracekit.units import parse_size

if TYPE_CHECKING:
    from tracekit.caching.cache import Later
    from tracekit.loading.loader import LoadOptions

Command = TypeVar("Command", bound=Callable[..., Any])


def size(text: str) -> int:
    """Return a size with an SI prefix, such as 500MB or 2GB, in bytes.

    Raises
    ------
    click.BadParameter
        The text is no size.
    """
    size_bytes = parse_size(text)
    if size_bytes is None:
        raise click.BadParameter(f"{text!r} is no size; give one such as 500MB or 2GB")
    return size_bytes


_LIMITS: Final[tuple[tuple[str, str, Any, str], ...]] = (
    ("--max-size", "max_json_bytes", size, "Largest decompressed size [200GB]."),
    ("--max-ratio", "max_ratio", float, "Most that gzip may expand to, from 64 MB on [200]."),
    ("--max-event-size", "max_event_bytes", size, "Longest event [16MB]."),
    ("--max-text-size", "max_text_chars", size, "Longest text in an event [4M characters]."),
    ("--max-nesting", "max_nesting", int, "Deepest nesting [what the parser takes]."),
    ("--max-events", "max_events", size, "Most events [1G]."),
    ("--max-memory", "max_memory_bytes", size, "Most memory for columns [half of the machine]."),
)
"""Option, field of `LoadLimits`, type and help of each limit."""


def output_options(*formats: str, about: str) -> Callable[[Command], Command]:
    """Add the options on what is written and where; `about` tells of a format."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--force", is_flag=True, help="Overwrite the output file if it exists."),
            click.option(
                "-o",
                "--output",
                type=click.Path(path_type=Path),
                help="Write here instead of to stdout.",
            ),
            click.option(
                "--format",
                "format_",
                type=click.Choice(formats),
                default=formats[0],
                show_default=True,
                help=about,
            ),
        ):
            command = option(command)
        return command

    return add


def analysis_options(command: Command) -> Command:
    """Add the options on what an analysis takes beside its traces."""
    for option in (
        click.option(
            "--ncu",
            type=click.Path(),
            metavar="FILE.csv",
            help="Counters of the same work, as ncu --csv writes them [ncu.csv of the run folder].",
        ),
        click.option(
            "--peaks",
            multiple=True,
            metavar="FILE|KEY=VALUE",
            help="Peaks of the device: FLOP/s by type (bfloat16=989e12), bandwidth in bytes/s, "
            "cache_bytes; or a JSON file of them. Repeatable.",
        ),
    ):
        command = option(command)
    return command


def load_options(command: Command) -> Command:
    """Add the options on how traces are read; their values go to `loading`."""
    for option, field, kind, text in reversed(_LIMITS):
        command = click.option(option, field, type=kind, default=None, help=text)(command)
    command = click.option(
        "--no-cache", is_flag=True, help="Parse the trace anew, and keep nothing of it."
    )(command)
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        default=None,
        help="Processes that parse [one a processor, 8 at most].",
    )(command)


def options_from(values: dict[str, Any]) -> LoadOptions:
    """Return the options on how traces are read that were given on the command line."""
    from tracekit.loading.limits import LoadLimits
    from tracekit.loading.options import LoadOptions

    return LoadOptions(workers=values["workers"], limits=LoadLimits(**_given_limits(values)))


@contextmanager
def keeper_for(values: dict[str, Any]) -> Iterator[Later | bool]:
    """Give what keeps loaded traces, false without a cache; they are kept when the command ends."""
    if values["no_cache"]:
        yield False
        return
    work: list[Callable[[], None]] = []
    yield work.append
    if work:
        from tracekit.caching.pending import keep_after_exit

        sys.stdout.flush()
        keep_after_exit(work)


@contextmanager
def helpers_for(paths: tuple[str, ...], values: dict[str, Any]) -> Iterator[None]:
    """Start processes that parse a large file while this one is still importing."""
    from tracekit.loading import launch

    helpers = (values["workers"] or launch.processor_count()) - 1
    is_large = len(paths) == 1 and launch.json_bytes(paths[0]) >= launch.PARALLEL_BYTES
    if not helpers or not is_large or not launch.can_start() or _is_cached(paths[0], values):
        yield
        return
    options = {} if values["workers"] is None else {"workers": values["workers"]}
    task = {"path": paths[0], "options": options, "limits": _given_limits(values)}
    with launch.early_workers(paths[0], task, helpers):
        yield


def _is_cached(path: str, values: dict[str, Any]) -> bool:
    if values["no_cache"]:
        return False
    from tracekit.caching.cache import is_remembered

    return is_remembered(path)


def _given_limits(values: dict[str, Any]) -> dict[str, Any]:
    return {field: values[field] for _, field, _, _ in _LIMITS if values[field] is not None}
