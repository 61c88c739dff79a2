"""Finds what a sequence repeats: chains of equal contexts, and the loops that they mark.

A context is a run of elements. One that a loop passes once a turn comes back after about one
turn, whatever else stands in between, so turns may differ in places and in length. What the turns
hold several times (layers) comes back sooner and marks a loop of its own, inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.linking.sequences import run_hashes
from tracekit.trace import AnyArray, BoolArray, FloatArray, IntArray

_WIDTHS: Final = (4, 16, 64)
"""Lengths of contexts: short ones reach the ends of a turn, long ones stand in it once."""

SHORTEST: Final = 8
"""Elements of the shortest turn that is looked for."""

_STEADY: Final = 1.15
"""How much longer one turn may be than the next for a chain to go on."""
_BINS_PER_OCTAVE: Final = 6
_NEAR: Final = 1.25
_SHARES: Final = (0.02, 0.2, 0.5)
"""Shares of the chains of a loop that may be as long as it; tried in turn."""
_LEAST_CHAINS: Final = 3
_ALIKE: Final = 0.7
_HALF: Final = 0.5
_WHOLE: Final = 0.9
_MISMATCH, _MOST_DROP = 2, 24
"""What an unequal element takes off a stretch of equal ones, and where the stretch is over."""
_GRAM: Final = 4
_MOST_CUT: Final = 4
"""How often a loop may turn out to be shorter."""
_BUCKETS: Final = 8
_MOST_BITS: Final = 17
_MOST_COUNTS: Final = 1 << 21
_JITTER: Final = 0.03
_JOINTS: Final = (16, 8)
_MOST_JOINTS: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A part of a sequence that is turns of one thing, one after another.

    `starts` holds the first element of each turn, `end` the end of the last one.
    """

    starts: IntArray
    end: int

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def start(self) -> int:
        """Where the first turn begins."""
        return int(self.starts[0])

    @property
    def bounds(self) -> IntArray:
        """Where each turn begins, and where the last one ends."""
        return np.append(self.starts, self.end)

    def shifted(self, by: int) -> Loop:
        """Return the loop in a sequence that begins this much earlier."""
        return Loop(self.starts + by, self.end + by)


@dataclass(frozen=True, slots=True)
class _Chains:
    """Contexts that come back about as far each time: where they stand, how often, how far apart.

    `row` is where the places of a chain begin in `places`.
    """

    places: IntArray
    row: IntArray
    count: IntArray
    width: IntArray
    first: IntArray
    last: IntArray
    period: FloatArray

    def take(self, chosen: AnyArray) -> _Chains:
        return _Chains(
            self.places,
            self.row[chosen],
            self.count[chosen],
            self.width[chosen],
            self.first[chosen],
            self.last[chosen],
            self.period[chosen],
        )


def loops_of(codes: IntArray) -> list[Loop]:
    """Return the loops that a sequence shows, longest turns first; they may hold one another.

    Of loops in different parts of the sequence whose turns are about as long, only the one with
    the most turns is returned: look again into what is left. The work is that of a few sorts.
    """
    if len(codes) < 2 * SHORTEST:
        return []
    chains = _chains(codes)
    found: list[Loop] = []
    for period in _periods(chains):
        loop = _loop(codes, chains, period)
        if loop is not None and not any(_same(loop, other) for other in found):
            found.append(loop)
    return sorted(found, key=lambda loop: -(loop.end - loop.start) / len(loop))


def likeness(codes: IntArray, bounds: IntArray) -> FloatArray:
    """Return how much of each part the next one holds too, between 0 and 1.

    It is what both have in common of runs of four elements, relative to the longer part.
    """
    sizes = np.diff(bounds)
    return np.asarray(_shared(codes, bounds) / np.maximum(1, np.maximum(sizes[1:], sizes[:-1])))


def _shared(codes: IntArray, bounds: IntArray) -> FloatArray:
    """Return how many runs of four elements each part has in common with the next one.

    Runs are counted in buckets by their hash, eight for each element of a part.
    """
    sizes = np.diff(bounds)
    parts = len(sizes)
    bits = min(_MOST_BITS, int(_BUCKETS * sizes.mean()).bit_length())
    hashes = _grams(codes[bounds[0] : bounds[-1]]) >> np.uint64(64 - bits)
    buckets = hashes.astype(np.int64)
    block = max(1, _MOST_COUNTS >> bits)
    shared = [np.empty(0)]
    for low in range(0, parts - 1, block):
        high = min(parts, low + block + 1)
        inside = slice(bounds[low] - bounds[0], bounds[high] - bounds[0])
        of_part = np.repeat(np.arange(high - low) << bits, sizes[low:high])
        counts = np.bincount(of_part + buckets[inside], minlength=(high - low) << bits)
        table = counts.reshape(high - low, 1 << bits)
        shared.append(np.minimum(table[1:], table[:-1]).sum(axis=1))
    return np.concatenate(shared)


