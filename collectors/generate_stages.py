"""Stages of transformers' `generate`: encoder, prefill, decode; its code stays as it is.

A step lasts until the next one begins, so choosing the token is part of it. Nothing here imports
transformers.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from tracekit.collectors.patching import CALLS

if TYPE_CHECKING:
    from tracekit.collectors.patching import Wrapping
    from tracekit.collectors.stager import Stager

ENCODER: Final = "encoder"
PREFILL: Final = "prefill"
DECODE: Final = "decode"

_TOKENS: Final = ("decoder_input_ids", "decoder_inputs_embeds", "input_ids", "inputs_embeds")
_PREFILLS: Final = ("_prefill", "_prefill_chunking")
"""What of `generate` runs the prompt through the model, perhaps in pieces."""
_COMPILED: Final = "get_compiled_call"


_running = threading.local()
"""The innermost call of `generate` in each thread."""


class _Generation:
    """One call of `generate`: how far it is."""

    def __init__(self, stager: Stager, *, has_encoder: bool) -> None:
        self._stager = stager
        self._has_encoder = has_encoder
        self._is_first = True
        self.is_prefilling = False

    def begin(self, kwargs: dict[str, Any]) -> None:
        """Begin the stage of a forward pass, given its arguments."""
        is_prompt = self._is_first or self.is_prefilling
        self._is_first = False
        # What a decoder starts with is no prompt if it is a single token.
        if is_prompt and not (self._has_encoder and _length(kwargs) == 1):
            self._stager.begin(PREFILL)
        else:
            self._stager.begin_step(DECODE, None)


@contextmanager
def staged_generate(model: Any, stager: Stager) -> Iterator[None]:
    """Mark the stages of one call of a model's `generate`, which the block makes."""
    encoder = _encoder_of(model)
    patches = stager.patches
    with ExitStack() as wrapped:
        wrapped.enter_context(stager.working())
        wrapped.enter_context(_as_running(_Generation(stager, has_encoder=encoder is not None)))
        wrapped.enter_context(patches.calls_replaced(model, _forwards))
        if encoder is not None:
            wrapped.enter_context(patches.calls_replaced(encoder, _encodes(stager)))
        for name in _PREFILLS:
            if hasattr(model, name):
                wrapped.enter_context(patches.replaced(model, name, _prefills))
        if hasattr(model, _COMPILED):
            wrapped.enter_context(patches.replaced(model, _COMPILED, _compiles(model)))
        yield


@contextmanager
def _as_running(generation: _Generation) -> Iterator[None]:
    before = getattr(_running, "generation", None)
    _running.generation = generation
    try:
        yield
    finally:
        _running.generation = before


def _begin(kwargs: dict[str, Any]) -> None:
    generation = getattr(_running, "generation", None)
    if generation is not None:
        generation.begin(kwargs)


def is_draft(kwargs: dict[str, Any]) -> bool:
    """Say whether a call of `generate` drafts tokens for another one, which checks them."""
    return bool(getattr(kwargs.get("generation_config"), "is_assistant", False))


def may_compile(model: Any, kwargs: dict[str, Any]) -> bool:
    """Say whether `generate` may compile a model by itself, as it does with a static cache.

    What is compiled holds no labels, and putting them in would compile it again.
    """
    configs = (kwargs.get("generation_config"), getattr(model, "generation_config", None))
    if kwargs.get("disable_compile") or getattr(configs[0], "disable_compile", False):
        return False
    implementations = [kwargs.get("cache_implementation")]
    implementations += [getattr(config, "cache_implementation", None) for config in configs]
    if any(name not in (None, "dynamic", "dynamic_full") for name in implementations):
        return True
    caches = (kwargs.get("past_key_values"), kwargs.get("cache"))
    return any(getattr(cache, "is_compileable", False) is True for cache in caches)


def _encoder_of(model: Any) -> Any:
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return None
    encoder = model.get_encoder() if hasattr(model, "get_encoder") else None
    return None if encoder is model or not hasattr(encoder, CALLS) else encoder


def _length(kwargs: dict[str, Any]) -> int | None:
    """Return the number of tokens that a forward pass is given."""
    for name in _TOKENS:
        shape = getattr(kwargs.get(name), "shape", None)
        if shape is not None and len(shape) > 1:
            return int(shape[1])
    return None


def _forwards(before: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(before)
    def forward(*args: Any, **kwargs: Any) -> Any:
        _begin(kwargs)
        return before(*args, **kwargs)

    return forward


def _encodes(stager: Stager) -> Wrapping:
    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def encode(*args: Any, **kwargs: Any) -> Any:
            # Within a step the decoder may be given tokens without states and encode them itself.
            return stager.call(ENCODER, functools.partial(before, *args, **kwargs), ends_step=False)

        return encode

    return wrapping


def _prefills(before: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(before)
    def prefill(*args: Any, **kwargs: Any) -> Any:
        generation = getattr(_running, "generation", None)
        if generation is None:
            return before(*args, **kwargs)
        generation.is_prefilling = True
        try:
            return before(*args, **kwargs)
        finally:
            generation.is_prefilling = False

    return prefill


def _compiles(model: Any) -> Wrapping:
    """Begin the stage outside of what is compiled: inside, it would be compiled as well."""

    def wrapping(before: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(before)
        def get_compiled_call(*args: Any, **kwargs: Any) -> Callable[..., Any]:
            compiled = before(*args, **kwargs)

            def forward(*call_args: Any, **call_kwargs: Any) -> Any:
                _begin(call_kwargs)
                ours = vars(model).pop(CALLS, None)
                try:
                    return compiled(*call_args, **call_kwargs)
                finally:
                    if ours is not None:
                        vars(model)[CALLS] = ours

            return forward

        return get_compiled_call

    return wrapping
