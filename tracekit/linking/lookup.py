"""Finds, among timed rows that share a number, the last one before a time."""

from __future__ import annotations

import numpy as np

from tracekit.trace import IntArray


def last_at_or_before(
    numbers: IntArray, times_ns: IntArray, asked_numbers: IntArray, asked_ns: IntArray
) -> IntArray:
    """Return for each question the last row of its number that is not after its time.

    Of rows with equal times the later one counts; -1 where there is none.
    """
    count = len(numbers)
    is_question = np.concatenate([np.zeros(count, np.int8), np.ones(len(asked_numbers), np.int8)])
    order = np.lexsort(
        (
            is_question,
            np.concatenate([times_ns, asked_ns]),
            np.concatenate([numbers, asked_numbers]),
        )
    )
    is_row = order < count
    latest = np.maximum.accumulate(np.where(is_row, np.arange(len(order)), -1))
    asked = np.flatnonzero(~is_row)
    found = np.full(len(asked_numbers), -1, np.int64)
    found[order[asked] - count] = np.where(latest[asked] >= 0, order[latest[asked]], -1)
    fits = found >= 0
    fits[fits] = numbers[found[fits]] == asked_numbers[fits]
    return np.where(fits, found, -1)
