"""The tables of the terminal report that tell of attention: its time, and its sequence lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.text import Text

from tracekit.reports.attention_cells import (
    CACHE_HEADERS,
    LIKENESS_HEADERS,
    SHARE_HEADERS,
    cache_match,
    cache_rows,
    inside_rows,
    likeness_rows,
    profile_lines,
    share_rows,
    temporal_to_spatial,
)
from tracekit.reports.console import DIM, Fitted, table
from tracekit.reports.palette import color_of
from tracekit.reports.text_tables import kernels_or_ops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tracekit.attention_results import AttentionResult, LengthProfile
    from tracekit.results import Basis, TraceInfo

HOW_TO_COUNT: Final = "Cache hit rates of attention: tracekit collect --ncu, or analyze --ncu FILE."
"""How to have hit rates where there are none."""

_WIDEST_LINE: Final = 48
_BESIDE_LINE: Final = 54
_NARROWEST_LINE: Final = 8
_MOST_PROFILES: Final = 6


def attention_table(attention: AttentionResult, basis: Basis) -> Table | None:
    """Return attention time by axis, by kind and by length, or null when none is known."""
    rows, more = share_rows(attention)
    if not rows:
        return None
    drawn = table(*SHARE_HEADERS, kernels_or_ops(basis), wide=(1,), left=(0,))
    for title, name, *cells in rows:
        drawn.add_row(title, Fitted(name), *cells)
    if more:
        drawn.add_row("", Text(f"… and {more} more", DIM))
    return drawn


def inside_table(attention: AttentionResult) -> RenderableType | None:
    """Return what attention consists of by axis, and temporal attention beside spatial.

    Null where all of it is fused kernels and there is nothing to compare.
    """
    inside, sentence = inside_rows(attention), temporal_to_spatial(attention)
    line = None if sentence is None else Text(sentence)
    if inside is None:
        return line
    headers, rows = inside
    drawn = table(*headers, wide=(0,))
    for name, *cells in rows:
        drawn.add_row(Fitted(name), *cells)
    return drawn if line is None else Group(drawn, line)


def cache_table(attention: AttentionResult) -> RenderableType | None:
    """Return hit rates by axis, null without hardware counters."""
    cache = attention.cache
    if cache is None:
        return None
    line = Text(cache_match(cache), DIM)
    rows = cache_rows(cache)
    if not rows:
        return line
    drawn = table(*CACHE_HEADERS, wide=(0,))
    for name, *cells in rows:
        drawn.add_row(Fitted(name), *cells)
    return Group(drawn, line)


def cache_hint(attention: AttentionResult, trace: TraceInfo) -> RenderableType | None:
    """Return one line on how to have hit rates, where attention ran on a GPU without counters."""
    ran = trace.basis == "gpu" and bool(attention.by_axis)
    # Nsight Compute knows no others.
    is_nvidia = not (trace.device_name or "").startswith("AMD")
    return Text(HOW_TO_COUNT, DIM) if attention.cache is None and ran and is_nvidia else None


def profile_table(profiles: Sequence[LengthProfile], width: int) -> Table | None:
    """Return the sequence lengths of self-attention over the run, a line a stage and axis."""
    if not profiles:
        return None
    longest = max(_NARROWEST_LINE, min(_WIDEST_LINE, width - _BESIDE_LINE))
    drawn = table("Sequence length", "", "Tokens", "", wide=(0,), left=(1, 3))
    for one in profile_lines(profiles, longest)[:_MOST_PROFILES]:
        color = color_of("temporal_attention" if one.is_temporal else "attention")
        line = Text(one.line, color, no_wrap=True)
        drawn.add_row(Fitted(one.name), line, one.tokens, one.over)
    if len(profiles) > _MOST_PROFILES:
        drawn.add_row(Text(f"… and {len(profiles) - _MOST_PROFILES} more", DIM))
    return drawn


def likeness_table(attention: AttentionResult) -> Table | None:
    """Return a line a stage on whether it is like prefill or like decoding."""
    rows = likeness_rows(attention)
    if not rows:
        return None
    drawn = table(*LIKENESS_HEADERS, wide=(0,), left=(1,))
    for name, *cells in rows[:_MOST_PROFILES]:
        drawn.add_row(Fitted(name), *cells)
    if len(rows) > _MOST_PROFILES:
        drawn.add_row(Text(f"… and {len(rows) - _MOST_PROFILES} more", DIM))
    return drawn
