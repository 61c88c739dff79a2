"""Text, code, tables and folds in GitHub's flavour of Markdown, in which names stay names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tracekit.reports.names import clean, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST: Final = 120
"""Cells of a name at most; a kernel's template arguments can be thousands."""

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|~#&$])")
_LIST_MARKER: Final = re.compile(r"^(\d*)([-+=.)])(?=[\s=-]|$)")
_BACKTICKS: Final = re.compile("`+")
_NOTHING: Final = "<!-- -->"
# GitHub looks for these after Markdown is gone, so that a backslash does not keep it from linking
# issues and addresses, notifying people, or showing pictures; a comment in between does.
_LINKED: Final = re.compile(r"@|#(?=\d)|(?<=GH)-(?=\d)|:(?=//)|:(?=[\w+-]+:)|(?<=www)\.", re.I)


def escape(text: str) -> str:
    """Return `text` such that Markdown shows it as it is, in a paragraph or a table cell."""
    parts = re.split(_LINKED, clean(text))
    found = re.findall(_LINKED, clean(text))
    escaped = [_SPECIAL.sub(r"\\\1", part) for part in parts]
    marks = [_SPECIAL.sub(r"\\\1", mark) + _NOTHING for mark in found]
    joined = escaped[0] + "".join(m + part for m, part in zip(marks, escaped[1:], strict=True))
    return _LIST_MARKER.sub(r"\1\\\2", joined)


def code(text: str, *, in_table: bool = False) -> str:
    """Return `text` as a code span; in a table, pipes are escaped so that they split no cell."""
    shown = clean(text)
    fence = "`" * (1 + max((len(run) for run in _BACKTICKS.findall(shown)), default=0))
    if shown.startswith("`") or shown.endswith("`"):
        shown = f" {shown} "
    if in_table:
        # A backslash before an escaped pipe would escape the escape.
        shown = shown.replace("\\|", "\\ |").replace("|", "\\|")
    return f"{fence}{shown}{fence}"


def name(text: str | None, cells: int = LONGEST) -> str:
    """Return a name as a code span in a table, cut in its middle where it is too long."""
    return code(fit(clean(text), cells), in_table=True)


def table(headers: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    """Return a table, `align` has an `l` or `r` for each column; empty text without rows."""
    body = [" | ".join(row) for row in rows]
    if not body:
        return ""
    rule = " | ".join("---:" if side == "r" else ":---" for side in align)
    return "\n".join(f"| {line} |" for line in (" | ".join(headers), rule, *body))


def folded(title: str, blocks: Iterable[str]) -> str:
    """Return blocks that open at a click on `title`, empty text where all are empty."""
    shown = [block for block in blocks if block]
    if not shown:
        return ""
    # Without the blank lines GitHub takes what is inside for HTML.
    inside = "\n\n".join(shown)
    return f"<details>\n<summary>{title}</summary>\n\n{inside}\n\n</details>"
