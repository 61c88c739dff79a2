"""Finds what is to be recorded: a model by its name, or a callable of a user's own module."""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from tracekit.collectors.environment import import_torch, missing
from tracekit.collectors.staging import can_be_staged, staged_all
from tracekit.collectors.workload import ModelOptions, Workload
from tracekit.errors import InputError, MissingDependencyError, TracekitError, UsageError

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import StageMarker

_OPTIONS: Final = re.compile(r"\bModelOptions\b")


def is_callable_target(target: str) -> bool:
    """Say whether a target is `module:callable`."""
    module, colon, name = target.partition(":")
    return bool(colon and module and name.replace(".", "").isidentifier())


def load_callable(
    target: str, options: ModelOptions | None = None, given: Sequence[str] = ()
) -> Workload:
    """Return the workload behind `module:callable`, which is called once.

    If the callable takes one argument, that is `options`. If it returns a `Workload`, that is
    recorded, else the callable itself is; the modules that it can see are labelled, the diffusers
    pipelines and calls of `generate` staged. Modules are looked for in the current folder first.
    `given` are the options of the command line, such as
    `--batch`, that are for the callable alone.

    Raises
    ------
    UsageError
        There is no such module or callable, it needs more arguments, or has no use for an option
        that was given.
    InputError
        The module or the callable raised.
    MissingDependencyError
        The module needs torch, diffusers or transformers, and it is not installed.
    """
    import_torch()
    function = _find(target)
    call = _with_options(target, function, options or ModelOptions(), given)
    try:
        result = call()
    except TracekitError:
        raise
    except Exception as error:
        raise _raised(target, error) from error
    if isinstance(result, Workload):
        return result
    if "--trace-steps" in given:
        raise UsageError(
            f"{target}: --trace-steps needs to know the steps; return a "
            "tracekit.collectors.Workload, or leave it out"
        )

    known = [value for _, value in _names_in(function) if can_be_staged(value)]

    def run(marker: StageMarker) -> object:
        with staged_all(known, marker):
            return call()

    return Workload(target, run, modules_seen_by(function), {}, {"callable": target})


def _with_options(
    target: str, function: Callable[..., Any], options: ModelOptions, given: Sequence[str]
) -> Callable[[], Any]:
    """Return a call of the function without arguments, the options bound where it takes them."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    annotated = [each for each in parameters if _is_for_options(each)]
    needed = [each for each in parameters if _is_needed(each)]
    takers = annotated or needed
    if len(takers) > 1 or any(each not in takers for each in needed):
        names = ", ".join(each.name for each in needed or takers)
        raise UsageError(
            f"{target}: needs the arguments {names}; let it take none, or one: the options "
            "(a tracekit.collectors.ModelOptions)"
        )
    if takers and takers[0].kind is inspect.Parameter.POSITIONAL_ONLY:
        return functools.partial(function, options)
    if takers:
        return functools.partial(function, **{takers[0].name: options})
    if given:
        raise UsageError(
            f"{target}: takes no argument, so {given[0]} would have no effect; let it take one: "
            "the options (a tracekit.collectors.ModelOptions)"
        )
    return function


def _is_for_options(parameter: inspect.Parameter) -> bool:
    kind = parameter.annotation
    if isinstance(kind, str):
        return _OPTIONS.search(kind) is not None
    return kind is ModelOptions or ModelOptions in get_args(kind)


def _is_needed(parameter: inspect.Parameter) -> bool:
    is_variable = parameter.kind in (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    )
    return parameter.default is inspect.Parameter.empty and not is_variable


@dataclass(frozen=True, slots=True)
class ListedPreset:
    """A published size of a model: its parameters, and the dimensions that no source gives."""

    name: str
    about: str
    parameters: float
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model by name; `description` says what is missing where a library is."""

    name: str
    description: str
    presets: tuple[ListedPreset, ...] = ()


def list_models() -> list[ListedModel]:
    """Return all models with their presets, those without where a library is missing."""
    from tracekit.collectors.models import MODELS

    return [_listed(name) for name in MODELS]


def _listed(name: str) -> ListedModel:
    from tracekit.collectors.models import import_model

    try:
        module = import_model(name)
    except ImportError as error:
        return ListedModel(name, f"(needs {error.name or 'more libraries'})")
    presets = tuple(
        ListedPreset(key, one.about, sum(one.published.values()), tuple(one.assumed))
        for key, one in module.PRESETS.items()
    )
    return ListedModel(name, str(module.DESCRIPTION), presets)


def modules_seen_by(function: Callable[..., Any]) -> dict[str, torch.nn.Module]:
    """Return the modules, and parts of pipelines, that a function's closure or globals hold."""
    from torch.nn import Module

    found: dict[str, torch.nn.Module] = {}
    for name, value in _names_in(function):
        parts = getattr(value, "components", None)
        if isinstance(value, Module):
            found[name] = value
        elif isinstance(parts, dict):
            found |= {key: part for key, part in parts.items() if isinstance(part, Module)}
    return found


def _names_in(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    owner = getattr(function, "__self__", None)
    if owner is not None:
        yield from getattr(owner, "__dict__", {}).items()
    plain = getattr(function, "__wrapped__", getattr(function, "__func__", function))
    code = getattr(plain, "__code__", None)
    if code is None:
        return
    for name, cell in zip(code.co_freevars, plain.__closure__ or (), strict=False):
        yield name, cell.cell_contents
    for name in code.co_names:
        if name in plain.__globals__:
            yield name, plain.__globals__[name]


def _find(target: str) -> Callable[..., Any]:
    module_name, _, path = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        root = (error.name or "").split(".")[0]
        if root in ("torch", "diffusers", "transformers", "accelerate"):
            raise missing(root) from error
        if error.name is not None and module_name.startswith(error.name):
            raise UsageError(f"{target}: there is no module {error.name} here") from error
        raise MissingDependencyError(
            f"{target}: needs {error.name}, which is not installed"
        ) from error
    except Exception as error:
        raise _raised(target, error) from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{target}: {module_name} has no {path}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{target}: is a {type(found).__name__}, which cannot be called")
    result: Callable[..., Any] = found
    return result


def _raised(target: str, error: BaseException) -> InputError:
    text = " ".join(str(error).split())
    return InputError(f"{target}: raised {type(error).__name__}: {text}")
