"""Dictionaries that give each distinct text, thread or JSON fragment a small integer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
import numpy as np

from tracekit.loading.limits import LoadLimits
from tracekit.trace import NO_TEXT

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]

_TEXT_OVERHEAD_BYTES: Final = 150
"""What a Python str and its place in a dictionary take beside its characters."""


class TextPool(dict[str | None, int]):
    """Codes of texts by first appearance; null has the code `NO_TEXT`.

    `nbytes` is about what the texts take.
    """

    def __init__(self, limits: LoadLimits) -> None:
        super().__init__({None: NO_TEXT})
        self.nbytes = 0
        self._limits = limits

    def __missing__(self, text: str | None) -> int:
        if text is not None:
            self._limits.check_text(text)
            self.nbytes += len(text) + _TEXT_OVERHEAD_BYTES
        code = self[text] = len(self) - 1
        return code

    def strings(self) -> tuple[str, ...]:
        """Return the texts, in the order of their codes."""
        return tuple(text for text in self if text is not None)


class FragmentPool(dict[bytes, int]):
    """Codes of JSON fragments, written compactly, in the text pool that it is given."""

    def __init__(self, texts: TextPool) -> None:
        super().__init__({b"": NO_TEXT, b"null": NO_TEXT})
        self._texts = texts

    def __missing__(self, fragment: bytes) -> int:
        code = self[fragment] = self._texts[_compact(fragment)]
        return code


def _compact(fragment: bytes) -> str:
    """Return a fragment without insignificant space; one that is no good JSON as it is."""
    try:
        return msgspec.json.encode(msgspec.json.decode(fragment)).decode()
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return fragment.decode("utf-8", "replace")


class SignaturePool(dict[bytes, int]):
    """Codes of what ops were called with: fragments of shapes, types, strides, concrete inputs.

    Most ops of a trace share few such signatures, so one look-up serves the four columns.
    """

    NAMES: ClassVar = ("input_dims", "input_types", "input_strides", "concrete_inputs")

    def __init__(self, fragments: FragmentPool) -> None:
        super().__init__()
        self._fragments = fragments

    def __missing__(self, key: bytes) -> int:
        code = self[key] = len(self)
        return code

    def expander(self) -> Callable[[Arrays], Arrays]:
        """Return a function that puts the four columns in the place of `signature`, if any."""
        parts = [[self._fragments[part] for part in key.split(b"\0")] for key in self]
        by_signature = np.array(parts, np.int32).reshape(-1, len(self.NAMES))

        def expand(columns: Arrays) -> Arrays:
            if "signature" not in columns:
                return columns
            codes = columns.pop("signature")
            return columns | {name: by_signature[codes, i] for i, name in enumerate(self.NAMES)}

        return expand


class ThreadPool(dict[tuple[Any, Any], int]):
    """Codes of (pid, tid) pairs; numbers and their text are the same thread."""

    def __init__(self) -> None:
        super().__init__()
        self._code_of: dict[tuple[str, str], int] = {}

    def __missing__(self, key: tuple[Any, Any]) -> int:
        names = (str(key[0]), str(key[1]))
        code = self[key] = self._code_of.setdefault(names, len(self._code_of))
        return code

    def threads(self) -> tuple[tuple[str, str], ...]:
        """Return the (pid, tid) pairs as text, in the order of their codes."""
        return tuple(self._code_of)
