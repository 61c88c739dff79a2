"""Stages of one object that is known: a diffusers pipeline or a model of transformers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tracekit.collectors.generate_stages import staged_generate
from tracekit.collectors.patching import CALLS
from tracekit.collectors.pipeline_stages import is_pipeline, modules_of, staged_pipeline
from tracekit.collectors.stager import Stager

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.workload import StageMarker


def roots_of(modules: Any) -> dict[str, torch.nn.Module]:
    """Return the modules to label, by name, of a mapping, a pipeline or a single module."""
    if modules is None:
        return {}
    if isinstance(modules, Mapping):
        return dict(modules)
    return modules_of(modules) if is_pipeline(modules) else {"model": modules}


def can_be_staged(value: Any) -> bool:
    """Say whether a value is a pipeline, or a model with a `generate`."""
    return is_pipeline(value) or _generates_tokens(value)


@contextmanager
def staged(target: Any, marker: StageMarker) -> Iterator[None]:
    """Mark the stages of what a pipeline does, or a model's `generate`, as long as the block lasts.

    Anything else has none that are known.
    """
    with staged_all((target,), marker):
        yield


@contextmanager
def staged_all(targets: Iterable[Any], marker: StageMarker) -> Iterator[None]:
    """Mark the stages of several pipelines and models, their steps numbered together."""
    stager = Stager(marker)
    with ExitStack() as inside:
        for target in targets:
            if is_pipeline(target):
                inside.enter_context(staged_pipeline(target, stager))
            elif _generates_tokens(target):
                wrapping = _generates(target, stager)
                inside.enter_context(stager.patches.replaced(target, "generate", wrapping))
        yield


def _generates_tokens(value: Any) -> bool:
    return hasattr(value, CALLS) and callable(getattr(value, "generate", None))


def _generates(model: Any, stager: Stager) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def generate(*args: Any, **kwargs: Any) -> Any:
            if stager.is_in_stage:
                return before(*args, **kwargs)
            with staged_generate(model, stager):
                return before(*args, **kwargs)

        return generate

    return wrapping
