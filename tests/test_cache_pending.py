"""Entries that are written after the command has ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracekit.caching import pending
from tracekit.caching.cache import list_entries

ROOT = Path(__file__).parent.parent
TRACE = ROOT / "examples" / "traces" / "sdxl_flash.json.gz"


def analyze(*args: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "tracekit", "analyze", str(TRACE), *args],
        check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_whoever_looks_waits_for_the_writer() -> None:
    analyze()
    (entry,) = list_entries()
    assert entry.events == 48_608


def test_no_mark_and_no_process_is_left(own_cache: Path) -> None:
    analyze()
    pending.wait_for_writers()
    assert not list(own_cache.glob("pending-*"))


def test_marks_of_dead_processes_are_removed(own_cache: Path) -> None:
    own_cache.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    for name in (f"pending-{process.pid}", "pending-nonsense"):
        (own_cache / name).touch()
    started = time.monotonic()
    pending.wait_for_writers()
    assert time.monotonic() - started < 5
    assert not list(own_cache.glob("pending-*"))


def test_patience_ends(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_cache.mkdir(parents=True)
    (own_cache / f"pending-{os.getpid()}").touch()
    monkeypatch.setattr(pending, "_PATIENCE_S", 0.05)
    pending.wait_for_writers()
    assert list(own_cache.glob("pending-*"))


def test_without_a_copy_the_work_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise OSError("no more processes")

    monkeypatch.setattr(os, "fork", refuse)
    done: list[int] = []
    pending.keep_after_exit([lambda: done.append(1), lambda: done.append(2)])
    assert done == [1, 2]
    pending.keep_after_exit([])
