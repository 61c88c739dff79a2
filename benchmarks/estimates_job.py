"""Time a model with and without a profiler in turn: one process of `benchmarks.estimates record`.

``python -m benchmarks.estimates_job MODEL FOLDER --rounds N --device cuda [--tiny]``. In FOLDER
come `walls.json`, and a trace of each round.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.turns import wait_for_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracekit.collectors.workload import Workload

OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "llama": {"new_tokens": 8},
    "imagen": {"steps": 2},
    "stable-diffusion": {"steps": 10},
    "muse": {"steps": 2},
    "parti": {"trace_steps": 16},
    "prod-image": {"steps": 2},
    # Its 76 frames of 768 pixels take 6 s a step, in which nobody waits for the host.
    "make-a-video": {"steps": 1, "frames": 4},
    "phenaki": {"steps": 2},
}
"""The paper's eight models and how much of their work is timed."""
WALLS: Final = "walls.json"
_WARM_UPS: Final = 2
_BEFORE: Final = 3
"""Unprofiled runs before the process has ever profiled."""
_PROBE: Final = 100_000
"""Turns of an empty loop, which tell how fast the host is now."""


def main(argv: Sequence[str] | None = None) -> int:
    """Wait for the turn, measure, and return 0."""
    args = _parser().parse_args(argv)
    import diffusers  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import tracekit.collectors.passes  # noqa: F401

    seconds = wait_for_turn(args.folder)
    until = time.monotonic() + seconds
    with torch.no_grad():
        _measure(args, until)
    return 0


def _measure(args: argparse.Namespace, until: float) -> None:
    from benchmarks.collecting_setup import build, is_cuda
    from tracekit.collectors.speedups import attention_backend

    cuda = is_cuda(args)
    options = {} if args.tiny else OPTIONS[args.model]
    workload = build(args.model, args, attention="flash", **options)
    work = _seeded(workload)
    walls: dict[str, Any] = {"options": options, "before_ms": [], "unprofiled_ms": []}
    walls |= {"traced_ms": [], "probe_ns": [], "traced_probe_ns": []}
    with attention_backend("flash", args.device):
        for _ in range(_WARM_UPS):
            _wall_ms(work, cuda=cuda)
        for _ in range(_BEFORE):
            walls["before_ms"].append(_wall_ms(work, cuda=cuda))
        _prime(cuda=cuda)
        for number in range(args.rounds):
            _unprofiled(work, walls, cuda=cuda)
            walls["traced_probe_ns"].append(_probe_ns())
            trace = args.folder / f"{number}.json"
            walls["traced_ms"].append(_traced(work, trace, cuda=cuda))
            _write(args.folder, walls)
            if time.monotonic() > until:
                break
        _unprofiled(work, walls, cuda=cuda)
    _write(args.folder, walls)


def _seeded(workload: Workload) -> Callable[[], object]:
    import torch

    from benchmarks.collecting_setup import unmarked

    run = workload.run_traced or workload.run

    def work() -> object:
        torch.manual_seed(0)
        return run(unmarked)

    return work


def _unprofiled(work: Callable[[], object], walls: dict[str, Any], *, cuda: bool) -> None:
    walls["probe_ns"].append(_probe_ns())
    walls["unprofiled_ms"].append(_wall_ms(work, cuda=cuda))


def _wall_ms(work: Callable[[], object], *, cuda: bool) -> float:
    from benchmarks.collecting_setup import wall_ms

    return round(wall_ms(work, cuda=cuda), 4)


def _prime(*, cuda: bool) -> None:
    """Start a profiler once: the first start is the slowest and may miss kernels."""
    from tracekit.collectors.profiling import start_profiler

    start_profiler(cpu=True, cuda=cuda, shapes=True).stop()


def _traced(work: Callable[[], object], path: Path, *, cuda: bool) -> float:
    """Return the wall time of a run that a profiler records, as anybody would, into a file."""
    from tracekit.collectors.profiling import start_profiler

    profiler = start_profiler(cpu=True, cuda=cuda, shapes=True)
    try:
        wall_ms = _wall_ms(work, cuda=cuda)
    finally:
        profiler.stop()
    profiler.export_chrome_trace(str(path))
    del profiler
    # Else the events of this trace are collected in the middle of the next run.
    gc.collect()
    return wall_ms


def _probe_ns() -> float:
    started = time.perf_counter_ns()
    for _ in range(_PROBE):
        pass
    return round((time.perf_counter_ns() - started) / _PROBE, 3)


def _write(folder: Path, walls: dict[str, Any]) -> None:
    (folder / WALLS).write_text(json.dumps(walls), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates_job", description=__doc__)
    parser.add_argument("model", choices=list(OPTIONS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
