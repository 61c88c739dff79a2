"""Write what a study found into the documentation: ``python -m benchmarks.study_document STUDY``.

Every table between the markers of ``docs/study.md`` is one that ``tracekit study report`` writes,
from what is kept in the folder of the study, and the figures in its sentences are read from there
as well; the rendered page is written beside the study. With ``--figures`` the figures of that page
become pictures in ``docs/images/``, which needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.document import replace_between
from benchmarks.study_prose import in_short, serving, what_changed, why
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.errors import TracekitError
from tracekit.reports.study import render_study
from tracekit.study.report import study_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracekit.study_results import StudyReport

DOCS: Final = CHECKOUT / "docs" / "study.md"
PAGE: Final = "study.html"
SECTIONS: Final = {
    "study-claims": "The claims",
    "study-models": "The models",
    "study-breakdown": "Where the time goes",
    "study-stages": "Where the time goes, by stage",
    "study-flash": "What Flash Attention gives",
    "study-lengths": "Sequence lengths",
    "study-likeness": "Prefill or decode",
    "study-temporal": "Attention along time",
    "study-size": "Over the image side: stable-diffusion",
    "study-frames": "Over the frames: make-a-video",
    "study-scores": "Memory of the scores",
    "study-idle": "Idle time",
    "study-variants": "Why: one thing varied",
    "study-projection": "Why: another generation of GPU, projected",
    "study-graphs": "Why: steps without the host",
    "study-sampling": "What was sampled",
    "study-missing": "What was not measured",
}
"""The section of the report that stands between each pair of markers."""
WITHOUT_FIGURE: Final = ("study-claims", "study-sampling", "study-missing")
PROSE: Final[dict[str, Callable[[StudyReport], str]]] = {
    "study-short": in_short,
    "study-today": what_changed,
    "study-serving": serving,
    "study-why": why,
}
"""What writes the sentences between each of the other pairs of markers."""
_WIDTH: Final = 900


def main(argv: Sequence[str] | None = None) -> int:
    """Write the tables and the page, and return 0."""
    program = "benchmarks.study_document"
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=__doc__)
    parser.add_argument("study", type=Path)
    parser.add_argument("--docs", type=Path, default=DOCS)
    parser.add_argument("--figures", action="store_true", help="draw the pictures as well")
    args = parser.parse_args(argv)
    try:
        report = study_report(args.study)
        page = args.study / PAGE
        page.write_text(render_study(report, "html"), encoding="utf-8")
        tables = sections_of(render_study(report, "markdown"))
        text = args.docs.read_text(encoding="utf-8")
        for marker, title in SECTIONS.items():
            if title not in tables:
                raise UnusableError(f"{args.study}: the report has no section {title!r}")
            text = replace_between(text, marker, tables[title])
        for marker, written in PROSE.items():
            text = replace_between(text, marker, written(report))
        args.docs.write_text(text, encoding="utf-8")
        if args.figures:
            _draw(page, args.docs.parent / "images")
    except (OSError, UnusableError, TracekitError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0


def sections_of(markdown: str) -> dict[str, str]:
    """Return the sections of a report by title, without their headings."""
    found = {}
    for part in markdown.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        found[title.replace("\\", "")] = body.strip()
    return found


def _draw(page: Path, folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    browser_path = os.environ.get("TRACEKIT_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
        )
        shown = browser.new_page(
            viewport={"width": _WIDTH, "height": 1200}, color_scheme="light", device_scale_factor=2
        )
        shown.goto(page.resolve().as_uri())
        for name, title in SECTIONS.items():
            if name in WITHOUT_FIGURE:
                continue
            heading = shown.get_by_role("heading", name=title, exact=True)
            section = shown.locator("section", has=heading)
            section.locator("svg").first.screenshot(path=folder / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
