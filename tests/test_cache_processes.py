"""Several processes at one cache, and processes that die over it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache_helpers import (
    BIG,
    ROOT,
    assert_equal,
    files_in,
    load,
    never,
    small,
)
from tracekit.caching import entries, tables
from tracekit.caching.cache import clear, list_entries
from tracekit.loading.loader import load_file

pytestmark = pytest.mark.usefixtures("every_size_is_worth_it")

LOADER = """
import sys, time, hashlib, logging
from tracekit.caching import sources, cache
from tracekit.loading.loader import load_file
from tracekit.trace import Trace
sources.MIN_PLAIN_BYTES = sources.MIN_GZIP_BYTES = 1
path = sys.argv[1]
def load():
    trace = load_file(path)
    print("loaded", flush=True)
    return trace
trace = cache.cached_load(path, "", load)
digest = hashlib.sha256(repr((trace.strings, trace.threads, trace.events)).encode())
for table in (trace.activities, trace.calls, trace.ops):
    for name in table.__slots__ or ():
        digest.update(getattr(table, name).tobytes())
    digest.update(table.start_ns.tobytes())
print(digest.hexdigest(), flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", LOADER, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def outcome(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    return out.split()[-1]


@pytest.mark.parametrize("count", [2, 8])
def test_processes_at_once_on_an_empty_cache(own_cache: Path, count: int) -> None:
    digests = {outcome(process) for process in [start(BIG) for _ in range(count)]}
    assert len(digests) == 1
    assert len(list_entries()) == 1
    assert list(own_cache.glob("entries/.tmp-*")) == []
    assert_equal(load(BIG, never), load_file(str(BIG)))


def test_processes_at_once_with_removals(tmp_path: Path, own_cache: Path) -> None:
    paths = [small(tmp_path / f"{n}.json", f"kernel_{n}", kernels=300) for n in range(2)]
    expected = {outcome(start(path)) for path in paths}
    for _ in range(2):
        processes = [start(path) for path in paths * 3]
        while any(process.poll() is None for process in processes):
            clear()
            time.sleep(0.01)
        assert {outcome(process) for process in processes} == expected
    clear()
    assert not own_cache.exists() or files_in(own_cache) == []


def test_killed_writers_leave_nothing_that_reads_wrongly(own_cache: Path) -> None:
    expected = load_file(str(BIG))
    pick = random.Random(7)
    killed = 0
    for _ in range(12):
        clear()
        process = start(BIG)
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
        time.sleep(pick.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        for entry in entries.list_folders(own_cache):
            size = BIG.stat().st_size
            assert_equal(tables.read_trace(entry.folder, str(BIG), size), expected)
        assert_equal(load(BIG), expected)
        assert_equal(load(BIG, never), expected)
    assert killed > 3


@pytest.mark.parametrize("stop_at", range(1, 13))
def test_a_writer_killed_before_each_of_its_files(
    tmp_path: Path, own_cache: Path, stop_at: int
) -> None:
    path = small(tmp_path / "t.json")
    code = LOADER.replace(
        "path = sys.argv[1]",
        f"""path = sys.argv[1]
import os
from tracekit.caching import entries, tables
seen = []
def die(function):
    def maybe(*args):
        seen.append(args)
        if len(seen) == {stop_at}:
            os.kill(os.getpid(), 9)
        return function(*args)
    return maybe
tables.write_synced = die(tables.write_synced)
entries._rename = die(entries._rename)
entries._sync_folder = die(entries._sync_folder)""",
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list_entries()) == (stop_at > 11)
    assert_equal(load(path), load_file(str(path)))
    assert_equal(load(path, never), load_file(str(path)))
