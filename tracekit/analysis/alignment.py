"""Finds the same GPU activity in two recordings of the same work.

Activities are matched by device, stream, order and name.
"""

from __future__ import annotations

import numpy as np

from tracekit.linking.codes import numbered
from tracekit.linking.subsequence import common_subsequence
from tracekit.trace import IntArray, Trace


def matching_rows(first: Trace, second: Trace) -> IntArray:
    """Return for each GPU activity of the first trace its row in the second, -1 for none."""
    matched = np.full(len(first.activities), -1, np.int64)
    if not len(first.activities) or not len(second.activities):
        return matched
    names_a, names_b = _shared_names(first, second)
    a, b = first.activities, second.activities
    _, device = np.unique(np.concatenate([a.device, b.device]), return_inverse=True)
    _, stream = np.unique(np.concatenate([a.stream, b.stream]), return_inverse=True)
    places, code = numbered(
        device * (stream.max() + 1) + stream, int((device.max() + 1) * (stream.max() + 1))
    )
    groups_a, groups_b = _groups(code[: len(a)], places), _groups(code[len(a) :], places)
    for rows_a, rows_b in zip(groups_a, groups_b, strict=True):
        at_a, at_b = common_subsequence(names_a[rows_a], names_b[rows_b])
        matched[rows_a[at_a]] = rows_b[at_b]
    return matched


def _shared_names(first: Trace, second: Trace) -> tuple[IntArray, IntArray]:
    """Return the names of both as numbers that are equal for equal names."""
    used = np.unique(second.activities.name).tolist()
    known = {first.text(code): code for code in np.unique(first.activities.name).tolist()}
    fresh = len(first.strings)
    shared = np.full(len(second.strings) + 1, -1, np.int64)
    for at, code in enumerate(used):
        shared[code] = known.get(second.text(code), fresh + at)
    return first.activities.name.astype(np.int64), shared[second.activities.name]


def _groups(code: IntArray, count: int) -> list[IntArray]:
    order = np.argsort(code, kind="stable")
    return np.split(order, np.searchsorted(code[order], np.arange(1, count)))
