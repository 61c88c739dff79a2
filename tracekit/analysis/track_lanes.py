"""Sorts slices that overlap into lanes, because a track of a timeline can only nest them."""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np

from tracekit.trace import IntArray


def flat_lanes(start_ns: IntArray, end_ns: IntArray) -> IntArray:
    """Return a lane for each interval, in which no two overlap; as few lanes as there can be.

    Intervals are in the order of their start. What takes no time fits between two that touch.
    """
    lane = np.zeros(len(start_ns), np.int64)
    if len(start_ns) < 2 or (start_ns[1:] >= np.maximum.accumulate(end_ns)[:-1]).all():
        return lane
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    lanes = 0
    for at, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        while busy and busy[0][0] <= start:
            heappush(free, heappop(busy)[1])
        if free:
            own = heappop(free)
        else:
            own, lanes = lanes, lanes + 1
        heappush(busy, (end, own))
        lane[at] = own
    return lane


def nested_lanes(start_ns: IntArray, end_ns: IntArray) -> IntArray:
    """Return a lane for each interval, in which two overlap only if one holds the other.

    Intervals are in the order of their start, longer ones first. Few cross, so the first lane
    that takes one is looked for from the first on.
    """
    lane = np.zeros(len(start_ns), np.int64)
    open_until: list[list[int]] = [[]]
    for at, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        for number, stack in enumerate(open_until):
            while stack and stack[-1] <= start:
                stack.pop()
            if not stack or end <= stack[-1]:
                stack.append(end)
                lane[at] = number
                break
        else:
            lane[at] = len(open_until)
            open_until.append([end])
    return lane
