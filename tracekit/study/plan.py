"""What a study measures, in which order: the cases of its models and the points of its sweeps.

Loops are sampled: of each repeated stage the first step, the last and others evenly between are
run, timed and recorded, and what they take stands for the whole loop, stage by stage. That this is
so is checked on one model, which is timed with all of its steps as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from tracekit.errors import UsageError
from tracekit.study.experiments import experiment_cases
from tracekit.study.families import FAMILIES

Scale = Literal["full", "quick", "tiny"]
BASELINE: Final = "eager"
FLASH: Final = "flash"
MATH: Final = "math"
WHOLE: Final = "whole"
NO_SWEEP: Final = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that is recorded, into a run folder of its name below `runs`.

    `options` are fields of the collectors' `ModelOptions`. `repeats` is how often the work is timed
    after `warm_up` runs, `light` whether the light pass is recorded as well. A point of a sweep has
    its name, what varies (a field of the options) and the value. `is_whole` has all steps timed,
    and some of them recorded. `left_out` says why it is not run at all. A `variant` has `settings`
    of PyTorch, a `dtype` of its own, or its repeated blocks compiled (see `experiments`); of what
    `is_graphed` only calls are timed.
    """

    name: str
    model: str
    attention: str
    options: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 5
    warm_up: int = 2
    light: bool = False
    sweep: str | None = None
    variable: str | None = None
    value: int | None = None
    is_whole: bool = False
    left_out: str | None = None
    variant: str | None = None
    settings: tuple[str, ...] = ()
    dtype: str | None = None
    compiles: bool = False
    is_graphed: bool = False


@dataclass(frozen=True, slots=True)
class Sweep:
    """How one size of a model varies, everything else as published.

    `values` are those of each scale; `stage` is the stage that is looked at, `title` what the sweep
    is called.
    """

    title: str
    model: str
    variable: str
    stage: str
    values: Mapping[Scale, tuple[int, ...]]
    options: Mapping[str, Any]
    tiny_options: Mapping[str, Any] = field(default_factory=dict)


SWEEPS: Final[dict[str, Sweep]] = {
    "image-size": Sweep(
        "image side",
        "stable-diffusion",
        "size",
        "denoise",
        {
            "full": (64, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048),
            "quick": (64, 128, 256, 512, 768, 1024, 1536, 2048),
            "tiny": (32, 64, 128),
        },
        {"trace_steps": 1},
    ),
    "frames": Sweep(
        "frames",
        "make-a-video",
        "frames",
        "denoise",
        {
            "full": (4, 8, 16, 24, 32, 48, 64, 96, 128),
            "quick": (4, 8, 16, 32, 64, 128),
            "tiny": (2, 3, 4),
        },
        {"preset": "base", "trace_steps": 1},
    ),
    "video-size": Sweep(
        "video side",
        "make-a-video",
        "size",
        "denoise",
        {"full": (32, 48, 64, 96, 128), "quick": (32, 64, 96), "tiny": (8,)},
        {"preset": "base", "trace_steps": 1},
    ),
    "prompt": Sweep(
        "prompt tokens",
        "llama",
        "prompt_tokens",
        "prefill",
        {
            "full": (128, 256, 512, 1024, 2048, 3072, 4064),
            "quick": (128, 512, 1024, 2048, 4064),
            "tiny": (8, 16),
        },
        {"new_tokens": 2, "trace_steps": 1},
    ),
    "output": Sweep(
        "generated tokens",
        "llama",
        "new_tokens",
        "decode",
        {"full": (32, 128, 512, 1024, 2048, 3968), "quick": (128, 1024, 3968), "tiny": (3, 6)},
        {"prompt_tokens": 128, "trace_steps": 3},
        {"prompt_tokens": 4},
    ),
    "batch": Sweep(
        "batch",
        "stable-diffusion",
        "batch",
        "denoise",
        {"full": (1, 2, 4, 8, 16), "quick": (1, 2, 4, 8), "tiny": (1, 2)},
        {"trace_steps": 1},
    ),
}

