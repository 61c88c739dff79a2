"""Records one pass: runs work under torch.profiler, checks the trace, puts it into the folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.attention_calls import attention_calls
from tracekit.collectors.labelling import labelled
from tracekit.collectors.markers import LabelMarker, Position, milliseconds, spread_left_out
from tracekit.collectors.runwriter import RunFolder, TooLargeError, cannot_write
from tracekit.errors import HostError

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import PassName, StageMarker

    Work = Callable[[StageMarker], object]

_CHUNK: Final = 1 << 22
_LONGEST_LINE: Final = 1 << 24
_SPARE_BYTES: Final = 1 << 20
_KERNEL: Final = re.compile(rb'"cat": ?"kernel"')
_OP: Final = re.compile(rb'"cat": ?"cpu_op"')
_BACKEND: Final = re.compile(
    rb'"aten::_scaled_dot_product_(?:(flash|efficient|cudnn|fused)_attention|attention_(math))\w*"'
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a pass records: CPU ops, GPU activities, shapes, Python stacks; what is labelled."""

    name: PassName
    file: str
    cpu: bool
    cuda: bool
    shapes: bool = False
    stacks: bool = False
    modules: Mapping[str, torch.nn.Module] = field(default_factory=dict)
    every_leaf: bool = False


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What a trace file holds, as far as a glance tells.

    `backends` counts the attention calls by the implementation that PyTorch chose, `calls` tells
    them one by one where they are labelled, null where that is not known.
    """

    kernels: int
    ops: int
    is_whole: bool
    backends: dict[str, int]
    calls: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A pass that is in the folder. `steps` is how many steps of each stage were recorded.

    `is_cut` says that the work had more steps, which ran while the profiler was paused.
    """

    wall_ms: float
    facts: TraceFacts
    steps: dict[str, int]
    attention_modules: int
    notes: tuple[str, ...] = ()
    is_cut: bool = False


class NoKernelsError(HostError):
    """A pass on a GPU holds no kernels."""


def record_pass(
    work: Work, recipe: Recipe, writer: RunFolder, *, max_bytes: int | None = None
) -> Recorded:
    """Record a pass into its file.

    A GPU pass that holds no kernels is recorded once more. One that is too large is recorded once
    more without Python stacks if it has any, else with fewer steps, spread over each stage.

    Raises
    ------
    HostError
        The pass holds no kernels, is too large with one step a stage, or cannot be written.
    """
    try:
        return _attempt(work, recipe, writer, max_bytes)
    except NoKernelsError:
        again = _attempt(work, recipe, writer, max_bytes)
        return _noted(again, "recorded twice: the first trace held no kernels")
    except _CutError as cut:
        if recipe.stacks:
            # A profiler that is paused records no ops and no kernels, but goes on with functions.
            plain = record_pass(work, replace(recipe, stacks=False), writer, max_bytes=max_bytes)
            return _noted(plain, "without Python stacks, to keep to the size asked for")
        left_out = spread_left_out(cut.counts, 0.8 * cut.share)
        if not left_out:
            raise cut.error from None
        fewer = _attempt(work, recipe, writer, max_bytes, left_out)
        return _noted(fewer, "only some of the steps are recorded, to keep to the size asked for")


class _CutError(Exception):
    def __init__(self, error: TooLargeError, counts: Mapping[str, int]) -> None:
        self.error = error
        self.counts = dict(counts)
        self.share = error.max_bytes / error.size_bytes
        super().__init__(str(error))


def _noted(recorded: Recorded, note: str) -> Recorded:
    return replace(recorded, notes=(*recorded.notes, note))


def _attempt(
    work: Work,
    recipe: Recipe,
    writer: RunFolder,
    max_bytes: int | None,
    left_out: frozenset[Position] = frozenset(),
) -> Recorded:
    with (
        labelled(recipe.modules, every_leaf=recipe.every_leaf)
        if recipe.modules
        else nullcontext(())
    ) as attention:
        profiler, marker, wall_ms = _run(work, recipe, left_out)
    try:
        facts = export_trace(profiler, writer, recipe.file, cuda=recipe.cuda, max_bytes=max_bytes)
    except TooLargeError as error:
        if left_out:
            raise
        raise _CutError(error, marker.counts) from error
    steps = dict(marker.recorded)
    return Recorded(wall_ms, facts, steps, len(attention), is_cut=bool(left_out))


