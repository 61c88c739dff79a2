"""A loaded trace that also holds what is analyzed of it, for notebooks and short scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tracekit.errors import InputError
from tracekit.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracekit.classifying.table import KernelTable
    from tracekit.reports.frames import Frames
    from tracekit.results import Analysis


@dataclass(frozen=True, repr=False, eq=False)
class LoadedTrace(Trace):
    """A trace as `tracekit.load` returns it: its columns, and tables of what they mean.

    >>> run = tracekit.load("trace.json.gz")
    >>> run                                 # in a notebook: the summary
    >>> run.kernels.groupby("category", observed=True).dur_ns.sum()
    >>> run.tables["idle_blame"]

    `kernels`, `categories`, `stages`, `steps`, `attention_calls`, `sequence_lengths`, `gaps` and
    all that is in `tables` are pandas DataFrames; they have the columns of `tracekit tables`
    without `path` and `rank`. Nothing is analyzed before one of them is asked for, and then once.
    DataFrames need the extra `pandas`, and raise `MissingDependencyError` without it.
    """

    study: Callable[[Trace], tuple[KernelTable, Analysis]] | None = field(default=None)
    """What classifies and analyzes these columns."""

    @cached_property
    def _studied(self) -> tuple[KernelTable, Analysis]:
        if self.study is None:
            raise InputError(f"{self.path}: was not loaded by tracekit.load")
        return self.study(self)

    @property
    def analysis(self) -> Analysis:
        """What `tracekit.analyze` returns of this trace."""
        return self._studied[1]

    @property
    def table(self) -> KernelTable:
        """What `tracekit.kernels` returns of this trace."""
        return self._studied[0]

    @cached_property
    def tables(self) -> Frames:
        """All tables by name, `kernels` among them."""
        from tracekit.reports.frames import Frames

        return Frames(self.analysis, kernels=self.table.to_pandas)

    @property
    def kernels(self) -> Any:
        """A row a GPU activity, with its category and why."""
        return self.tables["kernels"]

    @property
    def categories(self) -> Any:
        """A row a category."""
        return self.tables["categories"]

    @property
    def stages(self) -> Any:
        """A row a stage."""
        return self.tables["stages"]

    @property
    def steps(self) -> Any:
        """A row a step of a stage."""
        return self.tables["steps"]

    @property
    def attention_calls(self) -> Any:
        """A row an attention call; the 1,000 that take most time."""
        return self.tables["attention_calls"]

    @property
    def sequence_lengths(self) -> Any:
        """A row a query and key length, kind and axis."""
        return self.tables["sequence_lengths"]

    @property
    def gaps(self) -> Any:
        """A row a gap; the 1,000 largest."""
        return self.tables["gaps"]

    def __repr__(self) -> str:
        """Return path and size, not the columns."""
        return (
            f"<LoadedTrace {self.path!r}: {self.events:,} events, "
            f"{len(self.activities):,} GPU activities>"
        )

    def _repr_html_(self) -> str:
        """Return the summary that a notebook shows."""
        from tracekit.reports.notebook import summary

        return summary(self.analysis)
