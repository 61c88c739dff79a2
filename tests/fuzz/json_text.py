"""JSON as written: keeps number digits, the order of keys and their repetition."""

from __future__ import annotations

import json
from dataclasses import dataclass
from random import Random
from typing import Any


class Pairs(list[tuple[str, Any]]):
    """A JSON object with the order of its keys and their repetitions."""

    def get(self, key: str) -> Any:
        """Return the value that counts for a parser: the last one."""
        return next((value for name, value in reversed(self) if name == key), None)

    def put(self, key: str, value: Any) -> None:
        """Replace every value of a key, or append one."""
        kept = [(name, value if name == key else old) for name, old in self]
        self[:] = kept if any(name == key for name, _ in kept) else [*kept, (key, value)]


class Digits(str):
    """Text that stands in the JSON as it is, such as a number."""

    __slots__ = ()


@dataclass(frozen=True)
class Layout:
    """How JSON is written.

    `escaped` is the share of characters of texts that are written as an escape; digits never are,
    so that numbers in texts stay readable for a parser that does not unescape them.
    """

    item_separator: str = ","
    key_separator: str = ":"
    event_separator: str = ","
    inside: str = ""
    ascii_only: bool = False
    escaped: float = 0.0


LAYOUTS = (
    Layout(),
    Layout(", ", ": ", ",\n  "),
    Layout(",\n    ", ": ", ",\n  ", "\n    "),
    Layout(" ,\r\n\t", " : ", "\r\n,\r\n", "\t", ascii_only=True),
    Layout(",", ":", ",", "", ascii_only=True, escaped=0.2),
    Layout(", ", ": ", " , " + " " * 300, " " * 40),
    Layout(",", ":", "," + "\n" * 90, "\n"),
)
"""Layouts of writers that exist, and of some that do not."""

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "/": "\\/"}


def parse(data: str | bytes) -> Any:
    """Return JSON with `Pairs` for objects and `Digits` for numbers."""
    return json.loads(data, object_pairs_hook=Pairs, parse_float=Digits, parse_int=Digits)


def write(value: Any, layout: Layout, rng: Random) -> str:
    """Return a value as JSON in this layout."""
    if isinstance(value, Digits):
        return str(value)
    if isinstance(value, str):
        return quoted(value, layout, rng)
    if isinstance(value, Pairs):
        parts = [
            f"{quoted(key, layout, rng)}{layout.key_separator}{write(item, layout, rng)}"
            for key, item in value
        ]
        return "{" + layout.inside + layout.item_separator.join(parts) + layout.inside + "}"
    if isinstance(value, list):
        return "[" + layout.item_separator.join(write(v, layout, rng) for v in value) + "]"
    return json.dumps(value)


def quoted(text: str, layout: Layout, rng: Random) -> str:
    """Return a text as a JSON string."""
    return '"' + "".join(_character(c, layout, rng) for c in text) + '"'


def _character(char: str, layout: Layout, rng: Random) -> str:
    if layout.escaped and char not in "0123456789.+-eE" and rng.random() < layout.escaped:
        return _SHORT.get(char) or _unicode_escape(char)
    if char in '"\\' or ord(char) < 32:
        return _SHORT.get(char) or _unicode_escape(char)
    return _unicode_escape(char) if layout.ascii_only and ord(char) > 126 else char


def _unicode_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
