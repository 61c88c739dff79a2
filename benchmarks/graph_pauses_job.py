"""Look into one step as a CUDA graph: one process of `benchmarks.graph_pauses`.

``python -m benchmarks.graph_pauses_job STEP FOLDER [--tiny]``. In FOLDER come `found.json`, which
is rewritten after each part, and the traces of the step and of its replays. Without a GPU
(``--device cpu``) calls stand for graphs, to try it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.gpu_clock import ClockReader, Poller, mean_mhz
from benchmarks.graph_bound import last_call
from benchmarks.turns import wait_for_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Work = Callable[[], object]

SYNTHETIC: Final = "synthetic"
STEPS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "stable-diffusion": ("stable-diffusion", {"steps": 1}, "unet"),
    "pixart": ("pixart", {"steps": 2}, "transformer"),
    "llama": ("llama", {"new_tokens": 1}, "model"),
    SYNTHETIC: ("", {}, ""),
    "sdxl": ("sdxl", {"steps": 1}, "unet"),
    "latte": ("latte", {"steps": 1}, "transformer"),
    "muse": ("muse", {"steps": 2}, "transformer"),
    "sd3": ("sd3", {"steps": 2}, "transformer"),
    "make-a-video": ("make-a-video", {"steps": 1, "preset": "base"}, "unet"),
}
"""Model and options, and the module whose last call is the step; the most important first."""
FOUND: Final = "found.json"
TRACE: Final = ".trace.json"
EAGER: Final = "eager"
"""Name of the trace of eager steps."""
RECORDED: Final = 5
_ROUNDS, _REPLAYS, _SINGLES = 7, 10, 6
_PAUSE_S: Final = 0.2
_SPIN_CYCLES: Final = 4_000_000
"""The device spins so long before a single replay, which is launched meanwhile."""


class Job:
    """What is found out of one step, part by part; a part that fails is told and left."""

    def __init__(self, args: argparse.Namespace, until: float) -> None:
        self.args = args
        self.until = until
        self.cuda = args.device.startswith("cuda")
        self.clock = ClockReader() if self.cuda else None
        self.found: dict[str, Any] = {"step": args.step}
        self._spans: dict[str, tuple[int, int]] = {}
        self._poller = Poller(args.folder / "clocks.txt") if self.cuda else None

    def part(self, name: str, measure: Callable[[], Any], *, must: bool = False) -> None:
        """Do a part while there is time, and write down what it found."""
        if not must and time.monotonic() > self.until:
            return
        begin_ns = time.monotonic_ns()
        try:
            self.found[name] = measure()
        except Exception as error:
            self.found[name] = {"error": f"{type(error).__name__}: {error}"[:600]}
            if must:
                raise
        finally:
            end_ns = time.monotonic_ns()
            self._spans[name] = begin_ns, end_ns
            self.found.setdefault("took_s", {})[name] = round((end_ns - begin_ns) / 1e9, 2)
            self.save()

    def save(self) -> None:
        """Write what is known so far."""
        if self._poller is not None:
            found = {name: self._poller.between(*span) for name, span in self._spans.items()}
            self.found["nvml"] = found
        (self.args.folder / FOUND).write_text(json.dumps(self.found), encoding="utf-8")

    def close(self) -> None:
        """End what runs in the background."""
        if self._poller is not None:
            self._poller.stop()

    def graph(self, work: Work) -> Any:
        """Return a work's graph, as `torch.cuda.graph` makes it."""
        if not self.cuda:
            return _Called(work)
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph

    def timed(self, work: Work, times: int, *, queued: bool) -> tuple[float, float | None]:
        """Return the ms that one of several calls takes in a row, and the mean clock in MHz.

        What is `queued` behind a spinning kernel does not wait for its launch.
        """
        import torch

        if not self.cuda:
            started = time.perf_counter_ns()
            for _ in range(times):
                work()
            return (time.perf_counter_ns() - started) / 1e6 / times, None
        assert self.clock is not None
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if queued:
            torch.cuda._sleep(_SPIN_CYCLES)
        else:
            work()
        before = self.clock.read()
        begin.record()
        for _ in range(times):
            work()
        end.record()
        after = self.clock.read()
        end.synchronize()
        return float(begin.elapsed_time(end)) / times, mean_mhz(before, after)

    def rounds(self, work: Work, count: int = _ROUNDS) -> dict[str, Any]:
        """Return the times of rounds of replays one after the other."""
        self.wait()
        return _times([self.timed(work, _REPLAYS, queued=False) for _ in range(count)])

    def wait(self) -> None:
        """Let the device come to rest."""
        if self.cuda:
            import torch

            torch.cuda.synchronize()

    def traced(self, name: str, work: Work, *, cpu: bool = True) -> float:
        """Record a work into a file and return its wall time in ms."""
        from tracekit.collectors.profiling import start_profiler

        profiler = start_profiler(cpu=cpu or not self.cuda, cuda=self.cuda, shapes=cpu)
        started = time.perf_counter_ns()
        try:
            work()
            self.wait()
            took_ms = (time.perf_counter_ns() - started) / 1e6
        finally:
            profiler.stop()
        profiler.export_chrome_trace(str(self.args.folder / f"{name}{TRACE}"))
        return took_ms


class _Called:
    def __init__(self, replay: Work) -> None:
        self.replay = replay


def main(argv: Sequence[str] | None = None) -> int:
    """Wait for the turn, find out, and return 0."""
    args = _parser().parse_args(argv)
    import diffusers  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import tracekit.collectors.passes  # noqa: F401

    seconds = wait_for_turn(args.folder)
    job = Job(args, time.monotonic() + seconds)
    try:
        with torch.no_grad():
            if args.step == SYNTHETIC:
                from benchmarks.graph_synthetic import find

                find(job)
            else:
                _find(job)
    finally:
        job.close()
    return 0


