"""Stages of one object that is known: a diffusers pipeline or a model of transformers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tracekit.collectors.generate_stages import staged_generate
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


@contextmanager
def staged(target: Any, marker: StageMarker) -> Iterator[None]:
    """Mark the stages of what a pipeline does, or a model's `generate`, as long as the block lasts.

    Anything else has none that are known.
    """
    stager = Stager(marker)
    if is_pipeline(target):
        with staged_pipeline(target, stager):
            yield
    elif not isinstance(target, Mapping) and callable(getattr(target, "generate", None)):
        with stager.patches.replaced(target, "generate", _generates(target, stager)):
            yield
    else:
        yield


def _generates(model: Any, stager: Stager) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def generate(*args: Any, **kwargs: Any) -> Any:
            with staged_generate(model, stager):
                return before(*args, **kwargs)

        return generate

    return wrapping
