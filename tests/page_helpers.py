"""Report pages in a real browser: one headless Chromium for all tests of a module."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("TRACEKIT_CHROMIUM") or shutil.which("chromium")
NEEDED = os.environ.get("TRACEKIT_NEED_CHROMIUM") == "1"
SECTIONS = [
    "answer",
    "categories",
    "timeline",
    "stages",
    "lengths",
    "attention",
    "idle",
    "advice",
    "roofline",
    "kernels",
    "modules",
    "made",
]


def unavailable(why: str) -> None:
    """Skip, or fail where the browser was said to be needed."""
    if NEEDED:
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def launched() -> Iterator[Any]:
    """Chromium, or a skip that says what is missing."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("needs Playwright: pip install playwright")
    with sync_playwright() as playwright:
        path = CHROMIUM or playwright.chromium.executable_path
        if not Path(path).exists():
            unavailable(
                f"needs Chromium: {path} does not exist; name another in TRACEKIT_CHROMIUM, or "
                "run: playwright install chromium"
            )
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


@dataclass
class Opened:
    """A page with all that went wrong on it."""

    page: Any
    problems: list[str] = field(default_factory=list)

    def js(self, expression: str, argument: Any = None) -> Any:
        return self.page.evaluate(expression, argument)

    def wait(self, condition: str) -> None:
        """Wait for a condition; Playwright's own way evaluates text, which the page forbids."""
        for _ in range(100):
            if self.js(condition):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"never came true: {condition}")

    def texts(self, selector: str) -> list[str]:
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    @cached_property
    def run(self) -> dict[str, Any]:
        """The first run of the data block."""
        found: dict[str, Any] = self.js("tracekit.data.runs[0]")
        return found


@contextmanager
def opened(
    chromium: Any, path: Path, *, problems: bool = False, **context: Any
) -> Iterator[Opened]:
    """Open a page from disk; console errors, requests and dialogs fail, unless expected."""
    context.setdefault("viewport", {"width": 1280, "height": 900})
    room = chromium.new_context(offline=True, **context)
    page = room.new_page()
    found = Opened(page)
    page.on("console", lambda m: m.type == "error" and found.problems.append(m.text))
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    page.on("dialog", lambda dialog: (found.problems.append("dialog"), dialog.dismiss()))
    address = path.as_uri()
    page.on("request", lambda r: r.url != address and found.problems.append(f"request {r.url}"))
    try:
        page.goto(address)
        page.evaluate("tracekit.ready")
        yield found
        if not problems:
            assert not found.problems, found.problems
    finally:
        room.close()
