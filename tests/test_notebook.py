"""Notebooks: a loaded trace has DataFrames and shows itself; the example runs."""

from __future__ import annotations

import copy
import pickle
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import result_builders as build
import tracekit
from builders import TraceBuilder
from tracekit.api import analyze_all
from tracekit.errors import InputError, MissingDependencyError
from tracekit.loaded import LoadedTrace
from tracekit.reports.notebook import summary
from tracekit.reports.tables import tables
from tracekit.trace import Trace

pd = pytest.importorskip("pandas")

ROOT = Path(__file__).parent.parent
RUN = ROOT / "examples" / "runs" / "stable-diffusion-h200"
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


class Page(HTMLParser):
    """The tags, the text, and the attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.attributes: set[str] = set()
        self.depth = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.depth += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


TAGS = {"div", "table", "thead", "tbody", "tr", "th", "td", "span", "details", "summary"}
ATTRIBUTES = {"style", "title", "role", "aria-label"}


@pytest.fixture(scope="module")
def loaded() -> LoadedTrace:
    return tracekit.load(RUN)


def test_a_loaded_trace_is_a_trace(loaded: LoadedTrace) -> None:
    assert isinstance(loaded, Trace)
    table = tracekit.classify(tracekit.link(loaded))
    assert len(table) == len(loaded.activities)
    shorter = replace(loaded, warnings=("changed",))
    assert shorter.warnings == ("changed",)
    assert "changed" in shorter.analysis.trace.warnings


def test_its_analysis_is_that_of_the_run_folder(loaded: LoadedTrace) -> None:
    assert loaded.analysis == tracekit.analyze(RUN)
    assert loaded.analysis is loaded.analysis
    assert loaded.analysis.corrected is not None


def test_its_tables_are_data_frames(loaded: LoadedTrace) -> None:
    result = loaded.analysis
    assert len(loaded.kernels) == len(loaded.activities)
    assert int(loaded.kernels.dur_ns.sum()) == result.time.kernel_ns
    assert loaded.categories.time_ns.tolist() == [row.time_ns for row in result.categories]
    assert loaded.stages.stage.tolist() == [row.stage for row in result.stages]
    assert len(loaded.steps) == sum(len(row.per_step) for row in result.stages)
    assert len(loaded.attention_calls) == result.attention.calls_listed
    assert len(loaded.sequence_lengths) == len(result.attention.sequence_lengths)
    assert loaded.gaps.time_ns.is_monotonic_decreasing
    assert str(loaded.gaps.start_ns.dtype) == "Int64"
    assert all(isinstance(loaded.tables[name], pd.DataFrame) for name in loaded.tables)
    assert set(loaded.tables) == {*tables(result), "kernels"}
    assert len(loaded.tables) == len(list(loaded.tables))


def test_a_table_keeps_what_is_done_to_it(loaded: LoadedTrace) -> None:
    loaded.stages["mine"] = 1
    assert "mine" in loaded.stages.columns


def test_a_table_that_there_is_not_names_the_others(loaded: LoadedTrace) -> None:
    with pytest.raises(KeyError, match="choose from runs, "):
        _ = loaded.tables["kernel"]


def test_an_analysis_has_them_too(loaded: LoadedTrace) -> None:
    result = loaded.analysis
    assert "path" not in result.tables["gaps"].columns
    both = analyze_all([RUN, RUN])
    assert both.tables["gaps"].path.nunique() == 1
    assert len(both.tables["gaps"]) == 2 * len(result.tables["gaps"])
    assert "kernels" not in result.tables


def test_it_says_what_it_is(loaded: LoadedTrace) -> None:
    events, activities = f"{loaded.events:,}", f"{len(loaded.activities):,}"
    told = f"<LoadedTrace {loaded.path!r}: {events} events, {activities} GPU activities>"
    assert repr(loaded) == told
    assert "gaps (1,000)" in repr(loaded.tables)
    assert "<td>1,000</td>" in loaded.tables._repr_html_()
    assert loaded._repr_html_() == loaded.analysis._repr_html_() == summary(loaded.analysis)


def test_copies_can_be_analyzed(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launched("nvjet", 10, 1000, 50)
    trace = tracekit.load(b.write(tmp_path / "t.json"))
    for other in (copy.copy(trace), pickle.loads(pickle.dumps(trace))):
        assert np.array_equal(other.activities.start_ns, trace.activities.start_ns)
        assert other.analysis == trace.analysis


def test_without_a_file_there_is_nothing_to_analyze(loaded: LoadedTrace) -> None:
    with pytest.raises(InputError, match=r"tracekit\.load"):
        _ = replace(loaded, study=None).analysis


def test_without_pandas_the_summary_is_shown_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    b = TraceBuilder()
    b.launched("nvjet", 10, 1000, 50)
    trace = tracekit.load(b.write(tmp_path / "t.json"))
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "1 of them GPU activity" in trace._repr_html_()
    for name in ("kernels", "categories"):
        assert name in trace.tables
        with pytest.raises(MissingDependencyError, match=r"gpu-tracekit\[pandas\]"):
            _ = trace.tables[name]


def test_the_summary_tells_what_the_text_report_tells() -> None:
    page = Page(summary(build.measured()))
    told = " ".join(page.texts)
    for part in ("Of 58.5 ms of GPU time", "Without the profiler", "denoise", "Host late"):
        assert part in told
    assert page.depth == 0
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES


@pytest.mark.parametrize("columns", [{}, {"basis": "cpu", "device_name": None}])
def test_every_result_has_a_summary(columns: dict[str, str | None]) -> None:
    trace = build.trace_info(truncated=True, **columns)
    for result in (
        build.empty(),
        build.typical(trace=trace),
        build.ranks(build.typical(trace=trace), build.empty(), unreadable={"x": "is empty"}),
        build.ranks(),
    ):
        page = Page(summary(result))
        assert page.depth == 0
        assert page.tags <= TAGS


def test_the_summary_stays_small() -> None:
    stages = tuple(build.stage("s" * 10_000, 1, start_ns=0, span_ns=2) for _ in range(500))
    result = build.typical(stages=stages, trace=build.trace_info(path="p" * 100_000))
    assert len(summary(result)) < 20_000
    assert len(summary(build.ranks(*[result] * 300))) < 60_000
    assert "488 more stages" in summary(result)


def test_the_example_runs_and_shows_what_it_showed() -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    stored = nbformat.read(NOTEBOOK, as_version=4)
    ran = copy.deepcopy(stored)
    client = nbclient.NotebookClient(
        ran, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    cells = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert len(cells) > 5
    shown = [[output.data for output in cell.outputs] for cell in cells]
    assert shown == [[o.data for o in c.outputs] for c in ran.cells if c.cell_type == "code"]
    assert "Temporal attention" in shown[0][0]["text/html"]
    assert NOTEBOOK.stat().st_size < 50_000
