"""The Markdown report: what fits into a comment on a pull request, in GitHub's flavour."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracekit.reports import attention_cells, sentences
from tracekit.reports.cells import OUTSIDE, left_out_row, run_row, stage_row
from tracekit.reports.names import clean
from tracekit.reports.palette import label_of
from tracekit.results import Analysis, AnalysisSet
from tracekit.units import format_count, format_ns, format_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracekit.attention_results import AttentionResult
    from tracekit.results import Basis, CategoryTime, StageTime

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|~#&$])")
_LIST_MARKER: Final = re.compile(r"^(\d*)([-+=.)])")
_BACKTICKS: Final = re.compile("`+")
_LINE_WIDTH: Final = 32
_MOST_PROFILES: Final = 6


def render(result: Analysis | AnalysisSet) -> str:
    """Return the report as GitHub-flavoured Markdown: answer, categories, stages, left out.

    Names from the trace stand in code spans; nothing in them is taken for markup or a mention.
    """
    blocks = _of_one(result) if isinstance(result, Analysis) else _of_many(result)
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: str) -> str:
    """Return `text` such that Markdown shows it as it is, in a paragraph or a table cell."""
    escaped = _SPECIAL.sub(r"\\\1", clean(text))
    escaped = _LIST_MARKER.sub(r"\1\\\2", escaped)
    # A comment keeps GitHub from notifying whoever bears the name that follows.
    return escaped.replace("@", "@<!-- -->")


def code(text: str, *, in_table: bool = False) -> str:
    """Return `text` as a code span; in a table, pipes are escaped so that they split no cell."""
    shown = clean(text)
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    if shown.startswith("`") or shown.endswith("`"):
        shown = f" {shown} "
    if in_table:
        # A backslash before an escaped pipe would escape the escape.
        shown = shown.replace("\\|", "\\ |").replace("|", "\\|")
    return f"{fence}{shown}{fence}"


def _of_one(result: Analysis) -> list[str]:
    trace, basis = result.trace, result.trace.basis
    return [
        f"**{sentences.CPU_ONLY}**" if basis == "cpu" else "",
        f"### {code(trace.path)}",
        escape(sentences.subject(trace)),
        _bold(sentences.where_time_goes(result.time.kernel_ns, result.categories, basis)),
        sentences.idle(result) or "",
        sentences.communication(result) or "",
        _notes(sentences.notes(trace)),
        _categories(result.categories, basis),
        _stages(result.stages),
        *_attention(result.attention, basis),
        " ".join(
            line
            for line in (
                sentences.decided_by(result.evidence),
                sentences.guesses(result.evidence, basis),
            )
            if line
        ),
        _left_out([result]),
    ]


def _of_many(result: AnalysisSet) -> list[str]:
    overall, basis = result.overall, sentences.set_basis(result)
    lines = [f"Could not be used: {row.path}: {row.error}" for row in overall.unreadable]
    lines += [f"{r.trace.path}: {note}" for r in result.runs for note in sentences.notes_of_run(r)]
    rows = [(code(path, in_table=True), *rest) for path, *rest in map(run_row, result.runs)]
    return [
        f"**{sentences.CPU_ONLY}**" if basis == "cpu" else "",
        f"### {len(result.runs)} {sentences.plural(len(result.runs), 'input')}",
        _bold(sentences.where_time_goes(overall.time.kernel_ns, overall.categories, basis)),
        sentences.idle_of_set(result) or "",
        _notes(lines),
        _categories(overall.categories, basis),
        _table(("Input", "Kernels", "Time", "Idle", "Mostly"), "lrrrl", rows),
        _left_out(result.runs),
        sentences.SET_HINT if result.runs else "",
    ]


def _bold(sentence: str) -> str:
    return f"**{escape(sentence)}**"


def _notes(lines: Sequence[str]) -> str:
    return "\n>\n".join(f"> **Note:** {escape(line)}" for line in lines)


def _categories(rows: Iterable[CategoryTime], basis: Basis) -> str:
    kernels = "Kernels" if basis == "gpu" else "Ops"
    cells = [
        (
            escape(label_of(row.category)),
            format_ns(row.time_ns),
            format_share(row.time_share),
            format_count(row.kernels),
        )
        for row in rows
        if row.kernels > 0
    ]
    return _table(("Category", "Time", "Share", kernels), "lrrr", cells)


def _stages(rows: Sequence[StageTime]) -> str:
    if sentences.unmarked_whole(rows):
        return ""
    cells = [
        (OUTSIDE if row.stage is None else code(name, in_table=True), *rest)
        for row, (name, *rest) in ((row, stage_row(row)) for row in rows)
    ]
    drawn = _table(("Stage", "Steps", "Time", "Busy", "Busy of span", "Mostly"), "lrrrrl", cells)
    found = sentences.found_stages(rows)
    lines = [*sentences.outlier_steps(rows), *([] if found is None else [found])]
    return "\n\n".join([drawn, escape(" ".join(lines))] if lines else [drawn])


def _attention(attention: AttentionResult, basis: Basis) -> list[str]:
    """Return time by axis, kind and length, what is inside, lengths over the run, likeness."""
    rows, more = attention_cells.share_rows(attention)
    headers = (*attention_cells.SHARE_HEADERS, "Kernels" if basis == "gpu" else "Ops")
    shares = _table(headers, "llrrrr", ((row[0], escape(row[1]), *row[2:]) for row in rows))
    inside = attention_cells.inside_rows(attention)
    parts = ""
    if inside is not None:
        named, cells = inside
        body = ([escape(name), *rest] for name, *rest in cells)
        parts = _table(named, "l" + "r" * (len(named) - 1), body)
    profiles = attention_cells.profile_lines(attention.profile, _LINE_WIDTH)[:_MOST_PROFILES]
    lines = [(escape(one.name), code(one.line), one.tokens, one.over) for one in profiles]
    likeness = attention_cells.likeness_rows(attention)[:_MOST_PROFILES]
    phases = ((escape(name), *numbers) for name, *numbers in likeness)
    return [
        shares + (f"\n\n… and {more} more lengths" if more else ""),
        parts,
        escape(attention_cells.temporal_to_spatial(attention) or ""),
        _cache(attention),
        _table(("Sequence length", "", "Tokens", ""), "llrl", lines),
        _table(attention_cells.LIKENESS_HEADERS, "llrrrr", phases),
    ]


def _cache(attention: AttentionResult) -> str:
    """Return hit rates by axis and part, where there are counters."""
    if attention.cache is None:
        return ""
    body = (
        ["&nbsp;" * 2 + escape(name[2:]) if name.startswith("  ") else escape(name), *rest]
        for name, *rest in attention_cells.cache_rows(attention.cache)
    )
    drawn = _table(attention_cells.CACHE_HEADERS, "lrrrrr", body)
    return "\n\n".join(filter(None, (drawn, escape(attention_cells.cache_match(attention.cache)))))


def _left_out(runs: Sequence[Analysis]) -> str:
    if not any(run.left_out for run in runs):
        return sentences.NOTHING_LEFT_OUT
    several = len(runs) > 1
    cells = [
        (
            *([code(run.trace.path, in_table=True)] if several else []),
            *map(escape, left_out_row(row)),
        )
        for run in runs
        for row in run.left_out
    ]
    headers = (*(["Input"] if several else []), "Left out", "Events", "Time", "Why")
    return _table(headers, "llrrl" if several else "lrrl", cells)


def _table(headers: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    body = [" | ".join(row) for row in rows]
    if not body:
        return ""
    rule = " | ".join("---:" if side == "r" else ":---" for side in align)
    return "\n".join(f"| {line} |" for line in (" | ".join(headers), rule, *body))
