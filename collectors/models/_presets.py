"""The published sizes of a model, and whether one fits into the memory that is free."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tracekit.errors import OutOfMemoryError, UsageError

if TYPE_CHECKING:
    from tracekit.collectors.workload import ModelOptions

PresetKind = TypeVar("PresetKind", bound="Preset")

_BYTES_OF: Final = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One size of a model.

    `about` is one line, `published` the number of parameters of each part by its source, which the
    model's docstring names, and `assumed` the dimensions that no source gives, as paths into the
    configuration (`unet.block_out_channels`, `inputs.steps`).
    """

    about: str
    published: Mapping[str, float]
    assumed: tuple[str, ...] = ()


def choose(
    presets: Mapping[str, PresetKind], options: ModelOptions, model: str
) -> tuple[str, PresetKind]:
    """Return name and preset asked for, the first where none is; raise `UsageError` if unknown."""
    name = options.preset
    if name is None:
        return next(iter(presets.items()))
    if name not in presets:
        near = difflib.get_close_matches(name, presets, n=1)
        known = f"did you mean {near[0]}?" if near else f"it has {', '.join(presets)}"
        raise UsageError(f"--preset {name}: {model} has none of this name; {known}")
    return name, presets[name]


def check_memory(module: Any, options: ModelOptions) -> None:
    """Raise `OutOfMemoryError` where weights alone exceed what is free, before any is allocated.

    `module` is that of a model. The error names the next smaller preset that fits. Weights from
    a folder and what stands on a CPU are not checked.
    """
    free = free_bytes(options.device)
    if free is None or options.weights is not None:
        return
    needed = weight_bytes(module, options)
    if needed <= free:
        return
    name, _ = choose(module.PRESETS, options, module.NAME)
    sizes = {one: weight_bytes(module, replace(options, preset=one)) for one in module.PRESETS}
    fitting = {one: size for one, size in sizes.items() if size <= free and size < needed}
    advice = "no preset of it fits"
    if fitting:
        advice = f"give --preset {max(fitting, key=lambda one: fitting[one])}"
    elif options.dtype == "float32" and needed <= 2 * free:
        advice = "give --dtype bfloat16"
    raise OutOfMemoryError(
        f"{module.NAME} {name} needs {needed / 1e9:.1f} GB for its weights in {options.dtype}, "
        f"and {free / 1e9:.1f} GB are free on {options.device}: {advice}"
    )


def smaller_presets(module: Any, options: ModelOptions) -> tuple[str, ...]:
    """Return the presets whose weights are smaller than those asked for, the largest first."""
    whole = weight_bytes(module, options)
    sizes = {one: weight_bytes(module, replace(options, preset=one)) for one in module.PRESETS}
    smaller = [one for one, size in sizes.items() if size < whole]
    return tuple(sorted(smaller, key=lambda one: -sizes[one]))


def weight_bytes(module: Any, options: ModelOptions) -> int:
    """Return the size of the weights in the dtype asked for, without making them."""
    parts = module.parts(replace(options, device="meta"))
    count = sum(p.numel() for part in parts.values() for p in part.parameters())
    return int(count * _BYTES_OF.get(options.dtype, 4))


def free_bytes(device: str) -> int | None:
    """Return the memory that is free on a GPU, null for anything else."""
    import torch

    if not device.startswith("cuda"):
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)
