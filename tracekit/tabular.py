"""Arrow tables as CSV, Parquet and DataFrames: one way of writing each, for every command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_FORMULA: Final = r"^[=+\-@\t\r]"
_NUMBER: Final = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_GUARD: Final = "'"
_NUL: Final = "\0"
_REPLACEMENT: Final = "\ufffd"


def encodable(text: str) -> str:
    """Return `text` with halves of surrogate pairs, which UTF-8 cannot hold, as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def csv_cell(text: str) -> str:
    """Return `text` as a CSV cell that no spreadsheet takes for a formula.

    A cell that starts with `=`, `+`, `-`, `@`, tab or CR gets an apostrophe in front, unless it is
    a number (https://owasp.org/www-community/attacks/CSV_Injection). NUL, at which readers written
    in C stop, becomes U+FFFD.
    """
    text = encodable(text).replace(_NUL, _REPLACEMENT)
    is_formula = re.match(_FORMULA, text) and not re.fullmatch(_NUMBER, text)
    return _GUARD + text if is_formula else text


def csv_row(cells: Iterable[object]) -> list[object]:
    """Return the cells of one row for `csv.writer`, texts as in `csv_cell`."""
    return [csv_cell(cell) if isinstance(cell, str) else cell for cell in cells]


def csv_cells(texts: pa.Array) -> pa.Array:
    """Return an Arrow array of texts with each as `csv_cell` writes it; null stays null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.replace_substring(texts, _NUL, _REPLACEMENT)
    is_formula = pc.and_not(
        pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER)
    )
    if not pc.any(is_formula).as_py():
        return texts
    guard = pa.scalar(_GUARD, texts.type)
    return pc.if_else(
        is_formula, pc.binary_join_element_wise(guard, texts, pa.scalar("", texts.type)), texts
    )


def write_csv(table: pa.Table, sink: object) -> None:
    """Write a table as CSV: UTF-8, a header, LF, texts in quotes, null as an empty field.

    Texts are as in `csv_cell`; each distinct text of a dictionary column is looked at once. Lists
    are written as JSON.
    """
    import pyarrow as pa
    import pyarrow.csv

    columns = {field.name: _plain(table.column(field.name)) for field in table.schema}
    pyarrow.csv.write_csv(pa.table(columns), sink)


def write_parquet(table: pa.Table, path: object) -> None:
    """Write a table as Parquet (zstd), everything in it as it is."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd")


def to_pandas(table: pa.Table) -> Any:
    """Return an Arrow table as a pandas DataFrame: nullable numbers, dictionaries as categories.

    Raises
    ------
    MissingDependencyError
        pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError(
            "a DataFrame needs pandas: pip install 'gpu-tracekit[pandas]'"
        ) from error
    nullable = {
        "int64": pd.Int64Dtype(),
        "double": pd.Float64Dtype(),
        "bool": pd.BooleanDtype(),
    }
    return table.to_pandas(types_mapper=lambda kind: nullable.get(str(kind)))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of a type that CSV knows, its texts guarded."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.unify_dictionaries()
        return pa.chunked_array([_plain_codes(chunk) for chunk in column.chunks], pa.string())
    if pa.types.is_list(kind):
        import json

        texts = [None if row is None else json.dumps(row) for row in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    if pa.types.is_string(kind):
        return pa.chunked_array([csv_cells(chunk) for chunk in column.chunks], kind)
    return column


def _plain_codes(chunk: pa.DictionaryArray) -> pa.Array:
    return csv_cells(chunk.dictionary).take(chunk.indices)
