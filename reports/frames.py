"""The tables of an analysis as pandas DataFrames, each made when it is first asked for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

from tracekit.reports.tables import RUN_KEYS, tables
from tracekit.results import Analysis
from tracekit.tabular import to_pandas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from tracekit.results import AnalysisSet


class Frames(Mapping[str, Any]):
    """DataFrames by the names of tables; those of one trace are without `path` and `rank`.

    `kernels` gives the kernel table, where there is one. Asking for a table raises
    `MissingDependencyError` without pandas, and `KeyError` for a name that there is not.
    """

    def __init__(
        self, result: Analysis | AnalysisSet, kernels: Callable[[], Any] | None = None
    ) -> None:
        self._result = result
        self._kernels = kernels
        self._made: dict[str, Any] = {}

    @cached_property
    def _arrow(self) -> dict[str, pa.Table]:
        found = tables(self._result)
        if not isinstance(self._result, Analysis):
            return found
        return {name: table.drop_columns([k for k, _ in RUN_KEYS]) for name, table in found.items()}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            if name == "kernels" and self._kernels is not None:
                self._made[name] = self._kernels()
            elif name in self._arrow:
                self._made[name] = to_pandas(self._arrow[name])
            else:
                raise KeyError(f"{name!r} is no table: choose from {', '.join(self)}")
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._arrow
        if self._kernels is not None:
            yield "kernels"

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __len__(self) -> int:
        return len(self._arrow) + (self._kernels is not None)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    def _filled(self) -> list[tuple[str, str, str]]:
        return [
            (name, f"{table.num_rows:,}", ", ".join(table.schema.names))
            for name, table in self._arrow.items()
            if table.num_rows
        ]

    def __repr__(self) -> str:
        """Return the tables that hold rows, with how many."""
        rows = ", ".join(f"{name} ({count})" for name, count, _ in self._filled())
        return f"<{len(self)} tables; with rows: {rows}>"

    def _repr_html_(self) -> str:
        """Return the same for a notebook, with the columns of each."""
        rows = "".join(
            f'<tr><td style="text-align:left">{escape(name)}</td><td>{count}</td>'
            f'<td style="text-align:left">{escape(names)}</td></tr>'
            for name, count, names in self._filled()
        )
        return (
            '<table style="color:inherit;font:inherit"><thead><tr>'
            '<th style="text-align:left">Table</th><th>Rows</th>'
            f'<th style="text-align:left">Columns</th></tr></thead><tbody>{rows}</tbody></table>'
        )
