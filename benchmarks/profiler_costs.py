"""Measure what profiling an event costs the host: ``python -m benchmarks.profiler_costs -o FILE``.

Runs that the host alone sets the pace of (small images, one token after the other) are timed
without a profiler and under several, in turn. From one setting to the next one kind of event is
added, or more is recorded of it; the difference in wall time over the number of events is what one
costs. ``--tiny --device cpu`` tries it without a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import tracekit
from benchmarks.measuring import run_measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracekit.collectors.workload import Workload

WORKLOADS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "stable-diffusion, 64 px, 2 steps": ("stable-diffusion", {"size": 64, "steps": 2}),
    "llama 3.2-1b, 8 tokens": ("llama", {"preset": "3.2-1b", "new_tokens": 8}),
}
"""Title, model and options of what the host sets the pace of."""
SETTINGS: Final = ("unprofiled", "light", "ops", "shapes", "stacks")
COST_OF: Final[dict[str, tuple[str, str, str]]] = {
    "call": ("unprofiled", "light", "calls"),
    "op": ("light", "ops", "ops"),
    "shapes": ("ops", "shapes", "ops"),
    "frame": ("shapes", "stacks", "frames"),
}
"""Cost, the two settings between which it is added, and the events that it is shared out to."""
_RESAMPLES: Final = 2_000


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write one JSON file, and return 0."""
    args = _parser().parse_args(argv)
    return run_measurement("benchmarks.profiler_costs", lambda: _measured(args), args.output)


def _measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was measured so far, after each row."""
    from benchmarks.collecting_setup import build, dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    about = {"what": "profiler-costs", **surroundings(), "dtype": dtype_of(args)}
    rows: list[dict[str, Any]] = []
    for title, (model, options) in WORKLOADS.items():
        changes = {key: value for key, value in options.items() if key == "preset" or not args.tiny}
        workload = build(model, args, **changes)
        walls, events = _walls(workload, args)
        rows.append({"run": title, "events": events, "walls_ms": walls, **costs(walls, events)})
        shown = {key: rows[-1][key] for key in ("run", "events", "costs_ns")}
        print(json.dumps(shown), file=sys.stderr, flush=True)
        yield {**about, "rows": rows}


def _walls(
    workload: Workload, args: argparse.Namespace
) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Return wall times in ms of each setting, in turn, and how many events a trace holds."""
    from benchmarks.collecting_setup import is_cuda, unmarked, wall_ms

    cuda = is_cuda(args)
    for _ in range(3):
        workload.run(unmarked)
    walls: dict[str, list[float]] = {name: [] for name in SETTINGS}
    events: dict[str, int] = {}
    order = list(SETTINGS)
    for number in range(args.rounds):
        for name in order:
            profiler = _profiler(name, cuda=cuda)
            if profiler is None:
                walls[name].append(wall_ms(lambda: workload.run(unmarked), cuda=cuda))
                continue
            profiler.start()
            try:
                walls[name].append(wall_ms(lambda: workload.run(unmarked), cuda=cuda))
            finally:
                profiler.stop()
            if number == args.rounds - 1:
                events |= _counts(profiler, name)
        order.append(order.pop(0))
    return {name: [round(wall, 4) for wall in each] for name, each in walls.items()}, events


def _profiler(setting: str, *, cuda: bool) -> Any:
    import torch

    if setting == "unprofiled":
        return None
    kind = torch.profiler.ProfilerActivity
    activities = [kind.CUDA] if cuda else [kind.CPU]
    if setting != "light" and cuda:
        activities.append(kind.CPU)
    return torch.profiler.profile(
        activities=activities,
        record_shapes=setting in ("shapes", "stacks"),
        with_stack=setting == "stacks",
    )


def _counts(profiler: Any, setting: str) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        trace = tracekit.load(path)
    if setting == "light":
        return {"calls": len(trace.calls), "kernels": len(trace.activities)}
    if setting == "ops":
        return {"ops": len(trace.ops)}
    return {"frames": len(trace.frames)} if setting == "stacks" else {}


def costs(walls: Mapping[str, Sequence[float]], events: Mapping[str, int]) -> dict[str, Any]:
    """Return what each event costs in ns, median and bootstrap 95% interval, null where none is."""
    table = {name: np.asarray(each, np.float64) * 1e6 for name, each in walls.items()}
    rounds = len(next(iter(table.values())))
    chosen = np.random.default_rng(0).integers(rounds, size=(_RESAMPLES, rounds))
    found: dict[str, Any] = {}
    for cost, (base, more, event) in COST_OF.items():
        count = events.get(event, 0)
        if not count:
            found[cost] = None
            continue
        between = (np.median(table[more]) - np.median(table[base])) / count
        spread = np.median(table[more][chosen], axis=1) - np.median(table[base][chosen], axis=1)
        low, high = np.quantile(spread, [0.025, 0.975]) / count
        found[cost] = [round(float(value), 1) for value in (between, low, high)]
    medians = {name: round(median(each), 4) for name, each in walls.items()}
    return {"medians_ms": medians, "costs_ns": found}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profiler_costs", description=__doc__
    )
    parser.add_argument("-o", "--output", type=Path, help="file to write (standard output)")
    parser.add_argument("--rounds", type=int, default=15, help="runs in turn (%(default)s)")
    parser.add_argument("--device", default="cuda", help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
