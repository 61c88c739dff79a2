"""Tells attention along time from attention over space by the sizes of the calls.

A video of B clips, F frames and P positions a frame is B·F sequences of P tokens for spatial
attention, and B·P sequences of F tokens for temporal attention. So of two kinds of calls the one's
number of sequences divided by the other's length is the same number, B, both ways; windows beside
global attention, or two resolutions, do not satisfy that. Which of the two lengths is the number of
frames is decided by what stays the same while the resolution changes, by the convolutions around
(their batch or their depth is the number of frames), and by which is shorter.

Lengths are ranges, so that the same holds for calls of which only the launch grid is known.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import gcd, prod
from typing import Final, NamedTuple

SPATIAL: Final = 0
TEMPORAL: Final = 1

EXTRA_TOKENS: Final = 8
"""Class and register tokens that a sequence may hold beside its positions."""

_MOST_CLIPS: Final = 64
_LEAST_FRAMES: Final = 2
_LEAST_POSITIONS: Final = 4
"""Fewer frames, or positions a frame, are no video."""

_AXES: Final = 3
_LEAST_TURNS: Final = 2
_EVIDENCE_OF_IMAGES: Final = 3.0
_MOST_VIDEOS: Final = 4


class Size(NamedTuple):
    """Sequences of a call (the batch, or batch times heads) and the range of their length."""

    sequences: int
    shortest: int
    longest: int
    has_heads: bool = False
    """Whether `sequences` counts the heads, too."""

    def may_be(self, length: int, extra: int = 0) -> bool:
        """Say whether the length may be this one and up to `extra` more."""
        return self.shortest - extra <= length <= self.longest


@dataclass(frozen=True, slots=True)
class Call:
    """One attention call; `is_self` says whether queries and keys may be the same tokens."""

    size: Size
    is_self: bool


@dataclass(frozen=True, slots=True)
class Images:
    """What convolutions say: batches of 2-D ones with their positions, and depths of 3-D ones."""

    planes: frozenset[tuple[int, int]] = frozenset()
    depths: frozenset[int] = frozenset()
    volumes: frozenset[tuple[int, int, int]] = frozenset()
    """Batch, frames and positions of 3-D ones."""


class _Pair(NamedTuple):
    """Two sizes that are the same video over space and over time, if it has so many clips."""

    space: Size
    time: Size
    clips: int
    frames: int
    positions: int


class _Video(NamedTuple):
    clips: int
    frames: int


def temporal_calls(
    calls: Sequence[Call], images: Images, *, least_evidence: float = 0.0
) -> tuple[list[int | None], int | None]:
    """Return for each call `SPATIAL`, `TEMPORAL` or null, and the number of frames, if any.

    `calls` are those of one model in the order of their issue. Null means that the call is no
    part of a video that is factorized into space and time, or of none with `least_evidence`.
    """
    counts = Counter(call.size for call in calls if call.is_self)
    pairs = [*_pairs(sorted(counts)), *_with_images(sorted(counts), images)]
    video = _video(pairs, counts, images, least_evidence)
    if video is None:
        return [None] * len(calls), None
    roles = _roles(pairs, video, images)
    batches = {size[0]: size for size, role in roles.items() if role == SPATIAL}
    found = [
        roles.get(call.size, _role_alone(call.size, video, set(batches), roles)) for call in calls
    ]
    _settle_ties(calls, found, video, roles)
    return found, video.frames


def roles_in_videos(calls: Sequence[Call], images: Images) -> list[int | None]:
    """Return for each call `SPATIAL`, `TEMPORAL` or null, where a run may hold several videos.

    A first video is what the sizes of two calls tell; others, of models that follow in the same
    run with more frames, need several resolutions or convolutions over their frames.
    """
    found = _axial_roles(calls)
    for number in range(_MOST_VIDEOS):
        rest = [at for at, role in enumerate(found) if role is None]
        roles, frames = temporal_calls(
            [calls[at] for at in rest],
            images,
            least_evidence=_EVIDENCE_OF_IMAGES if number else 0.0,
        )
        for at, role in zip(rest, roles, strict=True):
            found[at] = role
        if frames is None:
            break
    return found


def _axial_roles(calls: Sequence[Call]) -> list[int | None]:
    """Return the roles of calls along frames, rows and columns in turn, null for all others.

    Each of the three attends to all tokens, and their lengths make up a clip. Time is the length
    that the others do not share, or the shortest of three.
    """
    own = [at for at, call in enumerate(calls) if call.is_self]
    turns: dict[tuple[Size, ...], list[int]] = defaultdict(list)
    place = 0
    while place + _AXES <= len(own):
        sizes = tuple(calls[at].size for at in own[place : place + _AXES])
        is_turn = _is_axial(sizes)
        if is_turn:
            turns[sizes].append(place)
        place += _AXES if is_turn else 1
    found: list[int | None] = [None] * len(calls)
    for sizes, places in turns.items():
        if len(places) < _LEAST_TURNS:
            continue
        lengths = Counter(size.shortest for size in sizes)
        alone = [length for length, count in lengths.items() if count == 1]
        frames = alone[0] if len(lengths) < _AXES else min(lengths)
        for start in places:
            for at, size in zip(own[start : start + _AXES], sizes, strict=True):
                found[at] = TEMPORAL if size.shortest == frames else SPATIAL
    return found


def _is_axial(sizes: tuple[Size, ...]) -> bool:
    """Say whether three sizes are the same clips along each of their axes."""
    if any(size.shortest != size.longest or size.shortest < _LEAST_FRAMES for size in sizes):
        return False
    tokens = {size.sequences * size.shortest for size in sizes}
    whole, rest = divmod(min(tokens), prod(size.shortest for size in sizes))
    is_same = len(tokens) == len({size.has_heads for size in sizes}) == 1
    is_few = whole <= _MOST_CLIPS or sizes[0].has_heads
    return is_same and not rest and is_few and len(set(sizes)) > 1


def _pairs(sizes: Sequence[Size]) -> Iterator[_Pair]:
    for space in sizes:
        for time in sizes:
            if space != time and space.has_heads == time.has_heads:
                yield from _as_video(space, time)


def _with_images(sizes: Sequence[Size], images: Images) -> Iterator[_Pair]:
    """Yield what calls along time are with the images that convolutions over frames see.

    Networks with convolutions in place of spatial attention have no partner among the calls.
    """
    planes = {(clips * frames, plane) for clips, frames, plane in images.volumes}
    for count, positions in sorted(planes | images.planes):
        for time in sizes:
            is_exact = time.shortest == time.longest and not time.has_heads
            if is_exact and time.shortest < positions:
                yield from _as_video(Size(count, positions, positions), time)


def _as_video(space: Size, time: Size) -> Iterator[_Pair]:
    common = gcd(space.sequences, time.sequences)
    most = common if space.has_heads else min(common, _MOST_CLIPS)
    for clips in range(1, most + 1):
        if common % clips:
            continue
        frames, positions = space.sequences // clips, time.sequences // clips
        if frames < _LEAST_FRAMES or positions < _LEAST_POSITIONS or frames == positions:
            continue
        if not (space.may_be(positions, EXTRA_TOKENS) and time.may_be(frames, EXTRA_TOKENS)):
            continue
        # Extra tokens stand in one of the two sequences at most.
        if space.may_be(positions) or time.may_be(frames):
            yield _Pair(space, time, clips, frames, positions)


def _video(
    pairs: Sequence[_Pair], counts: Counter[Size], images: Images, least: float
) -> _Video | None:
    """Return the clips and frames with the most evidence, null where it is less than asked for."""
    positions: dict[_Video, set[int]] = defaultdict(set)
    evidence: dict[_Video, float] = defaultdict(float)
    for pair in pairs:
        video = _Video(pair.clips, pair.frames)
        positions[video].add(pair.positions)
        evidence[video] += 0.01 * (counts[pair.space] + counts[pair.time])
        evidence[video] += 0.5 * (pair.frames < pair.positions)
        evidence[video] += 0.5 * (pair.space.may_be(pair.positions) + pair.time.may_be(pair.frames))
        # Convolutions over single frames see B·F images of so many positions.
        is_seen = (pair.space.sequences, pair.positions) in images.planes
        evidence[video] += _EVIDENCE_OF_IMAGES * is_seen
    for video, found in positions.items():
        # One number of frames has as many partners as there are resolutions.
        evidence[video] += 4 * (len(found) > 1) + 2 * (video.frames in images.depths)
    best = max(
        evidence,
        key=lambda video: (evidence[video], -video.clips, -video.frames),
        default=None,
    )
    return best if best is not None and evidence[best] >= least else None


def _roles(pairs: Sequence[_Pair], video: _Video, images: Images) -> dict[Size, int]:
    """Return the roles of the sizes of a video, and of others that can be nothing else.

    Networks that also lower the frame rate have another number of frames at each level: a part of
    the frames or, where clips are padded, the number that convolutions over time return there.
    """
    roles: dict[Size, int] = {}
    for pair in pairs:
        if (pair.clips, pair.frames) == video:
            roles[pair.time] = TEMPORAL
            roles.setdefault(pair.space, SPATIAL)
    for pair in pairs:
        is_exact = pair.time.shortest == pair.time.longest and pair.clips == video.clips
        is_part = pair.frames < video.frames and not video.frames % pair.frames
        is_seen = (pair.clips, pair.frames, pair.positions) in images.volumes
        if is_exact and pair.frames < pair.positions and (is_part or is_seen):
            roles.setdefault(pair.time, TEMPORAL)
            roles.setdefault(pair.space, SPATIAL)
    return roles


def _role_alone(size: Size, video: _Video, batches: set[int], roles: dict[Size, int]) -> int | None:
    """Decide for a size without a partner: other heads, or a resolution with one of the two."""
    if any(size.has_heads != known.has_heads for known in roles):
        return None
    if size.sequences in batches:
        return SPATIAL
    positions, rest = divmod(size.sequences, video.clips)
    fits = not rest and positions >= _LEAST_POSITIONS and size.may_be(video.frames)
    return TEMPORAL if fits else None


def _settle_ties(
    calls: Sequence[Call], found: list[int | None], video: _Video, roles: dict[Size, int]
) -> None:
    """Decide, in place, for levels with as many positions as frames: both look the same there.

    The block pattern of the other levels is laid over the calls; else the two take turns, space
    first, as in Latte and most others.
    """
    batches = {size.sequences for size, role in roles.items() if role == SPATIAL}
    tied = [
        at
        for at, call in enumerate(calls)
        if call.size.sequences in batches
        and call.size.shortest == call.size.longest == video.frames
        and call.size not in roles
    ]
    pattern = _block_pattern(calls, found, set(tied))
    for run in _runs(tied):
        symbols = [calls[at].is_self for at in run]
        turn = _matching_turn(symbols, pattern)
        if turn is not None:
            told = [pattern[(turn + offset) % len(pattern)][1] for offset in range(len(run))]
        else:
            told = _in_parts(symbols, pattern)
        for offset, at in enumerate(run):
            if told:
                found[at] = told[offset]
            elif calls[at].is_self:
                found[at] = (SPATIAL, TEMPORAL)[offset % 2]


def _block_pattern(
    calls: Sequence[Call], found: Sequence[int | None], tied: set[int]
) -> list[tuple[bool, int]]:
    """Return the most frequent block: from a first spatial call to the last temporal one."""
    blocks: Counter[tuple[tuple[bool, int], ...]] = Counter()
    block: list[tuple[bool, int]] = []
    for at, role in [*enumerate(found), (-1, None)]:
        ends = role is None or at in tied
        if block and (ends or (role == SPATIAL and block[-1][1] == TEMPORAL)):
            if block[0][1] == SPATIAL and block[-1][1] == TEMPORAL:
                blocks[tuple(block)] += 1
            block = []
        if role is not None and not ends:
            block.append((calls[at].is_self, role))
    return list(blocks.most_common(1)[0][0]) if blocks else []


def _runs(rows: Sequence[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for row in rows:
        if runs and runs[-1][-1] == row - 1:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def _matching_turn(symbols: Sequence[bool], pattern: Sequence[tuple[bool, int]]) -> int | None:
    """Return where in the pattern a run of tied calls begins, null if it does not fit."""
    for turn in range(len(pattern)):
        if all(
            symbol == pattern[(turn + offset) % len(pattern)][0]
            for offset, symbol in enumerate(symbols)
        ):
            return turn
    return None


def _in_parts(symbols: Sequence[bool], pattern: Sequence[tuple[bool, int]]) -> list[int]:
    """Return the roles of tied calls some of whose blocks have one of the two axes alone.

    UNets that lack spatial attention at a level have temporal attention there all the same. Empty
    if blocks and parts of them do not make up the calls.
    """
    parts = [
        list(pattern),
        [one for one in pattern if one[1] == TEMPORAL],
        [one for one in pattern if one[1] == SPATIAL],
    ]
    roles: list[int] = []
    while len(roles) < len(symbols):
        rest = symbols[len(roles) :]
        part = next(
            (part for part in parts if part and [one[0] for one in part] == rest[: len(part)]), None
        )
        if part is None:
            return []
        roles += [role for _, role in part]
    return roles
