"""Hold the bound without launch gaps against a CUDA graph: ``python -m benchmarks.graph_bound``.

A step of a UNet, of a diffusion transformer and of a language model's decoding is recorded eagerly,
as anybody would, and `tracekit analyze` bounds it; then the same call is captured and replayed
without a profiler. Needs a GPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.measuring import run_measurement
from tracekit.analysis.what_if import NO_LAUNCH_GAPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    Step = Callable[[], object]

STEPS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "UNet step (stable-diffusion)": ("stable-diffusion", {"steps": 1}, "unet"),
    "diffusion transformer step (pixart)": ("pixart", {"steps": 2}, "transformer"),
    "decoding step (llama)": ("llama", {"new_tokens": 1}, "model"),
}
"""Title, model and options, and the module whose last call is the step."""
_RECORDED: Final = 5
_ROUNDS, _REPLAYS = 11, 10
"""Rounds that are timed, of so many replays one after the other, as in a loop of steps."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write one JSON file, and return 0."""
    args = _parser().parse_args(argv)
    return run_measurement("benchmarks.graph_bound", lambda: _measured(args), args.output)


def _measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was measured so far, after each row."""
    from benchmarks.collecting_setup import build, dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device("cuda")
    args.device = "cuda"
    about = {"what": "graph-bound", **surroundings(), "dtype": dtype_of(args)}
    rows: list[dict[str, Any]] = []
    for title, (model, options, part) in STEPS.items():
        workload = build(model, args, **options)
        step = last_call(workload.run, workload.modules[part])
        rows.append({"step": title, **_row(step)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        yield {**about, "rows": rows}


def last_call(run: Callable[[Any], object], module: torch.nn.Module) -> Step:
    """Return a function that repeats the last call of a module in a run, with the same inputs."""
    from benchmarks.collecting_setup import unmarked

    calls: list[tuple[Any, Any]] = []

    def keep(_module: object, args: Any, kwargs: Any) -> None:
        calls.append((_kept(args), {name: _kept(value) for name, value in kwargs.items()}))

    handle = module.register_forward_pre_hook(keep, with_kwargs=True)
    run(unmarked)
    handle.remove()
    args, kwargs = calls[-1]
    return lambda: module(*_kept(args), **{name: _kept(value) for name, value in kwargs.items()})


def _kept(value: Any) -> Any:
    """Return a cache as it is before the call, which lets it grow; anything else as it is."""
    layers = getattr(value, "layers", None)
    if not isinstance(layers, list):
        return value
    cache = copy.copy(value)
    cache.layers = [copy.copy(layer) for layer in layers]
    return cache


def _row(step: Step) -> dict[str, Any]:
    import torch

    with torch.no_grad():
        for _ in range(3):
            step()
        bound_ms, eager_ms = _bound(step)
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            step()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            step()
        walls = [_timed(graph.replay) for _ in range(_ROUNDS)]
    measured_ms = median(walls)
    return {
        "eager_traced_ms": eager_ms,
        "bound_ms": bound_ms,
        "graph_ms": measured_ms,
        "graph_least_ms": min(walls),
        "graph_most_ms": max(walls),
        "bound_over_graph": bound_ms / measured_ms,
    }


def _timed(work: Callable[[], object]) -> float:
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    # The device waits for the host before the first replay of a round, and for none after it.
    work()
    begin.record()
    for _ in range(_REPLAYS):
        work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / _REPLAYS


def _bound(step: Step) -> tuple[float, float]:
    """Return what a recorded step is bounded to, and what it took, in ms, mean of several."""
    import torch

    kind = torch.profiler.ProfilerActivity
    profiler = torch.profiler.profile(activities=[kind.CPU, kind.CUDA], record_shapes=True)
    profiler.start()
    for _ in range(_RECORDED):
        step()
    torch.cuda.synchronize()
    profiler.stop()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        result = tracekit.analyze(path)
    assert isinstance(result, tracekit.Analysis)
    row = next(row for row in result.what_if if (row.name, row.scope) == (NO_LAUNCH_GAPS, "run"))
    return row.wall_ns / 1e6 / _RECORDED, row.wall_ns * row.speedup / 1e6 / _RECORDED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph_bound", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="file to write (standard output)")
    parser.add_argument("--tiny", action="store_true", help="tiny models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
