"""Loops in sequences: found exactly, whatever stands around them, with work that grows linearly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracekit.linking import repetition
from tracekit.linking.repetition import SHORTEST, Loop, ended, likeness, loops_of, repeated_share


def longest(codes: list[int] | np.ndarray) -> Loop:
    return loops_of(np.asarray(codes, np.int64))[0]


# The tokens of the parts are apart, so that no turn goes on in what stands around by chance.
turns = st.lists(st.integers(0, 9), min_size=24, max_size=80)
around = st.lists(st.integers(100, 120), max_size=60)


@given(turns, st.integers(3, 9), around, around)
def test_a_repeated_turn_is_found_exactly(
    turn: list[int], times: int, prefix: list[int], suffix: list[int]
) -> None:
    assume(repeated_share(np.array(turn * 2)[: len(turn)]) < 0.5)
    loops = loops_of(np.array([*prefix, *turn * times, *suffix]))
    starts = [len(prefix) + len(turn) * at for at in range(times)]
    assert any(
        loop.starts.tolist() == starts and loop.end == len(prefix) + len(turn) * times
        for loop in loops
    )


@given(st.lists(st.integers(0, 3), max_size=200))
def test_any_sequence_gives_loops_in_order_within_it(codes: list[int]) -> None:
    for loop in loops_of(np.array(codes, np.int64)):
        bounds = loop.bounds
        assert len(loop) >= 2
        assert bounds[0] >= 0
        assert bounds[-1] <= len(codes)
        assert (np.diff(bounds) > 0).all()


def test_nested_loops_are_found_longest_turns_first() -> None:
    layer = list(range(20, 32))
    turn = [1, 2, 3, *layer * 6, 4, 5]
    loops = loops_of(np.array(turn * 5))
    assert any(np.median(np.diff(loop.bounds)) == len(layer) for loop in loops[1:])
    assert loops[0].bounds.tolist() == [len(turn) * at for at in range(6)]


def test_turns_may_differ_in_places() -> None:
    base = list(range(60))
    codes: list[int] = []
    starts = []
    for at in range(6):
        starts.append(len(codes))
        turn = base.copy()
        turn[20 + at : 20 + at] = [90 + at] * at
        codes += turn
    loop = longest(codes)
    assert loop.starts.tolist() == starts
    assert loop.end == len(codes)


def test_what_does_not_repeat_has_no_loop() -> None:
    assert loops_of(np.arange(500)) == []
    assert loops_of(np.arange(SHORTEST)) == []
    assert loops_of(np.empty(0, np.int64)) == []


def test_likeness() -> None:
    codes = np.array([*range(20), *range(20), *range(100, 120)])
    first, second = likeness(codes, np.array([0, 20, 40, 60])).tolist()
    assert first > 0.8
    assert second < 0.2


def test_the_end_of_the_last_turn_is_where_others_end() -> None:
    turn = list(range(40))
    codes = np.array([*turn * 3, *turn[:30], 7, 7, *turn[30:], 200, 201])
    loop = ended(codes, Loop(np.array([0, 40, 80, 120]), 150))
    assert loop.end == len(codes) - 2


@pytest.mark.parametrize("turn", [range(300), [*range(20), *list(range(50, 64)) * 20]])
def test_work_grows_linearly(turn: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0
    run_hashes = repetition.run_hashes

    def counting(codes: np.ndarray, length: int) -> np.ndarray:
        nonlocal hashed
        hashed += len(codes)
        return run_hashes(codes, length)

    monkeypatch.setattr(repetition, "run_hashes", counting)
    work = []
    for times in (16, 32, 64):
        hashed = 0
        loops_of(np.array([*turn] * times))
        work.append(hashed)
    assert work[1] <= 2.2 * work[0]
    assert work[2] <= 2.2 * work[1]
