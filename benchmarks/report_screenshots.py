"""Screenshots of reports on the shipped runs: ``python -m benchmarks.report_screenshots``.

Needs Playwright and Chromium (``TRACEKIT_CHROMIUM`` names one that is not on the path). Writes the
images of docs/report.md, or all of a page at two widths in two themes with ``--all FOLDER``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.tools import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RUNS: Final = CHECKOUT / "examples" / "runs"
IMAGES: Final = CHECKOUT / "docs" / "images"
STABLE_DIFFUSION: Final = "stable-diffusion-h200"
MAKE_A_VIDEO: Final = "make-a-video-h200"
WIDE: Final = {"width": 1440, "height": 1180}
PHONE: Final = {"width": 390, "height": 844}


def main(argv: Sequence[str] | None = None) -> int:
    """Write the images and return 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_screenshots")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="folder of the images")
    parser.add_argument("--all", action="store_true", help="whole pages, to look at")
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, _chromium() as chromium:
        pages = _pages(Path(folder))
        take = _take_whole if arguments.all else _take_parts
        take(chromium, pages, arguments.output)
    return 0


def _pages(folder: Path) -> dict[str, Path]:
    """Write the reports and return their paths by name."""
    # Paths of the page are as a reader of the repository would give them.
    os.chdir(CHECKOUT)
    paths = {name: [RUNS.relative_to(CHECKOUT) / name] for name in (STABLE_DIFFUSION, MAKE_A_VIDEO)}
    paths["both"] = [path for one in (STABLE_DIFFUSION, MAKE_A_VIDEO) for path in paths[one]]
    for name, inputs in paths.items():
        (folder / f"{name}.html").write_text(tracekit.report(inputs), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in paths}


def _take_whole(chromium: Any, pages: dict[str, Path], output: Path) -> None:
    for name, path in pages.items():
        for size in (WIDE, PHONE):
            for scheme in ("light", "dark"):
                with _opened(chromium, path, size, scheme) as page:
                    target = output / f"{name}-{size['width']}-{scheme}.png"
                    page.screenshot(path=target, full_page=True)


def _take_parts(chromium: Any, pages: dict[str, Path], output: Path) -> None:
    with _opened(chromium, pages[STABLE_DIFFUSION], WIDE, "light") as page:
        page.screenshot(path=output / "report.png")
    with _opened(chromium, pages[MAKE_A_VIDEO], WIDE, "dark") as page:
        _to_section(page, "lengths")
        page.screenshot(path=output / "report-lengths-dark.png")
    with _opened(chromium, pages[MAKE_A_VIDEO], WIDE, "light") as page:
        # A few layers of the denoiser, with one of its convolutions selected.
        page.evaluate(
            """() => { const timeline = tracekit.page.timeline;
            const step = timeline.data.steps.find((one) => one.step === 1);
            const lane = timeline.lines.find((one) => one.kind === 'lane');
            const from = lane.track.rowFrom(step.start_ns + 30e6);
            timeline.show(lane.track.start[from], lane.track.start[from] + 4e6);
            let longest = from;
            while (lane.track.start[++longest] < timeline.view.to && lane.track.dur[longest] < 3e5);
            timeline.select({ line: lane, row: longest }); }"""
        )
        page.wait_for_timeout(100)
        _shoot(page, "timeline", output / "report-timeline.png")
    with _opened(chromium, pages["both"], WIDE, "light") as page:
        _shoot(page, "compare", output / "report-compare.png")
    for scheme in ("light", "dark"):
        with _opened(chromium, pages[MAKE_A_VIDEO], PHONE, scheme) as page:
            _to_section(page, "categories" if scheme == "light" else "timeline")
            page.screenshot(path=output / f"report-phone-{scheme}.png")


def _shoot(page: Any, section: str, path: Path) -> None:
    """Take a section with some of the paper around it."""
    box = page.locator(f"#{section}").bounding_box()
    top = page.evaluate("scrollY") + box["y"]
    clip = {"x": box["x"] - 24, "y": top - 24, "width": box["width"] + 48}
    page.screenshot(path=path, full_page=True, clip={**clip, "height": box["height"] + 48})


def _to_section(page: Any, name: str) -> None:
    page.evaluate("(name) => document.getElementById(name).scrollIntoView()", name)
    page.wait_for_timeout(200)


@contextmanager
def _chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("TRACEKIT_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def _opened(chromium: Any, path: Path, size: dict[str, int], scheme: str) -> Iterator[Any]:
    scale = 2 if size is PHONE else 1
    context = chromium.new_context(
        viewport=size, color_scheme=scheme, device_scale_factor=scale, has_touch=size is PHONE
    )
    page = context.new_page()
    page.goto(path.as_uri())
    page.evaluate("tracekit.ready")
    page.wait_for_timeout(200)
    yield page
    context.close()


if __name__ == "__main__":
    sys.exit(main())
