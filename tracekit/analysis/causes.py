"""Why a device had nothing to do: every gap cut into pieces, each with one cause.

A gap ends with an activity; where and when that was launched decides. Without a known launch the
cause is `unknown`. If it was launched before the gap began, or is a node of the same graph launch
as the activity before, the device took its time: `launch_latency`, as is what lies between the
beginning of the launching call and the end of the gap. Before that call the launching thread was
late, which is cut into `profiler` (overhead events of this thread or of the whole process), `sync`
(calls that wait for the device) and `host_late`, the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.blocking_calls import blocking_calls
from tracekit.analysis.intervals import gaps_between
from tracekit.analysis.windows import Windows, cut, joined
from tracekit.classifying.table import KernelTable
from tracekit.linking.nesting import build_forest
from tracekit.trace import NULL, CodeArray, IntArray, SmallArray, Spans, Trace

CAUSES: Final = ("host_late", "sync", "launch_latency", "profiler", "unknown")
"""Causes of idle time, in the order in which results list them."""
_HOST_LATE, _SYNC, _LATENCY, _PROFILER, _UNKNOWN = range(len(CAUSES))
_WHOLE_PROCESS: Final = "-1"
"""The process under which Kineto writes overhead that is no thread's own."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """The gaps of all devices by device and time; `before` and `after` are rows of the table."""

    start_ns: IntArray
    dur_ns: IntArray
    before: IntArray
    after: IntArray

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def end_ns(self) -> IntArray:
        """End of each gap in ns."""
        return self.start_ns + self.dur_ns

    def take(self, rows: slice) -> Gaps:
        """Return a part of the gaps."""
        return Gaps(self.start_ns[rows], self.dur_ns[rows], self.before[rows], self.after[rows])

    def followed_by(self, start_ns: int, end_ns: int, row: int) -> Gaps:
        """Return the gaps and one more, which ends with a row that has none before it."""
        return Gaps(
            np.append(self.start_ns, start_ns),
            np.append(self.dur_ns, end_ns - start_ns),
            np.append(self.before, row),
            np.append(self.after, row),
        )


@dataclass(frozen=True, slots=True)
class Pieces:
    """Parts of gaps, each with a cause; `host` says when and on which thread it was spent.

    The pieces of a gap add up to it exactly. `thread` of a piece is -1 where no launch is known;
    what is `launch_latency` stands at its launching call.
    """

    host: Windows
    cause: SmallArray

    def __len__(self) -> int:
        return len(self.host)

    def take(self, rows: IntArray) -> Pieces:
        """Return the pieces at these positions."""
        return Pieces(self.host.take(rows), self.cause[rows])


def find_gaps(table: KernelTable) -> Gaps:
    """Return the intervals in which a device has no activity."""
    end_ns = table.start_ns + table.dur_ns
    found = [(np.empty(0, np.int64),) * 4]
    for device in np.unique(table.device).tolist():
        rows = np.flatnonzero(table.device == device)
        start, length, after = gaps_between(table.start_ns[rows], end_ns[rows])
        by_end = rows[np.argsort(end_ns[rows], kind="stable")]
        before = by_end[np.searchsorted(end_ns[by_end], start, side="right") - 1]
        found.append((start, length, before, rows[after]))
    start, length, before, after = (np.concatenate(column) for column in zip(*found, strict=True))
    return Gaps(start, length, before, after)


def cut_by_cause(table: KernelTable, gaps: Gaps) -> Pieces:
    """Return the pieces of the gaps, cut also where an event of the launching thread's begins."""
    linked = table.linked
    launch = linked.launch[gaps.after] if len(gaps) else gaps.after
    known = launch >= 0
    thread = np.full(len(gaps), -1, np.int32)
    called, returned = gaps.start_ns.copy(), gaps.start_ns.copy()
    calls = linked.trace.calls
    thread[known] = calls.thread[launch[known]]
    called[known] = calls.start_ns[launch[known]]
    returned[known] = calls.end_ns[launch[known]]
    follows = (launch == linked.launch[gaps.before]) & (gaps.before != gaps.after)
    in_time = (returned <= gaps.start_ns) | follows
    late_until = np.where(
        known & ~in_time, np.clip(called, gaps.start_ns, gaps.end_ns), gaps.start_ns
    )
    number = np.arange(len(gaps))
    late = Windows(number, thread, gaps.start_ns, late_until)
    rest = Windows(number, thread, late_until, gaps.end_ns)
    late, rest = late.take(late.dur_ns > 0), rest.take(rest.dur_ns > 0)
    late, cause = _of_host(linked.trace, late)
    of_rest = np.where(known[rest.gap], _LATENCY, _UNKNOWN).astype(np.int8)
    return Pieces(joined([late, rest]), np.concatenate([cause, of_rest]))


def _of_host(trace: Trace, late: Windows) -> tuple[Windows, SmallArray]:
    """Cut what the launching threads were late, and say what they were doing."""
    waits = trace.calls.take(np.flatnonzero(blocking_calls(trace)))
    whole = np.array([pid == _WHOLE_PROCESS for pid, _ in trace.threads], np.bool_)
    is_whole = whole[trace.overheads.thread] if len(trace.overheads) else np.zeros(0, np.bool_)
    own = trace.overheads.take(np.flatnonzero(~is_whole))
    of_process = _on_every(trace.overheads.take(np.flatnonzero(is_whole)), np.unique(late.thread))
    threads, times = [], []
    for events in (trace.ops, trace.frames, trace.annotations, waits, own, of_process):
        threads += [events.thread, events.thread]
        times += [events.start_ns, events.end_ns]
    late = cut(late, np.concatenate(threads), np.concatenate(times))
    cause = np.full(len(late), _HOST_LATE, np.int8)
    for one, events in ((_SYNC, waits), (_PROFILER, own), (_PROFILER, of_process)):
        forest = build_forest(events.thread, events.start_ns, events.end_ns)
        cause[forest.innermost_at(late.thread, late.start_ns) >= 0] = one
    return late, cause


def _on_every(spans: Spans, threads: CodeArray) -> Spans:
    """Return the spans once on each of these threads."""
    rows = np.tile(np.arange(len(spans)), len(threads))
    return Spans(
        spans.start_ns[rows],
        spans.dur_ns[rows],
        spans.name[rows],
        np.repeat(threads, len(spans)).astype(np.int32),
    )


def sums(pieces: Pieces, gaps: int) -> IntArray:
    """Return the time of each cause in each gap, in ns, as an array (gaps, causes)."""
    total = np.zeros((gaps, len(CAUSES)), np.int64)
    np.add.at(total, (pieces.host.gap, pieces.cause), pieces.host.dur_ns)
    return total


def launch_points(table: KernelTable, gaps: Gaps) -> tuple[CodeArray, IntArray]:
    """Return thread and time of the launch that ends each gap, -1 and `NULL` where unknown."""
    if not len(gaps):
        return np.empty(0, np.int32), np.empty(0, np.int64)
    thread, time_ns = table.linked.thread[gaps.after], table.linked.time_ns[gaps.after]
    return thread, np.where(thread >= 0, time_ns, NULL)
