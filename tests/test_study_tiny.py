"""The whole study once, with tiny models on a CPU: every table and figure has something to show."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from tracekit.cli import run
from tracekit.reports.study import render_study
from tracekit.reports.study_figures import figure
from tracekit.reports.study_sections import sections
from tracekit.study.families import PAPER
from tracekit.study.folder import read_study
from tracekit.study.plan import SWEEPS
from tracekit.study.report import study_report
from tracekit.study_results import NOT_MEASURED, StudyReport

pytestmark = pytest.mark.filterwarnings("default")
GPU_ONLY = {
    "Memory of the scores",
    "Idle time",
    "What was not measured",
    "Why: another generation of GPU, projected",
}
VIDEOS = ("stable-video-diffusion", "cogvideox", "wan", "hunyuan-video")
CHOSEN = (*PAPER, *VIDEOS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study") / "tiny"
    models = ["--models", ",".join(("paper", *VIDEOS)), "--experiments", "variants,graphs"]
    assert run(["study", "run", "--tiny", "--device", "cpu", "-o", str(path), *models]) == 0
    return path


@pytest.fixture(scope="module")
def report(folder: Path) -> StudyReport:
    return study_report(folder)


def test_everything_was_recorded(folder: Path) -> None:
    study = read_study(folder)
    assert {entry["status"] for entry in study.cases.values()} == {"done"}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 10e6
    assert not list(folder.rglob("trace.json.gz"))


def test_every_model_has_both_attentions(report: StudyReport) -> None:
    found = {(run.model, run.attention) for run in report.runs}
    assert found >= {(model, name) for model in CHOSEN for name in ("eager", "flash")}
    assert ("stable-diffusion", "math") in found
    assert {one.model for one in report.speedups} == set(CHOSEN)
    for one in report.runs:
        assert one.kernel_ns == sum(one.categories.values()) > 0
        assert one.wall_ns is not None
    videos = {row.model for row in report.temporal}
    assert videos == {"make-a-video", "phenaki", "stable-video-diffusion"}


def test_experiments_stand_beside_what_they_explain(report: StudyReport) -> None:
    shown = {(one.model, one.variant) for one in report.variants}
    assert {model for model, _ in shown} == {"stable-diffusion", "parti"}
    assert {("stable-diffusion", "channels last"), ("parti", "batch 4")} <= shown
    for one in report.variants:
        assert one.kernel_ns == sum(one.categories.values()) > 0
        assert one.ratio is not None
    whole = {one.variant: one.ratio for one in report.variants if one.model == "parti"}
    assert whole["as studied"] == 1
    assert {(one.model, one.attention) for one in report.graphed} == {
        (model, attention)
        for model in ("stable-diffusion", "parti")
        for attention in ("flash", "eager")
    }
    assert {one.model for one in report.graph_speedups} == {"stable-diffusion", "parti"}
    why = {one.number: one.why for one in report.verdicts}
    assert "stable-diffusion" in why[1].partition("Varied: ")[2]
    assert "parti" in why[2].partition("Varied: ")[2]
    # Variants count for none of the claims.
    assert len(report.runs) == 2 * len(CHOSEN) + 1


def test_every_sweep_has_all_of_its_points(report: StudyReport) -> None:
    assert [sweep.name for sweep in report.sweeps] == list(SWEEPS)
    for sweep in report.sweeps:
        values = SWEEPS[sweep.name].values["tiny"]
        for attention in ("flash", "eager"):
            found = [p.value for p in sweep.points if p.attention == attention]
            assert found == list(values)


def test_every_claim_but_that_on_memory_has_a_verdict(report: StudyReport) -> None:
    assert [one.number for one in report.verdicts] == list(range(1, 9))
    open_ = [one.number for one in report.verdicts if one.verdict == NOT_MEASURED]
    assert open_ == [8]


def test_every_section_and_figure_is_drawn(report: StudyReport) -> None:
    titles = [section.title for section in sections(report)]
    assert len(titles) == 11 + len(SWEEPS)
    assert not GPU_ONLY & set(titles)
    for section in sections(report):
        for table in section.tables:
            assert all(len(row) == len(table.headers) == len(table.align) for row in table.rows)
        if section.figure is not None and section.figure != "sweep:video-size":
            assert "<svg" in figure(section.figure, report)


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(report: StudyReport) -> None:
    tags = Tags()
    tags.feed(render_study(report, "html"))
    assert tags.open == []
    assert tags.links == []


def test_outputs_by_the_end_of_the_name(
    folder: Path, report: StudyReport, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("s.html", "s.md", "s.json"):
        assert run(["study", "report", str(folder), "-o", str(tmp_path / name)]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["schema"] == "tracekit.study-report/1"
    markdown = (tmp_path / "s.md").read_text()
    assert all(f"| {one.number} | " in markdown for one in report.verdicts)
    assert run(["study", "report", str(folder), "-o", str(tmp_path / "s.md")]) == 2
    assert run(["study", "report", str(folder), "-o", str(tmp_path / "s.pdf")]) == 2
    assert run(["study", "report", str(tmp_path)]) == 3
    assert "holds no study.json" in capsys.readouterr().err
