"""Makes tracks out of columns of the analyzer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracekit.analysis.track_lanes import flat_lanes
from tracekit.trace import NULL, AnyArray, FloatArray, IntArray
from tracekit.track_results import Column, Numbers, SliceTrack, Texts

Described = Callable[[IntArray], tuple[Texts, dict[str, Column]]]


def in_lanes(
    name: str, kind: str, start_ns: IntArray, end_ns: IntArray, at: IntArray, described: Described
) -> list[SliceTrack]:
    """Return intervals in the order of their start as tracks without overlap, one if there is none.

    `described` gives label and details of the intervals at some of the positions in `at`.
    """
    order = np.argsort(start_ns, kind="stable")
    start_ns, end_ns, at = start_ns[order], end_ns[order], at[order]
    lane = flat_lanes(start_ns, end_ns)
    tracks = []
    for one in range(int(lane.max(initial=-1)) + 1):
        own = np.flatnonzero(lane == one)
        label, details = described(at[own])
        tracks.append(
            SliceTrack(
                name=name if one == 0 else f"{name} ({one + 1})",
                kind=kind,
                start_ns=start_ns[own],
                dur_ns=(end_ns - start_ns)[own],
                label=label,
                details=details,
            )
        )
    return tracks


def numbers(values: AnyArray) -> Numbers:
    """Return a column of integers that are missing where they are `NULL`."""
    return Numbers(values, values != NULL)


def shares(values: FloatArray) -> Column:
    """Return shares as texts of two decimals: what a timeline shows beside a slice."""
    known = ~np.isnan(values)
    percent = np.where(known, np.rint(100 * np.where(known, values, 0)), -1).astype(np.int64)
    return Texts(percent, tuple(f"{number / 100:.2f}" for number in range(101)))
