"""The truth of kernels that a CUDA graph replays, from a labelled eager pass of the same work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from tracekit.analysis.truth import Truth
from tracekit.linking.link import Linked
from tracekit.linking.replays import replay_of
from tracekit.linking.subsequence import common_subsequence
from tracekit.trace import ACTIVITY_KINDS, BoolArray, IntArray, SmallArray

_KERNEL: Final = ACTIVITY_KINDS.index("kernel")
_COLUMNS: Final = ("category", "axis", "kind", "causal", "label")
_SHORTEST_RUN: Final = 16
"""Kernels in a row that must be the same where the sequences differ elsewhere."""


def with_replays(truth: Truth, linked: Linked, eager: Linked, eager_truth: Truth) -> Truth:
    """Return the truth with that of replayed kernels filled in.

    The kernels of a replay have the truth of the same sequence of kernel names in the eager pass.
    Where it is there several times, all must agree. Where it is not there as a whole, stretches of
    16 and more equal kernels count if they lie in the same order; the rest stays undecidable.
    """
    replay = replay_of(linked)
    replayed = np.flatnonzero((replay >= 0) & _are_kernels(linked))
    donor = np.flatnonzero(_are_kernels(eager))
    if not len(replayed) or not len(donor):
        return truth
    names, donor_names = _common_names(linked, eager)
    columns = {name: getattr(truth, name).copy() for name in _COLUMNS}
    eager_columns = {name: getattr(eager_truth, name) for name in _COLUMNS}
    own = len(truth.labels)
    eager_columns["label"] = np.where(eager_truth.label >= 0, eager_truth.label + own, -1)
    known: dict[bytes, tuple[IntArray, IntArray]] = {}
    for rows in _by_replay(replay[replayed], replayed):
        sequence = names[rows]
        key = sequence.tobytes()
        if key not in known:
            known[key] = _partners(sequence, donor_names[donor], eager_truth.category[donor])
        at, partner = known[key]
        for name, column in columns.items():
            column[rows[at]] = eager_columns[name][donor[partner]]
    return replace(truth, **columns, labels=truth.labels + eager_truth.labels)


def _are_kernels(linked: Linked) -> BoolArray:
    if linked.basis == "cpu":
        return np.zeros(len(linked), np.bool_)
    return np.asarray(linked.trace.activities.kind == _KERNEL)


def _by_replay(replay: IntArray, rows: IntArray) -> Iterator[IntArray]:
    """Give the rows of each replay, in the order of their start."""
    order = np.argsort(replay, kind="stable")
    yield from np.split(rows[order], np.flatnonzero(np.diff(replay[order])) + 1)


def _common_names(first: Linked, second: Linked) -> tuple[IntArray, IntArray]:
    """Return the names of the rows of both as numbers that are equal for equal names."""
    number = {text: code for code, text in enumerate(first.trace.strings)}
    fresh = len(number)
    codes = [number.get(text, fresh + at) for at, text in enumerate(second.trace.strings)]
    return first.name.astype(np.int64), np.array([*codes, -1], np.int64)[second.name]


def _partners(
    sequence: IntArray, donor: IntArray, category: SmallArray
) -> tuple[IntArray, IntArray]:
    """Return positions in a sequence, and of the same kernels in the donor."""
    count = len(sequence)
    starts = np.flatnonzero(donor[: max(0, len(donor) - count + 1)] == sequence[0])
    places = [
        start for start in starts.tolist() if (donor[start : start + count] == sequence).all()
    ]
    if places:
        said = np.stack([category[start : start + count] for start in places])
        agreed = np.flatnonzero((said == said[0]).all(axis=0))
        return agreed, places[0] + agreed
    at, partner = common_subsequence(sequence, donor)
    breaks = np.flatnonzero((np.diff(at) != 1) | (np.diff(partner) != 1)) + 1
    bounds = np.concatenate([[0], breaks, [len(at)]])
    is_long = np.repeat(np.diff(bounds) >= _SHORTEST_RUN, np.diff(bounds))
    return at[is_long], partner[is_long]
