"""Nesting against the obvious quadratic search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.linking.nesting import Forest, build_forest, nearest_marked

INTERVALS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 12)), min_size=0, max_size=40
)


def forest_of(intervals: list[tuple[int, int, int]]) -> Forest:
    thread = np.array([i[0] for i in intervals], np.int32)
    start = np.array([i[1] for i in intervals], np.int64)
    return build_forest(thread, start, start + np.array([i[2] for i in intervals], np.int64))


def obvious_innermost(forest: Forest, thread: int, time_ns: int, before: int | None) -> int:
    """Last in order that is open at a time; only those before a position, for parents."""
    best = -1
    for position, row in enumerate(forest.order.tolist()):
        if before is not None and position >= before:
            break
        opened = forest.start_ns[row] <= time_ns < forest.end_ns[row]
        if forest.thread[row] == thread and opened:
            best = row
    return best


@given(INTERVALS)
def test_parents(intervals: list[tuple[int, int, int]]) -> None:
    forest = forest_of(intervals)
    for position, row in enumerate(forest.order.tolist()):
        expected = obvious_innermost(
            forest, int(forest.thread[row]), int(forest.start_ns[row]), position
        )
        assert forest.parent[row] == expected


@given(INTERVALS, st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 45)), max_size=20))
def test_innermost_at(intervals: list[tuple[int, int, int]], points: list[tuple[int, int]]) -> None:
    forest = forest_of(intervals)
    found = forest.innermost_at(
        np.array([p[0] for p in points], np.int32), np.array([p[1] for p in points], np.int64)
    )
    expected = [obvious_innermost(forest, thread, time, None) for thread, time in points]
    assert found.tolist() == expected


@given(INTERVALS, st.data())
def test_depth_and_nearest_marked(
    intervals: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    forest = forest_of(intervals)
    marked = np.array([data.draw(st.booleans()) for _ in intervals], np.bool_)
    nearest = nearest_marked(forest.parent, marked)
    depth = forest.depth()
    for row in range(len(intervals)):
        chain = [row]
        while forest.parent[chain[-1]] >= 0:
            chain.append(int(forest.parent[chain[-1]]))
        assert depth[row] == len(chain) - 1
        assert nearest[row] == next((one for one in chain if marked[one]), -1)


@pytest.mark.parametrize("scale", [1, 10**9, 2**62 // 50])
def test_times_of_any_size(scale: int) -> None:
    start = np.array([-20, 0, 5, 6, 20], np.int64) * scale
    end = np.array([-10, 10, 8, 7, 30], np.int64) * scale
    thread = np.zeros(5, np.int32)
    forest = build_forest(thread, start, end)
    assert forest.parent.tolist() == [-1, -1, 1, 2, -1]


def test_many_siblings_need_no_loop_over_them() -> None:
    count = 200_000
    start = np.arange(count, dtype=np.int64) * 10
    start[0] = -1
    end = start + 5
    end[0] = count * 10
    forest = build_forest(np.zeros(count, np.int32), start, end)
    assert (forest.parent[1:] == 0).all()
