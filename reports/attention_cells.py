"""What the terminal and the Markdown report tell of attention, as text cells and sentences."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from math import log2
from typing import TYPE_CHECKING, Final

from tracekit.reports.names import clean
from tracekit.reports.sentences import plural
from tracekit.units import (
    MISSING,
    format_bytes,
    format_count,
    format_intensity,
    format_ns,
    format_share,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracekit.attention_results import (
        AttentionCache,
        AttentionResult,
        AxisCache,
        AxisInside,
        AxisRatio,
        LengthProfile,
        PartCache,
        SequenceLength,
    )

WHOLE_RUN: Final = "whole run"
SHARE_HEADERS: Final = ("Attention", "", "Time", "Share", "Calls")
"""Headers of `share_rows`, but for kernels or ops."""

_BARS: Final = "▁▂▃▄▅▆▇█"
_LEVEL: Final = "▄"
_MOST_CYCLES: Final = 3
_FLAT: Final = 1.1
"""Lengths that differ by less than this factor are drawn as a level line."""
_SPAN: Final = 8
"""The height of a line stands for at least this factor, so that small steps look small."""
_MOST_LENGTHS: Final = 5
_MOST_KEY_LENGTHS: Final = 4
"""More key lengths than these beside one query length are shown as a range."""
_WHOLLY: Final = 0.99
"""Of this share of fused kernels on, there is nothing inside to tell of."""
_PART_NAMES: Final = {
    "fused": "Fused",
    "gemm": "GEMM",
    "softmax": "Softmax",
    "elementwise": "Elementwise",
    "copy": "Copy",
    "other": "Other",
}


def share_rows(attention: AttentionResult) -> tuple[list[tuple[str, ...]], int]:
    """Return time by axis, kind and length, and how many lengths there are beyond these.

    Cells are the view (of its first row alone), name, time, share, calls and kernels. There are
    no rows where neither axis, kind nor length is known.
    """
    views = (("by axis", attention.by_axis), ("by kind", attention.by_kind))
    rows: list[tuple[str, ...]] = []
    for title, view in views:
        if all(row.key is None for row in view):
            continue
        rows += [
            (
                title if index == 0 else "",
                "unknown" if row.key is None else clean(row.key),
                format_ns(row.time_ns),
                format_share(row.time_share),
                format_count(row.calls),
                format_count(row.kernels),
            )
            for index, row in enumerate(view)
        ]
    lengths = list(_lengths(attention.sequence_lengths))
    for index, (name, time_ns, share, calls) in enumerate(lengths[:_MOST_LENGTHS]):
        title = "by length" if index == 0 else ""
        cells = (format_ns(time_ns), format_share(share), format_count(calls), "")
        rows.append((title, name, *cells))
    return rows, max(0, len(lengths) - _MOST_LENGTHS)


def inside_rows(attention: AttentionResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Return headers and rows of what attention consists of, a row an axis.

    Null where nearly all of it is fused kernels, which do everything at once.
    """
    axes = attention.inside.by_axis
    whole = sum(row.time_ns for row in axes)
    time_ns = {
        name: sum(part.time_ns for row in axes for part in row.parts if part.part == name)
        for name in _PART_NAMES
    }
    if time_ns["fused"] >= _WHOLLY * whole:
        return None
    shown = [name for name in _PART_NAMES if time_ns[name]]
    headers = ("Inside attention", *(_PART_NAMES[name] for name in shown), "Time a call")
    return headers, [_inside_row(row, shown) for row in axes]


def _inside_row(row: AxisInside, shown: Sequence[str]) -> tuple[str, ...]:
    share = {part.part: part.time_share for part in row.parts}
    return (
        "unknown" if row.axis is None else clean(row.axis),
        *(format_share(share[name]) if name in share else MISSING for name in shown),
        format_ns(row.time_per_call_ns),
    )


def temporal_to_spatial(attention: AttentionResult) -> str | None:
    """Return one sentence on temporal beside spatial attention, null where either is not there."""
    ratios = attention.inside.temporal_to_spatial
    if not ratios:
        return None
    told = "; ".join(
        f"self-attention alone {_times(ratio)}" if ratio.kind == "self" else _times(ratio)
        for ratio in ratios
    )
    return f"Temporal to spatial attention: {told}."


def _times(ratio: AxisRatio) -> str:
    flops = "FLOPs unknown" if ratio.flops is None else f"{_multiple(ratio.flops)} the FLOPs"
    return f"{_multiple(ratio.time)} the time, {flops}"


def _multiple(value: float) -> str:
    return f"{value:.2f}x" if value >= 0.095 else f"{value:.2g}x"


LIKENESS_HEADERS: Final = ("Stage", "Like an LLM's", "Queries", "Keys", "FLOP/B", "Balanced at")


def likeness_rows(attention: AttentionResult) -> list[tuple[str, ...]]:
    """Return a row a stage on whether it is like prefill or like decoding, and why."""
    names = {"prefill": "prefill", "decode": "decoding"}
    return [
        (
            WHOLE_RUN if row.stage is None else clean(row.stage),
            names.get(row.like or "", "neither"),
            format_count(row.query_length),
            format_count(row.key_length),
            format_intensity(row.intensity),
            format_intensity(row.ridge),
        )
        for row in attention.likeness
    ]


CACHE_HEADERS: Final = ("Cache hits in attention", "L1", "L2", "Memory read", "Written", "Kernels")
"""Headers of `cache_rows`."""


