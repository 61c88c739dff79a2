"""Hold the assumed speed of fused attention against calls that were recorded.

``python -m benchmarks.fused_bound corpus/traces/* examples/traces/*`` compares every fused call
with what the bound of `flash_attention` assumes of it, and runs ``NAME.written`` and ``NAME.math``
(in parts) with ``NAME.default`` (fused), and writes what it finds into ``docs/idle.md``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

import tracekit
from benchmarks.measuring import run_comparison
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.analysis.analyze import device_name
from tracekit.analysis.call_table import CallTable, call_table
from tracekit.analysis.device_peaks import Peaks, peaks_of
from tracekit.analysis.fused_attention import FUSED, as_assumed, can_be_fused, fused_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.classifying.table import KernelTable
    from tracekit.trace import BoolArray, FloatArray

MARKER: Final = "fused"
_DOCS: Final = CHECKOUT / "docs" / "idle.md"
_IN_PARTS: Final = (".written", ".math")
_SIZES: Final = ("sequences", "query_length", "key_length", "head_size")


@dataclass(frozen=True, slots=True)
class Run:
    """A recorded run with its attention calls and the peaks of its device."""

    table: KernelTable
    calls: CallTable
    peaks: Peaks | None


@dataclass(frozen=True, slots=True)
class Pair:
    """One model in parts and fused: the time of its calls in ns, now, as bounded, and fused."""

    name: str
    now_ns: float
    bound_ns: float
    fused_ns: float

    @property
    def saved_share(self) -> float:
        """What was saved of what the bound says that could be."""
        return (self.now_ns - self.fused_ns) / (self.now_ns - self.bound_ns)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the result, and return 0."""
    return run_comparison("fused_bound", __doc__, (MARKER, _DOCS), argv, _body)


def _body(paths: Sequence[Path]) -> str:
    runs = {path.name: run for path in paths if (run := _run(path)) is not None}
    ratios = np.concatenate([over_assumed(run) for run in runs.values()] or [np.empty(0)])
    if not len(ratios):
        raise UnusableError("none of the runs has fused calls of known size; give others")
    return summary(ratios, pairs_of(runs))


def _run(path: Path) -> Run | None:
    if path.suffix == ".md":
        return None
    table = tracekit.kernels(path)
    return Run(table, call_table(table), peaks_of(device_name(table)))


def over_assumed(run: Run) -> FloatArray:
    """Return the time of each fused call over what is assumed of it."""
    calls, flops = run.calls, _flops(run.calls)
    chosen = np.isin(calls.backend, FUSED) & can_be_fused(calls, flops)
    ratios = (calls.time_ns / as_assumed(calls, flops, run.peaks))[chosen]
    found: FloatArray = ratios[~np.isnan(ratios)]
    return found


def _flops(calls: CallTable) -> FloatArray:
    causal = calls.costs.flops_causal
    flops: FloatArray = np.where(causal >= 0, causal, calls.costs.flops)
    return flops


def pairs_of(runs: dict[str, Run]) -> list[Pair]:
    """Return the runs in parts that have a fused counterpart with calls of the same sizes."""
    found = []
    for name, run in runs.items():
        for suffix in _IN_PARTS:
            other = runs.get(f"{name.removesuffix(suffix)}.default")
            if name.endswith(suffix) and other is not None:
                found += [pair] if (pair := _pair(name, run, other)) is not None else []
    return found


def _pair(name: str, run: Run, other: Run) -> Pair | None:
    fused = fused_calls(run.table.dur_ns, run.calls, run.peaks)
    if fused is None:
        return None
    of_row = run.calls.of_row
    rows = np.flatnonzero(of_row >= 0)
    bound = np.bincount(of_row[rows], fused.dur_ns[rows], len(run.calls))
    changed = np.unique(of_row[fused.merged])
    times = _by_size(other.calls, np.isin(other.calls.backend, FUSED))
    sizes = _sizes(run.calls)
    same = [call for call in changed.tolist() if sizes[call] in times]
    if not same:
        return None
    return Pair(
        name,
        now_ns=float(run.calls.time_ns[same].sum()),
        bound_ns=float(bound[same].sum()),
        fused_ns=float(sum(np.median(times[sizes[call]]) for call in same)),
    )


def _by_size(calls: CallTable, chosen: BoolArray) -> dict[tuple[int, ...], list[int]]:
    found: dict[tuple[int, ...], list[int]] = {}
    sizes = _sizes(calls)
    for call in np.flatnonzero(chosen).tolist():
        found.setdefault(sizes[call], []).append(int(calls.time_ns[call]))
    return found


def _sizes(calls: CallTable) -> list[tuple[int, ...]]:
    columns = [getattr(calls.calls, name)[calls.call].tolist() for name in _SIZES]
    return list(zip(*columns, calls.is_backward.tolist(), strict=True))


def summary(ratios: FloatArray, pairs: Sequence[Pair]) -> str:
    """Return what was found in sentences."""
    low, middle, high = np.quantile(ratios, [0.05, 0.5, 0.95])
    below = int(np.count_nonzero(ratios < 1))
    lines = [
        f"Of {len(ratios):,} fused calls of 16 bits that were recorded {below or 'none'} take less "
        f"time than is assumed; half take more than {middle:.1f} times as long (90% between "
        f"{low:.1f} and {high:.1f} times)."
    ]
    if pairs:
        shares = [pair.saved_share for pair in pairs]
        over = sum(pair.fused_ns < pair.bound_ns for pair in pairs)
        lines.append(
            f"In {len(pairs)} pairs of runs of one model, in parts and fused, attention took less "
            f"than its bound in {over or 'none'}; being fused saved {np.median(shares):.0%} of "
            f"what the bound says (median; {min(shares):.0%} at least)."
        )
    return " ".join(lines)


if __name__ == "__main__":
    sys.exit(main())
