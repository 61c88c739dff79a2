"""What each pass of a recording costs, for the runs that the documentation lists."""

from __future__ import annotations

import gc
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.collecting_setup import build, is_cuda, ratio, unmarked, wall_ms
from tracekit.collectors.labelling import labelled
from tracekit.collectors.markers import LabelMarker
from tracekit.collectors.passes import RecordOptions, record_workload
from tracekit.collectors.profiling import start_profiler
from tracekit.collectors.speedups import attention_backend
from tracekit.runfolder import LIGHT_PASS, MANIFEST, RICH_PASS, TIMING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from tracekit.collectors.workload import Workload


@dataclass(frozen=True)
class Run:
    """A run that is recorded: its title, model, options of the model and of recording."""

    title: str
    model: str
    of_model: dict[str, Any] = field(default_factory=dict)
    of_recording: dict[str, Any] = field(default_factory=dict)


SD: Final = "stable-diffusion"
RUNS: Final = (
    Run(f"{SD}, 4 steps", SD, {"steps": 4}, {"repeats": 9}),
    Run("llama, 512 + 32 tokens", "llama", {"new_tokens": 32}),
    Run("make-a-video, 2 steps", "make-a-video", {"preset": "base", "steps": 2}),
    Run(f"{SD}, 4 steps, attention written out", SD, {"steps": 4, "attention": "eager"}),
    Run(f"{SD}, 2 steps, CUDA graph", SD, {"steps": 2}, {"cuda_graph": True}),
    Run(f"{SD}, 2 steps, compiled", SD, {"steps": 2}, {"compile": True}),
)


def measure_passes(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows so far: times, multiples, and kernel time of the rich over the light pass.

    What cannot run here is a row with `error`.
    """
    chosen = range(len(RUNS)) if args.only is None else args.only
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = args.folder or Path(temporary)
        for number in chosen:
            run = RUNS[number]
            try:
                rows.append({"run": run.title, **_measure(run, place / str(number), args)})
            except tracekit.TracekitError as error:
                rows.append({"run": run.title, "error": str(error)})
            _free()
            yield {"rounds": args.rounds, "rows": rows}


def _measure(run: Run, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    workload = build(run.model, args, **run.of_model)
    attention = run.of_model.get("attention", "auto")
    options = RecordOptions(device=args.device, attention=attention, force=True, **run.of_recording)
    record_workload(workload, folder, options)
    manifest = json.loads((folder / MANIFEST).read_text())
    timing = json.loads((folder / TIMING).read_text())
    once = {entry["pass"]: entry["dilation"] for entry in manifest["passes"]}
    is_changed = workload.compile_targets if options.compile or options.cuda_graph else ()
    labels = {name: root for name, root in workload.modules.items() if name not in is_changed}
    with attention_backend(attention, args.device):
        walls = in_turn(workload, labels, args)
    return {
        "unprofiled_ms": timing["median_wall_ms"],
        "min_ms": timing["min_wall_ms"],
        "max_ms": timing["max_wall_ms"],
        "repeats": len(timing["repeats"]),
        "light": ratio(list(zip(walls["unprofiled"], walls["light"], strict=True))),
        "rich": ratio(list(zip(walls["unprofiled"], walls["rich"], strict=True))),
        "in_turn_ms": round(median(walls["unprofiled"]), 4),
        "eager": once.get("eager"),
        "once": {name: once.get(name) for name in ("light", "rich")},
        "kernels_rich_over_light": _kernel_ns(folder, RICH_PASS) / _kernel_ns(folder, LIGHT_PASS),
        "bytes": sum(file["size_bytes"] for file in manifest["files"]),
    }


def in_turn(
    workload: Workload, labels: Mapping[str, Any], args: argparse.Namespace
) -> dict[str, list[float]]:
    """Return wall times in ms without a profiler and as in each pass, in a turning order.

    `labels` are the modules that the rich pass labels.
    """
    cuda = is_cuda(args)

    def unprofiled() -> float:
        return wall_ms(lambda: workload.run(unmarked), cuda=cuda)

    def light() -> float:
        profiler = start_profiler(cpu=not cuda, cuda=cuda, shapes=False)
        return _until_stopped(profiler, workload, cuda)

    def rich() -> float:
        with labelled(labels):
            profiler = start_profiler(cpu=True, cuda=cuda, shapes=True)
            return _until_stopped(profiler, workload, cuda)

    kinds = {"unprofiled": unprofiled, "light": light, "rich": rich}
    walls: dict[str, list[float]] = {name: [] for name in kinds}
    order = list(kinds)
    for _ in range(args.rounds):
        for name in order:
            walls[name].append(kinds[name]())
        order.append(order.pop(0))
    return walls


def _until_stopped(profiler: Any, workload: Workload, cuda: bool) -> float:
    try:
        return wall_ms(lambda: workload.run(LabelMarker()), cuda=cuda)
    finally:
        profiler.stop()


def _kernel_ns(folder: Path, name: str) -> int:
    analysis = tracekit.analyze(str(folder / name))
    assert isinstance(analysis, tracekit.Analysis)
    return analysis.time.kernel_ns


def _free() -> None:
    import torch

    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