def _find(job: Job) -> None:
    from benchmarks.collecting_setup import build
    from benchmarks.graph_modules import look_into_modules

    model, options, module = STEPS[job.args.step]
    kept: dict[str, Any] = {}

    def prepare() -> None:
        if job.args.tiny:
            given = {key: value for key, value in options.items() if key == "preset"}
        else:
            given = options
        workload = build(model, job.args, **given)
        kept["module"] = workload.modules[module]
        kept["step"] = last_call(workload.run, kept["module"])
        for _ in range(3):
            kept["step"]()
        kept["graph"] = job.graph(kept["step"])

    job.part("prepare", prepare, must=True)
    step, graph = kept["step"], kept["graph"]
    # No profiler has run in this process yet.
    job.part("row", lambda: job.rounds(graph.replay))
    job.part("single", lambda: _singles(job, graph.replay))
    job.part("eager", lambda: _eager(job, step))
    job.part("traced", lambda: _traced(job, step))
    job.part("rhythm", lambda: _rhythm(job, graph.replay))
    job.part("row again", lambda: job.rounds(graph.replay, 3))
    job.part("profiled", lambda: _profiled(job, "before", graph))
    job.part("captured after profiling", lambda: _captured(job, "after", step))
    job.part("captured in profiling", lambda: _captured_inside(job, step))
    job.part("modules", lambda: look_into_modules(job, kept["module"], step))
    # Last, since what the driver does not like may end the process.
    job.part("nodes", lambda: _nodes(job, step))
    if job.args.step == next(iter(STEPS)):
        job.part("flags", lambda: _flags(job, step))


def _times(found: Sequence[tuple[float, float | None]]) -> dict[str, Any]:
    walls = [round(ms, 5) for ms, _ in found]
    clocks = [mhz for _, mhz in found if mhz is not None]
    return {
        "ms": median(walls),
        "each_ms": walls,
        "mhz": median(clocks) if clocks else None,
        "each_mhz": [mhz for _, mhz in found],
    }


def _singles(job: Job, replay: Work) -> dict[str, Any]:
    found = []
    for _ in range(_SINGLES):
        job.wait()
        time.sleep(_PAUSE_S)
        found.append(job.timed(replay, 1, queued=True))
    return _times(found)


def _eager(job: Job, step: Work) -> dict[str, Any]:
    job.wait()
    return _times([job.timed(step, 1, queued=False) for _ in range(RECORDED)])


def _traced(job: Job, step: Work) -> dict[str, Any]:
    """Record steps as anybody would, and read the clock around them."""
    from tracekit.collectors.profiling import start_profiler

    # The first start is the slowest, and may miss kernels.
    start_profiler(cpu=True, cuda=job.cuda, shapes=True).stop()
    clocks: list[Any] = []

    def steps() -> None:
        clocks.append(job.clock.read() if job.clock else None)
        for _ in range(RECORDED):
            step()
        clocks.append(job.clock.read() if job.clock else None)

    wall_ms = job.traced(EAGER, steps)
    return {"step_ms": wall_ms / RECORDED, "mhz": mean_mhz(*clocks)}


def _rhythm(job: Job, replay: Work) -> dict[str, Any]:
    """Replay as often as the recorded steps came."""
    period_s = job.found["traced"]["step_ms"] / 1e3
    found = []
    job.wait()
    due = time.perf_counter()
    for _ in range(2 * _REPLAYS):
        due += period_s
        found.append(job.timed(replay, 1, queued=True))
        time.sleep(max(0.0, due - time.perf_counter()))
    return _times(found)


def _profiled(job: Job, name: str, graph: Any) -> dict[str, Any]:
    """Record single replays, and replays in a row, of a graph."""
    found: dict[str, Any] = {}

    def replays() -> None:
        for _ in range(2):
            job.timed(graph.replay, 1, queued=True)
            time.sleep(_PAUSE_S)
        found["row"] = job.timed(graph.replay, _REPLAYS // 2, queued=False)

    job.traced(f"replays-{name}", replays, cpu=False)
    return found


def _captured(job: Job, name: str, step: Work) -> dict[str, Any]:
    graph = job.graph(step)
    return {"row": job.rounds(graph.replay, 3), "profiled": _profiled(job, name, graph)}


def _captured_inside(job: Job, step: Work) -> dict[str, Any]:
    kept: list[Any] = []
    job.traced("capture", lambda: kept.append(job.graph(step)))
    return {
        "row": job.rounds(kept[0].replay, 3),
        "profiled": _profiled(job, "inside", kept[0]),
    }


def _nodes(job: Job, step: Work) -> dict[str, Any] | None:
    """Ask the driver what the graph consists of."""
    if not job.cuda:
        return None
    from benchmarks.graph_nodes import nodes_of

    return nodes_of(_kept_graph(step).raw_cuda_graph())


def _flags(job: Job, step: Work) -> dict[str, Any] | None:
    """Time and record the graph as other flags of instantiation make it."""
    if not job.cuda:
        return None
    from benchmarks.graph_nodes import FLAGS, launcher

    graph = _kept_graph(step)
    found: dict[str, Any] = {}
    for name, flags in FLAGS.items():
        launch = launcher(graph.raw_cuda_graph(), flags)
        found[name] = {
            "row": job.rounds(launch, 3),
            "profiled": _profiled(job, name, _Called(launch)),
        }
    return found


def _kept_graph(step: Work) -> Any:
    import torch

    graph = torch.cuda.CUDAGraph(keep_graph=True)
    with torch.cuda.graph(graph):
        step()
    return graph


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.graph_pauses_job", description=__doc__
    )
    parser.add_argument("step", choices=list(STEPS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
