"""Alignment of two passes against the textbook's longest common subsequence."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.linking import subsequence
from tracekit.linking.subsequence import common_subsequence
from tracekit.trace import IntArray

SEQUENCES = st.lists(st.integers(-1, 4), max_size=40)


def longest(a: list[int], b: list[int]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        above = row[:]
        for j, y in enumerate(b):
            row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
    return row[-1]


def check(a: IntArray, b: IntArray) -> int:
    at_a, at_b = common_subsequence(a, b)
    assert len(at_a) == len(at_b)
    assert (np.diff(at_a) > 0).all()
    assert (np.diff(at_b) > 0).all()
    assert (a[at_a] == b[at_b]).all()
    return len(at_a)


@settings(deadline=None, max_examples=400)
@given(SEQUENCES, SEQUENCES)
def test_as_long_as_the_longest(a: list[int], b: list[int]) -> None:
    found = check(np.array(a, np.int64), np.array(b, np.int64))
    assert found == longest(a, b)


@settings(deadline=None, max_examples=100)
@given(SEQUENCES, SEQUENCES, st.integers(1, 4))
def test_given_up_it_is_still_a_common_subsequence(a: list[int], b: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subsequence, "_MOST_EDITS", most)
        patch.setattr(subsequence, "_MOST_ROUNDS", 2)
        assert check(np.array(a, np.int64), np.array(b, np.int64)) <= longest(a, b)


def repetitive(seed: int, steps: int) -> IntArray:
    """Steps of 1,500 kernels with 60 names, as a model repeats them."""
    step = np.random.default_rng(seed).integers(0, 60, 1500)
    return np.tile(step, steps)


def test_a_missing_step_is_found_in_a_long_run() -> None:
    a = repetitive(0, 50)
    b = np.concatenate([a[:30_000], a[31_500:]])
    begin = time.perf_counter()
    assert check(a, b) == len(b)
    assert time.perf_counter() - begin < 10


def test_scattered_differences_in_a_long_run() -> None:
    a = repetitive(1, 50)
    rng = np.random.default_rng(2)
    b = a.copy()
    b[rng.choice(len(b), 200, replace=False)] = 99
    b = np.delete(b, rng.choice(len(b), 200, replace=False))
    assert check(a, b) >= len(a) - 450


def test_equal_long_runs_take_no_time() -> None:
    a = repetitive(3, 700)
    begin = time.perf_counter()
    assert check(a, a.copy()) == len(a)
    assert time.perf_counter() - begin < 1


def test_nothing_in_common() -> None:
    a = np.arange(20_000)
    begin = time.perf_counter()
    assert check(a, a + 50_000) == 0
    assert time.perf_counter() - begin < 20
