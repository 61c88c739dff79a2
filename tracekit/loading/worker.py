"""A process that parses segments of a file for another one."""

from __future__ import annotations

import gc
import json
import signal
import sys
from contextlib import closing
from functools import partial
from typing import IO, Any

from tracekit.errors import LimitExceededError
from tracekit.loading.columns import Columns
from tracekit.loading.launch import take_number
from tracekit.loading.limits import LoadLimits
from tracekit.loading.opening import open_events
from tracekit.loading.options import LoadOptions
from tracekit.loading.parallel import plan_segments
from tracekit.loading.segments import Ending, NotParallelError, read_segments
from tracekit.loading.shipping import send_columns, send_failure
from tracekit.loading.source import ByteSource


def main(task_json: str, numbers: int) -> None:
    """Read segments as the task says, and write the columns to stdout."""
    work(json.loads(task_json), numbers, sys.stdout.buffer)


def work(task: dict[str, Any], numbers: int, sink: IO[bytes]) -> None:
    """Read segments as the task says, and write the columns to `sink`."""
    # Nothing here makes cycles, and looking for them takes time.
    gc.disable()
    # An interrupt is the parent's to handle; it stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits = LoadLimits(**task["limits"])
    options = LoadOptions(limits=limits, **task["options"])
    columns = Columns(limits)
    try:
        ending = _read(task["path"], columns, options, numbers)
    except LimitExceededError as error:
        send_failure(sink, str(error))
    except Exception:
        send_failure(sink, None)
    else:
        send_columns(sink, columns, ending)
    sink.flush()


def _read(path: str, columns: Columns, options: LoadOptions, numbers: int) -> Ending | None:
    source = ByteSource(path, options.window_bytes, options.limits)
    with closing(source.chunks()) as chunks:
        opening, rest = open_events(source, chunks, options.limits)
    plan = plan_segments(path, opening, rest, options)
    if plan is None:
        raise NotParallelError
    return read_segments(plan, columns, options, partial(take_number, numbers))
