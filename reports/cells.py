"""The rows of the tables that the terminal and Markdown reports share, as text cells."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from tracekit.reports.names import clean
from tracekit.reports.sentences import largest
from tracekit.units import MISSING, format_count, format_ns, format_share, share_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.results import Analysis, LeftOut, StageTime

OUTSIDE = "(outside any stage)"
"""Name of the stage row that holds the kernels of no stage."""


def stage_steps(stage: StageTime) -> str:
    """Return the number of steps, and how many of them the file holds if not all."""
    if stage.steps is None or stage.traced_steps in (None, stage.steps):
        return format_count(stage.traced_steps if stage.steps is None else stage.steps)
    return f"{format_count(stage.traced_steps)} of {format_count(stage.steps)}"


def stage_row(stage: StageTime) -> tuple[str, str, str, str, str, str]:
    """Return name, steps, time, busy time, busy share of the span, and largest categories.

    Kernels outside any stage lie scattered, so the span of that row would mean nothing.
    """
    outside = stage.stage is None
    return (
        OUTSIDE if outside else clean(stage.stage),
        stage_steps(stage),
        format_ns(stage.time_ns),
        format_ns(stage.busy_ns),
        format_share(stage.busy_share),
        mostly(stage.categories, stage.time_ns),
    )


def mostly(categories: dict[str, int], time_ns: int) -> str:
    """Return the three largest categories with their shares of `time_ns`, without decimals."""
    top = largest(categories, time_ns)
    shares = (f"{label} {MISSING if share is None else f'{share:.0%}'}" for label, _, share in top)
    return ", ".join(shares) or MISSING


def run_row(run: Analysis) -> tuple[str, str, str, str, str]:
    """Return path, kernels, time, idle share and largest categories of one of several inputs."""
    idle = None if run.trace.basis == "cpu" else share_of(run.time.idle_ns, run.time.span_ns)
    return (
        clean(run.trace.path),
        format_count(sum(row.kernels for row in run.categories)),
        format_ns(run.time.kernel_ns),
        format_share(idle),
        mostly({row.category: row.time_ns for row in run.categories}, run.time.kernel_ns),
    )


def input_names(runs: Sequence[Analysis]) -> tuple[str, list[str]]:
    """Return the folder that all inputs are in, empty without one, and their paths below it."""
    paths = [clean(run.trace.path) for run in runs]
    parts = [path.split("/")[:-1] for path in paths]
    same = list(takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False)))
    folder = "/".join(level[0] for level in same)
    if len(runs) < 2 or not folder:
        return "", paths
    return folder, [path[len(folder) + 1 :] for path in paths]


def left_out_row(row: LeftOut) -> tuple[str, str, str, str]:
    """Return what was left out, how many events, their time, and why."""
    return clean(row.what), format_count(row.events), format_ns(row.time_ns), clean(row.why)
