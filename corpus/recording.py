"""Records one model in one mode: runs it warm, then once under the profiler with its truth."""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from corpus.slim import slim
from corpus.spec import Built, Model, Size
from corpus.truth import Truth
from tracekit.collectors.labelling import attention_modules
from tracekit.errors import HostError, UsageError

BACKENDS: Final = {
    "flash": ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"),
    "math": ("MATH",),
    "efficient": ("EFFICIENT_ATTENTION", "MATH"),
    "cudnn": ("CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"),
}
"""What PyTorch's fused attention may run in each mode, in this order."""

MODES: Final = (
    "default", "flash", "math", "efficient", "cudnn", "written", "autocast", "modules", "train",
    "train-written", "train-checkpoint", "compile", "compile-train", "cudagraph",
)  # fmt: skip
_WARM_UP_RUNS: Final = 2
RICH: Final = "trace.json.gz"
EAGER: Final = "eager.json.gz"
_PLAIN: Final = "trace.json"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a case is recorded. `turn` is held while the GPU's time is taken."""

    folder: Path
    device: str = "cuda"
    tiny: bool = False
    turn: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def on_gpu(self) -> bool:
        """Whether the case runs on a GPU."""
        return self.device.startswith("cuda")


class NoKernelsError(HostError):
    """A trace of work on a GPU holds no kernels."""


def size_of(model: Model, mode: str, setting: Setting) -> Size:
    """Return how the model of a case is built.

    Training and autocast keep their weights in float32.
    """
    is_mixed = mode == "autocast" or "train" in mode
    return Size(
        tiny=setting.tiny,
        device=setting.device,
        dtype="float32" if is_mixed else model.dtype,
        written="written" in mode,
        mixed=is_mixed,
    )


def record_case(model: Model, mode: str, setting: Setting) -> dict[str, Any]:
    """Record a model in a mode into its folder and return what there is to tell.

    Raises
    ------
    UsageError
        The mode is unknown.
    HostError
        The trace holds no kernels, or the mode needs a GPU.
    """
    import torch

    if mode not in MODES:
        raise UsageError(f"{mode}: no such mode; there are {', '.join(MODES)}")
    torch.manual_seed(0)
    started = time.perf_counter()
    built = _build(model, size_of(model, mode, setting))
    built_s = time.perf_counter() - started
    folder = setting.folder / f"{model.name}.{mode}"
    folder.mkdir(parents=True, exist_ok=True)
    found = _RECORDERS.get(mode.partition("-")[0], _record_eager)(built, mode, setting, folder)
    found = {"case": folder.name, "built_s": round(built_s, 1), **found}
    (folder / "truth.json").write_text(json.dumps(_described(model, mode, built, found)) + "\n")
    return found


def _build(model: Model, size: Size) -> Built:
    """Build a model where it will run, which is faster, or else on the CPU first."""
    import torch

    if size.device == "cpu":
        return model.build(size)
    try:
        with torch.device(size.device):
            return model.build(size)
    except (RuntimeError, TypeError, ValueError):  # some constructors mix devices then
        torch.cuda.empty_cache()
        return model.build(size)


def _described(model: Model, mode: str, built: Built, found: dict[str, Any]) -> dict[str, Any]:
    """Say what the truth of attention is, and where the collectors' labels would say otherwise."""
    ours = Truth(built).attention
    theirs = {entry.path: entry.axis for entry in attention_modules(built.modules)}
    differs = [
        {"path": path, "axis": ours.get(path), "collectors": theirs.get(path)}
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path)
    ]
    axes = sorted(set(ours.values()))
    return {"model": model.name, "mode": mode, "axes": axes, "axis_differs": differs, **found}


