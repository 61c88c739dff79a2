"""The passes of a run folder: what is recorded of a workload, in which order, and what it cost.

Every pass is in the folder before the next one starts, and the manifest with it, so that whatever
happens later keeps what is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.environment import (
    describe_environment,
    import_torch,
    is_out_of_memory,
)
from tracekit.collectors.manifest import (
    error_entry,
    new_manifest,
    pass_entry,
    stage_entries,
    timing_entry,
)
from tracekit.collectors.profiling import Recipe, record_pass, start_profiler, synchronize
from tracekit.collectors.progress import Listener, Meter, Silent, SteppingMarker, planned_runs
from tracekit.collectors.runwriter import RunFolder
from tracekit.collectors.speedups import (
    GraphedForward,
    attention_backend,
    compile_modules,
    graph_modules,
    targets_of,
)
from tracekit.collectors.timing import SCHEMA as TIMING_SCHEMA
from tracekit.collectors.timing import TRACED_REPEATS, measure, summarize
from tracekit.errors import (
    HostError,
    InputError,
    OutOfMemoryError,
    TracekitError,
    UsageError,
)
from tracekit.runfolder import EAGER_PASS, LIGHT_PASS, RICH_PASS, TIMING

if TYPE_CHECKING:
    from tracekit.collectors.workload import Attention, PassName, StageMarker, Workload

    Work = Callable[[StageMarker], object]

PASSES: Final[tuple[PassName, ...]] = ("timing", "light", "rich")
"""What is recorded unless passes are picked."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """How a workload is recorded.

    `passes` are the passes wanted, `repeats` how often the work is timed, `warm_up` how often it
    runs before. `every_leaf` labels all leaf modules beside attention; `stacks` records Python
    stacks in the rich pass, which then takes longer. `max_trace_bytes` is the most that the file of
    one pass may have. `listener` is told how far it is.
    """

    passes: tuple[PassName, ...] = PASSES
    repeats: int = 5
    warm_up: int = 2
    every_leaf: bool = False
    stacks: bool = False
    attention: Attention = "auto"
    compile: bool = False
    cuda_graph: bool = False
    device: str = "cuda"
    dtype: str | None = None
    seed: int = 0
    max_trace_bytes: int | None = None
    force: bool = False
    listener: Listener = field(default_factory=Silent)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What came of it: the folder, its bytes, the passes that are in it, and how long it took.

    `dilations` is each recorded pass's wall time over that of the same work unprofiled.
    """

    folder: Path
    size_bytes: int
    passes: tuple[str, ...]
    median_wall_ms: float | None
    dilations: dict[str, float]
    took_s: float


def record_workload(workload: Workload, folder: Path, options: RecordOptions) -> RunSummary:
    """Record a workload into a run folder and return what is in it.

    Raises
    ------
    OutputExistsError
        The folder holds something and `force` is off.
    HostError
        Out of memory, the disk is full, or a pass could not be recorded; the others are kept.
    InputError
        The workload itself raised.
    UsageError
        Stacks are wanted and no rich pass, which is what they are recorded in.
    """
    import_torch()
    return _Recorder(workload, folder, options).record()


