"""Where the cache is, how large it grows, and that it never fails an analysis."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from cache_helpers import (
    BIG,
    assert_equal,
    files_in,
    load,
    never,
    small,
)
from tracekit import api
from tracekit.caching import entries, places, sources, tables
from tracekit.caching.cache import clear, is_remembered, list_entries
from tracekit.cli import run
from tracekit.errors import UsageError

pytestmark = pytest.mark.usefixtures("every_size_is_worth_it")


@pytest.mark.parametrize("writable", [True, False])
def test_a_run_folder_holds_its_own_cache(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = small(folder / "trace.json.gz")
    if not writable:
        refuse_folders_in(folder, monkeypatch)
    load(path)
    cache = folder / ".tracekit-cache"
    used, other = (cache, own_cache) if writable else (own_cache, cache)
    assert len(entries.list_folders(used)) == 1
    assert not other.exists()
    if writable:
        assert (cache / ".gitignore").read_text() == "*\n"
    load(path, never)
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert load(moved / "trace.json.gz", never).path == str(moved / "trace.json.gz")
    assert [file.path for file in api.open_run(str(moved))] == [str(moved / "trace.json.gz")]


def refuse_folders_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder read-only, for root as well."""
    mkdir = Path.mkdir

    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        if folder in self.parents:
            raise PermissionError(13, "Permission denied")
        mkdir(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "mkdir", refuse)


@pytest.mark.parametrize("link", [".", "entries", "index"])
def test_a_cache_in_a_run_folder_must_not_point_elsewhere(
    tmp_path: Path, own_cache: Path, link: str
) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    cache = folder / ".tracekit-cache"
    folder.mkdir()
    (elsewhere / ".tmp-mine").mkdir(parents=True)
    (elsewhere / "a.json").write_text("mine")
    (elsewhere / f"{'0' * 32}.json").write_text("looks like ours")
    if link == ".":
        cache.symlink_to(elsewhere)
    else:
        cache.mkdir()
        (cache / link).symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    load(small(folder / "trace.json.gz"))
    assert len(entries.list_folders(own_cache)) == 1
    for path in (folder, cache, folder / "trace.json.gz"):
        clear([str(path)])
    assert sorted(elsewhere.iterdir()) == before


@pytest.mark.parametrize("error", [PermissionError(13, "x"), OSError(28, "No space left")])
@pytest.mark.parametrize("step", ["publish", "write_synced", "_rename"])
def test_an_unwritable_or_full_disk_fails_nothing(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, step: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    path = small(tmp_path / "t.json")
    with monkeypatch.context() as patch:
        patch.setattr(tables if step == "write_synced" else entries, step, fail)
        assert len(load(path).activities) == 3
    assert list(own_cache.glob("entries/*")) == []
    assert_equal(load(path), load(path, never))


def test_a_file_in_the_place_of_the_cache_fails_nothing(tmp_path: Path, own_cache: Path) -> None:
    own_cache.write_text("not a folder")
    path = small(tmp_path / "t.json")
    assert_equal(load(path), load(path))
    assert list_entries() == []
    assert clear().entries == 0
    assert own_cache.read_text() == "not a folder"


def test_a_read_only_cache_is_read(tmp_path: Path, own_cache: Path) -> None:
    path = small(tmp_path / "t.json")
    load(path)
    for folder in (own_cache / "entries", own_cache):
        folder.chmod(0o500)
    if os.access(own_cache, os.W_OK):
        pytest.skip("this user may write everywhere")
    load(path, never)
    load(small(tmp_path / "u.json", "other"))
    own_cache.chmod(0o700)
    (own_cache / "entries").chmod(0o700)
    assert len(list_entries()) == 1


def test_an_entry_that_cannot_be_marked_as_used_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path / "t.json")
    load(path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    load(path, never)


def test_where_the_users_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACEKIT_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert places.user_cache() == tmp_path / "mine"
    monkeypatch.delenv("TRACEKIT_CACHE")
    assert places.user_cache() == tmp_path / "xdg" / "tracekit"
    for unusable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", unusable)
        assert places.user_cache() == tmp_path / ".cache" / "tracekit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert places.user_cache() == tmp_path / "Library" / "Caches" / "tracekit"


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 5 * 10**9), ("0", 0), ("500MB", 500 * 10**6), ("2GB", 2 * 10**9), ("1.5 kb", 1500),
     (" 7 ", 7), ("3T", 3 * 10**12), ("0GB", 0)],
)  # fmt: skip
def test_the_size_limit(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", text)
    assert places.size_limit() == size


@pytest.mark.parametrize("text", ["much", "-1", "5 GiB", "1e9", "GB"])
def test_a_limit_that_is_no_size(
    monkeypatch: pytest.MonkeyPatch, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", text)
    with pytest.raises(UsageError, match="TRACEKIT_CACHE_SIZE"):
        places.size_limit()
    assert run(["analyze", str(BIG)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_limit_zero_turns_the_cache_off(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small(tmp_path / "t.json")
    load(path)
    before = files_in(own_cache)
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", "0")
    with pytest.raises(AssertionError, match="loaded again"):
        load(path, never)
    load(small(tmp_path / "u.json", "other"))
    assert files_in(own_cache) == before
    assert not is_remembered(str(path))


def test_the_least_recently_used_go_first(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [small(tmp_path / f"{name}.json", f"kernel_{name}") for name in "abcd"]
    for number, path in enumerate(paths[:3]):
        load(path)
        newest = entries.list_folders(own_cache)[0].folder
        os.utime(newest, (1000 + number, 1000 + number))
    load(paths[0], never)
    sizes = [entry.size_bytes for entry in list_entries()]
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", str(int(3.2 * max(sizes))))
    load(paths[3])
    kept = [entry.source for entry in list_entries()]
    assert kept == [paths[3], paths[0], paths[2]]
    monkeypatch.setenv("TRACEKIT_CACHE_SIZE", str(min(sizes) // 2))
    load(small(tmp_path / "large.json", kernels=900))
    assert list_entries() == []


def test_what_dead_processes_left_is_removed(tmp_path: Path, own_cache: Path) -> None:
    load(small(tmp_path / "a.json", "a"))
    left = own_cache / "entries" / ".tmp-0123456789abcdef"
    young = own_cache / "entries" / ".tmp-fedcba9876543210"
    for folder in (left, young):
        folder.mkdir()
        (folder / "ops.parquet").write_bytes(b"half")
    os.utime(left, (1, 1))
    load(small(tmp_path / "b.json", "b"))
    assert not left.exists()
    assert young.exists()
    assert len(list_entries()) == 2


def test_the_index_does_not_grow_without_end(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_MAX_RECORDS", 3)
    monkeypatch.setattr(sources, "SETTLE_NS", 0)
    for number in range(6):
        path = small(tmp_path / f"{number}.json", f"kernel_{number}")
        time.sleep(0.01)
        load(path)
    assert len(list(own_cache.glob("index/*"))) == 3
    assert len(list_entries()) == 6
