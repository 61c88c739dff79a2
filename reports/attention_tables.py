"""The tables of the terminal report that tell of attention: its time, and its sequence lengths."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from math import log2
from typing import TYPE_CHECKING, Final

from rich.text import Text

from tracekit.reports.console import DIM, Fitted, table
from tracekit.reports.names import clean
from tracekit.reports.palette import color_of
from tracekit.reports.sentences import plural
from tracekit.reports.text_tables import kernels_or_ops
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from tracekit.attention_results import AttentionResult, LengthProfile, SequenceLength
    from tracekit.results import Basis

_BARS: Final = "▁▂▃▄▅▆▇█"
_LEVEL: Final = "▄"
_WIDEST_LINE: Final = 48
_BESIDE_LINE: Final = 54
_NARROWEST_LINE: Final = 8
_MOST_CYCLES: Final = 3
_FLAT: Final = 1.1
"""Lengths that differ by less than this factor are drawn as a level line."""
_SPAN: Final = 8
"""The height of a line stands for at least this factor, so that small steps look small."""
_MOST_LENGTHS: Final = 5
_MOST_PROFILES: Final = 6
_MOST_KEY_LENGTHS: Final = 4
"""More key lengths than these beside one query length are shown as a range."""


def attention_table(attention: AttentionResult, basis: Basis) -> Table | None:
    """Return attention time by axis, by kind and by length, or null when none is known."""
    views = (("by axis", attention.by_axis), ("by kind", attention.by_kind))
    groups = [(title, rows) for title, rows in views if any(row.key is not None for row in rows)]
    lengths = list(_lengths(attention.sequence_lengths))
    if not groups and not lengths:
        return None
    kernels = kernels_or_ops(basis)
    drawn = table("Attention", "", "Time", "Share", "Calls", kernels, wide=(1,), left=(0,))
    for title, rows in groups:
        for index, row in enumerate(rows):
            drawn.add_row(
                title if index == 0 else "",
                Fitted("unknown" if row.key is None else clean(row.key)),
                format_ns(row.time_ns),
                format_share(row.time_share),
                format_count(row.calls),
                format_count(row.kernels),
            )
    for index, (name, time_ns, share, calls) in enumerate(lengths[:_MOST_LENGTHS]):
        title = "by length" if index == 0 else ""
        cells = (format_ns(time_ns), format_share(share), format_count(calls), "")
        drawn.add_row(title, Fitted(name), *cells)
    if len(lengths) > _MOST_LENGTHS:
        drawn.add_row("", Text(f"… and {len(lengths) - _MOST_LENGTHS} more", DIM))
    return drawn


def profile_table(profiles: Sequence[LengthProfile], width: int) -> Table | None:
    """Return the sequence lengths of self-attention over the run, a line a stage and axis."""
    if not profiles:
        return None
    longest = max(_NARROWEST_LINE, min(_WIDEST_LINE, width - _BESIDE_LINE))
    drawn = table("Sequence length", "", "Tokens", "", wide=(0,), left=(1, 3))
    stages = Counter(profile.stage for profile in profiles)
    for profile in profiles[:_MOST_PROFILES]:
        stage = "whole run" if profile.stage is None else clean(profile.stage)
        is_told = stages[profile.stage] > 1 and profile.axis is not None
        is_temporal = profile.axis == "temporal"
        color = color_of("temporal_attention" if is_temporal else "attention")
        drawn.add_row(
            Fitted(f"{stage}, {clean(profile.axis)}" if is_told else stage),
            Text(_line(profile, longest), color, no_wrap=True),
            _range(profile.lengths),
            _over(profile),
        )
    if len(profiles) > _MOST_PROFILES:
        drawn.add_row(Text(f"… and {len(profiles) - _MOST_PROFILES} more", DIM))
    return drawn


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
