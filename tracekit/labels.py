"""The annotations that collectors write and the analyzer reads.

`tk1|stage|NAME|STEP`, `tk1|attn|PATH|KIND|AXIS|QLEN|KLEN|HEADS`, `tk1|mod|PATH|CLASS`, and
`tk1|cat|SLUG`, which names the category of all work inside it. A `|` in a name is written `%7C`; an
unknown part is empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from tracekit.categories import CATEGORIES

OWN_CATEGORY: Final = "tracekit"
"""`cat` of every event that tracekit adds to a trace; the loader counts no such event."""

PREFIX: Final = "tk1|"
"""What every label starts with: the scheme and its version."""

KINDS: Final = ("self", "cross", "joint")
AXES: Final = ("sequence", "spatial", "temporal", "spatio-temporal")
"""Where the keys of an attention come from, and what its query tokens index."""

_ATTENTION: Final = PREFIX + "attn|"
_MODULE: Final = PREFIX + "mod|"
_CATEGORY: Final = PREFIX + "cat|"


@dataclass(frozen=True, slots=True)
class AttentionLabel:
    """What a collector says of one call of an attention module; null where it does not know.

    `path` is the module's attribute path, lengths are tokens, `key_length` with what a cache holds.
    """

    path: str | None = None
    kind: str | None = None
    axis: str | None = None
    query_length: int | None = None
    key_length: int | None = None
    heads: int | None = None


class ModuleLabel(NamedTuple):
    """The attribute path and the class of a module."""

    path: str | None
    class_name: str | None


def stage_label(name: str, step: int | None = None) -> str:
    """Return the label of a stage, or of one step of it."""
    return f"{PREFIX}stage|{_escape(name)}|{'' if step is None else step}"


def parse_stage(text: str) -> tuple[str, int | None] | None:
    """Return the stage and step that a label names, null for any other text."""
    parts = text.split("|")
    if len(parts) < 3 or parts[:2] != ["tk1", "stage"] or not parts[2]:
        return None
    step = parts[3] if len(parts) > 3 else ""
    return _unescape(parts[2]), int(step) if step.isdecimal() and len(step) < 10 else None


def attention_label(label: AttentionLabel) -> str:
    """Return the text of an attention label."""
    numbers = (label.query_length, label.key_length, label.heads)
    parts = [_escape(label.path or ""), label.kind or "", label.axis or ""]
    parts += ["" if number is None else str(number) for number in numbers]
    return f"{PREFIX}attn|{'|'.join(parts)}"


def parse_attention(text: str) -> AttentionLabel | None:
    """Return what an attention label says, null for any other text."""
    if not text.startswith(_ATTENTION):
        return None
    parts = text[len(_ATTENTION) :].split("|")
    parts += [""] * (6 - len(parts))
    return AttentionLabel(
        path=_unescape(parts[0]) or None,
        kind=parts[1] if parts[1] in KINDS else None,
        axis=parts[2] if parts[2] in AXES else None,
        query_length=_count(parts[3]),
        key_length=_count(parts[4]),
        heads=_count(parts[5]),
    )


def module_label(path: str, class_name: str) -> str:
    """Return the label of a module."""
    return f"{_MODULE}{_escape(path)}|{_escape(class_name)}"


def parse_module(text: str) -> ModuleLabel | None:
    """Return the path and class that a module's label names, null for any other text."""
    if not text.startswith(_MODULE):
        return None
    path, _, rest = text[len(_MODULE) :].partition("|")
    return ModuleLabel(_unescape(path) or None, _unescape(rest.partition("|")[0]) or None)


def category_label(category: str) -> str:
    """Return the label of work that has one category, a slug."""
    return f"{_CATEGORY}{category}"


def parse_category(text: str) -> str | None:
    """Return the category that a label names, null for any other text."""
    if not text.startswith(_CATEGORY):
        return None
    category = text[len(_CATEGORY) :].partition("|")[0]
    return category if category in CATEGORIES else None


def _count(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 16 else None


def _escape(name: str) -> str:
    return name.replace("|", "%7C")


def _unescape(name: str) -> str:
    return name.replace("%7C", "|")