def _run(
    work: Work, recipe: Recipe, left_out: frozenset[Position]
) -> tuple[Any, LabelMarker, float]:
    profiler = start_profiler(
        cpu=recipe.cpu, cuda=recipe.cuda, shapes=recipe.shapes, stacks=recipe.stacks
    )
    try:
        marker = LabelMarker(left_out, _toggle(profiler, recipe))
        start_ns = time.perf_counter_ns()
        work(marker)
        synchronize(cuda=recipe.cuda)
        wall_ms = milliseconds(time.perf_counter_ns() - start_ns)
    finally:
        profiler.stop()
    return profiler, marker, wall_ms


def start_profiler(*, cpu: bool, cuda: bool, shapes: bool, stacks: bool = False) -> Any:
    """Return a torch profiler that has started."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] if cpu else []
    activities += [ProfilerActivity.CUDA] if cuda else []
    synchronize(cuda=cuda)
    profiler = profile(
        activities=activities, record_shapes=shapes, with_stack=stacks, acc_events=True
    )
    profiler.start()
    # Asked for above, because PyTorch warns otherwise. What it does for it when the profiler stops,
    # an object in Python of every event, takes longer than the export and serves nobody here.
    profiler.profiler.acc_events = False
    return profiler


def _toggle(profiler: Any, recipe: Recipe) -> Callable[[bool], None]:
    from torch.profiler import ProfilerActivity

    activities = [ProfilerActivity.CPU] if recipe.cpu else []
    activities += [ProfilerActivity.CUDA] if recipe.cuda else []

    def toggle(enable: bool) -> None:
        synchronize(cuda=recipe.cuda)
        profiler.toggle_collection_dynamic(enable, activities)

    return toggle


def export_trace(
    profiler: Any, writer: RunFolder, name: str, *, cuda: bool, max_bytes: int | None = None
) -> TraceFacts:
    """Write what a stopped profiler has recorded into a file of the folder.

    Raises
    ------
    HostError
        The disk is full, the trace is too large, or holds no kernels of a GPU.
    """
    with writer.scratch(".json") as plain:
        try:
            profiler.export_chrome_trace(str(plain))
        except (OSError, RuntimeError) as error:
            raise _not_exported(plain, error) from error
        facts = examine(plain)
        if not facts.is_whole:
            raise _not_exported(plain, None)
        if cuda and not facts.kernels:
            raise NoKernelsError(f"{name}: the profiler recorded no GPU kernels")
        writer.write_gzip(name, plain, max_bytes=max_bytes)
    return replace(facts, calls=attention_calls(profiler)) if facts.ops else facts


def examine(path: Path) -> TraceFacts:
    """Count kernels, ops and attention calls in a trace file without parsing it."""
    kernels = ops = 0
    backends: dict[str, int] = {}
    last = rest = b""
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            window = rest + chunk
            # Kineto ends each field with a line; a match never spans one.
            cut = window.rfind(b"\n") + 1
            if not cut and len(window) < _LONGEST_LINE:
                rest = window
                continue
            window, rest = (window[:cut], window[cut:]) if cut else (window, b"")
            kernels, ops = kernels + len(_KERNEL.findall(window)), ops + len(_OP.findall(window))
            _count_backends(window, backends)
            last = window.rstrip()[-1:] or last
    kernels, ops = kernels + len(_KERNEL.findall(rest)), ops + len(_OP.findall(rest))
    _count_backends(rest, backends)
    last = rest.rstrip()[-1:] or last
    return TraceFacts(kernels, ops, last == b"}", backends)


def _count_backends(window: bytes, backends: dict[str, int]) -> None:
    for match in _BACKEND.finditer(window):
        backend = (match[1] or match[2]).decode()
        backends[backend] = backends.get(backend, 0) + 1


def synchronize(*, cuda: bool) -> None:
    """Wait until the GPU is done."""
    if cuda:
        import torch

        torch.cuda.synchronize()


def _not_exported(plain: Path, error: BaseException | None) -> HostError:
    """Kineto does not say why it could not write; a disk without space is why mostly."""
    if isinstance(error, OSError):
        return cannot_write(plain.parent, error)
    if shutil.disk_usage(plain.parent).free < _SPARE_BYTES:
        return cannot_write(plain.parent, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    reason = " ".join(str(error).split()) if error else "the file is cut short"
    return HostError(f"{plain.parent}: the profiler could not write its trace ({reason})")
