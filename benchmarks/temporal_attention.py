"""Set temporal beside spatial attention: ``python -m benchmarks.temporal_attention RUN…``.

Of each recorded video it writes temporal attention's share of attention time, its time and FLOPs
over those of spatial attention, and hit rates where the run folder has counters, in all and of each
part where attention is written out, into ``docs/attention.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import tracekit
from benchmarks.measuring import run_comparison
from benchmarks.tools import CHECKOUT
from tracekit.units import MISSING, format_share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.attention_results import AttentionResult, AxisCache, PartCache

MARKER: Final = "temporal"
_DOCS: Final = CHECKOUT / "docs" / "attention.md"
_AXES: Final = ("temporal", "spatial")
_LEVELS: Final = ("l1_hit_rate", "l2_hit_rate")
_HEADERS: Final = (
    "run", "temporal share of attention", "time", "FLOPs", "time, self", "FLOPs, self",
    "L1 temporal / spatial", "L2 temporal / spatial",
)  # fmt: skip
_PART_HEADERS: Final = ("run", "part", "kernels", "L1 temporal / spatial", "L2 temporal / spatial")


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the table, and return 0."""
    return run_comparison("temporal_attention", __doc__, (MARKER, _DOCS), argv, _body)


def _body(runs: Sequence[Path]) -> str:
    rows, parts = [], []
    for run in runs:
        analysis = tracekit.analyze(str(run))
        assert isinstance(analysis, tracekit.Analysis)
        if (row := compared(run.name, analysis.attention)) is not None:
            rows.append(row)
            parts += compared_parts(run.name, analysis.attention)
    tables = [table(_HEADERS, rows, texts=1)]
    if parts:
        tables.append(table(_PART_HEADERS, parts, texts=2))
    return "\n\n".join(tables)


def compared(name: str, attention: AttentionResult) -> tuple[str, ...] | None:
    """Return the cells of a run, null where it lacks temporal or spatial attention."""
    ratios = {ratio.kind: ratio for ratio in attention.inside.temporal_to_spatial}
    if not ratios:
        return None
    share = next(row.time_share for row in attention.by_axis if row.key == "temporal")
    cells = [name, format_share(share)]
    for kind in (None, "self"):
        ratio = ratios.get(kind)
        cells += [_times(value) for value in ((ratio.time, ratio.flops) if ratio else (None, None))]
    cached = {} if attention.cache is None else {row.axis: row for row in attention.cache.by_axis}
    return (*cells, *(_rates([cached.get(axis) for axis in _AXES], level) for level in _LEVELS))


def compared_parts(name: str, attention: AttentionResult) -> list[tuple[str, ...]]:
    """Return the cells of each part that temporal and spatial attention both have counters of.

    None where fused kernels are all that was counted: they are what `compared` has.
    """
    by_axis = {} if attention.cache is None else {row.axis: row for row in attention.cache.by_axis}
    if not set(_AXES) <= by_axis.keys():
        return []
    of_axis = [{part.part: part for part in by_axis[axis].parts} for axis in _AXES]
    common = [part for part in of_axis[0] if part in of_axis[1]]
    if len(common) < 2:
        return []
    rows = []
    for part in common:
        pair = [parts[part] for parts in of_axis]
        counted = " / ".join(str(entry.kernels) for entry in pair)
        rows.append((name, part, counted, *(_rates(pair, level) for level in _LEVELS)))
    return rows


def table(headers: Sequence[str], rows: Sequence[tuple[str, ...]], *, texts: int) -> str:
    """Return rows in Markdown, the first `texts` columns aligned as text."""
    rule = (*["---"] * texts, *["---:"] * (len(headers) - texts))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, rule, *rows))


def _rates(pair: Sequence[AxisCache | PartCache | None], level: str) -> str:
    rates = [getattr(entry, level, None) for entry in pair]
    if all(rate is None for rate in rates):
        return MISSING
    return " / ".join(MISSING if rate is None else format_share(rate) for rate in rates)


def _times(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2g}x"


if __name__ == "__main__":
    sys.exit(main())
