"""Numbering combinations, against dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracekit.linking import codes


@given(st.lists(st.integers(0, 50), max_size=40), st.sampled_from([51, 10**9]))
def test_numbered(values: list[int], size: int) -> None:
    count, rank = codes.numbered(np.array(values, np.int64), size)
    order = sorted(set(values))
    assert count == len(order)
    assert rank.tolist() == [order.index(value) for value in values]


ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 10**12), st.integers(-1, 1)))


@given(ROWS)
def test_distinct_rows(rows: list[tuple[int, int, int]]) -> None:
    columns = [np.array([row[i] for row in rows], np.int64) for i in range(3)]
    first, combination = codes.distinct_rows(columns)
    assert len(first) == len(set(rows))
    for row, code in zip(rows, combination.tolist(), strict=True):
        assert rows[first[code]] == row
        assert first[code] == rows.index(row)
