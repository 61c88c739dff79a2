"""Records a user's own loop: a context manager, a trace handler, a decorator.

Each is a no-op that imports no profiler when it is disabled, by `enabled=False` or by the
environment variable `TRACEKIT_DISABLE=1`.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from tracekit.errors import HostError, UsageError
from tracekit.runfolder import LIGHT_PASS, RICH_PASS, TIMING

if TYPE_CHECKING:
    from types import TracebackType

    import torch

    from tracekit.collectors.runwriter import RunFolder

Arguments = ParamSpec("Arguments")
Value = TypeVar("Value")

_active: Recording | None = None


def is_disabled() -> bool:
    """Say whether the environment turns recording off."""
    return os.environ.get("TRACEKIT_DISABLE", "") not in ("", "0")


class Recording:
    """One run of a user's own loop that is being recorded; `record` makes it.

    Entering starts the profiler, leaving writes the run folder. A recording that is disabled does
    nothing, and its stages are empty contexts.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        modules: Mapping[str, torch.nn.Module] | torch.nn.Module | Any = None,
        *,
        every_leaf: bool = False,
        stacks: bool = False,
        force: bool = False,
        enabled: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.enabled = enabled and not is_disabled()
        self._modules = modules
        self._every_leaf = every_leaf
        self._stacks = stacks
        self._force = force
        self._hooks = ExitStack()
        self._staging = ExitStack()
        self._marker: Callable[[str, int | None], AbstractContextManager[None]] | None = None
        self._measured: tuple[Callable[[], object], int] | None = None
        self._attention_modules = 0
        self._noted: BaseException | None = None

    def stage(self, name: str, step: int | None = None) -> AbstractContextManager[None]:
        """Return a context that marks a stage, or one step of it."""
        return nullcontext() if self._marker is None else self._marker(name, step)

    def measure(self, run: Callable[[], object], repeats: int = 5) -> None:
        """Run `run` unprofiled, `repeats` times, and once in a light pass, after the recording.

        `run` does the work that is recorded, once; it may mark stages. Its times go to
        `timing.json`, and the manifest then says what the profiler cost.
        """
        self._measured = (run, repeats)

    def note(self, error: BaseException) -> None:
        """Say in the manifest that the loop raised, where that does not leave the context."""
        self._noted = error

    def note_labels(self, modules: int) -> None:
        """Say how many attention modules were labelled by somebody else meanwhile."""
        self._attention_modules += modules

    def __enter__(self) -> Recording:
        global _active
        if not self.enabled:
            return self
        if _active is not None:
            raise UsageError(f"{self.folder}: {_active.folder} is still being recorded")
        from tracekit.collectors.environment import describe_environment, import_torch
        from tracekit.collectors.labelling import labelled
        from tracekit.collectors.markers import LabelMarker
        from tracekit.collectors.profiling import Recipe, start_profiler
        from tracekit.collectors.staging import roots_of, staged

        self._cuda = bool(import_torch().cuda.is_available())
        self._writer = _open_folder(self.folder, self._settings(), ["rich"], force=self._force)
        self._writer.manifest.update(describe_environment())
        roots = roots_of(self._modules)
        attention = self._hooks.enter_context(labelled(roots, every_leaf=self._every_leaf))
        self._attention_modules = len(attention)
        self._recipe = Recipe(
            "rich", RICH_PASS, cpu=True, cuda=self._cuda, shapes=True, stacks=self._stacks
        )
        try:
            self._profiler = start_profiler(
                cpu=True, cuda=self._cuda, shapes=True, stacks=self._stacks
            )
        except BaseException:
            self._hooks.close()
            raise
        self._labels = self._marker = LabelMarker()
        self._staging.enter_context(staged(self._modules, self.stage))
        _active = self
        self._start_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _active
        if not self.enabled:
            return
        from tracekit.collectors.markers import milliseconds
        from tracekit.collectors.profiling import synchronize

        try:
            # What is open must be closed while it is still recorded.
            self._staging.close()
            if error is None:
                synchronize(cuda=self._cuda)
            wall_ms = milliseconds(time.perf_counter_ns() - self._start_ns)
            self._profiler.stop()
        finally:
            self._hooks.close()
            _active, self._marker = None, None
        try:
            self._write(wall_ms, error)
        except HostError:
            if error is None:
                raise
        finally:
            del self._profiler

    def _write(self, wall_ms: float, error: BaseException | None) -> None:
        from tracekit.collectors.manifest import error_entry, pass_entry, stage_entries
        from tracekit.collectors.profiling import Recorded, export_trace

        manifest, counts = self._writer.manifest, self._labels.counts
        error = error or self._noted
        if error is not None:
            manifest["errors"].append(error_entry("rich", error))
        manifest["stages"] = stage_entries(counts, self._labels.recorded)
        facts = export_trace(
            self._profiler, self._writer, RICH_PASS, cuda=self._cuda and error is None
        )
        done = Recorded(wall_ms, facts, dict(self._labels.recorded), self._attention_modules)
        manifest["missing"].remove("rich")
        manifest["passes"].append(pass_entry(self._recipe, done, None))
        if self._measured is not None and error is None:
            manifest["missing"] += ["timing", "light"]
            self._writer.save()
            self._measure(*self._measured)
        self._writer.save(complete=error is None)

    def _measure(self, run: Callable[[], object], repeats: int) -> None:
        from tracekit.collectors.manifest import pass_entry, timing_entry
        from tracekit.collectors.profiling import Recipe, record_pass
        from tracekit.collectors.timing import SCHEMA, measure, summarize

        manifest = self._writer.manifest
        device = "cuda" if self._cuda else "cpu"
        timing = summarize(measure(self._staged(run), repeats, cuda=self._cuda))
        self._writer.write_json(
            TIMING, {"schema": SCHEMA, "device": device, "steps": "true", **timing}
        )
        median_ms = timing["median_wall_ms"]
        rich = manifest["passes"][0]
        rich["unprofiled_wall_ms"] = median_ms
        rich["dilation"] = round(rich["wall_ms"] / median_ms, 4) if median_ms else None
        manifest["passes"].append(timing_entry(TIMING, median_ms))
        manifest["missing"].remove("timing")
        self._writer.save()
        recipe = Recipe("light", LIGHT_PASS, cpu=not self._cuda, cuda=self._cuda)
        done = record_pass(self._staged(run), recipe, self._writer)
        manifest["passes"].append(pass_entry(recipe, done, median_ms))
        manifest["missing"].remove("light")

    def _staged(self, run: Callable[[], object]) -> Callable[[Any], object]:
        """Return work in whose stages the given marker counts."""

        def work(marker: Any) -> object:
            global _active
            from tracekit.collectors.staging import staged

            self._marker = marker
            _active = self
            try:
                with staged(self._modules, marker):
                    return run()
            finally:
                _active, self._marker = None, None

        return work

    def _settings(self) -> dict[str, Any]:
        device = "cuda" if self._cuda else "cpu"
        return {"device": device, "every_leaf": self._every_leaf, "stacks": self._stacks}


