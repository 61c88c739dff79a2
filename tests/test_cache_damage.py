"""Entries of the cache that are damaged, forged or in the way count as missing."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cache_helpers import (
    assert_equal,
    entry_of,
    files_in,
    load,
    never,
    small,
)
from tracekit.caching import tables
from tracekit.caching.cache import list_entries
from tracekit.loading.loader import load_file

pytestmark = pytest.mark.usefixtures("every_size_is_worth_it")


def damage_of_files(entry: Path) -> list[tuple[str, Callable[[], object]]]:
    damages: list[tuple[str, Callable[[], object]]] = []
    for file in files_in(entry):
        data = file.read_bytes()
        damages += [
            (f"{file.name} missing", file.unlink),
            (f"{file.name} empty", lambda file=file: file.write_bytes(b"")),
            (f"{file.name} cut", lambda file=file, d=data: file.write_bytes(d[: len(d) // 2])),
            (f"{file.name} longer", lambda file=file, d=data: file.write_bytes(d + b"\0")),
            (f"{file.name} a folder", lambda file=file: (file.unlink(), file.mkdir())),
            (f"{file.name} a pipe", lambda file=file: (file.unlink(), os.mkfifo(file))),
            (
                f"{file.name} a link",
                lambda file=file: (file.rename(f"{file}.x"), file.symlink_to(f"{file}.x")),
            ),
        ]
        for place in random.Random(file.name).sample(range(len(data)), min(12, len(data))):
            flipped = data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]
            damages.append(
                (f"{file.name} bit {place}", lambda file=file, d=flipped: file.write_bytes(d))
            )
    return damages


def test_every_damage_is_a_miss(tmp_path: Path, own_cache: Path) -> None:
    path = small(tmp_path / "t.json")
    cold = load(path)
    entry = entry_of(own_cache)
    whole = tmp_path / "whole"
    shutil.copytree(entry, whole)
    names = [name for name, _ in damage_of_files(entry)]
    assert len(names) > 150
    for number, name in enumerate(names):
        shutil.rmtree(entry, ignore_errors=True)
        shutil.copytree(whole, entry)
        damage_of_files(entry)[number][1]()
        with pytest.raises(AssertionError, match="loaded again"):
            load(path, never)
        assert not entry.exists(), name
    assert_equal(cold, load(path))
    assert_equal(cold, load(path, never))


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "empty folder"])
def test_what_stands_in_the_place_of_an_entry_is_removed(
    tmp_path: Path, own_cache: Path, kind: str
) -> None:
    path = small(tmp_path / "t.json")
    cold = load(path)
    entry = entry_of(own_cache)
    shutil.rmtree(entry)
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "file").write_text("mine")
    if kind == "file":
        entry.write_text("x")
    elif kind == "empty folder":
        entry.mkdir()
    else:
        entry.symlink_to(treasure if kind == "link" else tmp_path / "nowhere")
    assert_equal(cold, load(path))
    assert_equal(cold, load(path))
    assert_equal(cold, load(path, never))
    assert (treasure / "file").read_text() == "mine"


def forge(entry: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a table of an entry as somebody would who knows how entries are sealed."""
    import msgspec

    file = entry / f"{name}.parquet"
    pq.write_table(change(pq.read_table(file)), file, store_schema=False)
    about = tables.read_about(entry)
    data = file.read_bytes()
    about.files[name] = (len(data), tables._digest(data))
    text = msgspec.json.encode(about)
    sealed = {"digest": tables._digest(text), "about": json.loads(text)}
    (entry / tables.ABOUT).write_bytes(msgspec.json.encode(sealed))


def replace_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        field = pa.field(name, values.type, nullable=values.null_count > 0)
        return table.set_column(table.schema.get_field_index(name), field, values)

    return change