def _score(codes: IntArray, loop: Loop) -> float:
    """Return how much of a loop its turns have in common, less what they have not."""
    shared = _shared(codes, loop.bounds)
    return float(2 * (shared[0] + shared.sum()) - (loop.end - loop.start))


def known_from(codes: IntArray, first: int, place: int, end: int) -> int:
    """Return from where on, at the earliest, what stands before a place mostly stands after it too.

    It is runs of four elements between `first` and `place` that come again between it and `end`.
    """
    width = min(end, place + _GRAM - 1) - first
    runs, later = _grams(codes[first : first + width]), _grams(codes[place:end])
    return place - reach(np.isin(runs[: place - first], later)[::-1])


def repeated_share(codes: IntArray) -> float:
    """Return the share of a sequence that is in runs of four elements which it holds again."""
    if not len(codes):
        return 0.0
    _, times = np.unique(_grams(codes), return_counts=True)
    return float(times[times > 1].sum() / len(codes))


def _grams(codes: IntArray) -> AnyArray:
    """Return a hash of the run of four at each element, cut off at the end."""
    return run_hashes(np.append(codes, np.full(_GRAM - 1, -1)), _GRAM)


def _chains(codes: IntArray) -> _Chains:
    places, rows, counts, widths = [], [], [], []
    before = 0
    for size in _WIDTHS:
        if 2 * size > len(codes):
            break
        hashes = run_hashes(codes, size)
        order = np.argsort(hashes, kind="stable")
        row, count = _steady(hashes[order], order)
        places.append(order)
        rows.append(row + before)
        counts.append(count)
        widths.append(np.full(len(row), size))
        before += len(order)
    place, row, count, width = map(np.concatenate, (places, rows, counts, widths))
    first, last = place[row], place[row + count - 1]
    return _Chains(place, row, count, width, first, last, (last - first) / (count - 1))


def _steady(hashes: AnyArray, order: IntArray) -> tuple[IntArray, IntArray]:
    """Return where chains begin in places sorted by context, and of how many places they are."""
    gap = np.diff(order)
    link = (hashes[1:] == hashes[:-1]) & (gap >= SHORTEST)
    goes_on = link[1:] & link[:-1]
    goes_on &= (gap[1:] <= _STEADY * gap[:-1]) & (gap[:-1] <= _STEADY * gap[1:])
    first = link & ~np.append(False, goes_on)
    last = link & ~np.append(goes_on, False)
    begin = np.flatnonzero(first)
    return begin, np.flatnonzero(last) - begin + 2


def _periods(chains: _Chains) -> list[float]:
    """Return the lengths of turns that most chains speak for, about."""
    if not len(chains.row):
        return []
    octave = np.log2(chains.period) * _BINS_PER_OCTAVE
    bins = np.bincount(octave.astype(np.int64), weights=chains.count - 1.0)
    padded = np.concatenate([[0.0], bins, [0.0]])
    peak = (padded[1:-1] > 0) & (padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:])
    return [float(2 ** ((at + 0.5) / _BINS_PER_OCTAVE)) for at in np.flatnonzero(peak).tolist()]


def _loop(codes: IntArray, chains: _Chains, period: float) -> Loop | None:
    """Return the loop whose turns are about as long as this, and which most speaks for."""
    near = (chains.period <= _NEAR * period) & (chains.period * _NEAR >= period)
    chains = chains.take(near)
    if len(chains.row) < _LEAST_CHAINS:
        return None
    counts = np.sort(chains.count)[::-1]
    ranks = [max(_LEAST_CHAINS, int(share * len(counts))) - 1 for share in _SHARES]
    best, most = None, 0.0
    for turns in sorted(set(counts[ranks].tolist())):
        loop = _checked(codes, _marked(codes, chains.take(chains.count == turns)))
        if loop is not None:
            score = _score(codes, loop)
            if score > most:
                best, most = loop, score
    return best