def backend(mode: str, setting: Setting) -> AbstractContextManager[object]:
    """Return a context with the fused attention that a mode asks for."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    names = BACKENDS.get(mode)
    if names is None or not setting.on_gpu:
        return nullcontext() if names is None or mode != "math" else _only_math()
    context: AbstractContextManager[object] = sdpa_kernel(
        [getattr(SDPBackend, name) for name in names], set_priority=len(names) > 1
    )
    return context


def _only_math() -> AbstractContextManager[object]:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    context: AbstractContextManager[object] = sdpa_kernel([SDPBackend.MATH])
    return context


def _record_eager(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    import torch

    mixed = torch.autocast(setting.device, torch.bfloat16) if mode == "autocast" else nullcontext()
    trace = Trace(setting, mode)
    with torch.no_grad(), backend(mode, setting), mixed, setting.turn():
        warm_up(built.run, setting)
        with Truth(built).recording(), trace.recording():
            built.run()
    return trace.save(folder / RICH)


def _record_training(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    from torch.profiler import record_function

    from corpus.training import Step

    truth = Truth(built)
    step = Step(built, setting.device, truth if mode == "train-checkpoint" else None)
    trace = Trace(setting, mode)
    with setting.turn():
        warm_up(lambda: step(lambda _text: nullcontext()), setting)
        with truth.recording(), trace.recording():
            step(record_function)
    return trace.save(folder / RICH)


def _record_compiled(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Compile with labels in the code, which needs the GPU's time only for a moment."""
    import torch
    from torch.profiler import record_function

    from corpus.compiling import compiled_truth
    from corpus.training import Step

    for module in built.modules.values():
        module.compile()
    is_training = mode == "compile-train"
    step = Step(built, setting.device) if is_training else None
    work = (lambda: step(record_function)) if step is not None else built.run
    trace = Trace(setting, mode)
    with torch.set_grad_enabled(is_training):
        with compiled_truth(built):
            work()
        with setting.turn():
            warm_up(work, setting)
            with trace.recording():
                work()
    torch._dynamo.reset()
    return trace.save(folder / RICH)


def _record_graphed(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Record a run with truth, and the replay of the same run as one CUDA graph."""
    import torch

    eager, replayed = Trace(setting, mode), Trace(setting, mode)
    with torch.no_grad(), setting.turn():
        warm_up(built.run, setting)
        with Truth(built).recording(), eager.recording():
            built.run()
        if setting.on_gpu:
            graph = torch.cuda.CUDAGraph()
            new_stream: Any = torch.cuda.Stream
            side = new_stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                built.run()
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(graph):
                kept = built.run()
            graph.replay()
            with replayed.recording():
                graph.replay()
            del kept, graph
    found = eager.save(folder / EAGER)
    if not setting.on_gpu:
        return found
    return {**replayed.save(folder / RICH), "eager_kernels": found["kernels"]}


_RECORDERS: Final = {
    "train": _record_training,
    "compile": _record_compiled,
    "cudagraph": _record_graphed,
}


def warm_up(run: Callable[[], Any], setting: Setting) -> None:
    """Run work until nothing is chosen or allocated for the first time."""
    for _ in range(1 if setting.tiny else _WARM_UP_RUNS):
        run()
    synchronize(setting)


def synchronize(setting: Setting) -> None:
    """Wait until the GPU is done."""
    if setting.on_gpu:
        import torch

        torch.cuda.synchronize()


class Trace:
    """What a profiler records, written at once, and made small when nobody waits for the GPU."""

    def __init__(self, setting: Setting, mode: str) -> None:
        self._setting = setting
        self._with_modules = mode == "modules"
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._ran_ms = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record what runs in the block."""
        from torch.profiler import ProfilerActivity, profile

        on_gpu = self._setting.on_gpu
        synchronize(self._setting)
        with profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
            record_shapes=True,
            with_stack=self._with_modules,
            with_modules=self._with_modules,
            acc_events=True,
        ) as profiler:
            started = time.perf_counter()
            yield
            synchronize(self._setting)
            self._ran_ms = round((time.perf_counter() - started) * 1e3, 1)
        self._scratch = tempfile.TemporaryDirectory()
        profiler.export_chrome_trace(str(Path(self._scratch.name) / _PLAIN))

    def save(self, path: Path) -> dict[str, Any]:
        """Write the small trace and return what it holds."""
        if self._scratch is None:
            raise UsageError(f"{path}: nothing was recorded")
        with self._scratch as scratch:
            found = slim(Path(scratch) / _PLAIN, path)
        if self._setting.on_gpu and not found["kernels"]:
            raise NoKernelsError(f"{path}: the profiler recorded no GPU kernels")
        return {**found, "ran_ms": self._ran_ms}


@cache
def prime(device: str) -> None:
    """Start a profiler once in a process: the first one is slow and may miss kernels."""
    from torch.profiler import ProfilerActivity, profile

    if device.startswith("cuda"):
        import torch

        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]):
            torch.ones(8, device=device).add_(1)
            torch.cuda.synchronize()


def release(setting: Setting) -> None:
    """Free what a case has left behind."""
    gc.collect()
    if setting.on_gpu:
        import torch

        torch.cuda.empty_cache()
