"""Runs cases in processes of their own, so that what one breaks does not stop the others."""

from __future__ import annotations

import fcntl
import multiprocessing
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from corpus.recording import NoKernelsError, Setting, prime, record_case, release
from corpus.spec import find_model

_LONGEST_S: Final = 240
_LOCK: Final = ".turn"
_TELLING: Final = 300


@dataclass(frozen=True, slots=True)
class Job:
    """One case: a model in a mode."""

    model: str
    mode: str

    @property
    def case(self) -> str:
        """The name of its folder."""
        return f"{self.model}.{self.mode}"


@dataclass(frozen=True, slots=True)
class _Order:
    job: Job
    setting: Setting


def run_jobs(
    jobs: Sequence[Job], setting: Setting, *, workers: int, seconds: float
) -> Iterator[dict[str, Any]]:
    """Record cases and yield what there is to tell of each, `error` where it failed.

    After `seconds` no case is begun any more. Half of the workers begin at the end of the list,
    where the slowest stand, so that these do not wait for the others.
    """
    until = time.monotonic() + seconds
    if workers <= 1 and not setting.on_gpu:
        for job in jobs:
            yield _do(_Order(job, setting))
        return
    waiting = deque(jobs)
    results: queue.Queue[dict[str, Any]] = queue.Queue()
    threads = [
        threading.Thread(
            target=_serve,
            args=(waiting.pop if number % 2 else waiting.popleft, results, setting, until),
            daemon=True,
        )
        for number in range(max(1, workers))
    ]
    for thread in threads:
        thread.start()
    for _ in jobs:
        yield results.get()
    for thread in threads:
        thread.join()


def _serve(
    take: Callable[[], Job],
    results: queue.Queue[dict[str, Any]],
    setting: Setting,
    until: float,
) -> None:
    """Feed one worker process, with a new one after each that has died or hung."""
    context = multiprocessing.get_context("spawn")
    process: Any = None
    while True:
        try:
            job = take()
        except IndexError:
            break
        if time.monotonic() > until:
            results.put({"case": job.case, "error": "not begun: out of time"})
            continue
        if process is None or not process.is_alive():
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs,))
            process.start()
            theirs.close()
        result: dict[str, Any] = {"case": job.case, "error": "the process died"}
        try:
            ours.send(_Order(job, setting))
            if ours.poll(_LONGEST_S):
                result = ours.recv()
            else:
                result["error"] = f"took more than {_LONGEST_S} s"
        except (EOFError, OSError):
            pass
        if result.get("is_fatal") or result.get("error", "").startswith(("took", "the process")):
            process.kill()
            process.join()
            process = None
        results.put(result)
    if process is not None:
        process.kill()
        process.join()


def _work(pipe: Any) -> None:
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        pipe.send(_do(order))


def _do(order: _Order) -> dict[str, Any]:
    started = time.perf_counter()
    job, setting = order.job, order.setting
    setting = Setting(setting.folder, setting.device, setting.tiny, lambda: turn(setting.folder))
    try:
        prime(setting.device)
        try:
            found = record_case(find_model(job.model), job.mode, setting)
        except NoKernelsError:  # now and then a profiler sees nothing
            found = record_case(find_model(job.model), job.mode, setting)
    except Exception as error:  # whatever others' code raises is one failed case
        text = " ".join(f"{type(error).__name__}: {error}".split())[:_TELLING]
        found = {"case": job.case, "error": text, "is_fatal": "CUDA error" in text}
    release(setting)
    return {**found, "took_s": round(time.perf_counter() - started, 1)}


@contextmanager
def turn(folder: Path) -> Iterator[None]:
    """Hold the device alone among the processes that share it."""
    with (folder.parent / f"{folder.name}{_LOCK}").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
