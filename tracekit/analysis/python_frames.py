"""Python functions of traces with stacks: which was running, and whose code it is."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from tracekit.linking.nesting import Forest, build_forest, nearest_marked
from tracekit.trace import BoolArray, CodeArray, IntArray, Trace

_FUNCTION: Final = re.compile(r"^(?P<file>[^()]*\.pyx?)\(\d+\): ")
_INSTALLED: Final = re.compile(r"(?:^|/)(?:site-packages|dist-packages)/|(?:^|/)lib/python\d")
_FRAMEWORKS: Final = {
    *("torch", "torchvision", "torchaudio", "functorch", "triton", "diffusers", "transformers"),
    *("accelerate", "peft", "xformers", "flash_attn", "deepspeed", "lightning", "timm", "numpy"),
    *("PIL", "einops", "safetensors", "huggingface_hub", "tokenizers", "tqdm", "apex", "torchao"),
    *("transformer_engine", "bitsandbytes", "pytorch_lightning", "tracekit", "_pytest"),
}
"""Packages whose code is not the user's; profilers write paths below where packages lie."""


@dataclass(frozen=True)
class PythonFrames:
    """The `python_function` events of a trace as a forest."""

    trace: Trace

    @cached_property
    def _forest(self) -> Forest:
        frames = self.trace.frames
        return build_forest(frames.thread, frames.start_ns, frames.end_ns)

    def at(self, thread: CodeArray, time_ns: IntArray) -> tuple[IntArray, IntArray]:
        """Return functions at points in time as codes of texts, -1 for none.

        First the innermost function with a file, then the innermost one of the user's own, which
        is the same where the time was spent in the user's code itself.
        """
        none = np.full(len(thread), -1, np.int64)
        if not len(self.trace.frames) or not len(thread):
            return none, none.copy()
        row = self._forest.innermost_at(thread, time_ns)
        return self._nearest(row, self._has_file), self._nearest(row, self._is_own)

    def _nearest(self, row: IntArray, marked: BoolArray) -> IntArray:
        nearest = nearest_marked(self._forest.parent, marked)
        above = np.where(row >= 0, nearest[row], -1)
        return np.where(above >= 0, self.trace.frames.name[above], -1).astype(np.int64)

    @cached_property
    def _is_own(self) -> BoolArray:
        return self._marked([is_users_own(text) for text in self.trace.strings])

    @cached_property
    def _has_file(self) -> BoolArray:
        return self._marked([_FUNCTION.match(text) is not None for text in self.trace.strings])

    def _marked(self, is_name: list[bool]) -> BoolArray:
        flags = np.array([*is_name, False], np.bool_)
        marked: BoolArray = flags[self.trace.frames.name]
        return marked


def is_users_own(frame: str) -> bool:
    """Say whether a frame's text, `path/file.py(12): function`, names code of the user's.

    Python's own modules, installed packages and the well-known frameworks are not.
    """
    match = _FUNCTION.match(frame)
    if match is None:
        return False
    file = match["file"].replace("\\", "/")
    if file.startswith("<") or _INSTALLED.search(file):
        return False
    first = file.lstrip("/").partition("/")[0].removesuffix(".py")
    is_relative = not file.startswith("/")
    return not (is_relative and (first in _FRAMEWORKS or first in sys.stdlib_module_names))
