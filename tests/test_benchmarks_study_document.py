"""The document of the study holds what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import study_document
from benchmarks.tools import CHECKOUT
from tracekit.reports.study import render_study
from tracekit.study.report import study_report

STUDY = CHECKOUT / "examples" / "study"


def test_every_table_of_the_document_is_what_the_kept_study_says() -> None:
    report = study_report(STUDY)
    tables = study_document.sections_of(render_study(report, "markdown"))
    text = study_document.DOCS.read_text(encoding="utf-8")
    for marker, title in study_document.SECTIONS.items():
        begin, end = (f"<!-- {marker}:{which} -->" for which in ("begin", "end"))
        assert text.partition(begin)[2].partition(end)[0].strip() == tables[title], title
        picture = f"images/{marker}.png"
        if marker not in study_document.WITHOUT_FIGURE:
            assert f"]({picture})" in text
            assert (study_document.DOCS.parent / picture).stat().st_size > 5000
    assert (STUDY / study_document.PAGE).read_text(encoding="utf-8") == render_study(report, "html")


@pytest.mark.parametrize("marker", study_document.PROSE)
def test_every_figure_in_the_sentences_is_of_the_kept_study(marker: str) -> None:
    text = study_document.DOCS.read_text(encoding="utf-8")
    begin, end = (f"<!-- {marker}:{which} -->" for which in ("begin", "end"))
    written = study_document.PROSE[marker](study_report(STUDY))
    assert text.partition(begin)[2].partition(end)[0].strip() == written


def test_everything_was_timed_five_times_and_counted_where_it_says() -> None:
    report = study_report(STUDY)
    walls = [run.wall_ns for run in report.runs]
    walls += [point.wall_ns for sweep in report.sweeps for point in sweep.points]
    assert min(wall.runs for wall in walls if wall is not None) >= 5
    assert None not in walls
    assert {one.name for one in report.caches} == {"frames.flash.16", "frames.eager.16"}
    for one in report.caches:
        assert None not in (one.temporal_l1, one.spatial_l1, one.temporal_l2, one.spatial_l2)


def test_the_kept_study_is_whole_small_and_of_no_machine() -> None:
    files = [path for path in STUDY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000
    study = json.loads((STUDY / "study.json").read_text(encoding="utf-8"))
    states = [entry["status"] for entry in study["cases"]]
    assert states.count("done") >= 120
    assert set(states) <= {"done", "does_not_fit", "left_out"}
    assert "/tmp/" not in (STUDY / "study.json").read_text(encoding="utf-8")


def test_a_folder_without_a_study_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study_document.main([str(tmp_path), "--docs", str(tmp_path / "s.md")]) == 1
    assert "benchmarks.study_document: " in capsys.readouterr().err
