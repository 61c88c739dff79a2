"""Writes cache entries after the command that made them has ended.

Hashing a trace and writing it takes as long as reading it again would, and the command's user
need not wait for that. A copy of the process does it, and leaves a mark in the user's cache folder
meanwhile; whoever looks into the cache waits for the marks of living processes first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tracekit.caching.places import make_cache, user_cache

_PREFIX: Final = "pending-"
_PATIENCE_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.01


def keep_after_exit(work: Sequence[Callable[[], None]]) -> None:
    """Do this work in a copy of the process, or here and now where none can be made."""
    if not work:
        return
    cache = user_cache()
    try:
        # A library with threads of its own must not be used on both sides of a fork; elsewhere
        # than on Linux system libraries have such threads.
        if cache is None or sys.platform != "linux" or "pyarrow" in sys.modules:
            raise OSError
        make_cache(cache)
        pid = os.fork()
    except OSError:
        for one in work:
            one()
        return
    if pid:
        with suppress(OSError):
            (cache / f"{_PREFIX}{pid}").touch()
        return
    try:
        _leave_terminal()
        for one in work:
            one()
    finally:
        mark = cache / f"{_PREFIX}{os.getpid()}"
        _wait_until(mark.exists, 1.0)
        with suppress(OSError):
            mark.unlink()
        os._exit(0)


def wait_for_writers() -> None:
    """Wait, for some seconds at most, until no other process is still writing entries."""
    cache = user_cache()
    if cache is not None:
        _wait_until(lambda: not _writers(cache), _PATIENCE_S)


def _writers(cache: Path) -> list[int]:
    """Return the processes that have a mark and are alive; marks of dead ones are removed."""
    alive = []
    try:
        names = [entry.name for entry in os.scandir(cache) if entry.name.startswith(_PREFIX)]
    except OSError:
        return []
    for name in names:
        number = name.removeprefix(_PREFIX)
        if number.isdecimal() and _is_alive(int(number)):
            alive.append(int(number))
        else:
            with suppress(OSError):
                (cache / name).unlink()
    return alive


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _leave_terminal() -> None:
    """Let go of what the parent's own callers wait for: its output and its process group."""
    with suppress(OSError):
        os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


def _wait_until(is_so: Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not is_so() and time.monotonic() < end:
        time.sleep(_LOOK_EVERY_S)
