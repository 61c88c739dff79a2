"""Builds workloads one after the other, and keeps their modules while they serve."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.environment import release_memory
from tracekit.collectors.models import import_model, load_builder

if TYPE_CHECKING:
    from tracekit.collectors.workload import ModelOptions, Workload

SIZELESS: Final = ("llama", "stable-diffusion", "make-a-video")
"""Models whose modules are the same for all sizes, numbers of frames and of tokens."""
_SIZES: Final[dict[str, Any]] = dict.fromkeys(
    ("size", "frames", "steps", "prompt_tokens", "new_tokens", "trace_steps")
)


@dataclass(slots=True)
class WorkloadBuilder:
    """Builds workloads of models by name.

    The modules of the last one are taken again where the next differs in nothing that they depend
    on: in the backend of fused attention, the batch and, of some models, all other sizes.
    """

    _key: tuple[str, ModelOptions] | None = None
    _parts: Any = None

    def build(self, model: str, options: ModelOptions) -> Workload:
        """Return the workload; raise as the model's own builder does."""
        key = (model, _without_sizes(model, options))
        if key == self._key:
            return self._rebuilt(model, options)
        self.release()
        build = load_builder(model)
        module: Any = import_model(model)
        make = module.parts

        def noting(given: ModelOptions) -> Any:
            made = make(given)
            # Whether the weights fit is asked of modules that hold none.
            if given.device != "meta":
                self._parts = made
            return made

        module.parts = noting
        try:
            workload = build(options)
        finally:
            module.parts = make
        self._key = key if self._parts is not None else None
        return workload

    def release(self) -> None:
        """Forget the modules, and give back the memory that only they took."""
        self._key = self._parts = None
        release_memory()
        # What is left are libraries: the next collection need not look through them again.
        gc.freeze()

    def _rebuilt(self, model: str, options: ModelOptions) -> Workload:
        # What the last one held beside its modules would be in the way of larger sizes.
        release_memory()
        module: Any = import_model(model)
        make, parts = module.parts, self._parts

        def kept(_given: ModelOptions) -> Any:
            # Builders may add to what they are given.
            return dict(parts) if isinstance(parts, Mapping) else parts

        module.parts = kept
        try:
            workload: Workload = module.build(options)
        finally:
            module.parts = make
        return workload


def _without_sizes(model: str, options: ModelOptions) -> ModelOptions:
    """Return the options with what modules do not depend on at one value."""
    written_out = options.attention == "eager"
    same = replace(options, attention="eager" if written_out else "auto", batch=1)
    return replace(same, **_SIZES) if model in SIZELESS else same
