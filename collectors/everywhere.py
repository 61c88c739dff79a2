"""Stages and labels for whatever code calls a diffusers pipeline or transformers' `generate`.

Classes are changed when their library is imported, now or later, and as they were afterwards. A
library that nobody imports is not imported here.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.generate_stages import is_draft, may_compile, staged_generate
from tracekit.collectors.labelling import labelled
from tracekit.collectors.pipeline_stages import modules_of, staged_pipeline
from tracekit.collectors.stager import Stager

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    import torch

    from tracekit.collectors.workload import StageMarker

    Actions = dict[str, Callable[[ModuleType], None]]

_PIPELINES: Final = "diffusers.pipelines.pipeline_utils"
_MODULAR: Final = "diffusers.modular_pipelines.modular_pipeline"
_GENERATION: Final = "transformers.generation.utils"
_MODELS: Final = "transformers.modeling_utils"


@contextmanager
def staged_everywhere(marker: StageMarker, *, label: bool = True) -> Iterator[set[tuple[str, str]]]:
    """Mark the stages of every pipeline and `generate` call, as long as the block lasts.

    With `label`, the attention modules of what is called are labelled while it runs. The block is
    given a set that fills with them: the class of what was called, and the module's path.
    """
    with ExitStack() as undo:
        changes = _Changes(undo, Stager(marker), label=label)
        after: Actions = {
            _PIPELINES: changes.of_pipelines,
            _MODULAR: changes.of_modular,
            _GENERATION: changes.of_generation,
            _MODELS: changes.of_models,
        }
        undo.enter_context(_after_import(after))
        yield changes.attention


class _Changes:
    """What is changed of each library, undone with `undo`."""

    def __init__(self, undo: ExitStack, stager: Stager, *, label: bool) -> None:
        self._undo = undo
        self._stager = stager
        self._label = label
        self._seen: set[tuple[type, str]] = set()
        self.attention: set[tuple[str, str]] = set()

    def of_pipelines(self, module: ModuleType) -> None:
        """Have every pipeline that registers its components run in stages."""

        def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(before)
            def register_modules(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
                self._wrap_in_mro(type(pipeline), "__call__", self._pipeline_call)
                return before(pipeline, *args, **kwargs)

            return register_modules

        self._replace(module.DiffusionPipeline, "register_modules", wrapping)
        for kind in _subclasses(module.DiffusionPipeline):
            self._wrap_in_mro(kind, "__call__", self._pipeline_call)

    def of_modular(self, module: ModuleType) -> None:
        """Have modular pipelines run in stages."""
        self._wrap_in_mro(module.ModularPipeline, "__call__", self._pipeline_call)

    def of_generation(self, module: ModuleType) -> None:
        """Have the `generate` that models inherit run in stages."""
        self._wrap_in_mro(module.GenerationMixin, "generate", self._generate_call)

    def of_models(self, module: ModuleType) -> None:
        """Have models with a `generate` of their own run in stages as well."""

        def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(before)
            def init(model: Any, *args: Any, **kwargs: Any) -> None:
                self._wrap_in_mro(type(model), "generate", self._generate_call)
                before(model, *args, **kwargs)

            return init

        self._replace(module.PreTrainedModel, "__init__", wrapping)
        for kind in _subclasses(module.PreTrainedModel):
            self._wrap_in_mro(kind, "generate", self._generate_call)

    def _wrap_in_mro(self, kind: type, name: str, wrapping: Callable[..., Any]) -> None:
        """Wrap a method of a class, and each that it inherits, once."""
        for base in kind.__mro__:
            if (base, name) not in self._seen and name in vars(base):
                self._seen.add((base, name))
                self._replace(base, name, wrapping)

    def _replace(self, owner: type, name: str, wrapping: Callable[..., Any]) -> None:
        self._undo.enter_context(self._stager.patches.replaced(owner, name, wrapping))

    def _pipeline_call(self, before: Callable[..., Any]) -> Callable[..., Any]:
        stager = self._stager

        @functools.wraps(before)
        def call(pipeline: Any, *args: Any, **kwargs: Any) -> Any:
            if stager.is_in_stage:
                return before(pipeline, *args, **kwargs)
            with ExitStack() as inside:
                # The modules of pipelines inside this one have their labels from it.
                if self._label and not stager.is_working:
                    self._label_all(inside, pipeline, modules_of(pipeline))
                inside.enter_context(staged_pipeline(pipeline, stager))
                return before(pipeline, *args, **kwargs)

        return call

    def _generate_call(self, before: Callable[..., Any]) -> Callable[..., Any]:
        stager = self._stager

        @functools.wraps(before)
        def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
            if stager.is_working and is_draft(kwargs):
                with stager.resting():
                    return before(model, *args, **kwargs)
            if stager.is_in_stage:
                return before(model, *args, **kwargs)
            with ExitStack() as inside:
                if self._label and not stager.is_working and not may_compile(model, kwargs):
                    self._label_all(inside, model, {"model": model})
                inside.enter_context(staged_generate(model, stager))
                return before(model, *args, **kwargs)

        return generate

    def _label_all(
        self, inside: ExitStack, owner: object, roots: dict[str, torch.nn.Module]
    ) -> None:
        found = inside.enter_context(labelled(roots))
        self.attention |= {(type(owner).__name__, entry.path) for entry in found}


def _subclasses(kind: type) -> Iterator[type]:
    inner: type
    for inner in kind.__subclasses__():
        yield inner
        yield from _subclasses(inner)


@contextmanager
def _after_import(actions: Actions) -> Iterator[None]:
    """Call an action with a module when it has been imported, or at once where it is already."""
    for name, action in actions.items():
        module = sys.modules.get(name)
        if module is not None:
            action(module)
    finder = _Finder(actions)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.is_on = False
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds modules where others find them, and acts after they have been executed."""

    def __init__(self, actions: Actions) -> None:
        self.actions = actions
        self.is_on = True
        self._finding: set[str] = set()

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return the spec of a module that is waited for, else null."""
        if fullname not in self.actions or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            spec = find_spec(fullname)
        finally:
            self._finding.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Acting(spec.loader, self)
        return spec


class _Acting(Loader):
    """Loads a module as its own loader does and then lets the finder act."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Return what the module's own loader makes."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, hand it back to its own loader, and act."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder.is_on:
            self._finder.actions[module.__name__](module)