FORGERIES: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
    "text code too large": ("ops", replace_column("name", pa.array([0, 1, 99], pa.int32()))),
    "text code too small": ("ops", replace_column("input_dims", pa.array([0, 1, -2], pa.int32()))),
    "thread too large": ("calls", replace_column("thread", pa.array([0, 9, 0], pa.int32()))),
    "thread missing": ("calls", replace_column("thread", pa.array([0, -1, 0], pa.int32()))),
    "kind too large": ("activities", replace_column("kind", pa.array([0, 3, 0], pa.int8()))),
    "kind too small": ("activities", replace_column("kind", pa.array([0, -1, 0], pa.int8()))),
    "wrong type": ("ops", replace_column("dur_ns", pa.array([1, 2, 3], pa.int32()))),
    "floats": ("ops", replace_column("dur_ns", pa.array([1.0, 2, 3]))),
    "nulls": ("ops", replace_column("dur_ns", pa.array([1, None, 3], pa.int64()))),
    "column missing": ("ops", lambda table: table.drop_columns(["dur_ns"])),
    "column added": ("ops", lambda table: table.append_column("x", table["dur_ns"])),
    "order changed": ("ops", lambda table: table.select(table.column_names[::-1])),
    "more rows than events": ("ops", lambda table: pa.concat_tables([table] * 100)),
    "fewer texts": ("strings", lambda table: table.slice(1)),
    "no threads": ("threads", lambda table: table.slice(0, 0)),
    "strings as numbers": ("strings", replace_column("text", pa.array(range(5)))),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_entries_are_a_miss(tmp_path: Path, own_cache: Path, forgery: str) -> None:
    path = small(tmp_path / "t.json")
    cold = load(path)
    assert len(cold.ops) == len(cold.calls) == len(cold.activities) == 3
    entry = entry_of(own_cache)
    forge(entry, "ops", lambda table: table)
    assert_equal(cold, load(path, never))
    name, change = FORGERIES[forgery]
    if forgery == "strings as numbers":
        change = replace_column("text", pa.array(range(len(cold.strings))))
    forge(entry, name, change)
    with pytest.raises(AssertionError, match="loaded again"):
        load(path, never)
    assert not entry.exists()


def test_an_entry_with_absurdly_many_rows_is_not_unpacked(tmp_path: Path, own_cache: Path) -> None:
    path = small(tmp_path / "t.json")
    load(path)
    entry = entry_of(own_cache)
    rows = 50_000_000
    wide = pa.table({"text": pa.array(np.zeros(rows, np.int8)).cast(pa.string())}).cast(
        pa.schema([pa.field("text", pa.string(), nullable=False)])
    )
    forge(entry, "strings", lambda _: wide)
    assert (entry / "strings.parquet").stat().st_size < 1_000_000
    before = pa.total_allocated_bytes()
    with pytest.raises(ValueError, match="too many rows"):
        tables.read_trace(entry, str(path), path.stat().st_size)
    assert pa.total_allocated_bytes() <= before


def test_a_trace_that_is_not_as_declared_is_not_kept(
    tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = small(tmp_path / "t.json")
    trace = load_file(str(path))
    ops = dataclasses.replace(trace.ops, name=trace.ops.name + 1000)
    short = dataclasses.replace(trace.calls, thread=trace.calls.thread[1:])
    wide = dataclasses.replace(trace.calls, thread=trace.calls.thread.astype(np.int64))
    odd = {**trace.metadata, "tuple": (1, 2)}
    caplog.set_level(logging.DEBUG, "tracekit")
    for wrong in (
        dataclasses.replace(trace, ops=ops),
        dataclasses.replace(trace, calls=short),
        dataclasses.replace(trace, calls=wide),
        dataclasses.replace(trace, metadata=odd),
        dataclasses.replace(trace, strings=(*trace.strings[:-1], "\ud800")),
    ):
        assert load(path, lambda wrong=wrong: wrong) is wrong  # type: ignore[misc]
        assert list_entries() == []
        assert caplog.messages[-1].endswith("cannot be cached")
    assert [path.name for path in own_cache.glob("entries/*")] == []
