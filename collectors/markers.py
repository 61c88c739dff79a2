"""What `with stage("denoise", step=3): …` does in each pass: nothing, take the time, or label."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from tracekit.labels import stage_label

Position = tuple[str, int]
"""A stage, and the how manieth time it was entered, from 0."""

_NOTHING: Final = nullcontext()


class CountingMarker:
    """Counts how often each stage is entered; `counts` keeps the order of the first entries."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(
        self,
        name: str,
        step: int | None = None,  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Count one entry."""
        self.counts[name] += 1
        return nullcontext()


class LabelMarker:
    """Labels stages for the profiler.

    `left_out` are the positions that are not to be recorded; `toggle` turns the recording off and
    on for them.
    """

    def __init__(
        self,
        left_out: frozenset[Position] = frozenset(),
        toggle: Callable[[bool], None] | None = None,
    ) -> None:
        from torch.autograd import _profiler_enabled
        from torch.profiler import record_function

        self._record = record_function
        self._is_profiling = _profiler_enabled
        self._left_out = left_out
        self._toggle = toggle
        self._is_off = False
        self.counts: Counter[str] = Counter()
        self.recorded: Counter[str] = Counter()

    def __call__(self, name: str, step: int | None = None) -> AbstractContextManager[None]:
        """Return the annotation of a stage, or of one step of it."""
        position = (name, self.counts[name])
        self.counts[name] += 1
        if self._is_off:
            return _NOTHING
        if position in self._left_out and self._toggle is not None:
            return self._unrecorded(self._toggle)
        self.recorded[name] += 1
        # An annotation takes microseconds even if nobody sees it.
        if not self._is_profiling():
            return _NOTHING
        scope: AbstractContextManager[None] = self._record(stage_label(name, step))
        return scope

    @contextmanager
    def _unrecorded(self, toggle: Callable[[bool], None]) -> Iterator[None]:
        self._is_off = True
        toggle(False)
        try:
            yield
        finally:
            toggle(True)
            self._is_off = False


@dataclass(slots=True)
class _Entry:
    stage: str
    step: int | None
    start_ns: int
    end_ns: int = 0
    events: tuple[Any, Any] | None = None


class TimingMarker:
    """Takes wall and GPU time of stages without waiting for the GPU in between.

    On a GPU, the wall time of a stage is the time that the host took to issue its work.
    """

    def __init__(self, *, cuda: bool) -> None:
        self._cuda = cuda
        self._entries: list[_Entry] = []

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:
        """Take the time of one stage."""
        events = gpu_events() if self._cuda else None
        if events:
            events[0].record()
        entry = _Entry(name, step, time.perf_counter_ns(), events=events)
        self._entries.append(entry)
        try:
            yield
        finally:
            entry.end_ns = time.perf_counter_ns()
            if events:
                events[1].record()

    def stages(self) -> list[dict[str, Any]]:
        """Return the times in ms, in the order of entry; the GPU must be done."""
        return [
            {
                "stage": entry.stage,
                "step": entry.step,
                "wall_ms": milliseconds(entry.end_ns - entry.start_ns),
                "gpu_ms": elapsed_ms(entry.events),
            }
            for entry in self._entries
        ]


def gpu_events() -> tuple[Any, Any]:
    """Return two CUDA events that take times."""
    import torch

    event: Any = torch.cuda.Event
    return event(enable_timing=True), event(enable_timing=True)


def elapsed_ms(events: tuple[Any, Any] | None) -> float | None:
    """Return the time between two events that have happened."""
    return None if events is None else round(float(events[0].elapsed_time(events[1])), 6)


def milliseconds(time_ns: int) -> float:
    """Return a time in ms, exact to the ns."""
    return round(time_ns / 1e6, 6)


def spread_left_out(counts: Mapping[str, int], share: float) -> frozenset[Position]:
    """Return the positions to leave out so that about `share` of each stage's steps remain.

    At least one step of each stage remains, and what remains is spread over the whole length.
    """
    left_out = set()
    for name, count in counts.items():
        kept = max(1, min(count, int(count * share)))
        positions = {(2 * index + 1) * count // (2 * kept) for index in range(kept)}
        left_out |= {(name, index) for index in range(count) if index not in positions}
    return frozenset(left_out)