class _Recorder:
    def __init__(self, workload: Workload, folder: Path, options: RecordOptions) -> None:
        self._started = time.perf_counter()
        self._workload = workload
        self._options = options
        self._cuda = options.device.startswith("cuda")
        self._speeds_up = options.compile or options.cuda_graph
        self._passes: list[dict[str, Any]] = []
        self._errors: list[dict[str, Any]] = []
        self._stages = dict(workload.stages)
        self._traced_stages: dict[str, int] = {}
        self._timing: dict[str, Any] = {}
        self._graphed: dict[str, GraphedForward] = {}
        self._is_warm = False
        self._is_primed = False
        self._current = "setup"
        self._plan = self._planned()
        self._is_partly = workload.run_traced is not None
        runs = planned_runs(self._plan, options.repeats, options.warm_up, traced=self._is_partly)
        self._meter = Meter(options.listener, runs, workload.stages, workload.traced_stages)
        # A wrong wish is told before anything is written.
        if options.stacks and "rich" not in self._plan:
            raise UsageError("--stacks: goes with the rich pass; give --passes with rich in it")
        self._targets = (
            targets_of(workload.modules, workload.compile_targets) if self._speeds_up else {}
        )
        attention_backend(options.attention, options.device)
        self._writer = RunFolder(folder, self._first_manifest(), force=options.force)

    def _planned(self) -> tuple[PassName, ...]:
        wanted: list[PassName] = [name for name in PASSES if name in self._options.passes]
        # Labels vanish inside a graph, so what runs there is also recorded as it was before.
        return (
            ("eager", *wanted) if self._speeds_up or "eager" in self._options.passes else (*wanted,)
        )

    def record(self) -> RunSummary:
        """Do all passes in their order."""
        try:
            self._prepare()
            for name in self._plan:
                self._pass(name)
        except BaseException as error:
            self._note(self._current, error)
            self._save()
            raise self._as_error(error) from error
        missing = self._missing()
        self._save(complete=not missing)
        if missing:
            text = self._errors[0]["text"]
            raise HostError(f"{text} (the rest of the run is in {self._writer.path})")
        return self._summary()

    def _prepare(self) -> None:
        """Note the environment."""
        self._writer.manifest.update(describe_environment())
        self._save()

    def _prime(self) -> None:
        """Start a profiler once, because the first start is the slowest.

        Not before work is timed: where one has run, what the host sets the pace of takes up to a
        quarter longer ever after (`docs/idle.md`).
        """
        if not self._is_primed:
            start_profiler(cpu=True, cuda=self._cuda, shapes=False).stop()
            self._is_primed = True

    def _pass(self, name: PassName) -> None:
        self._meter.begin(f"{name} pass")
        self._current = name
        try:
            with attention_backend(self._options.attention, self._options.device):
                {"eager": self._eager, "timing": self._time}.get(name, self._profile)(name)
        except HostError as error:
            # The next pass may still succeed: this one was empty or too large.
            self._note(name, error)
        self._save()

    def _note(self, name: str, error: BaseException) -> None:
        with suppress(Exception):
            self._errors.append(error_entry(name, error))

    # The work itself

    @property
    def _traced_work(self) -> Work:
        return self._seeded(self._workload.run_traced or self._workload.run)

    def _seeded(self, run: Work) -> Work:
        import torch

        def work(marker: StageMarker) -> object:
            torch.manual_seed(self._options.seed)
            return run(marker)

        return work

    def _warm_up(self, work: Work, times: int, *, traced: bool) -> None:
        for number in range(times):
            self._meter.begin(f"warm-up {number + 1}/{times}")
            marker = SteppingMarker(self._meter)
            work(marker)
            synchronize(cuda=self._cuda)
            if not self._stages and not (traced and self._is_partly):
                self._stages = dict(marker.counts)
                self._meter.learn(self._stages, self._workload.traced_stages)
            self._meter.end_run(traced=traced)

    def _speed_up(self) -> None:
        """Compile or graph what is to be, and run it until it is warm; only once."""
        if self._is_warm:
            return
        options = self._options
        if options.compile:
            compile_modules(self._targets, graphs=options.cuda_graph)
        elif options.cuda_graph:
            self._graphed = graph_modules(self._targets)
        self._warm_up(self._seeded(self._workload.run), options.warm_up, traced=False)
        if self._is_partly:
            self._warm_up(self._traced_work, 1, traced=True)
        self._is_warm = True

    def _timed(self, work: Work, repeats: int, what: str, *, traced: bool) -> dict[str, Any]:
        def before(number: int) -> None:
            if number:
                self._meter.end_run(traced=traced)
            self._meter.begin(f"{what} {number + 1}/{repeats}")

        found = summarize(measure(work, repeats, cuda=self._cuda, before=before))
        self._meter.end_run(traced=traced)
        return found

    # One method a pass

    def _time(self, _name: PassName) -> None:
        import torch

        self._speed_up()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        run = self._seeded(self._workload.run)
        full = self._timed(run, self._options.repeats, "timing", traced=False)
        if self._cuda:
            self._writer.manifest["peak_memory_bytes"] = torch.cuda.max_memory_allocated()
            self._writer.manifest["peak_reserved_bytes"] = torch.cuda.max_memory_reserved()
        self._timing |= full
        if self._is_partly:
            part = self._timed(self._traced_work, TRACED_REPEATS, "traced steps", traced=True)
            self._timing["traced"] = part
        self._write_timing()
        self._passes.append(timing_entry(TIMING, full["median_wall_ms"]))

    def _eager(self, name: PassName) -> None:
        self._warm_up(self._traced_work, 1, traced=True)
        repeats = min(TRACED_REPEATS, self._options.repeats)
        alone = self._timed(self._traced_work, repeats, "eager", traced=True)
        self._timing["eager"] = alone
        self._write_timing()
        recipe = self._recipe(name, EAGER_PASS, shapes=True)
        self._remember(name, recipe, alone["median_wall_ms"])

    def _profile(self, name: PassName) -> None:
        self._speed_up()
        alone = self._timing.get("traced", self._timing)
        file = LIGHT_PASS if name == "light" else RICH_PASS
        recipe = self._recipe(name, file, shapes=name == "rich")
        self._remember(name, recipe, alone.get("median_wall_ms"))

    def _recipe(self, name: PassName, file: str, *, shapes: bool) -> Recipe:
        modules = dict(self._workload.modules) if shapes else {}
        if name == "rich" and self._speeds_up:
            # Labels vanish in what is compiled or captured.
            targets = {target.partition(".")[0] for target in self._targets}
            modules = {root: module for root, module in modules.items() if root not in targets}
        return Recipe(
            name=name,
            file=file,
            cpu=shapes or not self._cuda,
            cuda=self._cuda,
            shapes=shapes,
            stacks=name == "rich" and self._options.stacks,
            modules=modules,
            every_leaf=self._options.every_leaf,
        )

    def _remember(self, name: PassName, recipe: Recipe, alone_ms: float | None) -> None:
        limit = self._options.max_trace_bytes
        self._meter.begin(f"{name} pass")
        self._prime()
        done = record_pass(self._traced_work, recipe, self._writer, max_bytes=limit)
        self._meter.end_run(traced=True)
        if name == "rich" or not self._traced_stages:
            self._traced_stages = done.steps
        if not self._stages and not self._is_partly:
            self._stages = dict(self._traced_stages)
        self._passes.append(pass_entry(recipe, done, alone_ms))

    # The manifest

    def _first_manifest(self) -> dict[str, Any]:
        names = [each.name for each in fields(self._options)]
        settings = {name: getattr(self._options, name) for name in names}
        del settings["listener"], settings["force"]
        workload = self._workload
        return new_manifest(workload.name, workload.config, settings, self._plan)

    def _missing(self) -> list[str]:
        done = {entry["pass"] for entry in self._passes}
        return [name for name in self._plan if name not in done]

    def _save(self, *, complete: bool = False) -> None:
        self._writer.manifest |= {
            "stages": stage_entries(self._stages, self._traced_stages),
            "passes": self._passes,
            "missing": self._missing(),
            "errors": self._errors,
        }
        if self._graphed:
            refused = {name: graph.refused for name, graph in self._graphed.items()}
            self._writer.manifest["cuda_graph_refused"] = refused
        self._writer.save(complete=complete)

    def _write_timing(self) -> None:
        about = {"schema": TIMING_SCHEMA, "device": self._options.device, "steps": "true"}
        self._writer.write_json(TIMING, about | summarize([]) | self._timing)

    # The end

    def _as_error(self, error: BaseException) -> BaseException:
        folder = self._writer.path
        if isinstance(error, TracekitError) or not isinstance(error, Exception):
            return error
        if is_out_of_memory(error):
            return OutOfMemoryError(
                f"{self._workload.name}: out of memory on {self._options.device}; give a smaller "
                f"--batch or --size (the passes that were done are in {folder})"
            )
        text = " ".join(str(error).split())
        return InputError(
            f"{self._workload.name}: raised {type(error).__name__}: {text} (where, is in "
            f"{folder / 'run.json'})"
        )

    def _summary(self) -> RunSummary:
        return RunSummary(
            folder=self._writer.path,
            size_bytes=sum(file.size_bytes for file in self._writer.files.values()),
            passes=tuple(entry["pass"] for entry in self._passes),
            median_wall_ms=self._timing.get("median_wall_ms"),
            dilations={
                entry["pass"]: entry["dilation"]
                for entry in self._passes
                if entry["file"] != TIMING and entry["dilation"] is not None
            },
            took_s=time.perf_counter() - self._started,
        )
