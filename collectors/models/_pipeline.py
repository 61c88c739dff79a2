"""Models that diffusers runs as pipelines: the published parts, made here, in its own pipeline.

What is recorded is one call of the pipeline as its users call it, from the prompt to pixels, with
its own scheduler and its own work on the host. A model says which parts there are, of what
configuration, and what the pipeline is called with.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from transformers import PreTrainedModel

from tracekit.collectors.models._common import (
    DTYPES,
    as_loaded,
    check,
    check_frames,
    check_size,
    describe,
    device_of,
    make_transformers,
    making,
)
from tracekit.collectors.models._presets import Preset, choose
from tracekit.collectors.pipeline_inputs import PROMPT, PipelineOptions, call_of
from tracekit.collectors.pipeline_stages import denoisers_of, modules_of
from tracekit.collectors.pipelines import PipelineWork, load_pipeline, silence
from tracekit.collectors.workload import ModelOptions, StageMarker, Workload
from tracekit.errors import UsageError

_ARGUMENTS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "size": (("height", "width"),),
    "frames": (("num_frames",), ("video_length",)),
    "steps": (("num_inference_steps",),),
    "prompt_tokens": (("max_sequence_length",),),
}
"""The arguments of a pipeline's call that each of our options sets, in the first form it takes."""


@dataclass(frozen=True, slots=True)
class Part:
    """A component: its class, of diffusers or transformers, and its configuration.

    `tiny` is what differs in a model for tests. `follows` are values that have no weights and take
    an option where one is given: the key in the configuration, and the option.
    """

    kind: Any
    config: Mapping[str, Any]
    tiny: Mapping[str, Any] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePreset(Preset):
    """One published size: its parts, and what its pipeline is called with.

    `tiny_call` is what differs in a call for tests; sides of images are multiples of
    `size_multiple` pixels, a video has one frame more than a multiple of `frame_multiple`, prompts
    have at most `most_prompt_tokens` (null: any number), sampling takes at least `least_steps`.
    `pipeline` is the class that runs it where that is not the model's.
    """

    parts: Mapping[str, Part]
    call: Mapping[str, Any]
    tiny_call: Mapping[str, Any]
    size_multiple: int = 8
    frame_multiple: int = 1
    most_prompt_tokens: int | None = None
    least_steps: int = 1
    pipeline: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineModel:
    """A model by name: its pipeline of diffusers in the sizes that were published.

    `extras` returns what the pipeline is made of beside the parts: scheduler, tokenizers, null for
    what is left out. `prepare` is done to a finished pipeline. One with `batch_of_prompts` makes a
    batch from as many prompts, for it makes one of each.
    """

    name: str
    pipeline: Any
    presets: Mapping[str, PipelinePreset]
    extras: Callable[[ModelOptions], Mapping[str, Any]]
    prepare: Callable[[Any], None] | None = None
    batch_of_prompts: bool = False

    def parts(self, options: ModelOptions) -> dict[str, Any]:
        """Return the parts, on the device."""
        _, preset = choose(self.presets, options, self.name)
        return {name: make_part(part, options) for name, part in preset.parts.items()}

    def build(self, options: ModelOptions) -> Workload:
        """Return one call of the pipeline; its result are pixels, from 0 to 1."""
        name, preset = choose(self.presets, options, self.name)
        self._check(options, preset)
        pipeline = self.made(options)
        bare = replace(options, weights=None, size=None, frames=None, steps=None)
        bare = replace(bare, preset=None, prompt_tokens=None, tiny=False)
        arguments = {**preset.call, **(preset.tiny_call if options.tiny else {})}
        arguments |= _given(options, _arguments_of(type(pipeline)))
        if self.batch_of_prompts:
            arguments["prompt"] = [PROMPT] * options.batch
            bare = replace(bare, batch=1)
        call = call_of(pipeline, PipelineOptions("", bare, None, arguments))
        inputs = {"preset": name, "batch": options.batch, **call.shown()}
        work = PipelineWork(pipeline, call, PipelineOptions("", bare))
        scheduler = getattr(pipeline, "scheduler", None)
        config = describe(modules_of(pipeline), inputs, options, assumed=preset.assumed)
        return Workload(
            name=self.name,
            run=partial(_pixels, work.run),
            modules=modules_of(pipeline),
            stages={},
            config={**config, "about": preset.about, "scheduler": type(scheduler).__name__},
            run_traced=partial(_pixels, work.run_traced) if work.is_cut else None,
            compile_targets=denoisers_of(pipeline),
        )

    def _check(self, options: ModelOptions, preset: PipelinePreset) -> None:
        unused = _ARGUMENTS.keys() - _arguments_of(preset.pipeline or self.pipeline).keys()
        check(options, self.name, ignores=(*unused, "new_tokens"))
        if options.size is not None:
            check_size(options.size, preset.size_multiple)
        if options.frames is not None:
            check_frames(options.frames, preset.frame_multiple)
        length, most = options.prompt_tokens, preset.most_prompt_tokens
        if length is not None and most is not None and length > most:
            raise UsageError(f"--prompt-tokens {length}: {self.name} takes at most {most}")
        for flag, steps in (("--steps", options.steps), ("--trace-steps", options.trace_steps)):
            if steps is not None and steps < preset.least_steps:
                least = preset.least_steps
                raise UsageError(f"{flag} {steps}: {self.name} takes at least {least}")

    def made(self, options: ModelOptions) -> Any:
        """Return the pipeline, of random weights or of those in a folder, on the device."""
        if options.weights is None:
            _, preset = choose(self.presets, options, self.name)
            kind = preset.pipeline or self.pipeline
            pipeline = kind(**self.parts(options), **self.extras(options))
        else:
            pipeline = load_pipeline(PipelineOptions(options.weights, options))
        if self.prepare is not None:
            self.prepare(pipeline)
        silence(pipeline)
        return pipeline


def make_part(part: Part, options: ModelOptions) -> Any:
    """Return a component of this configuration with random weights, on the device.

    Dtypes are those that loading it would give: what its class keeps in float32 is so here.
    """
    given = {key: getattr(options, option) for key, option in part.follows.items()}
    config = {**part.config, **(part.tiny if options.tiny else {})}
    config |= {key: value for key, value in given.items() if value is not None}
    if issubclass(part.kind, PreTrainedModel):
        bare = replace(options, weights=None)
        return make_transformers(part.kind, part.kind.config_class(**config), bare)
    with making(options):
        model = part.kind(**config)
    as_loaded(model, DTYPES[options.dtype])
    return model.to(device_of(options)).eval().requires_grad_(False)


def _arguments_of(kind: Any) -> dict[str, tuple[str, ...]]:
    """Return the arguments of a pipeline's call that our options set, of those that it has."""
    taken = inspect.signature(kind.__call__).parameters.keys()
    forms = {
        option: next((names for names in known if set(names) <= taken), None)
        for option, known in _ARGUMENTS.items()
    }
    return {option: names for option, names in forms.items() if names is not None}


def _given(options: ModelOptions, arguments: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the arguments that options of the command line stand for."""
    values = {option: getattr(options, option) for option in arguments}
    return {
        name: value
        for option, value in values.items()
        if value is not None
        for name in arguments[option]
    }


def _pixels(run: Callable[[StageMarker], Any], marker: StageMarker) -> Any:
    """Return the first thing that a pipeline's output holds: its images, or frames."""
    return next(iter(run(marker).values()))
