"""The benchmark of reports: its traces are valid, and it measures what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from page_helpers import launched

import tracekit
from benchmarks.report_page import activities, main, ready_seconds, varied, write_varied
from benchmarks.scale import read_template

SOURCE = Path(__file__).parent.parent / "examples" / "traces" / "pixart_cudagraph.json.gz"


def test_activities_stay_within_their_time(tmp_path: Path) -> None:
    template = read_template(SOURCE)
    path = tmp_path / "long.json.gz"
    assert write_varied(template, path, 2_000) == 3 * 849
    plain, long = tracekit.load(SOURCE).activities, tracekit.load(path).activities
    assert activities(template) == len(plain) == 849
    assert len(long) == 3 * len(plain)
    for turn in range(3):
        part = slice(turn * 849, (turn + 1) * 849)
        moved = turn * template.period_ns
        assert (long.start_ns[part] >= plain.start_ns + moved).all()
        assert (long.end_ns[part] <= plain.end_ns + moved).all()
        assert (long.dur_ns[part] >= 0.79 * plain.dur_ns).all()
        assert long.name[part].tolist() == long.name[:849].tolist()
    # No two copies are alike.
    assert np.count_nonzero(long.dur_ns[:849] == long.dur_ns[849:1698]) < 100
    assert tracekit.analyze(path).time.kernel_ns < 3 * int(plain.dur_ns.sum())


def test_the_same_numbers_give_the_same_events() -> None:
    events = read_template(SOURCE).copy(0)
    once, again = (varied(events, np.random.default_rng(3)) for _ in range(2))
    assert once == again != events


def test_the_command_prints_a_line_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--kernels", "900", "--repeats", "1", "--source", str(SOURCE)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "tracekit " in line][:4]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    assert [(row[0], row[1]) for row in cells] == [
        ("tracekit analyze", "849"), ("tracekit report", "849"),
        ("tracekit analyze", "1,698"), ("tracekit report", "1,698"),
    ]  # fmt: skip
    assert all(float(row[4]) > 0.1 for row in cells)


def test_a_browser_says_when_a_report_can_be_used(tmp_path: Path) -> None:
    with launched():
        pass  # skips, or fails, where there is none
    page = tmp_path / "r.html"
    page.write_text(tracekit.report(SOURCE), encoding="utf-8")
    seconds = ready_seconds(page, 2)
    assert len(seconds) == 2
    assert all(0.001 < one < 60 for one in seconds)
