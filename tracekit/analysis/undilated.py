"""Idle time by cause and culprit without the profiler: the trace's run, paced anew.

Host time between launches shrinks by what profiling its events costs, which leaves untouched what
holds no events: a sleep, a wait, a long call. How much all of it shrinks is known from the wall
time of the unprofiled run; it is the one scale at which the paced run takes that long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.blame import blame_for
from tracekit.analysis.causes import CAUSES, Gaps, Pieces
from tracekit.analysis.idle import IdlePieces
from tracekit.analysis.pacing import Pace
from tracekit.analysis.windows import Windows
from tracekit.classifying.table import KernelTable
from tracekit.results import Blame, CauseTime
from tracekit.trace import FloatArray, IntArray
from tracekit.units import share_of

_LATE, _SYNC, _LATENCY, _PROFILER, _UNKNOWN = (
    CAUSES.index(one) for one in ("host_late", "sync", "launch_latency", "profiler", "unknown")
)
_MOST: Final = 64.0
"""The largest scale of costs that is tried."""
_ROUNDS: Final = 30


@dataclass(frozen=True, slots=True)
class Undilated:
    """Idle time by cause and culprit as it would be without the profiler."""

    by_cause: tuple[CauseTime, ...]
    blame: tuple[Blame, ...]


def scale_for(pace: Pace, wall_ns: int) -> float:
    """Return at which scale of the costs the paced run takes this long, by bisection.

    0 where it is no longer with all of the profiler's cost, the largest where it stays longer.
    """
    low, high = 0.0, _MOST
    if pace.run(low).end_ns <= wall_ns:
        return low
    if pace.run(high).end_ns >= wall_ns:
        return high
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if pace.run(middle).end_ns > wall_ns:
            low = middle
        else:
            high = middle
    return high


def undilated(
    table: KernelTable,
    pace: Pace,
    scale: float,
    found: IdlePieces,
    idle_ns: int,
    limit: int | None,
) -> Undilated:
    """Return what the idle time of an unprofiled run, `idle_ns`, consists of.

    `found` are the pieces of the trace, with the lead, which is part of a run's wall time. The
    costs of profiling are removed `scale` times. What the paced run cannot explain is `unknown`:
    idle time beyond it, and what comes after the last activity.
    """
    return told(table, found, time_of(pace, found, scale), idle_ns, limit)


def time_of(pace: Pace, found: IdlePieces, scale: float) -> IntArray:
    """Return how long each piece is in the paced run, in ns."""
    gaps, pieces = found.gaps, found.pieces
    late, latency = _paced_gaps(pace, scale, gaps)
    weights = _weights(pieces, scale * _cost_of(pieces, pace), len(gaps))
    return _shared_out(pieces, weights, late, latency)


def told(
    table: KernelTable, found: IdlePieces, time_ns: IntArray, idle_ns: int, limit: int | None
) -> Undilated:
    """Return what `idle_ns` consists of, by pieces that take `time_ns`."""
    pieces = found.pieces
    time_ns = at_most(time_ns, idle_ns)
    scaled = Pieces(_lasting(pieces.host, time_ns), pieces.cause)
    return Undilated(
        by_cause(pieces, time_ns, idle_ns), blame_for(table, scaled, found.places, limit)
    )


def _paced_gaps(pace: Pace, scale: float, gaps: Gaps) -> tuple[IntArray, IntArray]:
    """Return, of each gap of the trace, what the host and the device are late in the paced run."""
    device, run = pace.device, pace.run(scale)
    reach = np.maximum.accumulate(run.start_ns + device.dur_ns)
    before = np.append(0, reach[:-1])
    idle = np.maximum(0, run.start_ns - before)
    late = np.clip(run.launch_ns - before, 0, idle)
    late[device.point < 0] = 0
    row = np.full(int(device.rows.max()) + 1, -1, np.int64)
    row[device.rows] = np.arange(len(device.rows))
    at = row[gaps.after]
    return late[at], (idle - late)[at]


def _cost_of(pieces: Pieces, pace: Pace) -> FloatArray:
    """Return what profiling cost in each piece: an equal part of what it cost before the launch.

    Pieces are cut where events begin and end, and each event costs about the same; a long piece
    that holds none, a sleep say, owes no more than a short one.
    """
    host = pace.host
    at = np.searchsorted(host.time_ns, pieces.host.start_ns, side="right")
    at = np.clip(at, 0, len(host.time_ns) - 1)
    count = np.bincount(at, minlength=len(host.time_ns))
    cost: FloatArray = host.cost_ns[at] / np.maximum(1, count[at])
    return cost


def _weights(pieces: Pieces, cost_ns: FloatArray, gaps: int) -> FloatArray:
    """Return by what the time that the host was late in a gap is shared out to its pieces."""
    dur_ns = pieces.host.dur_ns
    weight = np.where(pieces.cause == _LATE, np.maximum(dur_ns - cost_ns, 1e-3 * dur_ns), 0.0)
    weight = np.where(pieces.cause == _SYNC, dur_ns, weight)
    total = np.bincount(pieces.host.gap, weight, gaps)
    shares: FloatArray = weight / np.maximum(total, 1e-9)[pieces.host.gap]
    return shares


def _shared_out(pieces: Pieces, shares: FloatArray, late: IntArray, latency: IntArray) -> IntArray:
    """Return each piece's time in ns; a gap without pieces of a cause has none of it."""
    gap, cause = pieces.host.gap, pieces.cause
    time = np.where(np.isin(cause, [_LATE, _SYNC]), late[gap] * shares, 0.0)
    time = np.where(np.isin(cause, [_LATENCY, _UNKNOWN]), latency[gap], time)
    return np.rint(time).astype(np.int64)


def at_most(time_ns: IntArray, whole_ns: int) -> IntArray:
    """Return the times, in proportion, as integers that add up to no more than the whole."""
    if int(time_ns.sum()) <= whole_ns:
        return time_ns
    exact = np.cumsum(time_ns) * (whole_ns / int(time_ns.sum()))
    scaled: IntArray = np.diff(np.rint(exact).astype(np.int64), prepend=0)
    return scaled


def _lasting(host: Windows, time_ns: IntArray) -> Windows:
    return Windows(host.gap, host.thread, host.start_ns, host.start_ns + time_ns)


def by_cause(pieces: Pieces, time_ns: IntArray, idle_ns: int) -> tuple[CauseTime, ...]:
    """Return all causes in order; what the pieces leave of `idle_ns` is unknown."""
    rows = []
    left_ns = idle_ns - int(time_ns.sum())
    for at, cause in enumerate(CAUSES):
        chosen = (pieces.cause == at) & (time_ns > 0)
        total = int(time_ns[chosen].sum()) + (left_ns if at == _UNKNOWN else 0)
        gaps = len(np.unique(pieces.host.gap[chosen]))
        rows.append(CauseTime(cause, total, share_of(total, idle_ns), gaps))
    return tuple(rows)
