"""The cache of loaded traces: equal to what the loader gives, however the file changes."""

from __future__ import annotations

import dataclasses
import gzip
import os
import shutil
import time
from pathlib import Path

import pytest

from builders import TraceBuilder
from cache_helpers import (
    BIG,
    EXAMPLES,
    assert_equal,
    load,
    never,
    settle,
    small,
)
from tracekit.caching import sources, tables
from tracekit.caching.cache import cached_load, clear, is_remembered, list_entries
from tracekit.errors import InputError
from tracekit.loading.loader import load_file
from tracekit.trace import NULL, EventCount, Trace

pytestmark = pytest.mark.usefixtures("every_size_is_worth_it")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_is_read_back_is_equal(path: Path, own_cache: Path) -> None:
    cold = load(path)
    assert_equal(cold, load(path, never))
    assert_equal(cold, load_file(str(path)))
    assert len(list_entries()) == 1


def test_nulls_odd_values_and_empty_tables_survive(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.kernel("ünïcode 核 \x01 \U0001f600", 10, 5, device=2**62)
    b.kernel("no numbers", 30, 5, cat="gpu_memcpy", bytes=-(2**62))
    del b.events[-1]["args"]["stream"]
    b.add(ph="B", cat="x", name="left out", ts=1)
    b.add(ph="X", cat="strange", name="y", ts=1, dur=7)
    b.metadata["odd"] = {"big": 2**70, "float": -0.1e-300, "list": [None, True, "\u2028"], "": {}}
    path = b.write(tmp_path / "t.json")
    cold = load(path)
    assert NULL in cold.activities.correlation
    assert any(count.time_ns is None for count in cold.left_out)
    assert any(count.time_ns is not None for count in cold.left_out)
    assert len(cold.ops) == 0
    assert_equal(cold, load(path, never))
    empty = tmp_path / "empty.json"
    empty.write_text('{"traceEvents": []}')
    assert_equal(load(empty), load(empty, never))


def test_every_field_of_a_trace_is_kept(tmp_path: Path) -> None:
    """A field that the cache does not know of would be lost without a word."""
    kept = {*tables.table_kinds(), "strings", "threads", "path"}
    about = {field for field in tables.About.__struct_fields__ if field != "files"}
    assert {field.name for field in dataclasses.fields(Trace)} == kept | about - {
        "source",
        "created_ns",
    }
    assert [field.name for field in dataclasses.fields(EventCount)] == [
        "what",
        "why",
        "events",
        "time_ns",
    ]


def test_truncated_traces_are_cached_and_refusals_are_not(tmp_path: Path, own_cache: Path) -> None:
    data = gzip.decompress(BIG.read_bytes())[:3_000_000]
    path = tmp_path / "cut.json"
    path.write_bytes(data)
    cold = load(path)
    assert cold.truncated
    assert_equal(cold, load(path, never))
    bad = tmp_path / "bad.json"
    bad.write_text("not json" * 100)
    with pytest.raises(InputError):
        load(bad)
    assert len(list_entries()) == 1


def test_the_same_content_elsewhere_is_a_hit_with_its_own_path(tmp_path: Path) -> None:
    first = small(tmp_path / "a.json")
    load(first)
    second = tmp_path / "b.json"
    shutil.copy(first, second)
    assert load(second, never).path == str(second)


def test_options_and_versions_are_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path / "a.json")
    load(path)
    for change in ("options", "version"):
        if change == "version":
            monkeypatch.setattr("tracekit.__version__", "0.0.0")
        with pytest.raises(AssertionError, match="loaded again"):
            cached_load(str(path), change, never)


