"""Keeps of many traces what an estimate reads of them, small: one Parquet file for all.

Kept are what kind of event it is, its name, thread, begin and duration to the nanosecond, what
links a launch to its work, and how kernels were launched. Shapes and all other arguments are not,
only that they were recorded.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.tools import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_CATEGORIES: Final = (
    "cpu_op", "cuda_runtime", "cuda_driver", "kernel", "gpu_memcpy", "gpu_memset", "overhead",
    "user_annotation", "python_function",
)  # fmt: skip
_TEXTS: Final = ("model", "cat", "name", "tid")
_NUMBERS: Final = (
    "correlation", "device", "stream", "graph node id", "registers per thread", "shared memory",
)  # fmt: skip
_EXTENTS: Final = ("grid", "block")
_SPLIT: Final = {"since_ns": "BYTE_STREAM_SPLIT", "dur_ns": "BYTE_STREAM_SPLIT"}


def pack(source: Path, target: Path, model: str, number: int) -> None:
    """Write a Chrome trace in JSON as a small Parquet file, named by its model and number."""
    events = json.loads(source.read_bytes())["traceEvents"]
    kept = [event for event in events if event.get("cat") in _CATEGORIES and "dur" in event]
    if not kept:
        raise UnusableError(f"{source}: holds no events")
    kept.sort(key=lambda event: (str(event["tid"]), event["ts"]))
    _written(pa.Table.from_pylist(list(_rows(kept, model, number)), schema=_SCHEMA), target)


def join(sources: Iterable[Path], target: Path, max_bytes: int) -> int:
    """Write packed traces into one file, as many as fit, and return how many those are."""
    count = size = 0
    with _writer(target) as writer:
        for source in sources:
            size += source.stat().st_size
            if size > max_bytes:
                break
            writer.write_table(pq.read_table(source, schema=_SCHEMA))
            count += 1
    return count


def unpack(source: Path, place: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield model, number and Chrome trace of each trace of a file, written into a folder."""
    file = pq.ParquetFile(source)
    for number in range(file.num_row_groups):
        rows = file.read_row_group(number).to_pylist()
        model, trace = rows[0]["model"], rows[0]["round"]
        path = place / f"{model}.{trace}.json"
        path.write_text(json.dumps({"traceEvents": list(_events(rows))}), encoding="utf-8")
        yield model, trace, path


_SCHEMA: Final = pa.schema(
    [
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in (*_TEXTS, *_EXTENTS)),
        *((name, pa.int64()) for name in ("round", "since_ns", "dur_ns", *_NUMBERS)),
        ("shapes", pa.bool_()),
    ]
)


def _rows(events: list[dict[str, Any]], model: str, number: int) -> Iterator[dict[str, Any]]:
    before = 0
    for event in events:
        start_ns = _ns(event["ts"])
        args = event.get("args", {})
        yield {
            "model": model,
            "round": number,
            "cat": event["cat"],
            "name": event["name"],
            "tid": str(event["tid"]),
            "since_ns": start_ns - before,
            "dur_ns": _ns(event["dur"]),
            "shapes": "Input Dims" in args,
            **{name: args.get(name) for name in _NUMBERS},
            **{name: json.dumps(args[name]) for name in _EXTENTS if name in args},
        }
        before = start_ns


def _events(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    start_ns = 0
    for row in rows:
        start_ns += row["since_ns"]
        args = {name: row[name] for name in _NUMBERS if row[name] is not None}
        args |= {name: json.loads(row[name]) for name in _EXTENTS if row[name] is not None}
        if row["shapes"]:
            args["Input Dims"] = []
        yield {
            "ph": "X",
            "cat": row["cat"],
            "name": row["name"],
            "pid": 1,
            "tid": row["tid"],
            "ts": start_ns / 1e3,
            "dur": row["dur_ns"] / 1e3,
            "args": args,
        }


def _ns(us: float) -> int:
    whole = int(us)
    return 1000 * whole + round(1000 * (us - whole))


def _writer(target: Path) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        target,
        _SCHEMA,
        compression="zstd",
        compression_level=19,
        use_dictionary=[*_TEXTS, *_EXTENTS],
        column_encoding={**_SPLIT, "correlation": "DELTA_BINARY_PACKED"},
    )


def _written(table: pa.Table, target: Path) -> None:
    with _writer(target) as writer:
        writer.write_table(table, row_group_size=len(table))
