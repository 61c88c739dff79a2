"""Runs tracekit, and its peers beside it, on one trace and gathers what each took."""

from __future__ import annotations

import gzip
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.measure import Spread, measure
from benchmarks.tools import PEERS, Tool, child_env, command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measure import Run

MB: Final = 1_000_000

# If one process's own peak is more than this above the sampled peak of the tree, the samples missed
# the peak. Less than that are pages of libraries that other processes happen to share.
_MISSED: Final = 1.25
_SHARED: Final = 32 * MB
# Two sums of the same float microseconds differ by less.
_SAME_BUSY: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Case:
    """A trace to measure: its JSON has `json_bytes` bytes, however the file is packed.

    `target_mb` is the size in MB that a scaled trace was made for, null for a trace as it is.
    """

    name: str
    path: Path
    json_bytes: int
    target_mb: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """Repeated runs of one tool as a process of its own, and what it printed last."""

    wall_s: Spread
    peak_bytes: Spread
    maxrss_bytes: int
    printed: dict[str, Any]
    stages_s: dict[str, Spread] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Row:
    """All measurements of one trace; a tool that was not run or failed is missing from `tools`.

    `notes` are sentences on what a reader should know before trusting the row; `failed` names the
    tools that were run and failed.
    """

    case: Case
    tools: dict[Tool, Measured]
    failed: tuple[Tool, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mb_per_s(self) -> float | None:
        """MB of JSON that `tracekit analyze` takes a second, start-up included."""
        ours = self.tools.get("tracekit")
        return self.case.json_bytes / MB / ours.wall_s.median if ours else None

    def time_ratio(self, tool: Tool, to: Tool = "tracekit") -> float | None:
        """How many times as long one tool takes as another."""
        return self._ratio(tool, to, lambda measured: measured.wall_s.median)

    def memory_ratio(self, tool: Tool, to: Tool = "tracekit") -> float | None:
        """How many times as much memory one tool takes as another."""
        return self._ratio(tool, to, lambda measured: measured.peak_bytes.median)

    def _ratio(self, tool: Tool, to: Tool, value: Callable[[Measured], float]) -> float | None:
        theirs, ours = self.tools.get(tool), self.tools.get(to)
        if ours is None or theirs is None or not value(ours):
            return None
        return value(theirs) / value(ours)


def json_bytes(path: Path) -> int:
    """Return the size in bytes of a trace's JSON, decompressed."""
    if path.suffix != ".gz":
        return path.stat().st_size
    with gzip.open(path, "rb") as file:
        return sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))


def run_case(case: Case, repeats: int, tools: Sequence[Tool]) -> Row:
    """Measure one trace `repeats` times with every tool, the tools taking turns.

    They take turns because a machine's speed drifts: what slows one slows the other as well. A tool
    that fails once is not run again. The cache of the warm runs is filled first, by a run that does
    not count, and goes at the end.
    """
    runs: dict[Tool, list[Run]] = {tool: [] for tool in tools}
    notes: list[str] = []
    failed: list[Tool] = []
    with tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as folder:
        if "warm" in tools:
            _run("warm", case.path, Path(folder))
        for _ in range(repeats):
            for tool in [tool for tool in tools if tool not in failed]:
                run = _run(tool, case.path, Path(folder))
                if run.returncode:
                    failed.append(tool)
                    notes.append(f"{case.name}: {tool} failed: {_reason(run, case.path)}")
                runs[tool].append(run)
    measured = {tool: _gather(runs[tool]) for tool in tools if tool not in failed}
    return Row(case, measured, tuple(failed), (*notes, *_doubts(case, measured)))


def _run(tool: Tool, path: Path, cache: Path) -> Run:
    with tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as folder:
        env = child_env(cache if tool == "warm" else None)
        return measure(command(tool, path, Path(folder, "out.json")), env=env)


def _reason(run: Run, trace: Path) -> str:
    lines = [line for line in run.stderr.splitlines() if line.strip()]
    said = lines[-1].strip() if lines else f"exit code {run.returncode}"
    # Where the file was means nothing to a reader on another machine.
    return said.replace(f"{trace.resolve().parent}/", "").replace(f"{trace.parent}/", "")


def _gather(runs: list[Run]) -> Measured:
    printed: list[dict[str, Any]] = [json.loads(run.stdout or "{}") for run in runs]
    stages = printed[-1].get("seconds", {})
    return Measured(
        wall_s=Spread.of(run.wall_s for run in runs),
        peak_bytes=Spread.of(run.peak_bytes for run in runs),
        maxrss_bytes=max(run.maxrss_bytes for run in runs),
        printed=printed[-1],
        stages_s={stage: Spread.of(each["seconds"][stage] for each in printed) for stage in stages},
    )


def _doubts(case: Case, measured: dict[Tool, Measured]) -> list[str]:
    """Return what speaks against taking the measurements at face value."""
    doubts = [
        f"{case.name}: the memory of {tool} was sampled too seldom: at most "
        f"{each.peak_bytes.high / MB:.0f} MB seen, {each.maxrss_bytes / MB:.0f} MB in one process."
        for tool, each in measured.items()
        if each.maxrss_bytes > _MISSED * each.peak_bytes.high + _SHARED
    ]
    for peer in PEERS:
        if "stages" not in measured or peer not in measured:
            continue
        ours, theirs = (measured[tool].printed["busy_us"] for tool in ("stages", peer))
        if abs(ours - theirs) > _SAME_BUSY * max(ours, theirs):
            doubts.append(
                f"{case.name}: the two do not agree on the GPU's busy time: "
                f"tracekit {ours / 1000:.3f} ms, {PEERS[peer]} {theirs / 1000:.3f} ms."
            )
    return doubts
