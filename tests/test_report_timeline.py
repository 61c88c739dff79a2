"""The timeline of a report in a real browser: what it decodes, sums, draws and answers to."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_helpers import Opened, launched, opened

import tracekit
from builders import TraceBuilder
from tracekit.reports.page_columns import encoded
from tracekit.reports.page_data import embedded
from tracekit.reports.page_read import read_report, timeline_columns
from tracekit.units import format_ns

ROOT = Path(__file__).parent.parent
VIDEO = ROOT / "examples/runs/make-a-video-h200"
MILLION = 1_000_000
TIMELINE = "tracekit.page.timeline"
VIEW = f"[{TIMELINE}.view.from, {TIMELINE}.view.to]"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timeline") / "video.html"
    path.write_text(tracekit.report(VIDEO), encoding="utf-8")
    return path


@pytest.fixture
def page(chromium: Any, video: Path) -> Iterator[Opened]:
    with opened(chromium, video) as found:
        yield found


def two_streams() -> TraceBuilder:
    """Two streams of one GPU, one of another, all with gaps."""
    builder = TraceBuilder()
    for at in range(400):
        for device, stream in ((0, 7), (0, 20), (1, 7)):
            start = 1_000 + at * 10_000 + 777 * stream
            builder.launched(
                f"gemm_{at % 7}",
                start - 900,
                start,
                2_000 + 13 * (at % 29),
                device=device,
                stream=stream,
            )
    return builder


def with_other_timeline(block: dict[str, Any], page: str, timeline: dict[str, Any]) -> str:
    """The same page on a data block with another timeline."""
    before = embedded(block)
    assert page.count(before) == 1
    block["runs"][0]["timeline"] = timeline
    return page.replace(before, embedded(block))


def million(origin: dict[str, Any]) -> dict[str, Any]:
    """A million kernels back to back with gaps between, of the kinds of a real trace."""
    chance = np.random.default_rng(5)
    dur = chance.integers(1_000, 90_000, MILLION)
    gap = chance.integers(0, 30_000, MILLION)
    start = np.cumsum(dur + gap) - dur - gap
    rows = np.arange(MILLION)
    few = np.arange(0, MILLION, 40)
    nothing = encoded(np.zeros(MILLION, np.int64))
    length = 4 ** chance.integers(3, 7, len(few))
    ends = int(start[-1] + dur[-1])
    edges = np.linspace(0, ends, 201).astype(int)
    return {
        **origin,
        "span_ns": ends,
        "rows": MILLION,
        "lanes": [{"label": "GPU 0", "device": 0, "stream": 7, "first": 0, "rows": MILLION}],
        "columns": {
            "start": encoded(np.diff(start, prepend=0), signed=True),
            "dur": encoded(dur),
            "kind": encoded(chance.integers(0, len(origin["kinds"]), MILLION)),
            "place": nothing,
            "step": encoded(1 + rows * 200 // MILLION),
        },
        "steps": [
            {"stage": "denoise", "step": at, "start_ns": a, "end_ns": b, "source": "label"}
            for at, (a, b) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
        ],
        "gaps": {
            "device": encoded(np.ones(MILLION - 1, np.int64)),
            "before": encoded(np.diff(rows[:-1], prepend=0), signed=True),
            "after": encoded(np.ones(MILLION - 1, np.int64), signed=True),
            "cause": encoded(chance.integers(0, 3, MILLION - 1)),
        },
        "attention": {
            "start": encoded(np.diff(start[few], prepend=0), signed=True),
            "dur": encoded(dur[few]),
            "time": encoded(dur[few]),
            "query_length": encoded(length),
            "key_length": encoded(length),
            "axis": encoded(np.ones(len(few), np.int64)),
            "kind": encoded(np.ones(len(few), np.int64)),
        },
    }


def test_the_columns_are_those_of_the_file(page: Opened, video: Path) -> None:
    timeline = read_report(video)["runs"][0]["timeline"]
    columns = timeline_columns(timeline)
    origin = int(timeline["origin_ns"])
    for name, values in (
        ("start", columns.start_ns - origin),
        ("dur", columns.dur_ns),
        ("kind", columns.kind),
        ("place", columns.place),
        ("step", columns.step + 1),
    ):
        assert page.js(f"Array.from({TIMELINE}.decoded.{name})") == values.tolist(), name
    gaps = f"{TIMELINE}.decoded.gaps[0]"
    assert (
        page.js(f"Array.from({gaps}.track.start)") == (columns.gaps["start_ns"] - origin).tolist()
    )
    assert page.js(f"Array.from({gaps}.track.dur)") == columns.gaps["dur_ns"].tolist()
    assert page.js(f"Array.from({gaps}.track.group)") == columns.gaps["cause"].tolist()
    attention = f"{TIMELINE}.decoded.attention"
    assert (
        page.js(f"Array.from({attention}.queryLength)")
        == columns.attention["query_length"].tolist()
    )
    assert page.js(f"Array.from({attention}.axis)") == (columns.attention["axis"] + 1).tolist()


def test_lanes_and_gaps_keep_to_their_device(chromium: Any, tmp_path: Path) -> None:
    path = tmp_path / "streams.html"
    path.write_text(
        tracekit.report(two_streams().write(tmp_path / "streams.json")), encoding="utf-8"
    )
    columns = timeline_columns(read_report(path)["runs"][0]["timeline"])
    with opened(chromium, path) as page:
        lines = page.js(f"{TIMELINE}.lines.map((one) => [one.kind, one.caption ?? null])")
        assert [kind for kind, _ in lines if kind in ("lane", "gaps")] == [
            "lane", "lane", "gaps", "lane", "gaps",
        ]  # fmt: skip
        for device in (0, 1):
            shown = page.js(f"Array.from({TIMELINE}.decoded.gaps[{device}].track.dur)")
            assert shown == columns.gaps["dur_ns"][columns.gaps["device"] == device].tolist()
        sums = page.js(
            f"{TIMELINE}.decoded.lanes.map((lane) => lane.track.times.reduce((a, b) => a + b))"
        )
        assert sum(sums) == page.run["analysis"]["time"]["kernel_ns"]


def test_streams_beyond_sixteen_are_drawn_on_demand(chromium: Any, tmp_path: Path) -> None:
    builder = TraceBuilder()
    for stream in range(20):
        for at in range(stream + 1):
            start = 1_000 + 50_000 * at + 300 * stream
            builder.launched(f"gemm_{stream}", start - 900, start, 20_000, stream=stream)
    path = tmp_path / "many.html"
    path.write_text(tracekit.report(builder.write(tmp_path / "many.json")), encoding="utf-8")
    drawn = f"{TIMELINE}.lines.filter((one) => one.kind === 'lane').map((one) => one.track.rows)"
    with opened(chromium, path) as page:
        assert page.js(drawn) == list(range(5, 21))
        assert "4 more streams" in page.page.locator("#timeline").inner_text()
        page.page.get_by_role("button", name="Draw all").click()
        assert page.js(drawn) == list(range(1, 21))
        assert "more streams" not in page.page.locator("#timeline").inner_text()


def test_columns_of_pixels_hold_the_time_that_is_there(page: Opened, video: Path) -> None:
    """Of any view, at any width: what is painted is what brute force finds, to the nanosecond."""
    columns = timeline_columns(read_report(video)["runs"][0]["timeline"])
    start = columns.start_ns - columns.start_ns.min()
    end = start + columns.dur_ns
    chance = random.Random(3)
    span = int(end.max())
    for _ in range(25):
        low = chance.randrange(span - 1_000)
        high = min(span, low + 10 ** chance.randint(3, 9))
        width = chance.choice([1, 7, 640])
        painted = page.js(
            f"""([from, to, width]) => {{ const {{ test }} = tracekit;
            const sums = [];
            test.eachColumn({TIMELINE}.decoded.lanes[0].track, {{ from, to }}, width,
            (x, times) => sums.push(times.reduce((a, b) => a + b))); return sums; }}""",
            [low, high, width],
        )
        edges = low + (high - low) / width * np.arange(width + 1)
        inside = np.array(
            [
                np.clip(np.minimum(end, b) - np.maximum(start, a), 0, None).sum()
                for a, b in pairwise(edges)
            ]
        )
        assert np.allclose(painted, inside, atol=1.0)


def test_zoom_and_pan_by_keys_wheel_buttons_and_pointer(page: Opened) -> None:
    span = page.run["timeline"]["span_ns"]
    stage = page.page.locator(".timeline-stage")
    stage.scroll_into_view_if_needed()
    assert page.js(VIEW) == [0, span]

    stage.focus()
    page.page.keyboard.press("+")
    assert page.js(VIEW) == pytest.approx([span / 4, span * 3 / 4])
    page.page.keyboard.press("ArrowRight")
    assert page.js(VIEW) == pytest.approx([span * 0.3, span * 0.8])
    page.page.keyboard.press("End")
    assert page.js(VIEW) == pytest.approx([span / 2, span])
    page.page.keyboard.press("0")
    assert page.js(VIEW) == [0, span]

    page.page.get_by_role("button", name="Zoom in").click()
    assert page.js(VIEW) == pytest.approx([span / 4, span * 3 / 4])
    page.page.get_by_role("button", name="Show all").click()
    assert page.js(VIEW) == [0, span]

    box = stage.bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 100)
    scrolled = page.js("scrollY")
    page.page.mouse.wheel(0, 100)
    page.wait(f"scrollY > {scrolled}")
    assert page.js(VIEW) == [0, span]
    stage.scroll_into_view_if_needed()
    stage.focus()
    box = stage.bounding_box()
    page.page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 100)
    page.page.mouse.wheel(0, -400)
    page.wait(f"{TIMELINE}.view.to < {span}")
    low, high = page.js(VIEW)
    assert (span / 4 - low) / (high - low) == pytest.approx(0.25, abs=0.01)

    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] / 4 - 50, box["y"] + 100)
    page.page.mouse.up()
    moved = page.js(VIEW)
    assert moved[0] - low == pytest.approx(50 * (high - low) / box["width"])
    assert moved[1] - moved[0] == pytest.approx(high - low)
    page.js(f"{TIMELINE}.show(-900, -899)")
    assert page.js(VIEW) == [0, 200]
    page.js(f"{TIMELINE}.show(-5e9, 1)")
    assert page.js(VIEW) == [0, span]


def test_two_fingers_pinch(page: Opened) -> None:
    span = page.run["timeline"]["span_ns"]
    page.js(
        """() => { const stage = document.querySelector('.timeline-stage');
        stage.setPointerCapture = () => {};
        const box = stage.getBoundingClientRect();
        const send = (type, pointerId, x) => stage.dispatchEvent(new PointerEvent(type,
            { pointerId, clientX: box.left + x, clientY: box.top + 80, button: 0, bubbles: true }));
        send('pointerdown', 1, 300); send('pointerdown', 2, 500);
        send('pointermove', 1, 200); send('pointermove', 2, 600);
        send('pointerup', 1, 200); send('pointerup', 2, 600); }"""
    )
    low, high = page.js(VIEW)
    assert high - low == pytest.approx(span / 2, rel=0.01)
    assert page.js(f"{TIMELINE}.selected") is None


def test_a_click_tells_all_of_a_kernel_and_a_gap(page: Opened, video: Path) -> None:
    timeline = read_report(video)["runs"][0]["timeline"]
    columns = timeline_columns(timeline)
    row = 3_000
    kind, place = timeline["kinds"][columns.kind[row]], timeline["places"][columns.place[row]]
    start = int(columns.start_ns[row]) - int(timeline["origin_ns"])
    dur = int(columns.dur_ns[row])
    stage = page.page.locator(".timeline-stage")
    stage.scroll_into_view_if_needed()
    page.js(f"{TIMELINE}.show({start - dur}, {start + 2 * dur})")
    y = page.js(
        f"(({{ y, height }}) => y + height / 2)({TIMELINE}.lines.find((l) => l.kind === 'lane'))"
    )
    width = page.js(f"{TIMELINE}.stage.clientWidth")
    stage.hover(position={"x": width / 2, "y": y})
    assert format_ns(dur) in page.page.locator(".tip").inner_text()
    stage.click(position={"x": width / 2, "y": y})
    text = page.page.locator(".timeline-details").inner_text()
    step = timeline["steps"][columns.step[row]]
    wanted = [kind["name"], kind["evidence"], kind["reason"], f"{dur:,} ns", f"{start:,} ns"]
    wanted += [step["stage"], f"step {step['step']}", place["module"] or "", place["op"] or ""]
    for part in wanted:
        assert part in text

    stage.focus()
    page.page.keyboard.press(".")
    assert page.js(f"{TIMELINE}.selected.row") == row + 1
    page.page.keyboard.press("ArrowDown")
    assert page.js(f"{TIMELINE}.selected.line.kind") == "gaps"
    gap = page.js(f"{TIMELINE}.selected.row")
    after = timeline["kinds"][columns.kind[columns.gaps["after"][gap]]]["short"]
    text = page.page.locator(".timeline-details").inner_text()
    assert format_ns(int(columns.gaps["dur_ns"][gap])) in text
    assert after in text
    page.page.keyboard.press("Escape")
    assert page.page.locator(".timeline-details").inner_text() == ""


def test_rows_of_tables_lead_to_their_place_in_the_timeline(page: Opened, video: Path) -> None:
    run = read_report(video)["runs"][0]
    columns = timeline_columns(run["timeline"])
    selected = f"[{TIMELINE}.selected.line.kind, {TIMELINE}.selected.row]"

    page.page.locator("#kernels .more").nth(3).click()
    page.page.get_by_role("button", name="Show the longest in the timeline").click()
    longest = max(np.flatnonzero(columns.kind == 3), key=lambda row: columns.dur_ns[row])
    assert page.js(selected) == ["lane", longest]
    low, high = page.js(VIEW)
    start = int(columns.start_ns[longest]) - int(run["timeline"]["origin_ns"])
    assert low <= start < start + columns.dur_ns[longest] <= high
    assert page.js("document.activeElement.className") == "timeline-stage"

    page.page.locator("#idle summary").click()
    gap = max(run["analysis"]["idle"]["gaps"], key=lambda row: row["time_ns"])
    page.page.locator("#idle details .more").first.click()
    page.page.get_by_role("button", name="Show in the timeline").click()
    kind, row = page.js(selected)
    assert kind == "gaps"
    assert columns.gaps["start_ns"][row] == gap["start_ns"]

    page.page.locator("#attention summary").click()
    call = max(run["analysis"]["attention"]["calls"], key=lambda row: row["time_ns"])
    page.page.locator("#attention details .more").first.click()
    page.page.locator("#attention").get_by_role("button", name="Show in the timeline").click()
    kind, row = page.js(selected)
    assert kind == "attention"
    assert columns.attention["start_ns"][row] == call["start_ns"]


def test_a_category_is_highlighted(page: Opened) -> None:
    canvas = "document.querySelector('.timeline-minimap').toDataURL()"
    page.js(f"{TIMELINE}.draw()")
    before = page.js(canvas)
    chip = page.page.get_by_role("button", name="Temporal attention", exact=True)
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    page.js(f"{TIMELINE}.draw()")
    assert page.js(canvas) != before
    chip.click()
    page.js(f"{TIMELINE}.draw()")
    assert page.js(canvas) == before


def test_a_damaged_column_costs_the_timeline_alone(
    chromium: Any, video: Path, tmp_path: Path
) -> None:
    page = video.read_text(encoding="utf-8")
    block = read_report(video)
    timeline = json.loads(json.dumps(block["runs"][0]["timeline"]))
    timeline["columns"]["dur"]["rows"] += 1
    path = tmp_path / "damaged.html"
    path.write_text(with_other_timeline(block, page, timeline), encoding="utf-8")
    with opened(chromium, path, problems=True) as found:
        said = found.page.locator("#timeline").inner_text()
        assert "The timeline cannot be shown: Error: a column holds other than its" in said
        assert found.page.locator("#kernels tbody tr").count() == 20


def test_a_million_kernels_are_ready_in_three_seconds_and_stay_fluid(
    chromium: Any, video: Path, tmp_path: Path
) -> None:
    page = video.read_text(encoding="utf-8")
    block = read_report(video)
    path = tmp_path / "million.html"
    text = with_other_timeline(block, page, million(block["runs"][0]["timeline"]))
    path.write_text(text, encoding="utf-8")
    with opened(chromium, path) as found:
        assert found.js(f"{TIMELINE}.decoded.rows") == MILLION
        ready_ms = found.js("performance.getEntriesByName('tracekit-ready')[0].startTime")
        assert ready_ms < 3_000
        frames = found.js(
            f"""() => {{ const all = []; const timeline = {TIMELINE};
            for (let at = 0; at < 40; at++) {{ const width = timeline.span * 0.7 ** at;
                timeline.show(0.4 * timeline.span, 0.4 * timeline.span + width); timeline.draw();
                all.push(timeline.frameMs); }} return all.sort((a, b) => a - b); }}"""
        )
        # Half of 60 frames a second on a machine without a graphics card that others use too.
        assert frames[20] < 33
        assert frames[-1] < 200
