"""The models that tracekit knows by name; nothing heavy is imported before one is asked for.

A model is a module with

* `NAME` and `DESCRIPTION`, one line; a docstring that gives the source of every dimension;
* `PRESETS`, its published sizes by name (`_presets.Preset`), the default first;
* `parts(options)`, its modules by name, which takes no memory on the device `meta`;
* `build(options)`, the `Workload`;
* `ATTENTION`, kinds and axes of attention by part, and `STAGES`, in order: what must be found.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Final

from tracekit.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from tracekit.collectors.workload import ModelOptions, Workload

MODELS: Final[dict[str, str]] = {
    "llama": "tracekit.collectors.models.llama",
    "imagen": "tracekit.collectors.models.imagen",
    "stable-diffusion": "tracekit.collectors.models.stable_diffusion",
    "muse": "tracekit.collectors.models.muse",
    "parti": "tracekit.collectors.models.parti",
    "prod-image": "tracekit.collectors.models.prod_image",
    "make-a-video": "tracekit.collectors.models.make_a_video",
    "phenaki": "tracekit.collectors.models.phenaki",
    "sdxl": "tracekit.collectors.models.sdxl",
    "sd3": "tracekit.collectors.models.sd3",
    "flux": "tracekit.collectors.models.flux",
    "pixart": "tracekit.collectors.models.pixart",
    "stable-video-diffusion": "tracekit.collectors.models.stable_video_diffusion",
    "animatediff": "tracekit.collectors.models.animatediff",
    "latte": "tracekit.collectors.models.latte",
    "cogvideox": "tracekit.collectors.models.cogvideox",
    "wan": "tracekit.collectors.models.wan",
    "hunyuan-video": "tracekit.collectors.models.hunyuan_video",
}
"""The module of each model: the eight of arXiv 2312.14385 first, then what people run today."""

_LIBRARIES = ("torch", "diffusers", "transformers", "accelerate")


def import_model(name: str) -> ModuleType:
    """Import the module of a model, without the advice that its libraries give meanwhile.

    Raises `ModuleNotFoundError` when a library that it is made of is not installed.
    """
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        return import_module(MODELS[name])
    finally:
        logging.set_verbosity(before)


def load_builder(name: str) -> Callable[[ModelOptions], Workload]:
    """Return the function that builds the model of this name, and first checks that it fits.

    Raises `UsageError` with the nearest name when there is no such model, and
    `MissingDependencyError` when a library that it is made of is not installed, or too old.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(MODELS)}"
        raise UsageError(f"no model is called {name}: {hint}")
    try:
        module = import_model(name)
    except ModuleNotFoundError as error:
        library = (error.name or "").split(".")[0]
        if library not in _LIBRARIES:
            raise
        raise MissingDependencyError(
            f"{name} needs {library}: pip install 'gpu-tracekit[collect]'"
        ) from error
    except ImportError as error:
        library = (error.name or "").split(".")[0]
        if library not in _LIBRARIES:
            raise
        why = str(error).splitlines()[0]
        raise MissingDependencyError(
            f"{name} needs a newer {library}: pip install -U {library} ({why})"
        ) from error

    def build(options: ModelOptions) -> Workload:
        if not options.tiny:
            from tracekit.collectors.models._presets import check_memory

            check_memory(module, options)
        workload: Workload = module.build(options)
        return workload

    return build
