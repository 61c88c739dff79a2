"""What each stage of the analyzer takes: ``python -m benchmarks.stage_job TRACE``.

Prints as JSON the seconds of the import and of load, link and classify, each fed with the result of
the one before; of `analyze`, the whole way from the file to the result in the same process, once
its imports are done; and, so that the result can be checked, events and busy time.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

A = TypeVar("A")
T = TypeVar("T")


def main(path: str) -> int:
    """Run the stages on one trace and print what each took."""
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[A], T], given: A) -> T:
        started = time.perf_counter()
        result = work(given)
        seconds[stage] = time.perf_counter() - started
        return result

    started = time.perf_counter()
    from tracekit.api import analyze, classify, link, load

    seconds["import"] = time.perf_counter() - started

    trace = timed("load", load, path)
    linked = timed("link", link, trace)
    table = timed("classify", classify, linked)
    # `analyze` starts from the file again and should have the memory to itself.
    del trace, linked, table
    result = timed("analyze", analyze, path)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "events": result.trace.events,
                "busy_us": result.time.busy_ns / 1000,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
