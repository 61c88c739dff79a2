"""What the Markdown report folds: attention, idle time, kernels, and what was achieved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.reports import attention_cells
from tracekit.reports.idle_cells import cause_label, causes_of, culprits
from tracekit.reports.markdown_text import code, escape, name, table
from tracekit.reports.names import readable_name, readable_names
from tracekit.reports.palette import label_of
from tracekit.reports.roofline_table import achieved_line, achieved_rows
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from tracekit.attention_results import AttentionResult
    from tracekit.results import Analysis, Basis
    from tracekit.roofline_results import Roofline

_LINE_WIDTH: Final = 32
_MOST_PROFILES: Final = 6
_MOST_CULPRITS: Final = 6
_TOP_KERNELS: Final = 10
_TOP_GAPS: Final = 5
_SHORT: Final = 60
_BESIDE: Final = 36
"""Cells of two names that stand side by side."""


def attention(result: AttentionResult, basis: Basis) -> list[str]:
    """Return time by axis, kind and length, what is inside, lengths over the run, likeness."""
    rows, more = attention_cells.share_rows(result)
    headers = (*attention_cells.SHARE_HEADERS, "Kernels" if basis == "gpu" else "Ops")
    shares = table(headers, "llrrrr", ((row[0], escape(row[1]), *row[2:]) for row in rows))
    inside = attention_cells.inside_rows(result)
    parts = ""
    if inside is not None:
        named, cells = inside
        body = ([escape(axis), *rest] for axis, *rest in cells)
        parts = table(named, "l" + "r" * (len(named) - 1), body)
    profiles = attention_cells.profile_lines(result.profile, _LINE_WIDTH)[:_MOST_PROFILES]
    lines = [(name(one.name), code(one.line), one.tokens, one.over) for one in profiles]
    likeness = attention_cells.likeness_rows(result)[:_MOST_PROFILES]
    phases = ((name(stage), *numbers) for stage, *numbers in likeness)
    return [
        shares + (f"\n\n… and {more} more lengths" if more else ""),
        parts,
        escape(attention_cells.temporal_to_spatial(result) or ""),
        _cache(result),
        table(("Sequence length", "", "Tokens", ""), "llrl", lines),
        table(attention_cells.LIKENESS_HEADERS, "llrrrr", phases),
    ]


def _cache(result: AttentionResult) -> str:
    """Return hit rates by axis and part, where there are counters."""
    if result.cache is None:
        return ""
    body = (
        ["&nbsp;" * 2 + escape(part[2:]) if part.startswith("  ") else escape(part), *rest]
        for part, *rest in attention_cells.cache_rows(result.cache)
    )
    drawn = table(attention_cells.CACHE_HEADERS, "lrrrrr", body)
    return "\n\n".join(filter(None, (drawn, escape(attention_cells.cache_match(result.cache)))))


def idle(result: Analysis) -> list[str]:
    """Return idle time by cause, who is to blame, and the largest gaps."""
    causes, blame, is_corrected = causes_of(result)
    if result.trace.basis == "cpu":
        return []
    shown = sorted((row for row in causes if row.time_ns), key=lambda row: -row.time_ns)
    rows = [
        (
            cause_label(row.cause),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.gaps),
        )
        for row in shown
    ]
    blamed = [
        (
            name(row.who, _SHORT),
            cause_label(row.cause),
            MISSING if row.stage is None else name(row.stage, _SHORT),
            format_ns(row.time_ns),
            format_share(row.time_share),
        )
        for row in culprits(blame, sum(row.time_ns for row in causes), _MOST_CULPRITS)
    ]
    title = "Idle, without profiler" if is_corrected else "Idle time"
    return [
        table((title, "Time", "Share", "Gaps"), "lrrr", rows),
        table(("Idle during", "Cause", "Stage", "Idle", "Share"), "lllrr", blamed),
        _gaps(result),
    ]


def _gaps(result: Analysis) -> str:
    rows = [
        (
            format_ns(gap.time_ns),
            cause_label(gap.cause),
            name(readable_name(gap.before), _BESIDE),
            name(readable_name(gap.after), _BESIDE),
        )
        for gap in result.idle.gaps[:_TOP_GAPS]
    ]
    return table(("Largest gaps", "Cause", "After", "Before"), "rlll", rows)


def kernels(result: Analysis) -> list[str]:
    """Return the ten kernels, or CPU ops, that take most time."""
    rows = result.top_kernels[:_TOP_KERNELS]
    names = readable_names([row.name for row in rows])
    cells = [
        (
            name(shown, _SHORT),
            escape(label_of(row.category)),
            format_count(row.calls),
            format_ns(row.time_ns),
            format_share(row.time_share),
        )
        for row, shown in zip(rows, names, strict=True)
    ]
    return [table(("Name", "Category", "Calls", "Time", "Share"), "llrrr", cells)]


def achieved(roofline: Roofline | None) -> list[str]:
    """Return FLOP/s, bytes/s and shares of the peaks, where shapes are known."""
    if roofline is None:
        return []
    headers, rows = achieved_rows(roofline)
    cells = [(escape(first) if plain else name(first), *rest) for plain, (first, *rest) in rows]
    return [
        table(headers, "l" + "r" * (len(headers) - 1), cells),
        escape(achieved_line(roofline)),
    ]
