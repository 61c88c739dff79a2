"""Which interval encloses which, on the same thread, without a loop over events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.trace import AnyArray, BoolArray, IntArray

Threads = AnyArray


@dataclass(frozen=True, slots=True)
class Forest:
    """Intervals of several threads, nested by time.

    Row numbers are those of the arrays that the forest was built from. `order` lists the rows by
    thread and start, longer intervals first; `parent` holds each row's innermost interval that is
    open when it starts, -1 at the top. Intervals that cross instead of nesting are allowed.
    """

    thread: Threads
    start_ns: IntArray
    end_ns: IntArray
    order: IntArray
    parent: IntArray

    def innermost_at(self, thread: Threads, time_ns: IntArray) -> IntArray:
        """Return, for points in time on threads, the innermost open row, -1 where there is none.

        An interval is open from its start on, and no more at its end.
        """
        if not len(self.order) or not len(time_ns):
            return np.full(len(time_ns), -1, np.int64)
        own_keys, keys = _keys(self.thread, self.start_ns, thread, time_ns)
        position = np.searchsorted(own_keys[self.order], keys, side="right") - 1
        row = np.where(position >= 0, self.order[position], -1)
        row[(row >= 0) & (self.thread[row] != thread)] = -1
        return self._climb(row, time_ns)

    def _climb(self, row: IntArray, time_ns: IntArray) -> IntArray:
        """Follow parents until the row is still open."""
        active = np.flatnonzero(row >= 0)
        while len(active):
            active = active[self.end_ns[row[active]] <= time_ns[active]]
            row[active] = self.parent[row[active]]
            active = active[row[active] >= 0]
        return row

    def depth(self) -> IntArray:
        """Return how many rows enclose each row."""
        depth = (self.parent >= 0).astype(np.int64)
        above = self.parent.copy()
        active = np.flatnonzero(above >= 0)
        while len(active):
            up = above[active]
            depth[active] += depth[up]
            above[active] = above[up]
            active = active[above[active] >= 0]
        return depth


def build_forest(thread: Threads, start_ns: IntArray, end_ns: IntArray) -> Forest:
    """Return the nesting of intervals; equal intervals nest in the order of their rows."""
    count = len(start_ns)
    if not count:
        empty = np.empty(0, np.int64)
        return Forest(thread, start_ns, end_ns, empty, empty)
    keys, _ = _keys(thread, start_ns, thread[:0], start_ns[:0])
    order = _start_order(keys, end_ns)
    start, end, owner = start_ns[order], end_ns[order], thread[order]
    parent = np.empty(count, np.int64)
    parent[order] = _to_rows(_parents(start, end, owner), order)
    return Forest(thread, start_ns, end_ns, order, parent)


def nearest_marked(parent: IntArray, marked: BoolArray) -> IntArray:
    """Return each row's nearest marked row among itself and its ancestors, -1 if none."""
    nearest = np.where(marked, np.arange(len(parent)), parent)
    active = np.flatnonzero(nearest >= 0)
    active = active[~marked[nearest[active]]]
    while len(active):
        nearest[active] = nearest[nearest[active]]
        active = active[nearest[active] >= 0]
        active = active[~marked[nearest[active]]]
    return nearest


def outermost_marked(parent: IntArray, marked: BoolArray) -> IntArray:
    """Return each row's outermost marked row among itself and its ancestors, -1 if none."""
    nearest = nearest_marked(parent, marked)
    above = np.where(nearest >= 0, parent[nearest], -1)
    higher = np.where(above >= 0, nearest[above], -1)
    outermost = nearest.copy()
    active = np.flatnonzero((outermost >= 0) & (higher >= 0))
    while len(active):
        outermost[active] = higher[active]
        above = parent[outermost[active]]
        following = np.where(above >= 0, nearest[above], -1)
        higher[active] = following
        active = active[following >= 0]
    return outermost


def _start_order(keys: IntArray, end_ns: IntArray) -> IntArray:
    """Return the rows by key, longer ones first where keys are equal.

    Files list their events by start, which a stable sort by one key makes use of.
    """
    order = np.argsort(keys, kind="stable")
    tied = keys[order[1:]] == keys[order[:-1]]
    if (tied & (end_ns[order[1:]] > end_ns[order[:-1]])).any():
        order = np.lexsort((-end_ns, keys))
    return order


def _parents(start: IntArray, end: IntArray, owner: Threads) -> IntArray:
    """Return for sorted intervals the position of the last earlier one still open, or -1.

    Every candidate's own candidate is a valid next try, because all between the two have ended
    by then; following them doubles the distance each round.
    """
    candidate = np.arange(-1, len(start) - 1, dtype=np.int64)
    candidate[1:][owner[1:] != owner[:-1]] = -1
    active = np.flatnonzero(candidate >= 0)
    active = active[end[candidate[active]] <= start[active]]
    while len(active):
        candidate[active] = candidate[candidate[active]]
        active = active[candidate[active] >= 0]
        active = active[end[candidate[active]] <= start[active]]
    return candidate


def _to_rows(position: IntArray, order: IntArray) -> IntArray:
    return np.where(position >= 0, order[position], -1)


def _keys(
    thread_a: Threads, time_a: IntArray, thread_b: Threads, time_b: IntArray
) -> tuple[IntArray, IntArray]:
    """Return integers that sort both sets of (thread, time) together."""
    low = min((int(t.min()) for t in (time_a, time_b) if len(t)), default=0)
    high = max((int(t.max()) for t in (time_a, time_b) if len(t)), default=0)
    threads = max((int(t.max()) for t in (thread_a, thread_b) if len(t)), default=0) + 2
    if (high - low + 1) < np.iinfo(np.int64).max // threads:
        width = high - low + 1
        return (
            thread_a.astype(np.int64) * width + (time_a - low),
            thread_b.astype(np.int64) * width + (time_b - low),
        )
    ranks = np.unique(np.concatenate([time_a, time_b]), return_inverse=True)[1]
    width = len(ranks) + 1
    cut = len(time_a)
    return (
        thread_a.astype(np.int64) * width + ranks[:cut],
        thread_b.astype(np.int64) * width + ranks[cut:],
    )
