"""What the terminal is like, and messages beside the result."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from tracekit.results import Analysis, AnalysisSet

MAX_WIDTH: Final = 200
PIPED_WIDTH: Final = 100
MIN_WIDTH: Final = 60


def text_width(to_terminal: bool) -> int:
    """Return the columns that text may use: the terminal's, 200 at most, 100 into a file."""
    if not (to_terminal and sys.stdout.isatty()):
        return PIPED_WIDTH
    return max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))


def is_colored() -> bool:
    """Whether stdout takes colour: a terminal, and NO_COLOR (no-color.org) is not set."""
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def tell(line: str) -> None:
    """Write one line to stderr; names in it can neither break it nor steer the terminal."""
    from tracekit.reports.names import clean

    click.echo(f"tracekit: {clean(line)}", err=True, color=True)


def be_quiet() -> None:
    """Keep the profiler's own messages, which name no cause, from the terminal."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def echo_warnings(result: Analysis | AnalysisSet, *, shown: bool) -> None:
    """Write warnings and unreadable inputs to stderr, unless the report itself shows them."""
    from tracekit.results import AnalysisSet

    if shown:
        return
    runs = result.runs if isinstance(result, AnalysisSet) else (result,)
    for run in runs:
        for warning in run.trace.warnings:
            tell(f"{run.trace.path}: {warning}")
    if isinstance(result, AnalysisSet):
        for entry in result.overall.unreadable:
            tell(f"left out: {entry.error}")
