"""Marks stages that nobody marked in the code: from calls of components, one after the other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from tracekit.collectors.patching import Patches

if TYPE_CHECKING:
    from tracekit.collectors.workload import StageMarker


class _State(threading.local):
    """What a thread is in: how many pipelines or generations deep, and in which stage."""

    depth = 0
    scope: AbstractContextManager[None] | None = None
    stage: str | None = None
    opener: object = None
    is_call = False


class Stager:
    """Turns calls of components into stages of a marker; the steps of each stage are numbered.

    Components are wrapped with `patches`, within `working()`. A stage is either one call, and
    whatever is called inside belongs to it, or a step, which lasts from the call that began it
    until it is ended. Stages never nest. Calls from outside of `working()`, and from other
    threads, are no stages.
    """

    def __init__(self, marker: StageMarker) -> None:
        self.patches = Patches()
        self._marker = marker
        self._steps: Counter[str] = Counter()
        self._state = _State()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let stages be marked as long as the block lasts; what is open at its end is closed."""
        self._state.depth += 1
        try:
            yield
        finally:
            self.end_step()
            self._state.depth -= 1

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Mark no stages as long as the block lasts; what it does belongs to what is open."""
        depth, self._state.depth = self._state.depth, 0
        try:
            yield
        finally:
            self._state.depth = depth

    @property
    def is_working(self) -> bool:
        """Say whether this thread is inside of `working()`."""
        return self._state.depth > 0

    @property
    def is_in_stage(self) -> bool:
        """Say whether a stage is open that calls would belong to."""
        return self._state.is_call or self._state.scope is not None

    def call(self, stage: str, function: Callable[[], Any], *, ends_step: bool = True) -> Any:
        """Return what a function returns, called as a stage of its own.

        Within a step it belongs to that, unless it `ends_step`.
        """
        state = self._state
        if not state.depth or state.is_call or (state.scope is not None and not ends_step):
            return function()
        self.end_step()
        state.is_call = True
        try:
            with self._marker(stage):
                return function()
        finally:
            state.is_call = False

    def begin_step(self, stage: str, opener: object) -> None:
        """End the step that is open and begin the next of a stage."""
        state = self._state
        if not state.depth or state.is_call:
            return
        self.end_step()
        number = self._steps[stage]
        self._steps[stage] += 1
        self._open(self._marker(stage, number), stage, opener)

    def begin(self, stage: str) -> None:
        """End the step that is open and begin a stage without a number, ended like a step."""
        if self._state.depth and not self._state.is_call:
            self.end_step()
            self._open(self._marker(stage), stage, None)

    def opener_of(self, stage: str) -> object:
        """Return what began the step of a stage that is open, null where none is."""
        return self._state.opener if self._state.stage == stage else None

    def end_step(self, stage: str | None = None) -> None:
        """End the step that is open, if any, and of this stage where one is named."""
        state = self._state
        scope = state.scope
        if scope is None or stage not in (None, state.stage):
            return
        state.scope = state.stage = state.opener = None
        scope.__exit__(None, None, None)

    def _open(self, scope: AbstractContextManager[None], stage: str, opener: object) -> None:
        scope.__enter__()
        state = self._state
        state.scope, state.stage, state.opener = scope, stage, opener
