"""The page of `tracekit report` in a real browser: sections, numbers, tables, themes, names."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_helpers import SECTIONS, Opened, launched, opened

import tracekit
from builders import TraceBuilder
from tracekit import units
from tracekit.reports.names import clean
from tracekit.reports.palette import COLOR_OF, LABEL_OF

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "reports/page"
RUNS = ROOT / "examples/runs"
HOSTILE = [
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "{{ 7*7 }}{% raw %}",
    "nul\x00and\x1b[31mescape",
    "\u202eright-to-left\u202d and an isolate \u2067x",
    "emoji 🙈 e\u0301 \u2028 line",
    "kernel<" + "T, " * 3_333 + ">",
    "javascript:alert(1)",
    "-->]]><!--<script>",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Reports on what people have: one run, two runs, nothing, ops alone, hostile names."""
    folder = tmp_path_factory.mktemp("pages")
    inputs: dict[str, list[Path]] = {
        "video": [RUNS / "make-a-video-h200"],
        "both": [RUNS / "make-a-video-h200", RUNS / "stable-diffusion-h200"],
        "empty": [TraceBuilder().write(folder / "empty.json")],
        "cpu": [cpu_trace().write(folder / "cpu.json")],
        "hostile": [hostile_trace().write(folder / "hostile.json")],
    }
    for name, paths in inputs.items():
        title = HOSTILE[0] if name == "hostile" else None
        (folder / f"{name}.html").write_text(tracekit.report(paths, title=title), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in inputs}


@pytest.fixture(scope="module")
def video(chromium: Any, pages: dict[str, Path]) -> Iterator[Opened]:
    """One page for all tests that only look."""
    with opened(chromium, pages["video"]) as page:
        yield page


def cpu_trace() -> TraceBuilder:
    builder = TraceBuilder()
    for at in range(6):
        builder.op("aten::conv2d", 1_000 * at, 300)
        builder.op("aten::add", 1_000 * at + 500, 200)
    return builder


def hostile_trace() -> TraceBuilder:
    builder = TraceBuilder()
    for at, name in enumerate(HOSTILE):
        start = 100_000 * at
        builder.annotation(name, start, 90_000)
        builder.module(name, start + 1, 80_000)
        builder.op(name, start + 2, 70_000)
        builder.launched(name, start + 10, start + 2_000, 10_000 + at)
    return builder


