"""What is allocated, and the most of it: on a GPU by its allocator, on a CPU by what ops return."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable


class Meter(Protocol):
    """Tells bytes: those allocated now, and the most since it was last told to forget."""

    def counting(self) -> AbstractContextManager[object]:
        """Return a context in which it counts."""
        ...

    def now(self) -> int:
        """Return the bytes that are allocated."""
        ...

    def peak(self) -> int:
        """Return the most bytes that were allocated at a time."""
        ...

    def forget(self) -> None:
        """Let the peak be what is allocated now."""
        ...


class GpuMeter:
    """Asks the allocator of PyTorch, which counts blocks of 512 bytes."""

    def counting(self) -> AbstractContextManager[object]:
        """Return an empty context: the allocator always counts."""
        return nullcontext()

    def now(self) -> int:
        """Return the bytes that tensors have."""
        return int(torch.cuda.memory_allocated())

    def peak(self) -> int:
        """Return the most bytes that tensors had."""
        return int(torch.cuda.max_memory_allocated())

    def forget(self) -> None:
        """Let the peak be what tensors have now."""
        torch.cuda.reset_peak_memory_stats()


class OpMeter(TorchDispatchMode):  # type: ignore[misc, unused-ignore]
    """Counts the memory of what ops return, while it is alive; it sees no scratch inside of ops."""

    def __init__(self) -> None:
        super().__init__()
        self._now = self._peak = 0
        self._known: set[int] = set()

    def counting(self) -> AbstractContextManager[object]:
        """Return itself: ops count as long as the block lasts."""
        return self

    def now(self) -> int:
        """Return the bytes of results that are alive."""
        return self._now

    def peak(self) -> int:
        """Return the most bytes of results that were alive."""
        return self._peak

    def forget(self) -> None:
        """Let the peak be what is alive now."""
        self._peak = self._now

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an op and count what it returns, unless the memory is that of an input."""
        inputs = {_key(one) for one in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for one in _tensors(result):
            key = _key(one)
            if key in inputs or key in self._known:
                continue
            storage = one.untyped_storage()
            self._known.add(key)
            self._now += storage.nbytes()
            self._peak = max(self._peak, self._now)
            weakref.finalize(storage, self._free, key, storage.nbytes())
        return result

    def _free(self, key: int, size_bytes: int) -> None:
        self._known.discard(key)
        self._now -= size_bytes


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
