"""Reports as a reader of the page gets them."""

from __future__ import annotations

import json
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import tracekit
from tracekit.reports.page_read import TimelineColumns, timeline_columns


class Blocks(HTMLParser):
    """All elements of a page with their attributes, and the text of each script."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: dict[str, list[str]] = defaultdict(list)
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts[-1] += data
        elif self._open:
            self.text[self._open[-1]].append(data)


def parsed(page: str) -> Blocks:
    blocks = Blocks()
    blocks.feed(page)
    blocks.close()
    return blocks


def block_of(page: str) -> dict[str, Any]:
    """The data block of a page, read without any code of ours."""
    found = parsed(page)
    scripts = [attrs for tag, attrs in found.tags if tag == "script"]
    texts = [
        text
        for attrs, text in zip(scripts, found.scripts, strict=True)
        if attrs.get("id") == "tracekit-data"
    ]
    assert len(texts) == 1
    block: dict[str, Any] = json.loads(texts[0])
    return block


def report_of(*paths: Path, **options: Any) -> dict[str, Any]:
    return block_of(tracekit.report(paths, **options))


def columns_of(run: dict[str, Any]) -> TimelineColumns:
    return timeline_columns(run["timeline"])
