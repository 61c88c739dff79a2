"""Set temporal beside spatial attention: ``python -m benchmarks.temporal_attention RUN…``.

Of each recorded video it writes temporal attention's share of attention time, its time and FLOPs
over those of spatial attention, and hit rates where the run folder has counters, into
``docs/attention.md``.
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

MARKER: Final = "temporal"
_DOCS: Final = CHECKOUT / "docs" / "attention.md"
_AXES: Final = ("temporal", "spatial")
_HEADERS: Final = (
    "run", "temporal share of attention", "time", "FLOPs", "time, self", "FLOPs, self",
    "L1 temporal / spatial", "L2 temporal / spatial",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the table, and return 0."""
    return run_comparison("temporal_attention", __doc__, (MARKER, _DOCS), argv, _body)


def _body(runs: Sequence[Path]) -> str:
    return table([row for run in runs if (row := compared(run)) is not None])


def compared(path: Path) -> tuple[str, ...] | None:
    """Return the cells of a run, null where it lacks temporal or spatial attention."""
    analysis = tracekit.analyze(str(path))
    assert isinstance(analysis, tracekit.Analysis)
    attention = analysis.attention
    ratios = {ratio.kind: ratio for ratio in attention.inside.temporal_to_spatial}
    if not ratios:
        return None
    share = next(row.time_share for row in attention.by_axis if row.key == "temporal")
    cells = [path.name, format_share(share)]
    for kind in (None, "self"):
        ratio = ratios.get(kind)
        cells += [_times(value) for value in ((ratio.time, ratio.flops) if ratio else (None, None))]
    cached = {} if attention.cache is None else {row.axis: row for row in attention.cache.by_axis}
    for level in ("l1_hit_rate", "l2_hit_rate"):
        rates = [getattr(cached.get(axis), level, None) for axis in _AXES]
        told = " / ".join(MISSING if rate is None else format_share(rate) for rate in rates)
        cells.append(told if any(rate is not None for rate in rates) else MISSING)
    return tuple(cells)


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return the comparison in Markdown."""
    rule = ("---", *["---:"] * (len(_HEADERS) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (_HEADERS, rule, *rows))


def _times(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2g}x"


if __name__ == "__main__":
    sys.exit(main())
