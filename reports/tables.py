"""Every table of an analysis as an Arrow table, for CSV, Parquet and DataFrames.

A table is what the JSON holds as a list of records, a row a record, under the same field names.
Every table begins with `path` and `rank`, so that those of several runs stand in one file; what is
nested deeper in the JSON is a table of its own that begins with the keys of what it belongs to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from tracekit.reports.table_list import TABLES
from tracekit.results import Analysis, CategoryTime, UnreadableInput
from tracekit.tabular import encodable

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from tracekit.reports.table_list import TableSpec
    from tracekit.results import AnalysisSet

RUN_KEYS: Final = (("path", str), ("rank", int))
"""The first two columns of every table: which input a row is of."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, the type of its values, and whether it is a list of them."""

    name: str
    kind: type
    is_list: bool = False


def tables(result: Analysis | AnalysisSet) -> dict[str, pa.Table]:
    """Return all tables of an analysis, or of several, by name, those without rows too.

    Numbers are int64 or float64, texts strings, null where the JSON has null. Several inputs add
    `overall_categories` and `unreadable`, which have no `path` of a run and no `rank`.
    """
    runs = (result,) if isinstance(result, Analysis) else result.runs
    found = {spec.name: _table(columns(spec), _rows(spec, runs)) for spec in TABLES}
    if not isinstance(result, Analysis):
        overall = result.overall
        for name, record, rows in (
            ("overall_categories", CategoryTime, overall.categories),
            ("unreadable", UnreadableInput, overall.unreadable),
        ):
            own = _columns(record)
            found[name] = _table(own, ([getattr(row, c.name) for c in own] for row in rows))
    return found


def columns(spec: TableSpec) -> tuple[Column, ...]:
    """Return the columns of one table in their order."""
    keys = [Column(name, kind) for name, kind in (*RUN_KEYS, *spec.keys)]
    own = [
        Column(spec.renamed.get(column.name, column.name), column.kind, column.is_list)
        for column in _columns(spec.record)
    ]
    taken = {key.name for key in keys}
    return (*keys, *(column for column in own if column.name not in taken))


def _rows(spec: TableSpec, runs: Iterable[Analysis]) -> Iterable[list[Any]]:
    taken = {name for name, _ in (*RUN_KEYS, *spec.keys)}
    own = [c.name for c in _columns(spec.record) if spec.renamed.get(c.name, c.name) not in taken]
    for run in runs:
        for *keys, record in spec.rows(run):
            head = [run.trace.path, run.trace.rank, *keys]
            yield [*head, *(getattr(record, name) for name in own)]


def _table(own: tuple[Column, ...], rows: Iterable[list[Any]]) -> pa.Table:
    import pyarrow as pa

    kinds = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    held = list(rows)
    arrays = {}
    for index, column in enumerate(own):
        kind = pa.list_(kinds[column.kind]) if column.is_list else kinds[column.kind]
        arrays[column.name] = pa.array([_plain(row[index]) for row in held], kind)
    return pa.table(arrays)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return encodable(json.dumps(value, ensure_ascii=False))
    return value


@cache
def _columns(record: type) -> tuple[Column, ...]:
    """Return the fields of a record that a cell can hold; the others are tables of their own."""
    hints = get_type_hints(record)
    found = ((field.name, _kind(hints[field.name])) for field in fields(record))
    return tuple(Column(name, *kind) for name, kind in found if kind is not None)


def _kind(hint: Any) -> tuple[type, bool] | None:
    """Return the type of a field's values and whether it is a list, null for what is nested."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Literal:
        return str, False
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return (inner, True) if inner in (int, float, str) else None
    if get_origin(hint) is dict:
        # What has keys of its own for each record, such as the numbers behind an advice, is JSON.
        return (str, False) if get_args(hint)[1] is Any else None
    return None if is_dataclass(hint) else (hint, False)
