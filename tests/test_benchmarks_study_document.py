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
    assert (STUDY / study_document.PAGE).read_text(encoding="utf-8") == render_study(report, "html")


def test_the_kept_study_is_whole_small_and_of_no_machine() -> None:
    files = [path for path in STUDY.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25_000_000
    study = json.loads((STUDY / "study.json").read_text(encoding="utf-8"))
    states = [entry["status"] for entry in study["cases"]]
    assert states.count("done") >= 73
    assert set(states) <= {"done", "does_not_fit"}
    assert "/tmp/" not in (STUDY / "study.json").read_text(encoding="utf-8")


def test_a_folder_without_a_study_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study_document.main([str(tmp_path), "--docs", str(tmp_path / "s.md")]) == 1
    assert "benchmarks.study_document: " in capsys.readouterr().err