def record(
    folder: str | os.PathLike[str],
    modules: Mapping[str, torch.nn.Module] | torch.nn.Module | Any = None,
    *,
    every_leaf: bool = False,
    stacks: bool = False,
    force: bool = False,
    enabled: bool = True,
) -> Recording:
    """Return a context that records what runs inside it into a run folder.

    >>> with tracekit.record("run", modules={"unet": unet}) as r:
    ...     for i, t in enumerate(timesteps):
    ...         with r.stage("denoise", step=i):
    ...             unet(latents, t)

    `modules` are the roots whose attention modules are labelled, with the names that their paths
    start with; `every_leaf` labels all leaf modules too. Given a diffusers pipeline, or a model of
    transformers, in their place, the pipeline's calls, or the model's `generate`, are staged too.
    `stacks` records Python stacks as well: idle time is then blamed on functions, and what is
    recorded takes longer. The ranks of a distributed run write `rank0/`, `rank1/` … below the
    folder.

    Raises
    ------
    OutputExistsError
        On entering: the folder holds something, and `force` is off.
    MissingDependencyError, HostError
        torch is not installed; the folder cannot be written.
    """
    return Recording(
        folder, modules, every_leaf=every_leaf, stacks=stacks, force=force, enabled=enabled
    )


def trace_handler(
    folder: str | os.PathLike[str], *, force: bool = False, enabled: bool = True
) -> Callable[[Any], None]:
    """Return a function for `torch.profiler.profile(on_trace_ready=…)` that writes a run folder.

    The second cycle of a schedule goes to a folder whose name ends in `-2`, and so on.
    """
    if not enabled or is_disabled():
        return lambda _profiler: None
    numbers = itertools.count(1)

    def write(profiler: Any) -> None:
        from torch.profiler import ProfilerActivity

        from tracekit.collectors.environment import describe_environment
        from tracekit.collectors.profiling import export_trace

        number = next(numbers)
        path = Path(folder) if number == 1 else Path(f"{os.fspath(folder)}-{number}")
        has_cpu = ProfilerActivity.CPU in profiler.activities
        cuda = ProfilerActivity.CUDA in profiler.activities
        name, file = ("rich", RICH_PASS) if has_cpu else ("light", LIGHT_PASS)
        settings = {"device": "cuda" if cuda else "cpu"}
        writer = _open_folder(path, settings, [name], force=force)
        writer.manifest.update(describe_environment())
        facts = export_trace(profiler, writer, file, cuda=cuda)
        writer.manifest["missing"] = []
        writer.manifest["passes"] = [
            {
                "pass": name,
                "file": file,
                "wall_ms": None,
                "unprofiled_wall_ms": None,
                "dilation": None,
                "kernels": facts.kernels,
                "ops": facts.ops,
                "attention_backends": facts.backends,
                "attention_calls": facts.calls,
                "notes": ["recorded by the user's own profiler"],
            }
        ]
        writer.save(complete=True)

    return write


