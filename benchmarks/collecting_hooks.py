"""What labels and stage markers cost in runs that nothing profiles."""

from __future__ import annotations

import gc
import time
import timeit
from contextlib import ExitStack, nullcontext
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collecting_setup import build, is_cuda, ratio, unmarked, wall_ms
from tracekit.collectors.labelling import attention_modules, labelled
from tracekit.collectors.markers import CountingMarker, LabelMarker

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from tracekit.collectors.workload import StageMarker, Workload

UNITS: Final[dict[str, dict[str, Any]]] = {
    "stable-diffusion": {"steps": 2},
    "llama": {"new_tokens": 4},
    "make-a-video": {"preset": "base", "steps": 1},
}
"""A short piece of work of each model, so that many pairs fit into a minute."""
_WARM_UPS: Final = 3
_CALLS: Final = 20_000


def measure_hooks(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the paired runs of each model, their ratio, and the cost of its labels in theory.

    What is yielded holds the models so far.
    """
    call_ns, mark_ns = _call_cost_ns(), _mark_cost_ns()
    models: dict[str, Any] = {}
    for name in args.models:
        workload = build(name, args, **UNITS[name])
        pairs = paired_runs(workload, args)
        calls, marks = _counts(workload)
        alone_ms = median(without for without, _ in pairs)
        models[name] = {
            "unit": UNITS[name],
            "pairs": len(pairs),
            "median_ms": round(alone_ms, 4),
            **ratio(pairs),
            "labelled_calls": calls,
            "stage_marks": marks,
            "host_share": (calls * call_ns + marks * mark_ns) / (alone_ms * 1e6),
            "walls_ms": [[round(wall, 4) for wall in pair] for pair in pairs],
        }
        yield {"call_ns": round(call_ns, 1), "mark_ns": round(mark_ns, 1), "models": models}


def paired_runs(workload: Workload, args: argparse.Namespace) -> list[tuple[float, float]]:
    """Return wall times in ms without and with labels, who goes first alternating."""
    cuda = is_cuda(args)
    for _ in range(_WARM_UPS):
        workload.run(unmarked)
    gc.collect()
    gc.freeze()
    pairs: list[tuple[float, float]] = []
    deadline = time.monotonic() + args.seconds
    try:
        while len(pairs) < args.pairs and time.monotonic() < deadline:
            order = (False, True) if len(pairs) % 2 else (True, False)
            walls = {with_labels: _wall(workload, with_labels, cuda) for with_labels in order}
            pairs.append((walls[False], walls[True]))
    finally:
        gc.unfreeze()
    return pairs


def _wall(workload: Workload, with_labels: bool, cuda: bool) -> float:
    with labelled(workload.modules) if with_labels else nullcontext():
        marker: StageMarker = LabelMarker() if with_labels else unmarked
        return wall_ms(lambda: workload.run(marker), cuda=cuda)


def _counts(workload: Workload) -> tuple[int, int]:
    """Return how many labelled calls and stage marks a run has."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1

    marker = CountingMarker()
    with ExitStack() as hooks:
        for entry in attention_modules(workload.modules):
            hooks.callback(entry.module.register_forward_pre_hook(count).remove)
        workload.run(marker)
    return calls[0], sum(marker.counts.values())


def _call_cost_ns() -> float:
    """Return what a label adds to a call of a module, in ns; least of several."""
    import torch

    class Attention(torch.nn.Module):  # type: ignore[misc]
        def forward(self, hidden_states: Any, attention_mask: Any = None) -> Any:  # noqa: ARG002
            return hidden_states

    module, given = Attention(), torch.ones(1)

    def each_ns() -> float:
        def call() -> object:
            return module(given, attention_mask=None)

        return min(timeit.repeat(call, number=_CALLS, repeat=7)) / _CALLS * 1e9

    alone_ns = each_ns()
    with labelled({"module": module}) as found:
        assert len(found) == 1
        return each_ns() - alone_ns


def _mark_cost_ns() -> float:
    """Return what marking a stage costs, in ns; least of several."""
    marker = LabelMarker()

    def mark() -> None:
        with marker("denoise", step=1):
            pass

    return min(timeit.repeat(mark, number=_CALLS, repeat=7)) / _CALLS * 1e9
