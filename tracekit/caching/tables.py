"""Writes a `Trace` into the folder of an entry and reads it back, equal in every value.

What is read may be damaged or made by somebody else: nothing in it is executed or names a file,
every file must have the bytes that the entry vouches for, and every column the type, the length
and the range that the rest of the program relies on.
"""

from __future__ import annotations

import hashlib
import stat
import time
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tracekit.caching.entries import write_synced
from tracekit.trace import ACTIVITY_KINDS, NO_TEXT, EventCount, Table, Trace

if TYPE_CHECKING:
    from tracekit.trace import AnyArray

ABOUT: Final = "entry.json"
"""Name of the file that vouches for the others."""

_STRINGS: Final = "strings"
_THREADS: Final = "threads"
_THREAD_COLUMN: Final = "thread"
_MAX_ABOUT_BYTES: Final = 256_000_000

# No event is written in fewer bytes, and gzip does not pack more than this into one.
_MIN_EVENT_BYTES: Final = 32
_MAX_GZIP_RATIO: Final = 1032


class About(msgspec.Struct, forbid_unknown_fields=True):
    """What an entry holds beside its tables, and the size and digest of each of their files.

    `source` is the path of the file that was read, for people; `created_ns` absolute time in ns.
    """

    source: str
    created_ns: int
    files: dict[str, tuple[int, str]]
    metadata: dict[str, Any]
    events: int
    truncated: bool
    left_out: list[tuple[str, str, int, int | None]]
    warnings: list[str]
    rank: int | None


class _Sealed(msgspec.Struct, forbid_unknown_fields=True):
    digest: str
    about: msgspec.Raw


def table_kinds() -> dict[str, type[Table]]:
    """Return the tables of a trace: the class of each by the name of its field."""
    hints = get_type_hints(Trace)
    return {
        field.name: hints[field.name]
        for field in fields(Trace)
        if isinstance(hints[field.name], type) and issubclass(hints[field.name], Table)
    }


def write_trace(folder: Path, trace: Trace, source: Path) -> None:
    """Write a trace into an empty folder.

    Raises
    ------
    OSError
        The folder cannot be written.
    ValueError
        The trace is not as its class says, or would not be equal after reading it back.
    """
    _check_values(trace)
    parts = {name: _columns_of(getattr(trace, name)) for name in table_kinds()}
    parts[_STRINGS] = pa.table([pa.array(trace.strings, pa.string())], _TEXT_SCHEMAS[_STRINGS])
    pids, tids = ([pair[part] for pair in trace.threads] for part in (0, 1))
    parts[_THREADS] = pa.table(
        [pa.array(pids, pa.string()), pa.array(tids, pa.string())], _TEXT_SCHEMAS[_THREADS]
    )
    files = {}
    for name, columns in parts.items():
        data = _to_parquet(columns)
        write_synced(_file(folder, name), data)
        files[name] = (len(data), _digest(data))
    about = About(
        source=str(source).encode(errors="backslashreplace").decode(),
        created_ns=time.time_ns(),
        files=files,
        metadata=trace.metadata,
        events=trace.events,
        truncated=trace.truncated,
        left_out=[astuple(count) for count in trace.left_out],
        warnings=list(trace.warnings),
        rank=trace.rank,
    )
    text = msgspec.json.encode(about)
    if msgspec.json.decode(text, type=About) != about:
        raise ValueError("the metadata changes on its way through JSON")
    write_synced(
        folder / ABOUT, msgspec.json.encode(_Sealed(digest=_digest(text), about=msgspec.Raw(text)))
    )


def read_about(folder: Path) -> About:
    """Return what an entry says of itself.

    Raises
    ------
    OSError, ValueError
        It is damaged, or no entry.
    """
    data = _read(folder / ABOUT, range(_MAX_ABOUT_BYTES))
    sealed = msgspec.json.decode(data, type=_Sealed)
    if _digest(sealed.about) != sealed.digest:
        raise ValueError(f"{ABOUT} is damaged")
    return msgspec.json.decode(sealed.about, type=About)


def read_trace(folder: Path, path: str, source_bytes: int) -> Trace:
    """Return the trace of an entry, as if loaded from the file `path` of that many bytes.

    Raises
    ------
    OSError, ValueError, pyarrow.ArrowException
        The entry is damaged, or was not made by us.
    """
    about = read_about(folder)
    kinds = table_kinds()
    if about.files.keys() != {*kinds, _STRINGS, _THREADS}:
        raise ValueError("holds other tables than a trace")
    most_rows = source_bytes * _MAX_GZIP_RATIO // _MIN_EVENT_BYTES
    tables: dict[str, Any] = {}
    for name, kind in kinds.items():
        columns = _from_parquet(folder, name, about, _table_schema(kind), most_rows)
        tables[name] = kind(**{c: _array(columns.column(c)) for c in columns.column_names})
    strings, pids, tids = (
        columns.column(number).to_pylist()
        for name, schema in _TEXT_SCHEMAS.items()
        for columns in [_from_parquet(folder, name, about, schema, _MAX_GZIP_RATIO * source_bytes)]
        for number in range(columns.num_columns)
    )
    trace = Trace(
        path=path,
        strings=tuple(strings),
        threads=tuple(zip(pids, tids, strict=True)),
        metadata=about.metadata,
        events=about.events,
        truncated=about.truncated,
        left_out=tuple(EventCount(*count) for count in about.left_out),
        warnings=tuple(about.warnings),
        rank=about.rank,
        **tables,
    )
    _check_values(trace)
    return trace


