"""Decides for kernels without an op by the same kernels that an op issued elsewhere in the trace.

A profiler that starts while the device still has work queued, or a file that was cut, holds kernels
whose launch it does not know. In a loop they come again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.categories import CATEGORIES, CODE_OF, OTHER
from tracekit.classifying.decisions import Decisions
from tracekit.classifying.kernel_sequences import distinct_kernels, stream_order
from tracekit.classifying.situation import Verdict
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import Linked
from tracekit.linking.replays import replay_of
from tracekit.trace import IntArray

CERTAIN: Final = 0.9
"""Names that say this much need no context."""

_LEAST: Final = 0.9
"""Share of a kernel's twins that must be of one category."""

_MOST: Final = 0.99
"""Confidence where all of them are: of nine runs whose ops were cut off half-way, no twin was
wrong."""


def decided_by_twins(linked: Linked, decided: Decisions) -> Decisions:
    """Return decisions with those of kernels without an op that have twins with one.

    A twin has the same name, grid and block, and stands between two such kernels on its stream:
    what one product serves in one model it need not serve in another. Replayed graphs are left to
    those who align whole sequences.
    """
    if linked.basis != "gpu":
        return decided
    by_name = decided.are_by("name")
    is_open = by_name & (linked.op < 0) & (replay_of(linked) < 0)
    is_told = ~by_name & (decided.category != CODE_OF[OTHER])
    if not is_open.any() or not is_told.any():
        return decided
    place = _places(linked)
    counts = np.zeros((int(place.max()) + 1, len(CATEGORIES)), np.int64)
    np.add.at(counts, (place[is_told], decided.category[is_told]), 1)
    most = counts.argmax(axis=1)
    share = counts.max(axis=1) / np.maximum(counts.sum(axis=1), 1)
    says_more = ~(decided.confidence >= CERTAIN) | (decided.category != most[place])
    rows = np.flatnonzero(is_open & says_more & (share >= _LEAST)[place])
    if not len(rows):
        return decided
    verdicts = [Verdict(category, "sequence", _reason(category), 0.0) for category in CATEGORIES]
    found = Decisions.of(verdicts, most[place[rows]])
    confidence = np.round(_MOST * share[place[rows]], 3)
    return decided.replaced(rows, replace(found, confidence=confidence))


def _places(linked: Linked) -> IntArray:
    """Return a number for each kernel with its two neighbours; equal ones are twins."""
    activities = linked.trace.activities
    _, kernel = distinct_kernels(linked)
    order = stream_order(linked)
    ends = np.append(
        (np.diff(activities.stream[order]) != 0) | (np.diff(activities.device[order]) != 0), True
    )
    ours = kernel[order]
    after = np.where(ends, -1, np.roll(ours, -1))
    before = np.where(np.roll(ends, 1), -1, np.roll(ours, 1))
    _, number = distinct_rows((before, ours, after))
    place = np.empty(len(order), np.int64)
    place[order] = number
    return place


def _reason(category: str) -> str:
    return f"the same kernel with the same grid is {category} where an op issued it"
