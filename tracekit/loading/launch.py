"""Starts processes that help to parse a file.

Workers are fresh interpreters, so a program's threads and its `__main__` are left alone. Only the
command line, which has no threads yet, forks instead: its workers parse while it is importing what
comes after loading. Nothing but the standard library is imported here.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, cast

MAX_SEGMENTS: Final = 4096
"""Segments of one file: their numbers must fit into a pipe (16 KiB on macOS)."""

PARALLEL_BYTES: Final = 24_000_000
"""From which size of JSON on it pays to start another process."""

_MAX_WORKERS: Final = 8
_GZIP_EXPANSION: Final = 20
"""How much larger than its gzip form a trace is, about; only plans depend on it."""

_NUMBER: Final = struct.Struct("<I")
_CODE: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from tracekit.loading.worker import main; main(sys.argv[2], int(sys.argv[3]))"
)
_started: dict[str, Workers] = {}


class Workers:
    """Processes that parse one file as `task` says, and the numbers of its segments.

    Every process, this one included, takes the next number when it is done with one.

    Raises
    ------
    OSError
        A process or a pipe cannot be made.
    """

    def __init__(self, task: dict[str, Any], count: int, *, fork: bool = False) -> None:
        self.task = task
        self._processes: list[subprocess.Popen[bytes] | _Fork] = []
        start = _Fork if fork else _start
        self._numbers, give = os.pipe()
        try:
            os.write(give, b"".join(_NUMBER.pack(number) for number in range(MAX_SEGMENTS)))
            os.close(give)
            for _ in range(count):
                self._processes.append(start(task, self._numbers))
        except OSError:
            self.stop()
            raise

    @property
    def outputs(self) -> list[IO[bytes]]:
        """What the processes write."""
        return [cast("IO[bytes]", process.stdout) for process in self._processes]

    def take(self) -> int | None:
        """Return the next segment's number, null when there is none."""
        return take_number(self._numbers)

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        os.close(self._numbers)
        for process in self._processes:
            if process.stdout is not None:
                process.stdout.close()
            with suppress(OSError):
                process.kill()
            process.wait()


class _Fork:
    """A worker that starts as a copy of this process."""

    def __init__(self, task: dict[str, Any], numbers: int) -> None:
        # Imported before the fork, once for all.
        from tracekit.loading.worker import work

        receive, send = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            # What the parent would do on its way out is not for the copy to do.
            try:
                os.close(receive)
                with os.fdopen(send, "wb") as sink:
                    work(task, numbers, sink)
            finally:
                os._exit(0)
        os.close(send)
        self.stdout: IO[bytes] | None = os.fdopen(receive, "rb")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


def take_number(numbers: int) -> int | None:
    """Return the next number from a pipe of them, null when there is none."""
    data = os.read(numbers, _NUMBER.size)
    return int(_NUMBER.unpack(data)[0]) if len(data) == _NUMBER.size else None


def can_start() -> bool:
    """Whether this platform can share a pipe with its children."""
    return os.name == "posix" and bool(sys.executable)


def processor_count() -> int:
    """Return how many processes parse unless somebody says otherwise."""
    try:
        return min(_MAX_WORKERS, len(os.sched_getaffinity(0)))
    except AttributeError:
        return min(_MAX_WORKERS, os.cpu_count() or 1)


def json_bytes(path: str) -> int:
    """Return about how many bytes of JSON a file holds, 0 if that cannot be told."""
    try:
        if not Path(path).is_file():
            return 0
        stored_bytes = Path(path).stat().st_size
        with Path(path).open("rb") as stream:
            is_gzip = stream.read(2) == b"\x1f\x8b"
    except (OSError, ValueError):
        return 0
    return stored_bytes * _GZIP_EXPANSION if is_gzip else stored_bytes


@contextmanager
def early_workers(path: str, task: dict[str, Any], count: int) -> Iterator[None]:
    """Start workers before they are needed; those that nobody took are ended afterwards.

    They are forks on Linux: only for a program without threads.
    """
    with suppress(OSError):
        # Elsewhere system libraries do not survive a fork.
        _started[path] = Workers(task, count, fork=sys.platform == "linux")
    try:
        yield
    finally:
        if path in _started:
            _started.pop(path).stop()


def workers_for(path: str, task: dict[str, Any], count: int) -> Workers:
    """Return the workers that were started early for just this task, else new ones.

    Raises
    ------
    OSError
        They cannot be started.
    """
    started = _started.pop(path, None)
    if started is not None and started.task == task:
        return started
    if started is not None:
        started.stop()
    return Workers(task, count)


def _start(task: dict[str, Any], numbers: int) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent.parent)
    arguments = [json.dumps([*sys.path, root]), json.dumps(task), str(numbers)]
    return subprocess.Popen(  # noqa: S603 - our own interpreter, running our own module
        [sys.executable, "-S", "-E", "-c", _CODE, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(numbers,),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
