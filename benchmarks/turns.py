"""Processes that load their libraries at once and then measure one after the other.

Each job is `python -m MODULE NAME FOLDER …`; it imports what it needs, calls `wait_for_turn`, and
leaves what it measured in its folder as it goes. One that fails or takes too long loses its turn.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_LAST_WORDS: Final = 2_000
_READY: Final = "ready"
_READY_S: Final = 120.0


def in_turn(
    module: str, names: Sequence[str], place: Path, options: Sequence[str], seconds: float
) -> Iterator[tuple[str, Path, str | None]]:
    """Yield each job's name, its folder, and what went wrong, null where nothing did.

    `seconds` is the time that all of them have, once they are ready. A turn may take twice its even
    share of what is left of it.
    """
    jobs = {name: _started(module, name, place / name, options) for name in names}
    try:
        _wait_until_ready(jobs, place)
        until = time.monotonic() + seconds
        for number, (name, job) in enumerate(jobs.items()):
            left = until - time.monotonic()
            share = min(left, 2 * left / (len(jobs) - number))
            yield name, place / name, _turn(job, place / name, share)
    finally:
        for job in jobs.values():
            if job.poll() is None:
                job.kill()
                job.wait()


def wait_for_turn(folder: Path) -> float:
    """Say that this process is ready, wait until it may measure, and return its seconds."""
    (folder / _READY).touch()
    return float(sys.stdin.readline() or 0)


def _wait_until_ready(jobs: dict[str, subprocess.Popen[bytes]], place: Path) -> None:
    # What still imports would slow down what already measures.
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and any(
        job.poll() is None and not (place / name / _READY).exists() for name, job in jobs.items()
    ):
        time.sleep(0.1)


def _started(
    module: str, name: str, folder: Path, options: Sequence[str]
) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", module, name, str(folder), *options]
    with (folder / "errors.txt").open("wb") as errors:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        )


def _turn(job: subprocess.Popen[bytes], folder: Path, seconds: float) -> str | None:
    if seconds <= 0:
        return "no time was left"
    try:
        # What it has left it should use to write down what it knows.
        job.communicate(f"{0.9 * seconds:.1f}\n".encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        job.kill()
        job.wait()
        return f"took more than {seconds:.0f} s"
    except BrokenPipeError:
        job.wait()
    if job.returncode == 0:
        return None
    words = (folder / "errors.txt").read_text(errors="replace")[-_LAST_WORDS:]
    return f"exit code {job.returncode}: {' '.join(words.split())}"
