"""Functions of others that are one thing as a whole, and how they are wrapped while it matters."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, Final

Place = tuple[Any, str]
"""An object and the name of the attribute, or of the key, at which a function stands."""

_ROTARY: Final = re.compile(r"^apply_\w*rotary\w*$")
_ROTARY_OWNERS: Final = ("transformers.models.", "diffusers.models.")
_CACHE_LAYERS: Final = re.compile(r"Layer$")


def core_functions(names: tuple[str, ...]) -> Iterator[Place]:
    """Yield the places of attention cores: those of transformers, and those named."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("transformers.models.") and hasattr(
            module, "eager_attention_forward"
        ):
            yield module, "eager_attention_forward"
    utils = sys.modules.get("transformers.modeling_utils")
    if utils is not None:
        mapping = utils.AttentionInterface._global_mapping
        yield from ((mapping, name) for name in ("sdpa", "flex_attention") if name in mapping)
    yield from map(_place, names)


def rotary_functions(names: tuple[str, ...]) -> Iterator[Place]:
    """Yield the places of functions that apply rotary embeddings."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(_ROTARY_OWNERS):
            for name in [name for name in vars(module) if _ROTARY.match(name)]:
                yield module, name
    yield from map(_place, names)


def memory_functions() -> Iterator[Place]:
    """Yield the places of functions that write key-value caches."""
    utils = sys.modules.get("transformers.cache_utils")
    for name, kind in list(vars(utils).items()) if utils else ():
        if _CACHE_LAYERS.search(name) and isinstance(kind, type) and "update" in vars(kind):
            yield kind, "update"


@contextmanager
def patched(
    places: Iterator[Place], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """Wrap the functions at some places as long as the block lasts."""
    with ExitStack() as undo:
        for owner, name in list(places):
            if isinstance(owner, dict):
                original = owner[name]
                owner[name] = wrap(original)
                undo.callback(owner.__setitem__, name, original)
            else:
                original = vars(owner)[name]
                setattr(owner, name, wrap(original))
                undo.callback(setattr, owner, name, original)
        yield


def _place(text: str) -> Place:
    module_name, _, path = text.partition(":")
    owner: Any = import_module(module_name)
    *parts, name = path.split(".")
    for part in parts:
        owner = getattr(owner, part)
    return owner, name
