"""Each module of a step as a graph of its own: which parts make the pauses between kernels."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchmarks.graph_pauses_job import Job

_MOST: Final = 60
_REPLAYS: Final = 2


def look_into_modules(job: Job, root: torch.nn.Module, step: Callable[[], object]) -> Any:
    """Capture each module that is called in its own way, and record the replays in this order."""
    calls = _calls(root, step)
    found: list[dict[str, Any]] = []
    graphs: list[Any] = []
    for key, (name, module, args, kwargs) in calls.items():
        if time.monotonic() > job.until or len(graphs) >= _MOST:
            break
        row: dict[str, Any] = {"module": name, "class": key[0]}
        found.append(row)
        try:
            graph = job.graph(lambda m=module, a=args, k=kwargs: m(*a, **k))
            row["ms"] = round(job.timed(graph.replay, 10, queued=True)[0], 5)
        except Exception as error:
            job.wait()
            row["error"] = f"{type(error).__name__}: {error}"[:120]
            continue
        row["graph"] = len(graphs)
        graphs.append(graph)
    replay_all(job, "modules", graphs)
    return found


def replay_all(job: Job, name: str, graphs: list[Any]) -> None:
    """Record replays of graphs, each several times, one graph after the other."""

    def replays() -> None:
        for graph in graphs:
            for _ in range(_REPLAYS):
                graph.replay()
            job.wait()

    job.traced(name, replays, cpu=False)


def _calls(
    root: torch.nn.Module, step: Callable[[], object]
) -> dict[tuple[str, ...], tuple[str, torch.nn.Module, Any, Any]]:
    """Return the first call of each class with each form of arguments; large ones first."""
    found: dict[tuple[str, ...], tuple[str, torch.nn.Module, Any, Any]] = {}
    handles = []
    for name, module in root.named_modules():

        def keep(mine: Any, args: Any, kwargs: Any, name: str = name) -> None:
            # A cache changes with each call: a graph of it would read memory that is gone.
            if not _is_plain([args, kwargs]):
                return
            key = (type(mine).__name__, _form(args), _form(kwargs), _form(list(_sizes(mine))))
            found.setdefault(key, (name, mine, args, kwargs))

        handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
    step()
    for handle in handles:
        handle.remove()
    return {key: call for key, call in found.items() if call[1] is not root}


def _is_plain(value: Any) -> bool:
    """Say whether a value consists of tensors, numbers and texts alone."""
    if isinstance(value, dict):
        return all(_is_plain(each) for each in value.values())
    if isinstance(value, tuple | list):
        return all(_is_plain(each) for each in value)
    return value is None or hasattr(value, "shape") or isinstance(value, bool | int | float | str)


def _sizes(module: torch.nn.Module) -> Any:
    return (tuple(each.shape) for each in module.parameters())


def _form(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"{value.dtype}{tuple(value.shape)}{value.stride()}"
    if isinstance(value, dict):
        return str({key: _form(each) for key, each in value.items()})
    if isinstance(value, tuple | list):
        return str([_form(each) for each in value])
    return type(value).__name__
