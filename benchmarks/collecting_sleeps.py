"""Whether corrected idle time grows by what the host sleeps in each denoising step, or before it.

With stacks, also whether the function that slept is blamed for it.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.collecting_setup import build, difference_errors, is_cuda
from tracekit.collectors.environment import describe_environment
from tracekit.collectors.manifest import new_manifest, pass_entry, stage_entries, timing_entry
from tracekit.collectors.markers import CountingMarker
from tracekit.collectors.models._diffusion import Ddim
from tracekit.collectors.profiling import Recipe, record_pass, synchronize
from tracekit.collectors.runwriter import RunFolder
from tracekit.collectors.speedups import graph_modules, targets_of
from tracekit.collectors.timing import SCHEMA, measure, summarize
from tracekit.runfolder import LIGHT_PASS, RICH_PASS, TIMING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from tracekit.collectors.workload import StageMarker, Workload

SLEEPS_MS: Final = (0, 1, 2, 5)
STAGE: Final = "denoise"
BEFORE, SCHEDULER = "before", "scheduler"
"""Where the host sleeps: before each step, or inside it, when the scheduler takes its step."""
_WARM_UPS: Final = 2


def host_sleep(sleep_ms: int) -> float:
    """Let the host sleep and return for how long it did, in ms; what is to be blamed for it."""
    start_ns = time.perf_counter_ns()
    time.sleep(sleep_ms / 1e3)
    return (time.perf_counter_ns() - start_ns) / 1e6


@dataclass
class Sleeping:
    """A workload whose host sleeps once a step, and may wait for the device after it.

    `slept_ms` is what one run after the other really slept.
    """

    workload: Workload
    sleep_ms: int
    waits: bool
    cuda: bool
    where: str = BEFORE
    slept_ms: list[float] = field(default_factory=list)

    def run(self, stage: StageMarker) -> object:
        """Do the work once."""
        self.slept_ms.append(0.0)

        @contextmanager
        def marked(name: str, step: int | None = None) -> Iterator[None]:
            if name == STAGE and self.where == BEFORE:
                self._sleep()
            with stage(name, step):
                yield
                if name == STAGE:
                    self._wait()

        with self._in_the_scheduler() if self.where == SCHEDULER else nullcontext():
            return self.workload.run(marked)

    @contextmanager
    def _in_the_scheduler(self) -> Iterator[None]:
        advance = Ddim.advance

        def late(sampler: Ddim, *args: Any) -> Any:
            # Else a device that still works would hide the sleep.
            self._wait()
            self._sleep()
            return advance(sampler, *args)

        Ddim.advance = late  # type: ignore[method-assign]
        try:
            yield
        finally:
            Ddim.advance = advance  # type: ignore[method-assign]

    def _wait(self) -> None:
        if self.waits:
            synchronize(cuda=self.cuda)

    def _sleep(self) -> None:
        if self.sleep_ms:
            self.slept_ms[-1] += host_sleep(self.sleep_ms)


def measure_sleeps(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was slept and the corrected idle time, by sleep, of each workload so far."""
    kinds = [kind for kind in args.workloads if kind == "eager" or is_cuda(args)]
    with tempfile.TemporaryDirectory() as temporary:
        place = args.folder or Path(temporary)
        found: dict[str, Any] = {}
        for kind, where in product(kinds, args.where):
            name = kind if where == BEFORE else f"{kind}-{where}"
            found[name] = _measure(kind, where, place / name, args)
            yield {"steps": args.steps, "rounds": args.rounds, "workloads": found}


