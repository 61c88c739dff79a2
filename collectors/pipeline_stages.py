"""Stages of a diffusers pipeline, from the calls of its components, without touching its code.

Text and image encoders are stages by their component's name; whatever the sampling loop calls
(unet, transformer, prior, controlnet) is a step of `denoise`, from its first call to the end of
the scheduler's step, guidance included; autoencoders encode (`vae_encode`) and decode
(`vae_decode`); any other component is a stage by its name. Nothing here imports diffusers.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

    from tracekit.collectors.patching import Wrapping
    from tracekit.collectors.stager import Stager

DENOISE: Final = "denoise"
VAE_ENCODE: Final = "vae_encode"
VAE_DECODE: Final = "vae_decode"

_TEXT: Final = re.compile(r"text_encoder|(?:^|_)bert$|prompt_encoder")
_IMAGE: Final = re.compile(r"image_encoder|vision")
_AUTOENCODER: Final = re.compile(r"(?:^|_)(?:vae|vqvae|vqgan|movq|vocoder|autoencoder)(?:_|$)")
_DENOISER: Final = re.compile(
    r"(?:^|_)(?:unet|transformer|prior|controlnet|denoiser|dit|mmdit|super_res_first|super_res_last)"
    r"(?:_\d)?$"
)
_DENOISING_CODE: Final = re.compile(
    r"^diffusers\.models\.(?:unets|transformers|controlnets)\b|^diffusers\..*\.modeling_wuerstchen_"
)
"""Where diffusers keeps the models that sampling loops call."""
_ENCODING: Final = ("generate", "get_text_features", "get_image_features")
"""What encoders have beside being called."""
_ENDS: Final = ("step", "step_pred")
"""Methods of schedulers that end a step of sampling."""


def components_of(pipeline: Any) -> dict[str, Any]:
    """Return what a pipeline holds by name, its own first, then that of pipelines inside it.

    What it holds under two names has the first.
    """
    own = {name: value for name, value in vars(pipeline).items() if not name.startswith("_")}
    inside = {
        f"{name}_{inner}": part
        for name, value in own.items()
        if is_pipeline(value) and value is not pipeline
        for inner, part in components_of(value).items()
    }
    found: dict[int, tuple[str, Any]] = {}
    for name, value in {**own, **inside}.items():
        if not is_pipeline(value):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def is_pipeline(value: object) -> bool:
    """Say whether a value is a pipeline of diffusers, or of a class made after it."""
    return any(
        base.__name__ in ("DiffusionPipeline", "ModularPipeline")
        and base.__module__.startswith("diffusers.")
        for base in type(value).__mro__
    )


def modules_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    """Return the components of a pipeline that are modules, each once."""
    from torch.nn import Module

    parts = components_of(pipeline)
    return {name: part for name, part in parts.items() if isinstance(part, Module)}


def denoisers_of(pipeline: Any) -> tuple[str, ...]:
    """Return the names of the components that the sampling loop calls."""
    return tuple(name for name, part in modules_of(pipeline).items() if _is_denoiser(name, part))


@contextmanager
def staged_pipeline(pipeline: Any, stager: Stager) -> Iterator[None]:
    """Mark the stages of what a pipeline does, as long as the block lasts."""
    from torch.nn import Module

    parts = components_of(pipeline)
    with ExitStack() as wrapped:
        wrapped.enter_context(stager.working())
        ends = [_wrap_scheduler(wrapped, part, stager) for part in parts.values()]
        for name, part in parts.items():
            if isinstance(part, Module):
                _wrap(wrapped, name, part, stager, has_scheduler=any(ends))
        yield


def _wrap(
    wrapped: ExitStack, name: str, part: torch.nn.Module, stager: Stager, *, has_scheduler: bool
) -> None:
    """Wrap what a pipeline calls of a component."""
    if _TEXT.search(name) or _IMAGE.search(name):
        stage = "text_encoder" if name.endswith("bert") else name
        _wrap_call(wrapped, part, stager, _as_stage(stager, stage))
        for method in _ENCODING:
            _wrap_method(wrapped, part, method, stager, stage)
    elif _is_denoiser(name, part):
        _wrap_call(wrapped, part, stager, _as_step(stager, part, has_scheduler=has_scheduler))
    elif _AUTOENCODER.search(name) or callable(getattr(part, "decode", None)):
        stage = VAE_DECODE if name.endswith("vocoder") else name
        _wrap_call(wrapped, part, stager, _as_stage(stager, stage))
        _wrap_method(wrapped, part, "encode", stager, VAE_ENCODE)
        _wrap_method(wrapped, part, "decode", stager, VAE_DECODE)
    else:
        _wrap_call(wrapped, part, stager, _as_stage(stager, name, ends_step=False))


def _is_denoiser(name: str, part: torch.nn.Module) -> bool:
    if _TEXT.search(name) or _IMAGE.search(name) or _AUTOENCODER.search(name):
        return False
    # Behind `torch.compile` stands a class that says nothing.
    kind = type(getattr(part, "_orig_mod", part))
    is_of_diffusers = _DENOISING_CODE.search(kind.__module__) and not name.endswith("adapter")
    return bool(_DENOISER.search(name) or is_of_diffusers)


def _wrap_call(
    wrapped: ExitStack, part: torch.nn.Module, stager: Stager, wrapping: Wrapping
) -> None:
    wrapped.enter_context(stager.patches.calls_replaced(part, wrapping))


def _wrap_method(
    wrapped: ExitStack, part: torch.nn.Module, name: str, stager: Stager, stage: str
) -> None:
    if callable(getattr(part, name, None)):
        wrapping = _as_stage(stager, stage)
        wrapped.enter_context(stager.patches.replaced(part, name, wrapping))


def _as_stage(stager: Stager, stage: str, *, ends_step: bool = True) -> Wrapping:
    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = functools.partial(before, *args, **kwargs)
            return stager.call(stage, bound, ends_step=ends_step)

        return call

    return wrapping


def _as_step(stager: Stager, part: object, *, has_scheduler: bool) -> Wrapping:
    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def call(*args: Any, **kwargs: Any) -> Any:
            opener = stager.opener_of(DENOISE)
            # Guidance calls a denoiser twice a step; without a scheduler each call is a step.
            if opener is None or (opener is part and not has_scheduler):
                stager.begin_step(DENOISE, part)
            return before(*args, **kwargs)

        return call

    return wrapping


def _wrap_scheduler(wrapped: ExitStack, part: Any, stager: Stager) -> bool:
    """Let a scheduler's step end the step, and say whether it is one.

    The class is wrapped, because pipelines work on copies of their scheduler.
    """
    kind = type(part)
    names = [name for name in _ENDS if callable(getattr(kind, name, None))]
    if not names or not (hasattr(kind, "set_timesteps") or "Scheduler" in kind.__name__):
        return False

    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def step(*args: Any, **kwargs: Any) -> Any:
            try:
                return before(*args, **kwargs)
            finally:
                stager.end_step(DENOISE)

        return step

    for name in names:
        wrapped.enter_context(stager.patches.replaced(kind, name, wrapping))
    return True