def cache_rows(cache: AttentionCache) -> list[tuple[str, ...]]:
    """Return hit rates and memory traffic, a row an axis, and one for each of its parts."""
    rows = []
    for axis in cache.by_axis:
        if not axis.kernels:
            continue
        rows.append(_cache_row("unknown" if axis.axis is None else clean(axis.axis), axis))
        if len(axis.parts) > 1:
            rows += [_cache_row(f"  {_PART_NAMES[part.part]}", part) for part in axis.parts]
    return rows


def _cache_row(name: str, row: AxisCache | PartCache) -> tuple[str, ...]:
    return (
        name,
        format_share(row.l1_hit_rate),
        format_share(row.l2_hit_rate),
        format_bytes(row.dram_read_bytes),
        format_bytes(row.dram_write_bytes),
        format_count(row.kernels),
    )


def cache_match(cache: AttentionCache) -> str:
    """Return how many kernels of attention have counters, and how many launches went unused."""
    whole = cache.kernels + cache.kernels_without
    told = (
        f"{format_count(cache.kernels)} of {format_count(whole)} attention "
        f"{plural(whole, 'kernel')} have counters"
    )
    if cache.kernels_repeated:
        told += f", {format_count(cache.kernels_repeated)} of them those of another step"
    if cache.launches_unmatched:
        told += (
            f"; {format_count(cache.launches_unmatched)} of {format_count(cache.launches)} "
            "launches in the file match no kernel"
        )
    return f"{told}."


@dataclass(frozen=True, slots=True)
class ProfileLine:
    """One stage and axis: name, the line that draws its lengths, their range, what it is over."""

    name: str
    line: str
    tokens: str
    over: str
    is_temporal: bool


def profile_lines(profiles: Sequence[LengthProfile], width: int) -> list[ProfileLine]:
    """Return the lengths of self-attention over the run, drawn in at most `width` characters."""
    stages = Counter(profile.stage for profile in profiles)
    found = []
    for profile in profiles:
        stage = WHOLE_RUN if profile.stage is None else clean(profile.stage)
        is_told = stages[profile.stage] > 1 and profile.axis is not None
        found.append(
            ProfileLine(
                name=f"{stage}, {clean(profile.axis)}" if is_told else stage,
                line=_line(profile, width),
                tokens=_range(profile.lengths),
                over=_over(profile),
                is_temporal=profile.axis == "temporal",
            )
        )
    return found


def sparkline(values: Sequence[int], width: int, *, by_step: bool = False) -> str:
    """Return at most `width` bars whose heights are the logarithms of the values.

    A bar is the mean of the values that share it. `by_step` draws from the least to the greatest
    value, evenly; without it the height of the line is at least a factor of 8.
    """
    if not values or width <= 0:
        return ""
    low, high = max(1, min(values)), max(1, *values)
    if high < _FLAT * low and not (by_step and high > low):
        return _LEVEL * min(len(values), width)
    heights = [float(value) if by_step else log2(max(1, value)) for value in values]
    bottom, top = (low, high) if by_step else (log2(min(low, high / _SPAN)), log2(high))
    count = min(len(values), width)
    line = ""
    for cell in range(count):
        part = heights[cell * len(heights) // count : (cell + 1) * len(heights) // count]
        share = (sum(part) / len(part) - bottom) / (top - bottom)
        line += _BARS[min(len(_BARS) - 1, max(0, round(share * (len(_BARS) - 1))))]
    return line


def _line(profile: LengthProfile, width: int) -> str:
    """Return the line of a profile; steps that repeat are drawn a few times, if there is room."""
    count = len(profile.lengths)
    cycles = min(profile.steps, _MOST_CYCLES, width // count) if profile.repeats and count else 1
    return sparkline(profile.lengths, width, by_step=profile.points == "step") * max(1, cycles)


def _range(lengths: Sequence[int]) -> str:
    if not lengths:
        return MISSING
    return _from_to(min(lengths), max(lengths))


def _from_to(low: int, high: int) -> str:
    return format_count(low) if low == high else f"{format_count(low)}–{format_count(high)}"


def _over(profile: LengthProfile) -> str:
    steps = f"{format_count(profile.steps)} {plural(profile.steps, 'step')}"
    if profile.points == "step":
        return f"over {steps}"
    if profile.repeats:
        return f"in each of {steps}"
    return f"over {format_count(profile.calls)} {plural(profile.calls, 'call')}"


def _lengths(rows: Sequence[SequenceLength]) -> Iterator[tuple[str, int, float | None, int]]:
    """Yield name, time, share and calls of lengths, most time first.

    Many key lengths beside one query length, as a growing cache has them, are one row.
    """
    known = [row for row in rows if row.query_length is not None and row.key_length is not None]
    merged: list[tuple[str, int, float | None, int]] = []
    for _, part in groupby(sorted(known, key=_group), key=_group):
        same = list(part)
        keys = {row.key_length or 0 for row in same}
        if len(keys) > _MOST_KEY_LENGTHS:
            name = _name(same[0], _from_to(min(keys), max(keys)))
            shares = [row.time_share for row in same if row.time_share is not None]
            time_ns, calls = sum(row.time_ns for row in same), sum(row.calls for row in same)
            merged.append((name, time_ns, sum(shares) if shares else None, calls))
        else:
            merged += [
                (_name(row, format_count(row.key_length)), row.time_ns, row.time_share, row.calls)
                for row in same
            ]
    yield from sorted(merged, key=lambda row: -row[1])


def _group(row: SequenceLength) -> tuple[int, str, str]:
    return row.query_length or 0, row.kind or "", row.axis or ""


def _name(row: SequenceLength, keys: str) -> str:
    words = [clean(word) for word in (row.axis, row.kind) if word is not None]
    return " ".join([f"{format_count(row.query_length)} × {keys}", *words])
