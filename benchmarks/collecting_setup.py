"""What the measurements of recording share: workloads, clocks, spreads, the machine."""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tracekit.collectors.environment import describe_environment
from tracekit.collectors.models import load_builder
from tracekit.collectors.profiling import synchronize
from tracekit.collectors.workload import ModelOptions, Workload

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from tracekit.collectors.workload import Dtype

_RESAMPLES: Final = 10_000
_NOTHING: Final = nullcontext()


def free_memory() -> None:
    """Give back what a workload before held on the GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def surroundings() -> dict[str, Any]:
    """Return GPU, driver, processor, versions and date; what is unknown is null."""
    about = describe_environment()
    devices = [device["name"] for device in about["devices"]]
    return {
        "gpu": devices[0] if devices else None,
        "driver": about["versions"]["driver"],
        "processor": about["host"]["processor"],
        "versions": about["versions"],
        "date": datetime.now(UTC).date().isoformat(),
    }


def build(name: str, args: argparse.Namespace, **changes: Any) -> Workload:
    """Return a model's workload on the device asked for."""
    options = ModelOptions(device=args.device, tiny=args.tiny, dtype=dtype_of(args), **changes)
    return load_builder(name)(options)


def dtype_of(args: argparse.Namespace) -> Dtype:
    """Return what the models are made in."""
    return "bfloat16" if is_cuda(args) else "float32"


def is_cuda(args: argparse.Namespace) -> bool:
    """Say whether the device is a GPU."""
    return bool(args.device.startswith("cuda"))


def unmarked(name: str, step: int | None = None) -> AbstractContextManager[None]:  # noqa: ARG001
    """Mark nothing."""
    return _NOTHING


def wall_ms(work: Callable[[], object], *, cuda: bool) -> float:
    """Return the time from an idle device to an idle device."""
    synchronize(cuda=cuda)
    start_ns = time.perf_counter_ns()
    work()
    synchronize(cuda=cuda)
    return (time.perf_counter_ns() - start_ns) / 1e6


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median with its bootstrap 95% interval: median, low, high."""
    numbers = np.asarray(values, np.float64)
    chosen = np.random.default_rng(0).integers(len(numbers), size=(_RESAMPLES, len(numbers)))
    medians = np.median(numbers[chosen], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(np.median(numbers)), float(low), float(high)


def difference_errors(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return how far below and above the true one the difference of two medians may be.

    Both were measured in the same rounds; a bootstrap 95% interval around the difference.
    """
    walls = np.asarray([first, second], np.float64)
    chosen = np.random.default_rng(0).integers(walls.shape[1], size=(_RESAMPLES, walls.shape[1]))
    medians = np.median(walls[:, chosen], axis=2)
    found = np.median(walls, axis=1)
    low, high = np.quantile(medians[1] - medians[0], [0.025, 0.975]) - (found[1] - found[0])
    return float(low), float(high)


def ratio(pairs: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return by how much the second of each pair is larger: the median of the paired ratios."""
    logarithms = [float(np.log(second / first)) for first, second in pairs]
    median, low, high = (round(float(np.exp(value)), 5) for value in interval(logarithms))
    return {"ratio": median, "low": low, "high": high}
