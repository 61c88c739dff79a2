"""Tells attention along time from attention over space by the sizes of the calls.

A video of B clips, F frames and P positions a frame is B·F sequences of P tokens for spatial
attention, and B·P sequences of F tokens for temporal attention. So of two kinds of calls the one's
number of sequences divided by the other's length is the same number, B times the heads, both ways;
windows beside global attention, or two resolutions, do not satisfy that. Which of the two lengths
is the number of frames is decided by what stays the same while the resolution changes, by the
convolutions around (their batch or their depth is the number of frames), and by which is shorter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Final

SPATIAL: Final = 0
TEMPORAL: Final = 1

_EXTRA_TOKENS: Final = 8
"""Class and register tokens that a sequence may hold beside its positions."""

_ORDER: Final = (SPATIAL, TEMPORAL)
"""Which comes first in a block where nothing else tells: space, as in Latte and most others."""


@dataclass(frozen=True, slots=True)
class Call:
    """Sizes of one attention call: sequences are batch times heads, lengths are tokens."""

    sequences: int
    query_length: int
    key_length: int
    batch: int | None = None

    @property
    def is_self(self) -> bool:
        """Say whether queries and keys may be the same tokens."""
        return self.query_length == self.key_length


@dataclass(frozen=True, slots=True)
class Images:
    """What convolutions say: batches of 2-D ones with their positions, and depths of 3-D ones."""

    planes: frozenset[tuple[int, int]] = frozenset()
    depths: frozenset[int] = frozenset()


Shape = tuple[int, int, int | None]


def temporal_calls(calls: list[Call], images: Images) -> tuple[list[int | None], int | None]:
    """Return for each call `SPATIAL`, `TEMPORAL` or null, and the number of frames, if any.

    `calls` are those of one model in the order of their issue. Null means that the call is no
    part of a video that is factorized into space and time.
    """
    shapes = Counter((c.sequences, c.query_length, c.batch) for c in calls)
    selves = {(c.sequences, c.query_length, c.batch) for c in calls if c.is_self}
    partners = _partners(selves)
    frames = _frames(partners, shapes, images)
    if frames is None:
        return [None] * len(calls), None
    roles = _roles(partners, frames)
    found: list[int | None] = []
    for call in calls:
        shape = (call.sequences, call.query_length, call.batch)
        found.append(roles.get(shape, _role_alone(call, frames, roles)))
    _settle_ties(calls, found, frames, roles)
    return found, frames


def _partners(shapes: set[Shape]) -> dict[Shape, set[Shape]]:
    """Return which shapes are two views of the same video."""
    found: dict[Shape, set[Shape]] = defaultdict(set)
    ordered = sorted(shapes, key=lambda shape: shape[:2])
    for one in ordered:
        for other in ordered:
            if one[1] > other[1] and _is_factorized(one, other):
                found[one].add(other)
                found[other].add(one)
    return found


def _is_factorized(one: Shape, other: Shape) -> bool:
    """Say whether two shapes can be a video over positions and over frames, either way round."""
    if one[2] is not None and other[2] is not None:
        return _fits(one[2], one[1], other[2], other[1])
    return _fits(one[0], one[1], other[0], other[1])


def _fits(count: int, length: int, other_count: int, other_length: int) -> bool:
    """Test count = B·other_length and other_count = B·length, up to a few extra tokens."""
    for extra in range(_EXTRA_TOKENS + 1):
        for positions, frames in ((length - extra, other_length), (length, other_length - extra)):
            if positions < 2 or frames < 2:
                continue
            clips = count // frames
            if clips and count == clips * frames and other_count == clips * positions:
                return True
    return False


def _frames(
    partners: dict[Shape, set[Shape]], shapes: Counter[Shape], images: Images
) -> int | None:
    """Return the number of frames: the length with the most evidence."""
    evidence: dict[int, float] = defaultdict(float)
    for shape, others in partners.items():
        length = shape[1]
        # One number of frames has as many partners as there are resolutions.
        evidence[length] += 4 * (len({other[1] for other in others}) > 1)
        evidence[length] += 2 * (length in images.depths)
        for other in others:
            if length < other[1]:
                evidence[length] += 1
            # Convolutions over single frames see B·F images of the partner's positions.
            if other[2] is not None and (other[2], other[1]) in images.planes:
                evidence[length] += 3
        evidence[length] += 0.01 * shapes[shape]
    if not evidence:
        return None
    return max(evidence, key=lambda length: (evidence[length], -length))


def _roles(partners: dict[Shape, set[Shape]], frames: int) -> dict[Shape, int]:
    roles: dict[Shape, int] = {}
    for shape, others in partners.items():
        if shape[1] == frames and any(other[1] != frames for other in others):
            roles[shape] = TEMPORAL
            for other in others:
                if other[1] != frames:
                    roles[other] = SPATIAL
    return roles


def _role_alone(call: Call, frames: int, roles: dict[Shape, int]) -> int | None:
    """Decide for a shape without a partner: other heads, or a resolution with one of the two."""
    if call.query_length == frames:
        batches = {shape[2] for shape, role in roles.items() if role == SPATIAL}
        if call.batch is not None and call.batch in batches:
            return None
        clips = {
            shape[2] // frames
            for shape, role in roles.items()
            if role == SPATIAL and shape[2] is not None
        }
        if call.batch is None or not clips or any(call.batch % clip == 0 for clip in clips if clip):
            return TEMPORAL
        return None
    for shape, role in roles.items():
        if role != SPATIAL:
            continue
        if call.batch is not None and call.batch == shape[2]:
            return SPATIAL
    return None


def _settle_ties(
    calls: list[Call], found: list[int | None], frames: int, roles: dict[Shape, int]
) -> None:
    """Decide, in place, for levels with as many positions as frames: both look the same there.

    The block pattern of the other levels is laid over the calls; else the two take turns.
    """
    batches = {shape[2] for shape, role in roles.items() if role == SPATIAL}
    tied = [
        at
        for at, call in enumerate(calls)
        if call.query_length == frames
        and (call.batch in batches if call.batch is not None else found[at] is None)
        and roles.get((call.sequences, call.query_length, call.batch)) is None
    ]
    pattern = _block_pattern(calls, found, set(tied))
    for run in _runs(tied):
        symbols = [calls[at].is_self for at in run]
        turn = _matching_turn(symbols, pattern)
        for offset, at in enumerate(run):
            if turn is None:
                found[at] = _ORDER[offset % 2] if calls[at].is_self else SPATIAL
            else:
                found[at] = pattern[(turn + offset) % len(pattern)][1]


def _block_pattern(
    calls: list[Call], found: list[int | None], tied: set[int]
) -> list[tuple[bool, int]]:
    """Return the most frequent block: from a first spatial call to the last temporal one."""
    blocks: Counter[tuple[tuple[bool, int], ...]] = Counter()
    block: list[tuple[bool, int]] = []
    for at, role in enumerate(found):
        if at in tied or role is None:
            block = []
            continue
        if block and role == SPATIAL and block[-1][1] == TEMPORAL:
            if block[0][1] == SPATIAL:
                blocks[tuple(block)] += 1
            block = []
        block.append((calls[at].is_self, role))
    if block and block[0][1] == SPATIAL and block[-1][1] == TEMPORAL:
        blocks[tuple(block)] += 1
    return list(blocks.most_common(1)[0][0]) if blocks else []


def _runs(rows: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for row in rows:
        if runs and runs[-1][-1] == row - 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def _matching_turn(symbols: list[bool], pattern: list[tuple[bool, int]]) -> int | None:
    """Return where in the pattern a run of tied calls begins, null if it does not fit."""
    for turn in range(len(pattern)):
        if all(
            symbol == pattern[(turn + offset) % len(pattern)][0]
            for offset, symbol in enumerate(symbols)
        ):
            return turn
    return None
