"""Runs a module's forward inside an annotation, by wrapping it on the instance.

Hooks would put every call of the module on PyTorch's slow path, profiler or not. What is wrapped
here costs about a microsecond when nothing profiles.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

    Naming = Callable[[tuple[Any, ...], dict[str, Any]], str]

_KEPT: Final = "_tracekit_forward_"
"""Where a module keeps the forward of its own that it had before, so that a copy takes it along."""
_REPLICATE: Final = "_replicate_for_data_parallel"


@contextmanager
def annotated(module: torch.nn.Module, naming: Naming) -> Iterator[None]:
    """Annotate each call of a module, as long as the block lasts.

    `naming` gives the text from the call's arguments. The forward keeps its signature. Whoever
    wraps it as well within the block, and for longer, keeps a wrapper that does nothing.
    """
    own = module.__dict__
    had = own.get("forward")
    is_on = [True]
    kept = None if _is_plain(module) else _free_name(own)
    if kept is not None:
        own[kept] = module.forward
    # Bound methods, because a copy of the module gets them bound to itself, a closure would not be.
    ours = MethodType(_wrapper(module, naming, kept, is_on), module)
    own["forward"] = ours
    replicates = _REPLICATE not in own and hasattr(module, _REPLICATE)
    if replicates:
        own[_REPLICATE] = MethodType(_replicate_for_data_parallel, module)
    try:
        yield
    finally:
        is_on[0] = False
        if replicates:
            own.pop(_REPLICATE, None)
        if own.get("forward") is ours:
            own.pop("forward")
            if had is not None:
                own["forward"] = had
            if kept is not None:
                del own[kept]


def _wrapper(
    module: torch.nn.Module, naming: Naming, kept: str | None, is_on: list[bool]
) -> Callable[..., Any]:
    from torch.autograd import _profiler_enabled
    from torch.compiler import is_compiling
    from torch.profiler import record_function

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        # First is what the compiler folds, so that it finds nothing here that breaks its graph.
        if is_compiling() or not _profiler_enabled() or not is_on[0]:
            return inner(self, *args, **kwargs)
        with record_function(naming(args, kwargs)):
            return inner(self, *args, **kwargs)

    if kept is None:
        inner: Callable[..., Any] = type(module).forward
        return functools.wraps(inner)(forward)
    inner = _calls(kept)
    functools.update_wrapper(forward, module.forward)
    del forward.__wrapped__  # type: ignore[attr-defined]
    _take_signature(forward, module.forward)
    return forward


def _is_plain(module: torch.nn.Module) -> bool:
    """Say whether a module's forward is the function of its class."""
    of_class = inspect.getattr_static(type(module), "forward", None)
    return "forward" not in module.__dict__ and isinstance(of_class, FunctionType)


def _free_name(own: dict[str, Any]) -> str:
    number = 0
    while f"{_KEPT}{number}" in own:
        number += 1
    return f"{_KEPT}{number}"


def _calls(kept: str) -> Callable[..., Any]:
    def inner(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.__dict__[kept](*args, **kwargs)

    return inner


def _take_signature(function: Any, source: Callable[..., Any]) -> None:
    """Give a function the signature of a bound callable, with `self` in front."""
    try:
        signature = inspect.signature(source)
    except (TypeError, ValueError):
        return
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    rest = signature.parameters.values()
    if any(parameter.name == "self" for parameter in rest):
        return
    try:
        function.__signature__ = signature.replace(parameters=[itself, *rest])
    except ValueError:
        return


def _replicate_for_data_parallel(self: Any) -> Any:
    """Bind what the replica of a module shares with it to the replica."""
    replica = type(self)._replicate_for_data_parallel(self)
    for name, value in list(replica.__dict__.items()):
        if isinstance(value, MethodType) and value.__self__ is self:
            replica.__dict__[name] = MethodType(value.__func__, replica)
    return replica
