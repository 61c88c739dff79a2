"""Makes names from traces fit for people: printable, readable, and as wide as there is room.

Widths are terminal cells: a CJK character takes two, a combining accent none.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Sequence

UNNAMED: Final = "(unnamed)"
"""What a report shows for a kernel without a name."""

_ELLIPSIS: Final = "…"
_DIFFERENCE_WIDTH: Final = 24
_NO_CPP: Final = ("Memcpy ", "Memset ")
_ANONYMOUS: Final = re.compile(r"\(anonymous (?:namespace|class)\)(?:::)?|<unnamed>(?:::)?")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*(?:::[A-Za-z_]\w*)*")

# These names say how a kernel iterates; what it computes is one of its template arguments.
_ITERATORS: Final = re.compile(r"elementwise_kernel|^reduce_kernel")
_COMPUTES: Final = re.compile(r"functor|kernel|Ops$", re.IGNORECASE)
_ADAPTERS: Final = re.compile(
    r"^(?:gpu_kernel_impl\w*|gpu_index_kernel|[AB]?UnaryFunctor|BinaryFunctor|enable_\w+)$"
)
_WRAPPERS: Final = frozenset({"Kernel", "Kernel2", "device_kernel"})
_TYPES: Final = frozenset(
    {"bool", "char", "const", "double", "false", "float", "int", "long", "short", "true", "void"}
)


def clean(text: str | None) -> str:
    """Return `text` on one line and without characters that steer a terminal.

    Runs of white space become one space, invisible format characters vanish, and everything else
    that cannot be printed (escape codes, halves of surrogate pairs) becomes U+FFFD.
    """
    if text is None:
        return UNNAMED
    line = " ".join(text.split())
    # Nearly all names are printable, and some are long.
    return (line if line.isprintable() else "".join(map(_printable, line))) or UNNAMED


def readable_name(name: str | None) -> str:
    """Return the function name of a kernel: no return type, namespaces, arguments or parameters.

    Where the function is only a vehicle (`elementwise_kernel`, `cutlass::Kernel2`), the template
    argument that says what it computes follows in angle brackets.
    """
    text = clean(name)
    if text.startswith(_NO_CPP) or not ("<" in text or "(" in text):
        return text
    text = _ANONYMOUS.sub("", text)
    outside = _outside_brackets(text).strip()
    path = outside.rsplit(" ", 1)[-1].split("::")
    function = path[-1]
    if not _IDENTIFIER.fullmatch(function):
        return text
    if _ITERATORS.search(function) or function in _WRAPPERS:
        meaning = _meaning(text, must_compute=function not in _WRAPPERS)
        return f"{function}<{meaning}>" if meaning else function
    return "::".join(path[-2:]) if function == "kernel" else function


def readable_names(names: Sequence[str | None]) -> list[str]:
    """Return `readable_name` of each, and where two coincide, what differs in their full names."""
    short = [readable_name(name) for name in names]
    same: dict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(short):
        same[name].append(index)
    for group in same.values():
        full = [clean(names[index]) for index in group]
        if len(set(full)) > 1:
            for index, part in zip(group, _differences(full), strict=True):
                short[index] = f"{short[index]} {_ELLIPSIS}{part}{_ELLIPSIS}"
    return short


def fit(text: str, width: int) -> str:
    """Return `text` cut to `width` cells, with an ellipsis in its middle if it is longer."""
    if cell_len(text) <= width:
        return text
    if width <= 1:
        return _ELLIPSIS * max(width, 0)
    tail_width = (width - 1) // 2
    head = set_cell_size(text, width - 1 - tail_width).rstrip()
    # Cells are counted on the joined string: a tail may begin with a mark that the head absorbs.
    start = max(0, len(text) - tail_width)
    while cell_len(fitted := f"{head}{_ELLIPSIS}{text[start:]}") > width:
        start += 1
    return fitted


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return "" if unicodedata.category(character) == "Cf" else "\ufffd"


def _outside_brackets(text: str) -> str:
    """Return what stands outside template brackets, up to the parameter list."""
    kept: list[str] = []
    open_brackets: list[str] = []
    for index, character in enumerate(text):
        if character == "(" and not open_brackets:
            break
        if character in "<(":
            open_brackets.append(character)
        elif character == ">" and open_brackets and open_brackets[-1] == "<":
            # `->` inside a lambda's type closes nothing.
            if text[index - 1] != "-":
                open_brackets.pop()
        elif character == ")" and "(" in open_brackets:
            while open_brackets.pop() != "(":
                pass
        elif not open_brackets:
            kept.append(character)
    return "".join(kept)


def _meaning(text: str, *, must_compute: bool) -> str | None:
    for match in _IDENTIFIER.finditer(text, text.find("<") + 1):
        word = match.group().rsplit("::", 1)[-1]
        if word in _TYPES or _ADAPTERS.match(word):
            continue
        if not must_compute or _COMPUTES.search(word):
            return word
    return None


def _differences(names: list[str]) -> list[str]:
    """Return from each name what is between the beginning and the end that all have in common."""
    start = _common_length(names)
    while start > 0 and names[0][start - 1] not in " ,<(":
        start -= 1
    rest = [name[start:] for name in names]
    end = _common_length([part[::-1] for part in rest])
    while end > 0 and rest[0][-end] not in " ,>)":
        end -= 1
    return [fit(part[: len(part) - end], _DIFFERENCE_WIDTH) for part in rest]


def _common_length(texts: list[str]) -> int:
    pairs = zip(min(texts), max(texts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
