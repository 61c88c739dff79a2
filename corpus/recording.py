"""Records one model in one mode: runs it warm, then once under the profiler with its truth."""

from __future__ import annotations

import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from corpus.slim import slim
from corpus.spec import Built, Model, Size
from corpus.truth import Truth
from tracekit.errors import HostError, UsageError

if TYPE_CHECKING:
    pass

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
        checkpoint=mode == "train-checkpoint",
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
    built = model.build(size_of(model, mode, setting))
    built_s = time.perf_counter() - started
    folder = setting.folder / f"{model.name}.{mode}"
    folder.mkdir(parents=True, exist_ok=True)
    found = _RECORDERS.get(mode.partition("-")[0], _record_eager)(built, mode, setting, folder)
    found = {"case": folder.name, "built_s": round(built_s, 1), **found}
    (folder / "truth.json").write_text(json.dumps(_described(model, mode, built, found)) + "\n")
    return found


def _described(model: Model, mode: str, built: Built, found: dict[str, Any]) -> dict[str, Any]:
    rules = [
        {"classes": rule.classes, "path": rule.path, "axis": rule.axis, "kind": rule.kind}
        for rule in built.attention
    ]
    return {"model": model.name, "mode": mode, "attention": rules, **found}


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
    with torch.no_grad(), backend(mode, setting), mixed, setting.turn():
        warm_up(built.run, setting)
        with Truth(built).recording(), profiled(setting, folder, "trace.json.gz", mode) as found:
            built.run()
    return found


def _record_training(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    from corpus.training import Step

    truth = Truth(built)
    step = Step(built, setting.device, truth if mode == "train-checkpoint" else None)
    with setting.turn():
        warm_up(lambda: step(nullcontext), setting)
        with truth.recording(), profiled(setting, folder, "trace.json.gz", mode) as found:
            step(lambda text: _annotation(text))
    return found


def _annotation(text: str) -> AbstractContextManager[Any]:
    from torch.profiler import record_function

    scope: AbstractContextManager[Any] = record_function(text)
    return scope


def _record_compiled(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    import torch

    from corpus.compiling import compiled_truth
    from corpus.training import Step

    with ExitStack() as stack:
        table = stack.enter_context(compiled_truth(built))
        for module in built.modules.values():
            module.compile()
        if mode == "compile":
            stack.enter_context(torch.no_grad())
            work: Callable[[], Any] = built.run
        else:
            step = Step(built, setting.device)

            def work() -> None:
                step(lambda text: _annotation(text))

        work()
        with setting.turn():
            warm_up(work, setting)
            with profiled(setting, folder, "trace.json.gz", mode) as found:
                work()
    (folder / "kernels.json").write_text(json.dumps(table.described()) + "\n")
    torch._dynamo.reset()
    return found


def _record_graphed(built: Built, mode: str, setting: Setting, folder: Path) -> dict[str, Any]:
    """Record a run with truth, and the replay of the same run as one CUDA graph."""
    import torch

    with torch.no_grad(), setting.turn():
        warm_up(built.run, setting)
        with Truth(built).recording(), profiled(setting, folder, "eager.json.gz", mode) as found:
            built.run()
        if not setting.on_gpu:
            return found
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
        with profiled(setting, folder, "trace.json.gz", mode) as replayed:
            graph.replay()
        del kept, graph
    return {**replayed, "eager": {key: found[key] for key in ("kernels", "events", "bytes")}}


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


@contextmanager
def profiled(setting: Setting, folder: Path, name: str, mode: str) -> Iterator[dict[str, Any]]:
    """Record what runs in the block into a small trace; the mapping holds its size afterwards."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.on_gpu else [])]
    stacks = mode == "modules"
    found: dict[str, Any] = {}
    synchronize(setting)
    with profile(
        activities=activities,
        record_shapes=True,
        with_stack=stacks,
        with_modules=stacks,
        acc_events=True,
    ) as profiler:
        started = time.perf_counter()
        yield found
        synchronize(setting)
        found["ran_ms"] = round((time.perf_counter() - started) * 1e3, 1)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain = Path(scratch) / "trace.json"
        profiler.export_chrome_trace(str(plain))
        found.update(slim(plain, folder / name))
    if setting.on_gpu and not found["kernels"]:
        raise HostError(f"{folder.name}: the profiler recorded no GPU kernels")


def release(setting: Setting) -> None:
    """Free what a case has left behind."""
    gc.collect()
    if setting.on_gpu:
        import torch

        torch.cuda.empty_cache()