def test_files_that_are_not_worth_it(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MIN_PLAIN_BYTES", 2_000_000)
    monkeypatch.setattr(sources, "MIN_GZIP_BYTES", 20_000)
    load(small(tmp_path / "small.json", kernels=500))
    load(small(tmp_path / "small.json.gz"))
    path = small(tmp_path / "t.json")
    cached_load(path.as_uri(), "", lambda: load_file(str(path)))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    trace = load_file(str(path))
    assert load(pipe, lambda: trace) is trace
    assert load(tmp_path / "missing", lambda: trace) is trace
    assert not own_cache.exists()
    assert not is_remembered(str(path))
    load(small(tmp_path / "large.json.gz", kernels=2000))
    assert own_cache.exists()


def test_what_is_remembered_is_quick_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trust_mtime: None
) -> None:
    path = settle(small(tmp_path / "t.json"))
    assert not is_remembered(str(path))
    load(path)
    assert is_remembered(str(path))
    assert not is_remembered(path.as_uri())
    assert not is_remembered(str(tmp_path / "missing.json"))
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", "0")
    assert not is_remembered(str(path))
    monkeypatch.delenv("TRACEKIT_CACHE_SIZE")
    clear()
    assert not is_remembered(str(path))


# A file that changes


@pytest.mark.parametrize("between_s", [0, 0.02])
def test_a_rewrite_of_equal_size_and_time_is_seen(
    tmp_path: Path, trust_mtime: None, between_s: float
) -> None:
    path = small(tmp_path / "t.json", "kernel_a")
    status = path.stat()
    assert "kernel_a" in load(path).strings
    assert "kernel_a" in load(path).strings
    time.sleep(between_s)
    inode = path.stat().st_ino
    small(path, "kernel_b")
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        status.st_size,
        status.st_mtime_ns,
        inode,
    )
    assert "kernel_b" in load(path).strings


def test_a_rewrite_with_an_old_time_is_seen_by_its_change_time(tmp_path: Path) -> None:
    path = settle(small(tmp_path / "t.json", "kernel_a"))
    old = path.stat().st_mtime_ns
    load(path)
    small(path, "kernel_b")
    os.utime(path, ns=(old, old))
    assert "kernel_b" in load(path).strings


def test_only_files_at_rest_get_into_the_index(
    tmp_path: Path, own_cache: Path, trust_mtime: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path / "t.json")
    load(path)
    load(path, never)
    assert not list(own_cache.glob("index/*"))
    settle(path)
    load(path, never)
    assert len(list(own_cache.glob("index/*.json"))) == 1

    def digest_of(*_: object) -> None:
        raise AssertionError("hashed again")

    monkeypatch.setattr(sources, "digest_of", digest_of)
    load(path, never)


@pytest.mark.parametrize("part", ["size_bytes", "mtime_ns", "ctime_ns", "inode", "device"])
def test_any_change_of_the_signature_hashes_anew(
    tmp_path: Path, own_cache: Path, part: str
) -> None:
    path = small(tmp_path / "t.json")
    signature = sources.signature_now(path)
    assert signature is not None
    own_cache.mkdir()
    sources.remember(own_cache, path, signature, sources.Digest("0" * 64, settled=True))
    assert sources.recall(own_cache, path, signature) == "0" * 64
    other = dataclasses.replace(signature, **{part: getattr(signature, part) + 1})
    assert sources.recall(own_cache, path, other) is None
    assert sources.digest_of(path, other) is None


@pytest.mark.parametrize("settled", [True, False])
def test_a_file_that_changes_while_it_is_loaded_is_not_kept(
    tmp_path: Path, own_cache: Path, trust_mtime: None, settled: bool
) -> None:
    path = small(tmp_path / "t.json", "kernel_a")
    if settled:
        settle(path)
    mtime_ns = path.stat().st_mtime_ns

    def change_and_load() -> Trace:
        trace = load_file(str(path))
        small(path, "kernel_b")
        if not settled:
            os.utime(path, ns=(mtime_ns, mtime_ns))
        return trace

    assert "kernel_a" in load(path, change_and_load).strings
    assert list_entries() == []
    assert "kernel_b" in load(path).strings


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"digest": 3, "signature": []}', "[" * 9999]
)
def test_a_damaged_index_costs_a_hash(tmp_path: Path, own_cache: Path, text: str) -> None:
    path = small(tmp_path / "t.json")
    load(path)
    signature = sources.signature_now(path)
    assert signature is not None
    sources.remember(own_cache, path, signature, sources.Digest("0" * 64, settled=True))
    (record,) = own_cache.glob("index/*")
    record.write_text(text)
    load(path, never)
