"""Replaces attributes of objects and classes for a while, and puts everything back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

Wrapping = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Makes what stands in for a callable, from that callable."""

_ABSENT: Final = object()
CALLS: Final = "_compiled_call_impl"
"""What `nn.Module` calls in place of its own when it is there."""


@dataclass(slots=True)
class _Replaced:
    owner: Any
    before: Any
    now: Any
    users: int = 1


class Patches:
    """Attributes that are replaced as long as anybody needs it.

    What is replaced twice is replaced once, until the last user leaves, in whatever order: calls
    nest, and threads overlap.
    """

    def __init__(self) -> None:
        self._replaced: dict[tuple[int, str], _Replaced] = {}
        self._lock = threading.Lock()

    def calls_replaced(
        self, module: torch.nn.Module, make: Wrapping
    ) -> AbstractContextManager[None]:
        """Replace what a call of a module does, around whatever it is compiled or hooked with.

        A wrapped `forward` would be compiled with the module and go into its copies. The attribute
        that holds what a module is compiled to does neither.
        """

        def make_call(compiled: Callable[..., Any] | None) -> Callable[..., Any]:
            return make(module._call_impl if compiled is None else compiled)

        return self.replaced(module, CALLS, make_call)

    @contextmanager
    def replaced(self, owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
        """Replace an attribute of a module, another object or a class, as long as the block lasts.

        `make` is given what the attribute is and returns what it is to be. What somebody else has
        put in its place meanwhile stays.
        """
        key = (id(owner), name)
        with self._lock:
            entry = self._replaced.get(key)
            if entry is None:
                self._replaced[key] = self._replace(owner, name, make)
            else:
                entry.users += 1
        try:
            yield
        finally:
            with self._lock:
                entry = self._replaced[key]
                entry.users -= 1
                if not entry.users:
                    del self._replaced[key]
                    _restore(entry, name)

    def _replace(self, owner: Any, name: str, make: Callable[[Any], Any]) -> _Replaced:
        before = vars(owner).get(name, _ABSENT)
        entry = _Replaced(owner, before, make(getattr(owner, name)))
        _set(owner, name, entry.now)
        return entry


def _restore(entry: _Replaced, name: str) -> None:
    if vars(entry.owner).get(name, _ABSENT) is entry.now:
        _set(entry.owner, name, entry.before)


def _set(owner: Any, name: str, value: Any) -> None:
    """Set or remove an attribute past `__setattr__`, which modules and compiled ones have."""
    if isinstance(owner, type):
        if value is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
    elif value is _ABSENT:
        vars(owner).pop(name, None)
    else:
        vars(owner)[name] = value
