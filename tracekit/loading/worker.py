"""A process that parses segments of a file for another one."""

from __future__ import annotations

import json
import signal
import sys

from tracekit.errors import LimitExceededError
from tracekit.loading.columns import Columns
from tracekit.loading.limits import LoadLimits
from tracekit.loading.options import LoadOptions
from tracekit.loading.parallel import taker
from tracekit.loading.segments import SegmentPlan, read_segments
from tracekit.loading.shipping import send_columns, send_failure


def main(task_json: str, tokens: int) -> None:
    """Read segments as the task says, and write the columns to stdout."""
    # An interrupt is the parent's to handle; it stops its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    task = json.loads(task_json)
    fields = {**task["plan"], "separator": bytes.fromhex(task["plan"]["separator"])}
    options = LoadOptions(
        limits=LoadLimits(**task["limits"]), window_bytes=task["window_bytes"], workers=1
    )
    columns = Columns(options.limits)
    sink = sys.stdout.buffer
    try:
        ending = read_segments(SegmentPlan(**fields), columns, options, taker(tokens))
    except LimitExceededError as error:
        send_failure(sink, str(error))
    except Exception:
        send_failure(sink, None)
    else:
        send_columns(sink, columns, ending)
    sink.flush()
