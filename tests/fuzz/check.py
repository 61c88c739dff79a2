"""One input through the whole of tracekit, under limits, with the invariants checked."""

from __future__ import annotations

import resource
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from invariants import check_all, check_message

from tracekit.errors import InputError
from tracekit.loading.loader import LoadOptions, load_file

SLOW_S = 2.0
LIMIT_S = 10.0
MEMORY_BYTES = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of one input: `read`, `refused`, or `failed` with the reason."""

    kind: str
    seconds: float
    detail: str = ""
    signature: str = ""


class TooSlowError(BaseException):
    """The time limit was reached; no `except Exception` on the way must swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer, on the main thread of a POSIX system."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"over {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(limit_bytes: int = MEMORY_BYTES) -> None:
    """Bound what this process may allocate (not its address space, which libraries reserve)."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, resource.RLIM_INFINITY))


def run_one(path: Path, window_bytes: int) -> Outcome:
    """Load, link, classify, analyze and render one file, and check what comes out."""
    started = time.perf_counter()
    try:
        with time_limit(LIMIT_S), warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                trace = load_file(str(path), LoadOptions(window_bytes=window_bytes))
            except InputError as error:
                check_message(str(error), str(path))
                return Outcome("refused", time.perf_counter() - started, str(error))
            check_all(trace)
    except (Exception, TooSlowError) as error:
        seconds = time.perf_counter() - started
        told = "".join(traceback.format_exception(error, limit=-3))
        return Outcome("failed", seconds, told[-1500:], signature_of(error))
    return Outcome("read", time.perf_counter() - started)


def signature_of(error: BaseException) -> str:
    """Return type and innermost place of an error: equal for equal bugs."""
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error, TooSlowError) and len(frames) > 1:
        frames = frames[:-1]
    last = frames[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}: {last.line}"
