"""Takes the time of the calls that a model's work is made of, with the host and without it.

The modules that a model would be compiled by (a denoiser, a decoder) are called while the work
runs once; each kind of call is kept with what it was given. Then each is repeated twice over:
launched by the host one kernel after the other, and captured as a CUDA graph, which is launched at
once. What the second takes is the GPU's time alone.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.environment import is_out_of_memory
from tracekit.collectors.markers import milliseconds
from tracekit.collectors.profiling import synchronize
from tracekit.collectors.speedups import attention_backend, captured, targets_of
from tracekit.collectors.written_attention import written_out
from tracekit.errors import HostError

if TYPE_CHECKING:
    from tracekit.collectors.workload import Attention, Workload

SCHEMA: Final = "tracekit.step-graphs/1"
_ENOUGH_MS: Final = 60.0
"""How long a repeat lasts at least, as long as that takes no more than so many calls."""
_MOST_CALLS: Final = 20


@dataclass(slots=True)
class _Call:
    """One kind of call: its stage, how often it came, and what the first one was given."""

    stage: str | None
    target: str
    count: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _StageNoting:
    """A marker that knows the stage that runs, and how many steps each had."""

    def __init__(self) -> None:
        self.stage: str | None = None
        self.steps: dict[str, int] = {}

    @contextmanager
    def __call__(self, name: str, step: int | None = None) -> Iterator[None]:  # noqa: ARG002
        before, self.stage = self.stage, name
        self.steps[name] = self.steps.get(name, 0) + 1
        try:
            yield
        finally:
            self.stage = before


def time_calls(
    workload: Workload, attention: Attention, device: str, repeats: int
) -> dict[str, Any]:
    """Run the recorded steps of a workload once, then time each kind of call `repeats` times.

    Returns `steps`, how many of each stage ran, and `calls`: stage, target and count, and of each
    repeat the ms that one call took, `launched` by the host and as a `graph`. Where a call cannot
    be captured, `graph` is null and `refused` says why.

    Raises
    ------
    HostError
        A call failed; out of memory is raised as it is.
    """
    import torch

    cuda = device.startswith("cuda")
    is_eager = attention == "eager"
    marker = _StageNoting()
    try:
        # Pipelines replace PyTorch's function while they run, and here their modules run alone.
        with (
            attention_backend("auto" if is_eager else attention, device),
            written_out() if is_eager else nullcontext(),
            torch.no_grad(),
        ):
            calls = _calls(workload, marker)
            rows = [_timed(workload, call, repeats, cuda=cuda) for call in calls]
    except Exception as error:
        if is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())
        raise HostError(f"{workload.name}: raised {type(error).__name__}: {text}") from error
    return {"schema": SCHEMA, "device": device, "steps": marker.steps, "calls": rows}


def _calls(workload: Workload, marker: _StageNoting) -> list[_Call]:
    """Run the work once, and return the kinds of calls of its targets in order."""
    targets = targets_of(workload.modules, workload.compile_targets)
    found: dict[Any, _Call] = {}
    forwards = {}
    for name, module in targets.items():
        # An own forward of the instance is put back, that of the class comes back by itself.
        forwards[name] = module.__dict__.get("forward")
        module.forward = partial(_noting, module.forward, name, found, marker)
    try:
        (workload.run_traced or workload.run)(marker)
    finally:
        for name, module in targets.items():
            if forwards[name] is None:
                del module.forward
            else:
                module.forward = forwards[name]
    return list(found.values())


def _noting(
    forward: Callable[..., Any],
    target: str,
    found: dict[Any, _Call],
    marker: _StageNoting,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    key = (marker.stage, target, _form((args, kwargs)))
    if key in found:
        found[key].count += 1
    else:
        own = _own((args, kwargs))
        found[key] = _Call(marker.stage, target, 1, own[0], own[1])
    return forward(*args, **kwargs)


def _form(value: Any) -> Any:
    """Return what tells one kind of call from another: shapes, types, lengths of caches."""
    if hasattr(value, "data_ptr"):
        return tuple(value.shape), str(value.dtype)
    if hasattr(value, "get_seq_length"):
        return type(value).__name__, int(value.get_seq_length())
    if isinstance(value, Mapping):
        return tuple((key, _form(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return tuple(_form(one) for one in value)
    return value if isinstance(value, bool | int | str | None) else type(value).__name__


def _own(value: Any) -> Any:
    """Return the same with caches of its own: a call makes those that it is given longer."""
    # Outputs of models are dicts whose parts are attributes as well: they stay what they are.
    if type(value) is dict:
        return {key: _own(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_own(one) for one in value)
    if not hasattr(value, "get_seq_length"):
        return value
    mine = copy.copy(value)
    if hasattr(mine, "self_attention_cache"):
        mine.self_attention_cache = _own(mine.self_attention_cache)
        mine.cross_attention_cache = _own(mine.cross_attention_cache)
        mine.is_updated = dict(mine.is_updated)
    else:
        mine.layers = [copy.copy(layer) for layer in mine.layers]
    return mine


def _timed(workload: Workload, call: _Call, repeats: int, *, cuda: bool) -> dict[str, Any]:
    root, _, path = call.target.partition(".")
    module = workload.modules[root].get_submodule(path)

    def launch() -> Any:
        args, kwargs = _own((call.args, call.kwargs))
        return module(*args, **kwargs)

    row = {
        "stage": call.stage,
        "target": call.target,
        "count": call.count,
        "launched_ms": _repeated(launch, repeats, cuda=cuda),
        "graph_ms": None,
        "refused": "needs a GPU",
    }
    if cuda:
        replay, refused = _replayed(launch)
        row["refused"] = refused
        if replay is not None:
            row["graph_ms"] = _repeated(replay, repeats, cuda=cuda)
    return row


def _repeated(call: Callable[[], object], repeats: int, *, cuda: bool) -> list[float]:
    """Return the ms that one call took, of each repeat."""
    once_ms = _mean_ms(call, 1, cuda=cuda)
    calls = max(1, min(_MOST_CALLS, round(_ENOUGH_MS / max(once_ms, 1e-3))))
    return [_mean_ms(call, calls, cuda=cuda) for _ in range(repeats)]


def _mean_ms(call: Callable[[], object], calls: int, *, cuda: bool) -> float:
    synchronize(cuda=cuda)
    start_ns = time.perf_counter_ns()
    for _ in range(calls):
        call()
    synchronize(cuda=cuda)
    return milliseconds((time.perf_counter_ns() - start_ns) // calls)


def _replayed(call: Callable[[], Any]) -> tuple[Callable[[], object] | None, str | None]:
    """Return what replays a call from a CUDA graph, or null and why it cannot be captured."""
    graph, result, refusal = captured(call)
    if refusal is not None:
        return None, refusal
    return partial(_replay, graph, result), None


def _replay(graph: Any, _result: Any) -> None:
    """Replay a graph; its result is held so that its memory stays."""
    graph.replay()
