"""What a diffusers pipeline is called with: only what its `__call__` takes, from our options."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tracekit.errors import InputError, UsageError

if TYPE_CHECKING:
    from tracekit.collectors.workload import ModelOptions

PROMPT: Final = "a photograph of an astronaut riding a horse"
"""What is asked for when the user asks for nothing; time hardly depends on it."""

_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "prompt": ("prompt",),
    "steps": ("num_inference_steps",),
    "frames": ("num_frames", "video_length"),
    "batch": (
        "num_images_per_prompt",
        "num_videos_per_prompt",
        "num_waveforms_per_prompt",
        "batch_size",
    ),
    "trace_steps": ("num_inference_steps",),
}
"""The arguments of pipelines that each of our options stands for; the first one taken counts."""
_IMAGE_CLASSES: Final[dict[str, re.Pattern[str]]] = {
    "image": re.compile(
        r"Img2Img|ImageToImage|ImageToVideo|Image2Video|Inpaint|Upscale|Edit|Pix2Pix|Depth2Img"
        r"|Adapter|Controlnet|ControlNet(?!.*(?:Img2Img|Inpaint))"
    ),
    "control_image": re.compile(r"Control", re.IGNORECASE),
    "mask_image": re.compile(r"Inpaint"),
    "video": re.compile(r"VideoToVideo|Video2Video"),
}
"""Classes whose `__call__` names these arguments as optional, and does not do without them."""
_IMAGES: Final = re.compile(r"image|mask")
_SIZE, _FRAMES = 512, 16


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What is recorded of a pipeline: its folder or id, its call, and how it runs.

    `arguments` are given to the pipeline's `__call__` as they are and win over everything else.
    """

    path: str
    model: ModelOptions
    prompt: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineCall:
    """The arguments of a pipeline's call; `made_up` says what of them nobody gave, in words."""

    arguments: dict[str, Any]
    made_up: dict[str, str]

    def shown(self) -> dict[str, Any]:
        """Return the arguments that JSON can hold, those that were made up in words."""
        plain = (str, int, float, list, dict, type(None))
        return {
            name: self.made_up.get(name, value)
            for name, value in self.arguments.items()
            if name in self.made_up or isinstance(value, plain)
        }


def call_of(pipeline: Any, options: PipelineOptions) -> PipelineCall:
    """Return what a pipeline is to be called with.

    Raises
    ------
    UsageError
        It has no use for an option or argument that was given, or needs one that was not.
    InputError
        An image that was named cannot be read.
    """
    call = _Call(pipeline, options)
    call.take_given()
    call.take_options()
    call.take_size()
    call.make_up_images()
    call.check_required()
    return PipelineCall(call.found, call.made_up)


