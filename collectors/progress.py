"""How far a recording is: told between runs, and by step in warm-ups, never in a measured run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from tracekit.collectors.markers import CountingMarker
from tracekit.collectors.timing import TRACED_REPEATS


class Listener(Protocol):
    """Is told how far a recording is."""

    def plan(self, steps: int) -> None:
        """Take the number of steps of all runs together; it may become known better later."""
        ...

    def begin(self, what: str) -> None:
        """Take the name of what starts now."""
        ...

    def advance(self, steps: int) -> None:
        """Take the number of steps that are done since the last time."""
        ...


class Silent:
    """A listener that does nothing."""

    def plan(self, steps: int) -> None:
        """Do nothing."""

    def begin(self, what: str) -> None:
        """Do nothing."""

    def advance(self, steps: int) -> None:
        """Do nothing."""


class Meter:
    """Counts the steps of all runs of a recording for a listener.

    A run is whole, or does the traced steps only. `whole` and `traced` are the numbers of runs that
    are planned; `stages` and `traced_stages` the steps of one run by stage, empty where unknown.
    """

    def __init__(
        self,
        listener: Listener,
        runs: tuple[int, int],
        stages: Mapping[str, int],
        traced_stages: Mapping[str, int],
    ) -> None:
        self._listener = listener
        self._runs = runs
        self._done = 0
        self._in_run = 0
        self.learn(stages, traced_stages)

    def learn(self, stages: Mapping[str, int], traced_stages: Mapping[str, int]) -> None:
        """Take the steps of one run, by stage; without stages a run is one step."""
        whole = sum(stages.values()) or 1
        self._sizes = (whole, sum(traced_stages.values()) or whole)
        left = sum(count * size for count, size in zip(self._runs, self._sizes, strict=True))
        before = self._done - max(0, self._in_run - 1)
        self._listener.plan(before + left)

    def begin(self, what: str) -> None:
        """Tell what starts now."""
        self._listener.begin(what)

    def step(self) -> None:
        """Tell that a step of a run has begun."""
        self._in_run += 1
        if self._in_run > 1:
            self._advance(1)

    def end_run(self, *, traced: bool) -> None:
        """Tell that a run is over."""
        missing = self._sizes[traced] - max(0, self._in_run - 1)
        self._in_run = 0
        whole, part = self._runs
        self._runs = (max(0, whole - (not traced)), max(0, part - traced))
        if missing > 0:
            self._advance(missing)

    def _advance(self, steps: int) -> None:
        self._done += steps
        self._listener.advance(steps)


class SteppingMarker(CountingMarker):
    """Counts the stages of a run that nobody measures, and tells a meter of each."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def __call__(self, name: str, step: int | None = None) -> AbstractContextManager[None]:
        """Count one entry."""
        self._meter.step()
        return super().__call__(name, step)


def planned_runs(
    passes: Collection[str], repeats: int, warm_up: int, *, traced: bool
) -> tuple[int, int]:
    """Return the numbers of whole runs and of runs of the traced steps that passes take.

    `traced` says that the passes record fewer steps than a whole run has.
    """
    whole = part = 0
    if "eager" in passes:
        part += 1 + min(TRACED_REPEATS, repeats) + 1
    if set(passes) - {"eager"}:
        whole += warm_up
        part += traced
    if "timing" in passes:
        whole += repeats
        part += TRACED_REPEATS * traced
    part += len({"light", "rich"} & set(passes))
    return whole, part
