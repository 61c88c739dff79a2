"""Cuts intervals of host threads at the points where something begins or ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracekit.linking.codes import sorted_distinct
from tracekit.trace import AnyArray, CodeArray, IntArray


@dataclass(frozen=True, slots=True)
class Windows:
    """Intervals of host threads, each of a gap: [`start_ns`, `end_ns`) with a length."""

    gap: IntArray
    thread: CodeArray
    start_ns: IntArray
    end_ns: IntArray

    def __len__(self) -> int:
        return len(self.gap)

    @property
    def dur_ns(self) -> IntArray:
        """Length of each in ns."""
        return self.end_ns - self.start_ns

    def take(self, rows: AnyArray) -> Windows:
        """Return the windows at these positions or under this mask."""
        return Windows(self.gap[rows], self.thread[rows], self.start_ns[rows], self.end_ns[rows])


def joined(parts: Sequence[Windows]) -> Windows:
    """Return all windows of several."""
    return Windows(
        np.concatenate([part.gap for part in parts]),
        np.concatenate([part.thread for part in parts]),
        np.concatenate([part.start_ns for part in parts]),
        np.concatenate([part.end_ns for part in parts]),
    )


def cut(windows: Windows, thread: CodeArray, time_ns: IntArray) -> Windows:
    """Return the windows cut at points in time of their own threads, in pieces with a length.

    The pieces of a window are consecutive and cover it exactly.
    """
    if not len(windows) or not len(time_ns):
        return windows
    pieces = []
    order = np.argsort(thread, kind="stable")
    threads = thread[order]
    for one in np.unique(windows.thread).tolist():
        own = windows.take(np.flatnonzero(windows.thread == one))
        low, high = np.searchsorted(threads, [one, one + 1])
        pieces.append(_cut_thread(own, time_ns[order[low:high]]))
    return joined(pieces)


def _cut_thread(windows: Windows, time_ns: IntArray) -> Windows:
    points = sorted_distinct(_inside(windows, time_ns))
    low = np.searchsorted(points, windows.start_ns, side="right")
    high = np.searchsorted(points, windows.end_ns, side="left")
    count = np.maximum(high - low, 0)
    of = np.repeat(np.arange(len(windows)), count + 1)
    first = np.cumsum(count + 1) - (count + 1)
    place = np.arange(len(of)) - first[of]
    inner = points[np.minimum(low[of] + place, len(points) - 1)] if len(points) else of
    end = np.where(place == count[of], windows.end_ns[of], inner)
    start = windows.start_ns[of].copy()
    start[1:] = np.where(place[1:] == 0, start[1:], end[:-1])
    return Windows(windows.gap[of], windows.thread[of], start, end)


def _inside(windows: Windows, time_ns: IntArray) -> IntArray:
    """Return the points that lie in some window; most of a busy trace's do not."""
    order = np.argsort(windows.start_ns, kind="stable")
    reach = np.maximum.accumulate(windows.end_ns[order])
    place = np.searchsorted(windows.start_ns[order], time_ns, side="left") - 1
    near = place >= 0
    near[near] = time_ns[near] < reach[place[near]]
    found: IntArray = time_ns[near]
    return found