def rows_of(page: Opened, section: str, at: int = 0) -> list[list[str]]:
    """The texts of a table's rows, cell by cell."""
    body = f"[...document.querySelectorAll('#{section} table')][{at}].tBodies[0].rows"
    texts: list[list[str]] = page.js(
        f"[...{body}].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return texts


def label_of_table(page: Opened, section: str, text: str) -> int:
    """The position of the table under a heading."""
    titles = page.texts(f"#{section} .table-head h3")
    return next(at for at, title in enumerate(titles) if text in title)


def test_every_section_is_there_with_its_heading_and_its_link(video: Opened) -> None:
    assert video.js("[...document.querySelectorAll('main section')].map((s) => s.id)") == SECTIONS
    assert len(video.texts("main section > h2")) == len(SECTIONS)
    links = video.js("[...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))")
    assert links == [f"#{name}" for name in SECTIONS]
    for landmark in ("header h1", "nav[aria-label]", "main"):
        assert video.page.locator(landmark).count() == 1


def test_the_answer_stands_first_and_is_that_of_the_data(video: Opened) -> None:
    assert video.texts("#answer .lead p") == video.run["sentences"]
    figures = " ".join(video.texts("#answer .figures dd strong"))
    analysis = video.run["analysis"]
    assert units.format_ns(analysis["time"]["kernel_ns"]) in figures
    assert units.format_ns(analysis["corrected"]["wall_ns"]) in figures
    assert units.format_share(analysis["corrected"]["idle_share"]) in figures


def test_categories_have_the_times_shares_and_colours_of_the_data(video: Opened) -> None:
    rows = {row["category"]: row for row in video.run["analysis"]["categories"] if row["kernels"]}
    shown = {cells[0]: cells[1:] for cells in rows_of(video, "categories")}
    assert set(shown) == {LABEL_OF[name] for name in rows}
    for name, row in rows.items():
        assert shown[LABEL_OF[name]] == [
            units.format_ns(row["time_ns"]),
            units.format_share(row["time_share"]),
            units.format_count(row["kernels"]),
        ]
    segments = video.js(
        """[...document.querySelector('#categories .bar').children].map((one) =>
        [one.title.split(':')[0], getComputedStyle(one).backgroundColor,
        parseFloat(one.style.width)])"""
    )
    assert [label for label, _, _ in segments] == [LABEL_OF[name] for name in rows]
    for (_, color, width), (name, row) in zip(segments, rows.items(), strict=True):
        red, green, blue = (int(COLOR_OF[name][at : at + 2], 16) for at in (1, 3, 5))
        assert color == f"rgb({red}, {green}, {blue})"
        assert width == pytest.approx(100 * row["time_share"], abs=0.01)


def test_stages_lengths_idle_and_roofline_show_the_numbers_of_the_data(video: Opened) -> None:
    analysis = video.run["analysis"]
    stages = {cells[0]: cells for cells in rows_of(video, "stages")}
    for row in analysis["stages"]:
        assert units.format_ns(row["time_ns"]) in stages[row["stage"]]
        assert units.format_share(row["busy_share"]) in stages[row["stage"]]
    lengths = [(cells[0], cells[1], cells[4]) for cells in rows_of(video, "lengths")]
    for row in analysis["attention"]["sequence_lengths"]:
        count = units.format_count
        time = units.format_ns(row["time_ns"])
        assert (count(row["query_length"]), count(row["key_length"]), time) in lengths
    blame = rows_of(video, "idle", label_of_table(video, "idle", "to blame"))
    worst = max(analysis["corrected"]["blame"], key=lambda row: row["time_ns"])
    assert units.format_ns(worst["time_ns"]) in blame[0]
    achieved = {cells[0]: cells for cells in rows_of(video, "roofline")}
    for row in analysis["roofline"]["by_category"]:
        cells = achieved[LABEL_OF[row["category"]]]
        assert units.format_rate(row["flops_per_s"], "FLOP") in cells
        assert units.format_rate(row["bytes_per_s"], "B") in cells
        assert units.format_share(row["roofline_share"]) in cells
    ratio = analysis["attention"]["inside"]["temporal_to_spatial"][0]
    assert f"{ratio['time']:.2f}×" in rows_of(video, "attention")[0]
    best = max(analysis["what_if"], key=lambda row: row["speedup"])
    assert units.format_ns(best["wall_ns"]) in rows_of(video, "advice")[0]


def test_numbers_are_written_as_in_the_other_reports(video: Opened) -> None:
    chance = random.Random(7)
    numbers = [chance.randrange(10 ** chance.randint(1, 14)) for _ in range(3_000)]
    # Halves too: 2,625 ns are 2.62 µs in Python's rounding.
    numbers += [5 * chance.randrange(10**6) for _ in range(3_000)]
    shares = [chance.randrange(8_001) / 8_000 for _ in range(1_000)]
    text = video.js(
        """([numbers, shares]) => {
        const { formatNs, formatBytes, formatRate, formatCount, formatShare } = tracekit.format;
        const all = (one) =>
            [formatNs(one), formatBytes(one), formatRate(one, 'FLOP'), formatCount(one)];
        return [numbers.map(all), shares.map(formatShare)]; }""",
        [numbers, shares],
    )
    forms = (
        units.format_ns,
        units.format_bytes,
        lambda n: units.format_rate(n, "FLOP"),
        units.format_count,
    )
    assert text == [
        [[form(one) for form in forms] for one in numbers],
        [units.format_share(one) for one in shares],
    ]


def test_kernels_sort_search_and_turn_pages(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["video"]) as page:
        kernels = page.run["kernels"]
        table = page.page.locator("#kernels .table")
        times = [units.format_ns(row["time_ns"]) for row in kernels]
        seen: list[str] = []
        while True:
            seen += [cells[4] for cells in rows_of(page, "kernels")]
            if table.get_by_role("button", name="Next").is_disabled():
                break
            table.get_by_role("button", name="Next").click()
        assert seen == times

        table.get_by_role("button", name="Calls").click()
        most = sorted((row["calls"] for row in kernels), reverse=True)
        assert [c[3] for c in rows_of(page, "kernels")] == [f"{n:,}" for n in most[:20]]
        assert table.locator("th[aria-sort=descending]").inner_text().strip() == "Calls"
        table.get_by_role("button", name="Calls").click()
        assert [c[3] for c in rows_of(page, "kernels")] == [f"{n:,}" for n in most[::-1][:20]]

        search = table.get_by_role("searchbox")
        search.fill("TEMPORAL cudnn")
        found = [
            units.format_ns(row["time_ns"])
            for row in kernels
            if row["category"] == "temporal_attention" and "cudnn" in row["name"] + row["reason"]
        ]
        assert 0 < len(found) < len(kernels)
        assert [cells[4] for cells in rows_of(page, "kernels")] == found
        search.fill("no such kernel")
        assert rows_of(page, "kernels") == []
        assert "Nothing matches" in table.locator("[role=status]").inner_text()


def test_a_kernel_opens_to_its_full_name_evidence_and_reason(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with opened(chromium, pages["video"]) as page:
        row = page.run["kernels"][0]
        button = page.page.locator("#kernels .more").first
        assert button.get_attribute("aria-expanded") == "false"
        button.focus()
        page.page.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        text = page.page.locator("#kernels .opened").inner_text()
        for part in (row["name"], row["evidence"], row["reason"], f"{row['time_ns']:,} ns"):
            assert part in text
        page.page.keyboard.press("Enter")
        assert page.page.locator("#kernels .opened").count() == 0


def test_bars_of_stages_take_shares_or_one_scale_of_time(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with opened(chromium, pages["video"]) as page:

        def widths() -> list[float]:
            return page.js(
                """[...document.querySelectorAll('#categories .bar')].map((bar) =>
                [...bar.children].reduce((sum, one) => sum + parseFloat(one.style.width), 0))"""
            )

        stages = page.run["analysis"]["stages"]
        assert widths() == pytest.approx([100.0] * (1 + len(stages)))
        page.page.get_by_role("button", name="Time", exact=True).first.click()
        whole = page.run["analysis"]["time"]["kernel_ns"]
        assert widths() == pytest.approx([100, *(100 * s["time_ns"] / whole for s in stages)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_until_the_button_is_pressed(
    chromium: Any, pages: dict[str, Path], scheme: str
) -> None:
    other = {"light": "dark", "dark": "light"}[scheme]
    paper = "getComputedStyle(document.body).backgroundColor"
    canvas = "document.querySelector('.timeline-canvas').getContext('2d')"
    corner = f"[...{canvas}.getImageData(1, 1, 1, 1).data]"
    with opened(chromium, pages["video"], color_scheme=scheme) as page:
        before, drawn = page.js(paper), page.js(corner)
        page.page.emulate_media(color_scheme=other)
        assert page.js(paper) != before
        page.page.emulate_media(color_scheme=scheme)
        assert page.js(paper) == before
        page.page.get_by_role("button", name=f"Switch to {other} colours").click()
        assert page.js(paper) != before
        page.js("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.js(corner) != drawn
        page.page.reload()
        page.js("tracekit.ready")
        assert page.js("document.documentElement.dataset.theme") == other
        page.js("dispatchEvent(new Event('beforeprint'))")
        assert page.js(paper) == "rgb(255, 255, 255)"
        page.js("dispatchEvent(new Event('afterprint'))")
        assert page.js("document.documentElement.dataset.theme") == other


@pytest.mark.parametrize("name", ["video", "both", "empty", "cpu", "hostile"])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(
    chromium: Any, pages: dict[str, Path], name: str
) -> None:
    phone = {"width": 390, "height": 844}
    with opened(chromium, pages[name], viewport=phone, has_touch=True) as page:
        assert page.js("document.documentElement.scrollWidth") == 390
        titles = page.page.locator("main section > h2")
        assert all(titles.nth(at).bounding_box() for at in range(titles.count()))


def test_everything_has_a_name_for_who_cannot_see_it(video: Opened) -> None:
    parts = "button, input, select, [role=img], [role=region], [role=group], section"
    nameless = f"""[...document.querySelectorAll('{parts}')].filter((one) =>
        !(one.ariaLabel || one.textContent.trim() || one.getAttribute('aria-labelledby')))"""
    assert video.js(f"{nameless}.length") == 0
    assert video.js("[...document.querySelectorAll('table')].length") > 8
    unnamed = """[...document.querySelectorAll('table')].filter((one) =>
        !document.getElementById(one.getAttribute('aria-labelledby')))"""
    assert video.js(f"{unnamed}.length") == 0
    assert video.js(
        "[...document.querySelectorAll('.chart')].every((c) => c.ariaLabel.length > 40)"
    )
    levels = video.js("[...document.querySelectorAll('main :is(h2, h3)')].map((h) => h.tagName)")
    assert levels[0] == "H2"
    video.page.keyboard.press("Tab")
    assert video.js("document.activeElement.className") == "skip"


def test_charts_draw_what_the_data_has(video: Opened) -> None:
    profiles = video.run["analysis"]["attention"]["profile"]
    level = [one for one in profiles if len(set(one["lengths"])) == 1]
    assert video.page.locator("#lengths .chart svg").count() == len(profiles) - len(level) > 0
    assert video.page.locator("#lengths .level").count() == len(level)
    chart = (
        "tracekit.page.charts.made.find((one) => one.holder.className.includes('roofline')).chart"
    )
    drawn = video.js(f"{chart}.getOption().series.at(-1).data.map((one) => one.value)")
    points = [p for p in video.run["roofline_points"] if p["flops"] and p["bytes"]]
    assert len(points) > 10
    assert drawn == [
        pytest.approx([p["flops"] / p["bytes"], p["flops"] / p["time_ns"] * 1e9]) for p in points
    ]
    roof = video.js(f"{chart}.getOption().series[0].data")
    peaks = video.run["analysis"]["roofline"]["peaks"]
    assert roof[-1][1] == peaks["flops_per_s"]["bfloat16"]
    assert roof[1][0] == pytest.approx(roof[1][1] / peaks["bytes_per_s"])


def test_hit_rates_and_devices_are_shown_where_there_are_any(video: Opened) -> None:
    counted = {"l1_hit_rate": 0.609, "l2_hit_rate": 0.663, "dram_read_bytes": 5_250_000}
    axis = {**counted, "dram_write_bytes": None, "kernels": 34, "time_ns": 1, "axis": "temporal"}
    nothing = {**axis, "axis": "spatial", "kernels": 0, "parts": []}
    cache = {"by_axis": [{**axis, "parts": []}, nothing], "kernels": 34, "launches": 89}
    cells = "[...tracekit.test.cacheTable(cache).querySelectorAll('tbody tr')]"
    texts = f"(cache) => {cells}.map((row) => [...row.cells].map((cell) => cell.textContent))"
    assert video.js(texts, cache) == [["temporal", "all", "60.9%", "66.3%", "5.25 MB", "34"]]
    empty = {"by_axis": [nothing], "kernels": 0, "launches": 89}
    said = video.js("(cache) => tracekit.test.cacheTable(cache).textContent", empty)
    assert said == "None of the 89 launches with hardware counters is a kernel of this attention."
    time = {"span_ns": 2_000, "busy_ns": 1_500, "idle_ns": 500, "kernel_ns": 1_600}
    devices = [{"device": 0, **time}, {"device": 1, **time}]
    shown = video.js("(all) => tracekit.test.devicesTable(all).textContent", devices)
    assert shown.count("25.0%") == 2
    assert video.js("(all) => tracekit.test.devicesTable(all)", devices[:1]) is None


def test_the_images_of_the_document_are_there_and_small() -> None:
    text = (ROOT / "docs/report.md").read_text()
    images = set(re.findall(r"images/[\w-]+\.png", text))
    assert len(images) >= 5
    sizes = [(ROOT / "docs" / name).stat().st_size for name in images]
    assert max(sizes) < 400_000
    assert sum(sizes) < 2_000_000


def test_hostile_names_are_text_wherever_they_stand(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["hostile"]) as page:
        assert page.js("window.hacked") is None
        assert (
            page.js("document.querySelectorAll('img, iframe, object, a:not([href^=\"#\"])').length")
            == 0
        )
        assert page.js("document.scripts.length") == 3
        assert page.page.title() == HOSTILE[0]
        assert page.page.locator("h1").inner_text() == clean(HOSTILE[0])
        shown = page.texts("#stages tbody th")
        assert all(clean(name)[:20] in " ".join(shown) for name in HOSTILE[:3])
        for button in page.page.locator("#kernels .more").all():
            button.click()
        full = page.js(
            "[...document.querySelectorAll('#kernels .opened .full')].map((one) => one.textContent)"
        )
        assert HOSTILE[6] in full
        assert HOSTILE[4] in full
        assert "nul\ufffdand\ufffd[31mescape" in full
        # Names cannot turn the text around them, and no line is longer than the page.
        assert page.js(
            "[...document.querySelectorAll('.name')].every((one) => one.tagName === 'BDI')"
        )
        assert not re.search(
            "[\u202a-\u202e\u2066-\u2069]", "".join(page.texts("#kernels tbody th"))
        )
        assert page.js("document.documentElement.scrollWidth - innerWidth") == 0
        page.js("tracekit.page.timeline.move(1)")
        assert page.js("window.hacked") is None


def test_what_gets_past_all_that_is_still_not_run(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["empty"], problems=True) as page:
        page.js(
            """() => { const script = document.createElement('script');
            script.textContent = 'window.hacked = 1'; document.body.append(script);
            const holder = document.createElement('div');
            holder.innerHTML = '<img src="https://example.com/x.png" onerror="window.hacked = 2">';
            document.body.append(holder); }"""
        )
        page.page.wait_for_timeout(50)
        assert page.js("window.hacked") is None
        assert any("Content Security Policy" in problem for problem in page.problems)


def test_no_script_of_ours_parses_html_or_runs_text() -> None:
    scripts = [path for path in PAGE.glob("*.js") if "vendor" not in path.name]
    assert len(scripts) > 10
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|https?://"
    )
    for path in scripts:
        assert not forbidden.search(path.read_text()), path
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_page_is_small_without_its_data(pages: dict[str, Path]) -> None:
    page = pages["video"].read_text(encoding="utf-8")
    data = re.search(r'id="tracekit-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert len(page.encode()) - len(data[1].encode()) < 1_000_000


def test_two_runs_stand_side_by_side_on_one_scale(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["both"]) as page:
        runs = page.js("tracekit.data.runs")
        times = [run["analysis"]["time"]["kernel_ns"] for run in runs]
        widths = page.js(
            """[...document.querySelectorAll('#compare .bars')].map((bars) =>
            [...bars.querySelectorAll('.bar')].map((bar) =>
            [...bar.children].reduce((sum, one) => sum + parseFloat(one.style.width), 0)))"""
        )
        whole = max(times)
        assert widths[0] == pytest.approx([100 * time / whole for time in times])
        idle = [run["analysis"]["time"]["idle_ns"] for run in runs]
        assert widths[1] == pytest.approx([100 * time / whole for time in idle])
        cells = {row[0]: row[1:] for row in rows_of(page, "compare")}
        first, second = times
        assert cells["GPU time"][:2] == [units.format_ns(first), units.format_ns(second)]
        assert cells["GPU time"][2] == f"−{units.format_ns(first - second)}"
        assert cells["GPU time"][3] == f"{second / first:.2f}×"
        page.page.get_by_label("Details of").select_option("1")
        page.js("tracekit.page.ready")
        assert page.texts("#answer .lead p") == runs[1]["sentences"]
        assert page.js("tracekit.page.timeline.data.rows") == runs[1]["timeline"]["rows"]
        assert (
            page.js("[...document.querySelectorAll('main section')].map((s) => s.id)")[1:]
            == SECTIONS
        )


def test_an_empty_trace_says_so_in_each_section(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["empty"]) as page:
        assert (
            page.js("[...document.querySelectorAll('main section')].map((s) => s.id)") == SECTIONS
        )
        assert page.page.locator("canvas, .chart, .bar").count() == 0
        for name in SECTIONS[1:-1]:
            said = page.texts(f"#{name} > p")
            assert len(said) == 1, name
            assert said[0].endswith("."), name


def test_a_trace_of_ops_alone_is_told_from_one_of_a_gpu(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with opened(chromium, pages["cpu"]) as page:
        assert "CPU-only" in page.page.locator("#idle").inner_text()
        assert page.texts("#answer .figures dt")[0] == "Self time"
        assert {cells[0] for cells in rows_of(page, "categories")} == {"Convolution", "Elementwise"}
        assert page.page.locator(".timeline-canvas").count() == 1
