"""Shares one file among several processes, each of which parses segments of it."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, Final

from tracekit.loading.columns import Columns
from tracekit.loading.envelope import Opening
from tracekit.loading.events import parses_as_events
from tracekit.loading.launch import MAX_SEGMENTS, can_start, json_bytes, workers_for
from tracekit.loading.options import LoadOptions
from tracekit.loading.segments import Ending, NotParallelError, SegmentPlan, read_segments
from tracekit.loading.shipping import receive_columns

_SEPARATOR: Final = re.compile(rb'\}(\s*,\s*)\{\s*"[^"\\]{1,40}"\s*:')
_SEPARATOR_TRIES: Final = 64
_DEFAULT: Final = LoadOptions()


def plan_segments(
    path: str, opening: Opening, rest: bytes, options: LoadOptions
) -> SegmentPlan | None:
    """Return how to share a file among workers, null when that is not possible or not worth it.

    `rest` holds the first bytes of the event list. All workers come to the same plan.
    """
    if options.worker_count() < 2 or "://" in path or not can_start():
        return None
    size_bytes = json_bytes(path)
    separator = _separator(rest) if size_bytes >= options.parallel_bytes else None
    if separator is None:
        return None
    return SegmentPlan(
        path=path,
        list_start=opening.offset,
        is_object=opening.is_object,
        separator=separator[0],
        gap_bytes=separator[1],
        segment_bytes=max(options.segment_bytes, 2 * size_bytes // MAX_SEGMENTS),
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
    try:
        workers = workers_for(plan.path, worker_task(plan.path, options), _helpers(options))
    except OSError as error:
        raise NotParallelError from error
    try:
        ending = read_segments(plan, columns, options, workers.take)
        for output in workers.outputs:
            ending = receive_columns(output, columns) or ending
    except OSError as error:
        raise NotParallelError from error
    finally:
        workers.stop()
    if ending is None:
        raise NotParallelError
    columns.check_limits()
    return ending


def worker_task(path: str, options: LoadOptions) -> dict[str, Any]:
    """Return what a worker must know: the path, and how it is read otherwise than by default."""
    given = _changed(replace(options, limits=_DEFAULT.limits), _DEFAULT)
    return {"path": path, "options": given, "limits": _changed(options.limits, _DEFAULT.limits)}


def _changed(values: Any, defaults: Any) -> dict[str, Any]:
    names = [field.name for field in fields(values)]
    return {n: v for n in names if (v := getattr(values, n)) != getattr(defaults, n)}


def _helpers(options: LoadOptions) -> int:
    return options.worker_count() - 1


def _separator(rest: bytes) -> tuple[bytes, int] | None:
    """Return the text between two events with the start of the second, and its gap's length."""
    for tries, match in enumerate(_SEPARATOR.finditer(rest)):
        if tries >= _SEPARATOR_TRIES:
            break
        if parses_as_events(rest[: match.start() + 1]):
            return match.group(), match.end(1) - match.start()
    return None
