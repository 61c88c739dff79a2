"""What may be done to a workload before it is recorded: attention backend, compile, CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import HostError, UsageError

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import Attention

_BACKENDS: Final[dict[str, tuple[str, ...]]] = {
    "math": ("MATH",),
    "flash": ("FLASH_ATTENTION", "EFFICIENT_ATTENTION", "MATH"),
    "efficient": ("EFFICIENT_ATTENTION", "MATH"),
    "cudnn": ("CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"),
}
"""What is tried for each backend that can be asked for, in this order."""
_GPU_ONLY: Final = ("efficient", "cudnn")
_MAX_GRAPHS: Final = 8
"""Most graphs of one module; one that is called in more ways runs without."""
_WARM_UP_CALLS: Final = 3


def attention_backend(attention: Attention, device: str) -> AbstractContextManager[object]:
    """Return a context in which PyTorch prefers an attention backend.

    Where a call cannot take it, the next one down to math runs. `auto` changes nothing, and
    neither does `eager`, which is up to the model.

    Raises
    ------
    HostError
        The device has no such backend at all.
    """
    names = _BACKENDS.get(attention)
    if names is None:
        return nullcontext()
    if attention in _GPU_ONLY and not device.startswith("cuda"):
        raise HostError(
            f"--attention {attention}: needs a GPU; give auto, eager, math or flash with "
            f"--device {device}"
        )
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found = [getattr(SDPBackend, name) for name in names]
    context: AbstractContextManager[object] = sdpa_kernel(found, set_priority=len(found) > 1)
    return context


def captured(call: Callable[[], Any]) -> tuple[Any, Any, str | None]:
    """Return a CUDA graph of a call and its result, or nulls and why it cannot be captured.

    The call is made a few times before, on a stream of its own. The result's memory is the graph's.

    Raises
    ------
    torch.OutOfMemoryError
        The graph does not fit.
    """
    import torch

    graph = torch.cuda.CUDAGraph()
    new_stream: Any = torch.cuda.Stream
    try:
        side = new_stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_CALLS):
                call()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            result = call()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        torch.cuda.synchronize()
        return None, None, str(error).partition("\n")[0]
    return graph, result, None


def targets_of(
    modules: Mapping[str, torch.nn.Module], names: tuple[str, ...]
) -> dict[str, torch.nn.Module]:
    """Return the modules that are to be compiled or graphed, all where none is named.

    A name is that of a root, or a path below one.

    Raises
    ------
    UsageError
        There is no module, or none of that name.
    """
    if not modules:
        raise UsageError("--compile and --cuda-graph need a model whose modules are known")
    found = {}
    for name in names or tuple(modules):
        root, _, path = name.partition(".")
        try:
            found[name] = modules[root].get_submodule(path)
        except (KeyError, AttributeError):
            raise UsageError(f"{name}: is no module of this model") from None
    return found


def compile_modules(targets: Mapping[str, torch.nn.Module], *, graphs: bool) -> None:
    """Compile modules in place, with CUDA graphs where asked; the next calls do the work."""
    for module in targets.values():
        module.compile(mode="reduce-overhead" if graphs else None)


class GraphedForward:
    """Replaces a module's forward: captures a CUDA graph for each kind of call and replays it.

    Calls with anything but GPU tensors, numbers, texts and null cannot be captured and run as
    before; `refused` says why, once for each reason.
    """

    def __init__(self, forward: Callable[..., Any]) -> None:
        self._forward = forward
        self._graphs: dict[Any, Callable[[list[Any]], Any] | None] = {}
        self.refused: list[str] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the forward does, from a graph where that is possible."""
        from torch.utils._pytree import tree_flatten

        leaves, form = tree_flatten((args, kwargs))
        key = self._key(leaves, form)
        if key is None:
            return self._forward(*args, **kwargs)
        if key not in self._graphs:
            self._graphs[key] = self._capture(leaves, form)
        replay = self._graphs[key]
        return self._forward(*args, **kwargs) if replay is None else replay(leaves)

    def _key(self, leaves: list[Any], form: Any) -> Any:
        parts: list[Any] = [str(form)]
        for leaf in leaves:
            if hasattr(leaf, "data_ptr"):
                if not leaf.is_cuda:
                    return self._refuse("an argument is a tensor on the CPU")
                parts.append((tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device.index))
            elif leaf is None or isinstance(leaf, bool | int | float | str):
                parts.append((type(leaf), leaf))
            else:
                return self._refuse(f"an argument is a {type(leaf).__name__}")
        return tuple(parts)

    def _capture(self, leaves: list[Any], form: Any) -> Callable[[list[Any]], Any] | None:
        from torch.utils._pytree import tree_flatten, tree_unflatten

        if len(self._graphs) >= _MAX_GRAPHS:
            self._refuse(f"it is called in more than {_MAX_GRAPHS} ways")
            return None
        fixed = [leaf.clone() if hasattr(leaf, "data_ptr") else leaf for leaf in leaves]
        args, kwargs = tree_unflatten(fixed, form)
        graph, output, refusal = captured(partial(self._forward, *args, **kwargs))
        if refusal is not None:
            self._refuse(refusal)
            return None
        results, result_form = tree_flatten(output)

        def replay(given: list[Any]) -> Any:
            for mine, theirs in zip(fixed, given, strict=True):
                if hasattr(mine, "data_ptr"):
                    mine.copy_(theirs)
            graph.replay()
            # The next replay overwrites the results, and the caller may still hold them.
            kept = [leaf.clone() if hasattr(leaf, "data_ptr") else leaf for leaf in results]
            return tree_unflatten(kept, result_form)

        return replay

    def _refuse(self, reason: str) -> None:
        if reason not in self.refused:
            self.refused.append(reason)


def graph_modules(targets: Mapping[str, torch.nn.Module]) -> dict[str, GraphedForward]:
    """Let modules run from CUDA graphs, in place; the first calls capture them."""
    graphed = {}
    for name, module in targets.items():
        graphed[name] = GraphedForward(module.forward)
        module.forward = graphed[name]
    return graphed
