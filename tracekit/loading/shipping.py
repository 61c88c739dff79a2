"""Sends columns from one process to another as plain bytes.

A message is the length of its header, the header as JSON, and the columns' bytes one after the
other.
"""

from __future__ import annotations

import struct
from typing import IO, Any, Final

import msgspec
import numpy as np

from tracekit.errors import LimitExceededError
from tracekit.loading.columns import CODE_COLUMNS, Columns
from tracekit.loading.segments import Ending, NotParallelError
from tracekit.trace import AnyArray

_LENGTH: Final = struct.Struct("<Q")


def send_columns(sink: IO[bytes], columns: Columns, ending: Ending | None) -> None:
    """Write everything that was collected, and the ending if it was reached."""
    tables: list[dict[str, Any]] = []
    arrays: list[AnyArray] = []
    for table in columns.tables():
        segments, joined = columns.joined(table)
        listed = [[name, array.dtype.str, len(array)] for name, array in joined.items()]
        tables.append({"table": table, "columns": listed, "segments": segments})
        arrays += joined.values()
    header = {
        "events": columns.events,
        "texts": columns.texts.strings(),
        "threads": columns.threads.threads(),
        "process_names": sorted(columns.process_names),
        "categories": sorted(columns.categories),
        "left_out": [[c.what, c.why, c.events, c.time_ns] for c in columns.left_out()],
        "tables": tables,
        "ending": None if ending is None else msgspec.to_builtins(ending),
    }
    _send(sink, header)
    for array in arrays:
        sink.write(np.ascontiguousarray(array).data)


def send_failure(sink: IO[bytes], limit: str | None) -> None:
    """Write that nothing was collected; `limit` says which limit was crossed, if one was."""
    _send(sink, {"failure": True, "limit": limit})


def receive_columns(stream: IO[bytes], columns: Columns) -> Ending | None:
    """Add what another process collected; return the ending if that process reached it.

    Raises
    ------
    LimitExceededError
        It crossed a limit.
    NotParallelError
        It failed in any other way.
    """
    try:
        (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        header = msgspec.json.decode(stream.read(length))
        if header.get("limit"):
            raise LimitExceededError(header["limit"])
        if header.get("failure"):
            raise NotParallelError
        _add(stream, header, columns)
        ending = header["ending"]
        return None if ending is None else msgspec.convert(ending, Ending)
    except (struct.error, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise NotParallelError from error


def _send(sink: IO[bytes], header: dict[str, Any]) -> None:
    encoded = msgspec.json.encode(header)
    sink.write(_LENGTH.pack(len(encoded)))
    sink.write(encoded)


def _add(stream: IO[bytes], header: dict[str, Any], columns: Columns) -> None:
    # One more place at the end, so that the code of no text, -1, stays what it is.
    texts = np.array([*(columns.texts[text] for text in header["texts"]), -1], np.int32)
    threads = np.array(
        [*(columns.threads[(pid, tid)] for pid, tid in header["threads"]), -1], np.int32
    )
    for table in header["tables"]:
        arrays = {}
        for name, dtype, count in table["columns"]:
            array = _read_array(stream, np.dtype(dtype), count)
            if name in CODE_COLUMNS:
                array = (threads if name == "thread" else texts)[array]
            arrays[name] = array
        start = 0
        for segment, rows in table["segments"]:
            part = slice(start, start + rows)
            columns.put(table["table"], segment, {n: a[part] for n, a in arrays.items()})
            start += rows
    columns.events += header["events"]
    columns.process_names.update(header["process_names"])
    columns.categories.update(header["categories"])
    for what, why, events, time_ns in header["left_out"]:
        columns.leave_out(what, why, events, time_ns)


def _read_array(stream: IO[bytes], dtype: np.dtype[Any], count: int) -> AnyArray:
    data = stream.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count)
