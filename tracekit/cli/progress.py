"""A progress bar on stderr, for a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from tracekit.collectors.progress import Listener


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


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("set up", total=None)

    def plan(self, steps: int) -> None:
        self._show(total=steps)

    def begin(self, what: str) -> None:
        self._show(description=what)

    def advance(self, steps: int) -> None:
        self._show(advance=steps)

    def _show(self, **changes: Any) -> None:
        self._progress.update(self._task, refresh=True, **changes)
