"""The annotations that collectors write and the analyzer reads.

`tk1|stage|NAME|STEP`, `tk1|attn|PATH|KIND|AXIS|QLEN|KLEN|HEADS`, `tk1|mod|PATH|CLASS`. A `|` in a
name is written `%7C`; an unknown part is empty.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "tk1|"
"""What every label starts with: the scheme and its version."""


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


def _escape(name: str) -> str:
    return name.replace("|", "%7C")


def _unescape(name: str) -> str:
    return name.replace("%7C", "|")