def _marked(codes: IntArray, chains: _Chains) -> Loop:
    """Return the loop that chains of one length mark: most of them begin within its first turn."""
    period = float(np.median(chains.period))
    first = np.sort(chains.first)
    within = np.searchsorted(first, first + period) - np.arange(len(first))
    start = first[np.argmax(within)]
    members = chains.take((chains.first >= start) & (chains.first < start + period))
    members = members.take(np.abs(members.last - np.median(members.last)) <= period)
    turns = int(members.count[0])
    places = members.places[members.row[:, None] + np.arange(turns)]
    gaps = np.diff(places, axis=1)
    # A context that stands in front of the loop by chance is out of step there.
    strays = np.abs(gaps - np.median(gaps, axis=0)).max(axis=1)
    in_step = strays <= max(_GRAM, _JITTER * period)
    if not in_step.any():
        in_step = strays == strays.min()
    if (members.width[in_step] > _GRAM).any():
        # Short contexts stand elsewhere by chance; both ends are looked for afterwards.
        in_step &= members.width > _GRAM
    places, widths = places[in_step], members.width[in_step]
    starts = places[np.argmin(places[:, 0])]
    # What stands after the first turn there marks no end of the last one here.
    in_turn = places[:, 0] < starts[1]
    end = int((places[:, -1] + widths)[in_turn].max())
    return _fitted(codes, starts, min(end, int(2 * starts[-1] - starts[-2]), len(codes)))


def _fitted(codes: IntArray, starts: IntArray, end: int) -> Loop:
    """Move both ends outward as long as what stands there is what stands a turn further on.

    Where all contexts of a stretch occur several times a turn, chains do not reach its ends.
    """
    turn = int(starts[1] - starts[0])
    most = min(int(starts[0]), int(_WHOLE * turn))
    before = codes[starts[0] - most : starts[0]]
    earlier = reach((before == codes[starts[0] - most + turn : starts[0] + turn])[::-1])
    return ended(codes, Loop(starts - earlier, end))


def ended(codes: IntArray, loop: Loop) -> Loop:
    """Return the loop with the end of its last turn where it is by what turns end with."""
    starts, turn = loop.starts, int(loop.starts[-1] - loop.starts[-2])
    most = max(0, min(len(codes), int(starts[-1]) + turn) - loop.end)
    ahead = codes[loop.end : loop.end + most]
    later = reach(ahead == codes[loop.end - turn : loop.end - turn + most])
    return _ended_alike(codes, Loop(starts, loop.end + later))


def _ended_alike(codes: IntArray, loop: Loop) -> Loop:
    """Move the end to the nearest place where a turn ends as others do, if there is one."""
    sizes = np.diff(loop.starts)
    low = int(loop.starts[-1] + _WHOLE * sizes.min())
    high = min(len(codes), int(loop.starts[-1] + sizes.max() / _WHOLE))
    for width in _JOINTS:
        if low < width or high <= low or int(loop.starts[1]) < width:
            break
        back = np.arange(width, 0, -1)
        ends = np.arange(low, high + 1)
        there = codes[ends[:, None] - back]
        for joint in np.unique(codes[loop.starts[1:][-_MOST_JOINTS:, None] - back], axis=0):
            equal = ends[(there == joint).all(axis=1)]
            if len(equal):
                return Loop(loop.starts, int(equal[np.argmin(np.abs(equal - loop.end))]))
    return loop


def reach(equal: BoolArray) -> int:
    """Return how far a stretch of mostly equal elements goes."""
    if not len(equal):
        return 0
    score = np.cumsum(np.where(equal, 1, -_MISMATCH))
    drop = np.maximum.accumulate(score) - score
    lost = np.flatnonzero(drop > _MOST_DROP)
    score = score[: lost[0]] if len(lost) else score
    return int(np.argmax(score)) + 1 if len(score) and score.max() > 0 else 0


def _checked(codes: IntArray, loop: Loop) -> Loop | None:
    """Return the loop with turns that are whole and alike, null if there are not two of them.

    Contexts that mark it may stand before and after it as well, so it ends where turns differ.
    """
    for _ in range(_MOST_CUT):
        if len(loop) < 2:
            return None
        sizes = np.diff(loop.bounds)
        alike = likeness(codes, loop.bounds)
        short = sizes[-1] < _HALF * np.median(sizes[:-1])
        differ = np.flatnonzero(
            (alike < _HALF) | (np.arange(1, len(loop)) * short == len(loop) - 1)
        )
        if not len(differ):
            return loop if np.median(alike) >= _ALIKE else None
        pieces = np.split(np.arange(len(loop)), differ + 1)
        longest = max(pieces, key=lambda piece: sizes[piece].sum() * (len(piece) > 1))
        if len(longest) < 2:
            return None
        starts = loop.starts[longest]
        end = int(loop.bounds[longest[-1] + 1])
        loop = _fitted(codes, starts, min(end, int(2 * starts[-1] - starts[-2])))
    return None


def _same(one: Loop, other: Loop) -> bool:
    return len(one) == len(other) and abs(one.start - other.start) < _GRAM
