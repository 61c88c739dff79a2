"""Shares one file among several processes, each of which parses segments of it.

Workers are fresh interpreters, so a program's threads and `__main__` are left alone. They take
the numbers of segments from a common pipe, read the file by themselves, and send their columns
back as plain bytes.
"""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Final, cast

from tracekit.loading.columns import Columns
from tracekit.loading.envelope import Opening
from tracekit.loading.events import parses_as_events
from tracekit.loading.options import LoadOptions
from tracekit.loading.segments import Ending, NotParallelError, SegmentPlan, read_segments
from tracekit.loading.shipping import receive_columns
from tracekit.loading.source import GZIP_MAGIC

_SEPARATOR: Final = re.compile(rb'\}(\s*,\s*)\{\s*"[^"\\]{1,40}"\s*:')
_SEPARATOR_TRIES: Final = 64
_TOKEN: Final = struct.Struct("<I")
_MAX_TOKENS: Final = 4096
"""Segments of one file: their numbers must fit into a pipe (16 KiB on macOS)."""

_GZIP_EXPANSION: Final = 20
"""How much larger than its gzip form a trace is, about; only plans depend on it."""

_WORKER: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from tracekit.loading.worker import main; main(sys.argv[2], int(sys.argv[3]))"
)


def plan_segments(
    path: str, opening: Opening, rest: bytes, options: LoadOptions
) -> SegmentPlan | None:
    """Return how to share a file among workers, null when that is not possible or not worth it.

    `rest` holds the first bytes of the event list.
    """
    if options.worker_count() < 2 or "://" in path or os.name != "posix" or not sys.executable:
        return None
    separator = _separator(rest)
    json_bytes = _json_bytes(path)
    if separator is None or json_bytes < options.parallel_bytes:
        return None
    return SegmentPlan(
        path=path,
        list_start=opening.offset,
        is_object=opening.is_object,
        separator=separator[0],
        gap_bytes=separator[1],
        segment_bytes=max(options.segment_bytes, 2 * json_bytes // _MAX_TOKENS),
    )


def read_parallel(plan: SegmentPlan, columns: Columns, options: LoadOptions) -> Ending:
    """Read all events into `columns`, by this process and others; return what the end says.

    Raises
    ------
    NotParallelError
        The file must be read from start to end.
    LimitExceededError
        There is more than the limits allow.
    """
    tokens, give = os.pipe()
    os.write(give, b"".join(_TOKEN.pack(number) for number in range(_MAX_TOKENS)))
    os.close(give)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(options.worker_count() - 1):
            workers.append(_start_worker(plan, options, tokens))
        ending = read_segments(plan, columns, options, taker(tokens))
        for worker in workers:
            ending = receive_columns(cast("IO[bytes]", worker.stdout), columns) or ending
    except OSError as error:
        raise NotParallelError from error
    finally:
        os.close(tokens)
        for worker in workers:
            _stop(worker)
    if ending is None:
        raise NotParallelError
    columns.check_limits()
    return ending


def taker(tokens: int) -> Callable[[], int | None]:
    """Return a function that takes the next number from the pipe, null when there is none."""

    def take() -> int | None:
        token = os.read(tokens, _TOKEN.size)
        return int(_TOKEN.unpack(token)[0]) if len(token) == _TOKEN.size else None

    return take


def _start_worker(plan: SegmentPlan, options: LoadOptions, tokens: int) -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parent.parent.parent)
    task = {
        "plan": {**asdict(plan), "separator": plan.separator.hex()},
        "limits": asdict(options.limits),
        "window_bytes": options.window_bytes,
    }
    arguments = [json.dumps([*sys.path, root]), json.dumps(task), str(tokens)]
    return subprocess.Popen(  # noqa: S603 - our own interpreter, running our own module
        [sys.executable, "-S", "-E", "-c", _WORKER, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=(tokens,),
    )


def _stop(worker: subprocess.Popen[bytes]) -> None:
    if worker.stdout is not None:
        worker.stdout.close()
    with suppress(OSError):
        worker.kill()
    worker.wait()


def _separator(rest: bytes) -> tuple[bytes, int] | None:
    """Return the text between two events with the start of the second, and its gap's length."""
    for tries, match in enumerate(_SEPARATOR.finditer(rest)):
        if tries >= _SEPARATOR_TRIES:
            break
        if parses_as_events(rest[: match.start() + 1]):
            return match.group(), match.end(1) - match.start()
    return None


def _json_bytes(path: str) -> int:
    """Return about how many bytes of JSON a file holds."""
    try:
        stored_bytes = Path(path).stat().st_size
        with Path(path).open("rb") as stream:
            is_gzip = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    except OSError:
        return 0
    return stored_bytes * _GZIP_EXPANSION if is_gzip else stored_bytes