class _Call:
    def __init__(self, pipeline: Any, options: PipelineOptions) -> None:
        self._pipeline = pipeline
        self._name = type(pipeline).__name__
        self._options = options
        parameters = inspect.signature(pipeline.__call__).parameters.values()
        self._takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._parameters = {
            p.name: p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        }
        self.found: dict[str, Any] = {}
        self.made_up: dict[str, str] = {}

    def take_given(self) -> None:
        """Take the arguments that the user has named, images by their path."""
        for name, value in self._options.arguments.items():
            near = difflib.get_close_matches(name, self._parameters, n=1)
            # Many swallow any name, for the sake of old ones.
            if name not in self._parameters and (near or not self._takes_more):
                hint = f"did you mean {near[0]}?" if near else f"{self._name} takes none such"
                raise UsageError(f"--pipeline-arg {name}: {hint}")
            self.found[name] = _read_images(value) if _IMAGES.search(name) else value

    def take_options(self) -> None:
        """Take what our own options say."""
        options = self._options.model
        for name in ("weights", "preset", "prompt_tokens", "new_tokens"):
            if getattr(options, name) is not None:
                raise self._no_use(name)
        given = {
            "prompt": self._options.prompt,
            "steps": options.steps,
            "frames": options.frames,
            "batch": options.batch if options.batch != 1 else None,
        }
        for name, value in given.items():
            if value is not None:
                self._take(name, value)
        if options.trace_steps is not None and self._argument("trace_steps") is None:
            raise self._no_use("trace_steps")
        has_text = any(name.startswith("prompt") for name in self.found)
        if "prompt" in self._parameters and not has_text:
            self.found["prompt"] = self.made_up["prompt"] = PROMPT
        if self._default("output_type") in ("pil", "np"):
            # What PIL and numpy take is no time of the model's.
            self.found.setdefault("output_type", "pt")

    def take_size(self) -> None:
        """Take the side of the image, which some pipelines know from an image only."""
        size = self._options.model.size
        if size is None:
            return
        if {"height", "width"} <= self._parameters.keys():
            self.found = {"height": size, "width": size} | self.found
        elif not any(self._needs(name) for name in _IMAGE_CLASSES):
            raise self._no_use("size")

    def make_up_images(self) -> None:
        """Make up the images and videos that the pipeline cannot do without."""
        for name in _IMAGE_CLASSES:
            if name not in self.found and self._needs(name):
                width, height = self._side("width"), self._side("height")
                frames = self._frames() if name == "video" else None
                self.found[name] = _random_images(width, height, frames)
                what = "image" if frames is None else f"{frames} images"
                self.made_up[name] = f"random {what} of {width} x {height}"

    def check_required(self) -> None:
        """Refuse a call that lacks what the pipeline requires."""
        lacking = [
            p.name
            for p in self._parameters.values()
            if p.default is p.empty and p.name not in self.found
        ]
        if lacking:
            asked = " ".join(f"--pipeline-arg {name}=…" for name in lacking)
            raise UsageError(f"{self._name} needs {', '.join(lacking)}: give {asked}")

    def _take(self, option: str, value: object) -> None:
        argument = self._argument(option)
        if argument is None:
            raise self._no_use(option)
        self.found.setdefault(argument, value)

    def _argument(self, option: str) -> str | None:
        return next((name for name in _NAMES[option] if name in self._parameters), None)

    def _no_use(self, option: str) -> UsageError:
        flag = "--" + option.replace("_", "-")
        return UsageError(
            f"{self._name} has no use for {flag}; --pipeline-arg gives what its __call__ takes"
        )

    def _needs(self, name: str) -> bool:
        parameter = self._parameters.get(name)
        if parameter is None:
            return False
        return parameter.default is parameter.empty or bool(
            parameter.default is None and _IMAGE_CLASSES[name].search(self._name)
        )

    def _default(self, name: str) -> Any:
        parameter = self._parameters.get(name)
        return None if parameter is None else parameter.default

    def _side(self, name: str) -> int:
        """Return the width or height that the pipeline works at, in pixels."""
        for side in (self.found.get(name), self._options.model.size, self._default(name)):
            if isinstance(side, int):
                return side
        latent = _latent_side(self._pipeline)
        return latent * int(getattr(self._pipeline, "vae_scale_factor", 8)) if latent else _SIZE

    def _frames(self) -> int:
        for name in _NAMES["frames"]:
            for count in (self.found.get(name), self._default(name)):
                if isinstance(count, int):
                    return count
        return self._options.model.frames or _FRAMES


def _latent_side(pipeline: Any) -> int | None:
    """Return the side that the model samples at by its configuration, null where it says none."""
    models = (getattr(pipeline, name, None) for name in ("unet", "transformer"))
    sides = [getattr(getattr(model, "config", None), "sample_size", None) for model in models]
    for side in (getattr(pipeline, "default_sample_size", None), *sides):
        if isinstance(side, int):
            return side
    return None


def _random_images(width: int, height: int, frames: int | None) -> Any:
    import numpy as np
    from PIL import Image

    values = np.random.default_rng(0).integers(
        0, 256, (frames or 1, height, width, 3), dtype=np.uint8
    )
    images = [Image.fromarray(each) for each in values]
    return images[0] if frames is None else images


def _read_images(value: Any) -> Any:
    """Return the image at a path or address, of each where several are given."""
    if isinstance(value, list):
        return [_read_images(one) for one in value]
    if not isinstance(value, str):
        return value
    from diffusers.utils import load_image

    try:
        return load_image(value)
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise InputError(f"{value}: cannot be read as an image ({line})") from error
