"""Wall time and peak memory of a command, its whole process tree counted."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

INTERVAL_S: Final = 0.02
# Reading a process's memory holds its memory map: rest this many times as long as a look took, so
# that measuring a large process slows it by a few percent at most.
_REST: Final = 10


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a command took.

    `wall_s` is from start to exit in seconds. `peak_bytes` is the largest sum of proportional set
    sizes (PSS, which counts a page shared by n processes 1/n times in each) over the process tree
    in any of `samples` looks; where the system has no PSS it is the sum of resident set sizes.
    `maxrss_bytes` is the kernel's own peak resident size of the largest single process of the tree,
    which misses no moment: a `peak_bytes` far below it was sampled too seldom. The kernel counts
    the caller's own peak into it, so callers should be small.
    """

    wall_s: float
    peak_bytes: int
    maxrss_bytes: int
    samples: int
    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of several measurements, in the unit of what was measured."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one value."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1])


def measure(
    command: Sequence[str], env: Mapping[str, str] | None = None, interval_s: float = INTERVAL_S
) -> Run:
    """Run a command to its end and return its time, memory and output.

    A command that fails is no error here: see `returncode`, negative for a signal. The memory of
    the process tree is looked at every `interval_s` seconds; less often where a look takes long.

    Raises
    ------
    OSError
        If the command cannot be started.
    ModuleNotFoundError
        If psutil is not installed.
    """
    psutil = _psutil()
    # Files, not pipes: nobody has to drain them while the command runs.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env
        )
        sampler = _Sampler(psutil, process.pid, interval_s)
        sampler.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
            wall_s = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            sampler.stop()
            if process.returncode is None:
                _kill_tree(psutil, process)
        out.seek(0)
        err.seek(0)
        return Run(
            wall_s=wall_s,
            peak_bytes=sampler.peak_bytes,
            # The one field of rusage whose unit depends on the system.
            maxrss_bytes=usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            samples=sampler.samples,
            returncode=process.returncode,
            stdout=out.read().decode(errors="replace"),
            stderr=err.read().decode(errors="replace"),
        )


class _Sampler(threading.Thread):
    """Looks at the memory of a process tree until told to stop."""

    def __init__(self, psutil: Any, pid: int, interval_s: float) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.samples = 0
        self._psutil = psutil
        self._pid = pid
        self._interval_s = interval_s
        self._done = threading.Event()

    def run(self) -> None:
        rest_s = 0.0
        while not self._done.wait(rest_s):
            looked = time.perf_counter()
            now = _tree_bytes(self._psutil, self._pid)
            if now:
                self.samples += 1
                self.peak_bytes = max(self.peak_bytes, now)
            took = time.perf_counter() - looked
            rest_s = max(self._interval_s - took, _REST * took)

    def stop(self) -> None:
        self._done.set()
        self.join()


def _tree_bytes(psutil: Any, pid: int) -> int:
    """Return the memory of a process and all that descends from it, 0 once they are gone."""
    try:
        root = psutil.Process(pid)
        tree = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(_process_bytes(psutil, process) for process in tree)


def _process_bytes(psutil: Any, process: Any) -> int:
    # Between the listing and the look a process may end, or turn into one of another user.
    try:
        memory = process.memory_full_info()
    except (psutil.Error, OSError):
        return 0
    return int(getattr(memory, "pss", memory.rss))


def _kill_tree(psutil: Any, process: subprocess.Popen[bytes]) -> None:
    """End what an interrupted measurement would leave behind."""
    try:
        descendants = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        descendants = []
    for each in (process, *descendants):
        try:
            each.kill()
        except (psutil.Error, OSError):
            continue
    process.wait()


def _psutil() -> Any:
    # psutil has no type information, so it is imported by name and left untyped.
    try:
        return import_module("psutil")
    except ModuleNotFoundError as error:
        message = "psutil is not installed: pip install 'gpu-tracekit[test]'"
        raise ModuleNotFoundError(message, name="psutil") from error