_TRACE_STEPS: Final[dict[Scale, dict[str, int]]] = {
    "full": {"stable-diffusion": 8, "llama": 12, "parti": 12, "make-a-video": 2, "phenaki": 6},
    "quick": {
        "stable-diffusion": 5,
        "llama": 6,
        "parti": 6,
        "make-a-video": 1,
        "phenaki": 4,
        "imagen": 2,
        "muse": 3,
        "prod-image": 3,
        "stable-video-diffusion": 1,
        "cogvideox": 1,
        "wan": 1,
        "hunyuan-video": 1,
    },
    "tiny": {"llama": 2, "parti": 2, "pixart": 2},
}
_OTHER_STEPS: Final[dict[Scale, int]] = {"full": 4, "quick": 2, "tiny": 1}
_SLOW: Final = ("make-a-video", "stable-video-diffusion", "cogvideox", "wan", "hunyuan-video")
"""Models a sampled run of which takes seconds on an H100; they are run no more than must be."""
_SMALLER: Final[dict[Scale, dict[str, dict[str, int]]]] = {
    "full": {},
    "quick": {"hunyuan-video": {"frames": 33}},
    "tiny": {},
}
"""Models that a plan takes smaller than published: of 129 frames one run takes 43 s on an H100."""
LEAST_REPEATS: Final = 5
_REPEATS: Final[dict[Scale, int]] = {"full": 9, "quick": 7, "tiny": 1}
_WHOLE_REPEATS: Final[dict[Scale, int]] = {"full": 7, "quick": LEAST_REPEATS, "tiny": 1}
_POINT_REPEATS: Final[dict[Scale, int]] = {"full": 5, "quick": LEAST_REPEATS, "tiny": 1}
_CHECKED: Final = "stable-diffusion"
"""The model that is timed with all of its steps as well, and with PyTorch's math backend."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cases of models, those of sweeps, and those of experiments.

    `repeats` is how often each is timed at least, null as the scale says; `memory_bytes` is the
    memory of the GPU, null where that is not known.
    """

    scale: Scale
    models: tuple[str, ...]
    sweeps: tuple[str, ...]
    experiments: tuple[str, ...] = ()
    repeats: int | None = None
    memory_bytes: int | None = None

    def cases(self) -> tuple[Case, ...]:
        """Return everything that is recorded, those of one model one after the other."""
        found = [case for model in self.models for case in self._of_model(model)]
        for name in self.sweeps:
            found += _of_sweep(name, self.scale)
        found += experiment_cases(self.experiments, self.models, self.scale)
        least = self.repeats or 0
        return tuple(replace(case, repeats=max(case.repeats, least)) for case in found)

    def _of_model(self, model: str) -> Iterator[Case]:
        scale = self.scale
        yield _case(model, FLASH, scale)
        if model == _CHECKED:
            # Directly after: the modules are the same.
            yield _case(model, MATH, scale)
            yield _whole(model, scale)
        reason = FAMILIES[model].why_not_eager(self.memory_bytes)
        yield _case(model, BASELINE, scale, left_out=None if scale == "tiny" else reason)


def sweeps_of(models: Iterable[str]) -> tuple[str, ...]:
    """Return the sweeps of the models that are studied."""
    chosen = set(models)
    return tuple(name for name, sweep in SWEEPS.items() if sweep.model in chosen)


def chosen_sweeps(names: Iterable[str], models: Iterable[str]) -> tuple[str, ...]:
    """Return the sweeps of these names; of the models where none is named; `none` is no sweep.

    Raises
    ------
    UsageError
        There is no such sweep, or its model is not among those that are studied.
    """
    asked, chosen = list(names), set(models)
    if not asked:
        return sweeps_of(chosen)
    for name in asked:
        if name != NO_SWEEP and name not in SWEEPS:
            raise UsageError(f"--sweeps {name}: known are {', '.join(SWEEPS)}, {NO_SWEEP}")
        if name in SWEEPS and SWEEPS[name].model not in chosen:
            raise UsageError(f"--sweeps {name}: varies {SWEEPS[name].model}; add it to --models")
    return tuple(name for name in SWEEPS if name in asked)


def _case(model: str, attention: str, scale: Scale, *, left_out: str | None = None) -> Case:
    steps = _TRACE_STEPS[scale].get(model, _OTHER_STEPS[scale])
    is_slow = model in _SLOW and scale != "tiny"
    return Case(
        name=f"{model}.{attention}",
        model=model,
        attention=attention,
        options={"trace_steps": steps, **_SMALLER[scale].get(model, {})},
        repeats=LEAST_REPEATS if is_slow else _REPEATS[scale],
        warm_up=1 if is_slow or scale == "tiny" else 2,
        light=not is_slow or scale == "full",
        left_out=left_out,
    )


def _whole(model: str, scale: Scale) -> Case:
    case = _case(model, FLASH, scale)
    return Case(
        name=f"{model}.{FLASH}.{WHOLE}",
        model=model,
        attention=FLASH,
        options=case.options,
        repeats=_WHOLE_REPEATS[scale],
        warm_up=1,
        is_whole=True,
    )


def _of_sweep(name: str, scale: Scale) -> Iterator[Case]:
    sweep = SWEEPS[name]
    tiny = sweep.tiny_options if scale == "tiny" else {}
    for attention in (FLASH, BASELINE):
        for value in sweep.values[scale]:
            yield Case(
                name=f"{name}.{attention}.{value}",
                model=sweep.model,
                attention=attention,
                options={**sweep.options, **tiny, sweep.variable: value},
                repeats=_POINT_REPEATS[scale],
                warm_up=1,
                sweep=name,
                variable=sweep.variable,
                value=value,
            )