# Arrow's types for the aliases in `tracekit.trace`, which are all one class when the program runs.
_TYPES: Final = {
    "IntArray": pa.int64(),
    "CodeArray": pa.int32(),
    "SmallArray": pa.int8(),
    "BoolArray": pa.bool_(),
    "FloatArray": pa.float64(),
}
_TEXT_SCHEMAS: Final = {
    _STRINGS: pa.schema([pa.field("text", pa.string(), nullable=False)]),
    _THREADS: pa.schema([pa.field(name, pa.string(), nullable=False) for name in ("pid", "tid")]),
}


def _table_schema(kind: type[Table]) -> pa.Schema:
    """Return the types that a table's class declares for its columns."""
    return pa.schema([pa.field(f.name, _TYPES[str(f.type)], nullable=False) for f in fields(kind)])


def _columns_of(table: Table) -> pa.Table:
    schema = _table_schema(type(table))
    arrays = [getattr(table, name) for name in schema.names]
    if any(pa.from_numpy_dtype(a.dtype) != t for a, t in zip(arrays, schema.types, strict=True)):
        raise ValueError(f"{type(table).__name__} has columns of other types than it declares")
    return pa.table([pa.array(array) for array in arrays], schema)


def _to_parquet(columns: pa.Table) -> bytes:
    # Times and numbers grow in small steps, which deltas make short; of the other encodings none
    # read faster or took less than plain values under LZ4.
    encodings = {
        field.name: "DELTA_BINARY_PACKED" if field.type == pa.int64() else "PLAIN"
        for field in columns.schema
    }
    sink = pa.BufferOutputStream()
    pq.write_table(
        columns,
        sink,
        row_group_size=max(1, len(columns)),
        compression="lz4",
        use_dictionary=False,
        column_encoding=encodings,
        write_statistics=False,
        store_schema=False,
    )
    return bytes(sink.getvalue())


def _from_parquet(
    folder: Path, name: str, about: About, schema: pa.Schema, most_rows: int
) -> pa.Table:
    size, digest = about.files[name]
    data = _read(_file(folder, name), range(size, size + 1))
    if _digest(data) != digest:
        raise ValueError(f"{name} is damaged")
    file = pq.ParquetFile(pa.BufferReader(data))
    if not file.schema_arrow.equals(schema) or not 0 <= file.metadata.num_rows <= most_rows:
        raise ValueError(f"{name} has other columns than its table, or too many rows")
    # Threads of Arrow that are still starting when the process ends make it abort.
    columns = file.read(use_threads=False)
    if len(columns) != file.metadata.num_rows or any(c.null_count for c in columns.columns):
        raise ValueError(f"{name} is incomplete")
    return columns


def _array(column: pa.ChunkedArray) -> AnyArray:
    """Return a column as an array that can be written to, like those of the loader."""
    dtype = np.dtype(column.type.to_pandas_dtype())
    if column.num_chunks == 1 and dtype != np.bool_:
        chunk = column.chunk(0)
        values = chunk.buffers()[1]
        if values is not None and values.is_mutable and chunk.offset == 0:
            return np.frombuffer(values, dtype, len(chunk))
    return np.array(column.to_numpy(), dtype)


def _check_values(trace: Trace) -> None:
    """Check that columns have one length and that no code points beyond what it points into."""
    rows = 0
    for name in table_kinds():
        table = getattr(trace, name)
        rows += len(table)
        for field in fields(table):
            values = getattr(table, field.name)
            if values.shape != (len(table),):
                raise ValueError(f"{name} has columns of several lengths")
            if field.name == _THREAD_COLUMN:
                lowest, beyond = 0, len(trace.threads)
            elif values.dtype == np.int32:
                lowest, beyond = NO_TEXT, len(trace.strings)
            elif values.dtype == np.int8:
                lowest, beyond = 0, len(ACTIVITY_KINDS)
            else:
                continue
            if len(values) and not (lowest <= values.min() and values.max() < beyond):
                raise ValueError(f"{name}.{field.name} points beyond what there is")
    if rows > trace.events:
        raise ValueError("holds more rows than the file had events")


def _read(path: Path, sizes: range) -> bytes:
    """Return the bytes of a plain file whose size is among these."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size not in sizes:
        raise ValueError(f"{path.name} is no plain file of the right size")
    return path.read_bytes()


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.parquet"


def _digest(data: bytes | msgspec.Raw) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()
