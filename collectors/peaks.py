"""How much memory each stage of a workload takes at most, beyond what was there when it began."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.collectors.workload import StageMarker


class _PeakMarker:
    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:  # noqa: ARG002
        import torch

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        torch.cuda.synchronize()
        taken = int(torch.cuda.max_memory_allocated()) - int(before)
        self.bytes[name] = max(self.bytes.get(name, 0), taken)


def stage_peaks(run: Callable[[StageMarker], object]) -> dict[str, int]:
    """Run work on a GPU once and return the most bytes that each stage allocated while it ran."""
    marker = _PeakMarker()
    run(marker)
    return marker.bytes
