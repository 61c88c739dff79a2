"""A progress bar on stderr, for a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.progress import Progress

    from tracekit.collectors.progress import Listener
    from tracekit.study.running import StudyListener


@contextmanager
def shown_progress() -> Iterator[Listener]:
    """Give a listener that shows a bar until the block ends, where stderr is a terminal.

    The bar is drawn when something is told and at no other time: a thread that draws would take
    time from the work that is measured.
    """
    from tracekit.collectors.progress import Silent

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        # What the work prints is its own, and stdout stays stdout.
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield _Bar(progress)


@contextmanager
def shown_study() -> Iterator[StudyListener]:
    """Give a listener that says how far a study is, and prints a line for each case that ended.

    On a terminal there is one bar for the study and one for the case; lines go to stderr then, so
    that they stand above the bars, and to stdout where there are none.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield _StudyLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as progress:
        yield _StudyBars(progress)


def case_line(entry: dict[str, Any]) -> str:
    """Return the line that says what came of a case."""
    again = entry.get("timed_again")
    if again is not None:
        failed = again["error"] is not None
        told = again["error"] if failed else f"{entry['repeats']} repeats, {again['took_s']:.1f} s"
        return f"{'not timed again' if failed else 'timed again'}: {entry['name']}: {told}"
    took = entry.get("took_s")
    name = entry["name"] if took is None else f"{entry['name']} ({took:.1f} s)"
    refused = entry.get("instead_of") or []
    if entry["status"] != "done":
        return f"{entry['status'].replace('_', ' ')}: {name}: {entry['error']}"
    return f"done: {name}" + (f", preset {entry['preset']}: {refused[-1]}" if refused else "")


class _StudyLines:
    def begin_case(self, name: str, number: int, total: int) -> Listener:  # noqa: ARG002
        from tracekit.collectors.progress import Silent

        return Silent()

    def end_case(self, entry: dict[str, Any]) -> None:
        click.echo(case_line(entry))


class _StudyBars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._cases = progress.add_task("study", total=None)
        self._bar: _Bar | None = None

    def begin_case(self, name: str, number: int, total: int) -> Listener:
        self._progress.update(self._cases, description=name, completed=number - 1, total=total)
        self._bar = _Bar(self._progress)
        return self._bar

    def end_case(self, entry: dict[str, Any]) -> None:
        if self._bar is not None:
            self._bar.remove()
        self._progress.advance(self._cases)
        self._progress.console.print(case_line(entry), markup=False, highlight=False)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("set up", total=None)

    def remove(self) -> None:
        self._progress.remove_task(self._task)

    def plan(self, steps: int) -> None:
        self._show(total=steps)

    def begin(self, what: str) -> None:
        self._show(description=what)

    def advance(self, steps: int) -> None:
        self._show(advance=steps)

    def _show(self, **changes: Any) -> None:
        self._progress.update(self._task, refresh=True, **changes)