def _measure(kind: str, where: str, place: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    cuda = is_cuda(args)
    workload = build("stable-diffusion", args, steps=args.steps)
    roots = dict(workload.modules)
    if kind == "graph":
        targets = targets_of(workload.modules, workload.compile_targets)
        graph_modules(targets)
        roots = {name: module for name, module in roots.items() if name not in targets}
    variants = [Sleeping(workload, one, kind == "graph", cuda, where) for one in SLEEPS_MS]
    for _ in range(_WARM_UPS):
        workload.run(CountingMarker())
    timings = in_turn(variants, args.rounds)
    rows = []
    for variant, timing in zip(variants, timings, strict=True):
        slept_ms = median(variant.slept_ms)
        folder = place / f"{variant.sleep_ms}ms"
        record(replace(workload, run=variant.run, modules=roots), folder, timing, args)
        walls_ms = [round(repeat["wall_ms"], 4) for repeat in timing["repeats"]]
        row = {"sleep_ms": variant.sleep_ms, "slept_ms": round(slept_ms, 4)}
        rows.append(row | corrected_times(folder, slept_ms, args.stacks) | {"walls_ms": walls_ms})
    return with_growth(rows)


def in_turn(variants: list[Sleeping], rounds: int) -> list[dict[str, Any]]:
    """Return the times of each variant, one run of each after the other, in a turning order."""
    repeats: list[list[dict[str, Any]]] = [[] for _ in variants]
    for number in range(rounds):
        for place in range(len(variants)):
            index = (place + number) % len(variants)
            variant = variants[index]
            repeats[index] += measure(variant.run, 1, cuda=variant.cuda)
    return [summarize(each) for each in repeats]


def record(
    workload: Workload, folder: Path, timing: dict[str, Any], args: argparse.Namespace
) -> None:
    """Write a whole run folder from times that were taken and passes that are recorded here."""
    cuda = is_cuda(args)
    settings = {"device": args.device, "attention": "auto", "stacks": args.stacks}
    manifest = new_manifest(workload.name, workload.config, settings, [])
    writer = RunFolder(folder, manifest | describe_environment(), force=True)
    about = {"schema": SCHEMA, "device": args.device, "steps": "true"}
    writer.write_json(TIMING, about | timing)
    alone_ms = timing["median_wall_ms"]
    entries = [timing_entry(TIMING, alone_ms)]
    recipes = (
        Recipe("light", LIGHT_PASS, cpu=not cuda, cuda=cuda),
        Recipe(
            "rich", RICH_PASS, cpu=True, cuda=cuda, shapes=True, stacks=args.stacks,
            modules=workload.modules,
        ),
    )  # fmt: skip
    for recipe in recipes:
        done = record_pass(workload.run, recipe, writer)
        entries.append(pass_entry(recipe, done, alone_ms))
        writer.manifest["stages"] = stage_entries(workload.stages, done.steps)
    writer.manifest["passes"] = entries
    writer.save(complete=True)


def corrected_times(folder: Path, slept_ms: float, stacks: bool) -> dict[str, Any]:
    """Return the corrected times of a run folder, null where there are none.

    With stacks, `blamed_ms` is the idle time that `host_sleep` is blamed for, `blamed_over_slept`
    its ratio to what a run slept.
    """
    analysis = tracekit.analyze(str(folder), list_all=True)
    assert isinstance(analysis, tracekit.Analysis)
    corrected = analysis.corrected
    blame: dict[str, Any] = {}
    if stacks:
        rows = () if corrected is None else corrected.blame
        own = [row for row in rows if (row.python or "").endswith(f": {host_sleep.__name__}")]
        blamed_ms = None if corrected is None else sum(row.time_ns for row in own) / 1e6
        ratio = blamed_ms / slept_ms if blamed_ms is not None and slept_ms else None
        blame = {"blamed_ms": blamed_ms, "blamed_over_slept": ratio}
    return {
        "wall_ms": None if corrected is None else corrected.wall_ns / 1e6,
        "busy_ms": None if corrected is None else corrected.busy_ns / 1e6,
        "idle_ms": None if corrected is None else corrected.idle_ns / 1e6,
        "method": None if corrected is None else corrected.method,
        **blame,
    }


def with_growth(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with how much idle time each has over the first, and over what was slept.

    `low` and `high` are the 95% interval of the latter, from what wall times vary between rounds.
    """
    first = rows[0]
    result = []
    for row in rows:
        known = row["idle_ms"] is not None and first["idle_ms"] is not None
        grown_ms = row["idle_ms"] - first["idle_ms"] if known else None
        found = {"idle_grew_ms": grown_ms, "grew_over_slept": None, "low": None, "high": None}
        if grown_ms is not None and row["slept_ms"]:
            low_ms, high_ms = difference_errors(first["walls_ms"], row["walls_ms"])
            found["grew_over_slept"] = grown_ms / row["slept_ms"]
            found["low"] = (grown_ms + low_ms) / row["slept_ms"]
            found["high"] = (grown_ms + high_ms) / row["slept_ms"]
        result.append(row | found)
    return result