def traced_step(
    name: str, *, enabled: bool = True
) -> Callable[[Callable[Arguments, Value]], Callable[Arguments, Value]]:
    """Return a decorator that marks each call of a function as a step of a stage.

    It counts where a recording or a profiler of PyTorch is running, else nothing happens.
    """

    def decorate(function: Callable[Arguments, Value]) -> Callable[Arguments, Value]:
        if not enabled or is_disabled():
            return function
        steps: list[Any] = [None, 0]

        @functools.wraps(function)
        def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Value:
            owner = _active._marker if _active is not None else None
            if owner is None and not _torch_is_profiling():
                return function(*args, **kwargs)
            if owner is not steps[0]:
                steps[:] = [owner, 0]
            step, steps[1] = steps[1], steps[1] + 1
            with _mark(name, step):
                return function(*args, **kwargs)

        return wrapper

    return decorate


def _mark(name: str, step: int) -> AbstractContextManager[None]:
    if _active is not None:
        return _active.stage(name, step)
    from torch.profiler import record_function

    from tracekit.labels import stage_label

    scope: AbstractContextManager[None] = record_function(stage_label(name, step))
    return scope


def _torch_is_profiling() -> bool:
    """Say whether a profiler of PyTorch is running, without importing anything."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.autograd._profiler_enabled())


def _open_folder(
    folder: Path, settings: Mapping[str, Any], plan: list[str], *, force: bool
) -> RunFolder:
    from tracekit.collectors.environment import rank_and_size
    from tracekit.collectors.manifest import new_manifest
    from tracekit.collectors.runwriter import RunFolder

    rank, _ = rank_and_size()
    path = folder if rank is None else folder / f"rank{rank}"
    return RunFolder(path, new_manifest(Path(sys.argv[0]).name, {}, settings, plan), force=force)
