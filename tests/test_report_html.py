"""`tracekit report`: one page, whatever its names hold, and the command around it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_helpers import block_of, columns_of, parsed, report_of

import result_builders as build
import tracekit
from builders import RunBuilder, TraceBuilder
from tracekit.analysis.run_facts import run_facts
from tracekit.cli import run
from tracekit.errors import InputError
from tracekit.report_results import Report, RunReport
from tracekit.reporting import run_labels
from tracekit.reports.names import readable_name
from tracekit.reports.page_columns import encoded
from tracekit.reports.page_data import embedded
from tracekit.reports.page_read import read_report, timeline_columns
from tracekit.reports.page_render import asset, csp_hash, render_page
from tracekit.results import WhatIf
from tracekit.runfolder import TraceFile
from tracekit.units import format_ns

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples/traces/pixart_cudagraph.json.gz"
RUN = ROOT / "examples/runs/stable-diffusion-h200"

HOSTILE = [
    "</script><script>alert(1)</script>",
    "</SCRIPT\t><!--<script>",
    "<!--",
    "-->",
    "]]>",
    "<img src=x onerror=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "{# x #}",
    "nul\x00here\x1b[31m",
    "\u202eright to left\u202c\u200f",
    "emoji 👩\u200d🚀 核 e\u0301",
    "line\u2028separator\u2029\r\n",
    "quotes \" ' ` & &lt; \\u003c \\",
    "void kernel<" + "std::tuple<int, " * 600 + ">()",
    "=HYPERLINK(0)",
    "",
]


def hostile(path: Path) -> Path:
    b = TraceBuilder()
    for index, name in enumerate(HOSTILE * 2):
        at = index * 10_000
        other = [HOSTILE[(index + more) % len(HOSTILE)] or "x" for more in (1, 2, 3)]
        b.annotation(other[0], at, 9_000)
        b.module(other[1], at + 1, 8_000)
        b.op(other[2], at + 2, 7_000)
        b.launched(name, at + 10, at + 1_000, 2_000)
    return b.write(path)


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    path = hostile(tmp_path / "<img src=x onerror=alert(1)> {{ 7*7 }} \u202e核.json")
    title = "</title><script>alert(2)</script>{{ 7*7 }}"
    page = tracekit.report(path, title=title)
    found = parsed(page)
    plain = parsed(tracekit.report(EXAMPLE))
    # The same elements as on a page of harmless names, with the same attributes.
    assert found.tags == plain.tags
    assert len(found.scripts) == len(plain.scripts)
    assert "".join(found.text["title"]) == title
    block = block_of(page)
    assert block["title"] == title
    (one,) = block["runs"]
    assert one["label"] == path.name
    assert one["analysis"]["trace"]["path"] == str(path)
    assert {row["name"] for row in one["kernels"]} == set(HOSTILE)
    assert {row["stage"] for row in one["timeline"]["steps"]} == {n or "x" for n in HOSTILE}
    names = {n or "x" for n in HOSTILE}
    assert {place["op"] for place in one["timeline"]["places"]} == names
    assert {row["module"] for row in one["modules"]} == names
    assert len(columns_of(one).start_ns) == 2 * len(HOSTILE)


def test_the_block_ends_where_its_script_does(tmp_path: Path) -> None:
    page = tracekit.report(hostile(tmp_path / "t.json"))
    _, rest = page.split('id="tracekit-data">')
    inside = rest.split("</script>")[0]
    assert not set(inside) & set("<>&\u2028\u2029\x00\x1b")
    assert json.loads(inside) == block_of(page)


text = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE))


@given(st.dictionaries(text, text))
@settings(max_examples=200)
def test_embedded_text_comes_back(block: dict[str, str]) -> None:
    inside = embedded(block)
    assert not set(inside) & set("<>&\u2028\u2029")
    assert json.loads(inside) == block


def test_halves_of_surrogate_pairs_become_the_replacement_character() -> None:
    assert json.loads(embedded({"\ud800": ["a\udfffb", 1]})) == {"\ufffd": ["a\ufffdb", 1]}


def test_names_with_half_a_surrogate_pair_are_counted(tmp_path: Path) -> None:
    """No JSON parser reads them: the loader leaves these events out, and the page says so."""
    b = TraceBuilder()
    b.launched("kernel HALF", 0, 100, 50)
    b.launched("whole", 10, 200, 50)
    path = tmp_path / "t.json"
    path.write_bytes(b.text().replace(b"HALF", b"\\ud800"))
    (one,) = report_of(path)["runs"]
    assert [row["name"] for row in one["kernels"]] == ["whole"]
    assert one["analysis"]["left_out"][0]["events"] == 1
    assert any("1 event)" in row["text"] for row in one["made"] if row["label"] == "Left out")


def test_a_path_of_broken_bytes(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bro\xffken.json"))
    hostile(path)
    (one,) = report_of(path)["runs"]
    assert one["label"] == "bro\ufffdken.json"


def test_the_block_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    page = tracekit.report([EXAMPLE, RUN])
    path.write_text(page, encoding="utf-8")
    block = read_report(path)
    assert block == block_of(page)
    table = tracekit.kernels(EXAMPLE)
    columns = timeline_columns(block["runs"][0]["timeline"])
    assert columns.start_ns.tolist() == table.start_ns.tolist()
    assert columns.dur_ns.tolist() == table.dur_ns.tolist()


def damaged(change: str) -> str:
    page = tracekit.report(EXAMPLE)
    begin = page.index('{"schema"')
    return {
        "no block": page.replace("tracekit-data", "other"),
        "two blocks": page + page,
        "no JSON": page[:begin] + "x" + page[begin:],
        "other schema": page.replace("tracekit.report/1", "tracekit.report/2"),
        "no object": page[:begin] + "[]</script>",
    }[change]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("no block", "0 blocks"),
        ("two blocks", "2 blocks"),
        ("no JSON", "cannot be parsed"),
        ("other schema", "'tracekit.report/2', not tracekit.report/1"),
        ("no object", "None, not tracekit.report/1"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path: Path, change: str, why: str) -> None:
    path = tmp_path / "r.html"
    path.write_text(damaged(change), encoding="utf-8")
    with pytest.raises(InputError, match=why):
        read_report(path)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_report(tmp_path / "nothing.html")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"cannot be read \(no text in UTF-8\)"):
        read_report(tmp_path / "bytes")


def damaged_timeline(**changes: Any) -> dict[str, Any]:
    timeline: dict[str, Any] = report_of(EXAMPLE)["runs"][0]["timeline"]
    return {**timeline, **changes}


def test_damaged_timelines_are_refused() -> None:
    timeline = damaged_timeline()
    lanes = [{**timeline["lanes"][0], "rows": 3}]
    with pytest.raises(InputError, match="hold 3 rows, not 849"):
        timeline_columns(damaged_timeline(lanes=lanes))
    gaps = {**timeline["gaps"], "before": timeline["columns"]["dur"]}
    with pytest.raises(InputError, match="device, before, after, cause are of different lengths"):
        timeline_columns(damaged_timeline(gaps=gaps))
    gaps = {**timeline["gaps"], "before": encoded(np.full(848, 9_000))}
    with pytest.raises(InputError, match="a row that the timeline does not hold"):
        timeline_columns(damaged_timeline(gaps=gaps))


# The command.


def ranks(folder: Path, count: int = 3) -> Path:
    for rank in range(count):
        b = RunBuilder(steps=2 + rank, device=rank).trace(1.2)
        b.metadata["distributedInfo"] = {"rank": rank, "world_size": count}
        (folder / f"rank{rank}").mkdir(parents=True)
        b.write(folder / f"rank{rank}" / "trace.json.gz")
    return folder


def test_the_command_writes_what_the_function_returns(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    assert run(["report", str(EXAMPLE), "-o", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == tracekit.report(EXAMPLE)
    assert list(tmp_path.iterdir()) == [path]


def test_existing_pages_need_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "r.html"
    path.write_text("mine")
    assert run(["report", str(EXAMPLE), "-o", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert run(["report", str(EXAMPLE), "-o", str(path), "--force", "--title", "Ours"]) == 0
    assert read_report(path)["title"] == "Ours"


def test_an_output_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(EXAMPLE)]) == 2
    assert "--output" in capsys.readouterr().err


def test_inputs_that_cannot_be_used_are_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ranks(tmp_path / "ddp")
    (folder / "rank1" / "trace.json.gz").write_bytes(b"")
    path = tmp_path / "r.html"
    assert run(["report", str(folder), str(tmp_path / "nothing"), "-o", str(path)]) == 0
    block = read_report(path)
    assert [one["label"] for one in block["runs"]] == ["rank 0", "rank 2"]
    assert len(block["unreadable"]) == 2
    errors = capsys.readouterr().err
    for entry in block["unreadable"]:
        assert f"left out: {entry['error']}" in errors
    path.unlink()
    assert run(["report", str(tmp_path / "nothing"), "-o", str(path)]) == 3
    assert not path.exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_warnings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(RUN, folder)
    (folder / "kernels.json.gz").unlink()
    path = tmp_path / "r.html"
    assert run(["report", str(folder), "-o", str(path)]) == 0
    warning = "The run folder holds no kernels.json.gz"
    assert warning in capsys.readouterr().err
    (one,) = read_report(path)["runs"]
    assert any(row["label"] == "Warning" and warning in row["text"] for row in one["made"])


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    block = report_of(EXAMPLE, RUN, EXAMPLE)
    labels = [one["label"] for one in block["runs"]]
    assert labels[1] == "stable-diffusion-h200"
    assert len(set(labels)) == 3
    analyses = [one["analysis"] for one in block["runs"]]
    assert analyses[0] == analyses[2]
    assert block["title"] == " · ".join(labels)


def test_peaks_reach_analysis_and_points() -> None:
    peaks = {"bfloat16": 1e15, "bandwidth": 1e12}
    (with_peaks,) = report_of(RUN, peaks=peaks)["runs"]
    (without,) = report_of(RUN)["runs"]
    expected = tracekit.analyze(RUN, peaks=peaks).roofline
    assert expected is not None
    shown = with_peaks["analysis"]["roofline"]
    assert shown["total"]["roofline_share"] == expected.total.roofline_share
    assert with_peaks["roofline_points"] != without["roofline_points"]


def file(path: str, folder: str | None = None) -> TraceFile:
    return TraceFile(path, folder=folder)


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        ([], []),
        ([(file("a/t.json"), 3)], ["t.json"]),
        ([(file("a/run/trace.json.gz", "a/run"), None)], ["run"]),
        ([(file("d/rank0/t.json.gz", "d/rank0"), 0)], ["rank0"]),
        (
            [(file(f"d/rank{n}/t.json.gz", f"d/rank{n}"), n) for n in range(2)],
            ["rank 0", "rank 1"],
        ),
        ([(file("d/x_0.json"), 0), (file("d/x_1.json"), 1)], ["rank 0", "rank 1"]),
        ([(file("d/x.json"), None), (file("d/y.json"), None)], ["x.json", "y.json"]),
        ([(file("a/t.json"), None), (file("b/t.json"), None)], ["a/t.json", "b/t.json"]),
        (
            [(file(f"{d}/rank{n}/t", f"{d}/rank{n}"), n) for d in "ab" for n in range(2)],
            ["a/rank 0", "a/rank 1", "b/rank 0", "b/rank 1"],
        ),
        (
            [(file("a/t.json"), None), (file("a/t.json"), None), (file("t (2)"), None)],
            ["a/t.json", "a/t.json (2)", "t (2)"],
        ),
        ([(file("https://host/t.json"), None)], ["t.json"]),
    ],
)
def test_labels_are_short_and_differ(
    files: list[tuple[TraceFile, int | None]], labels: list[str]
) -> None:
    assert run_labels(files) == labels


def test_ranks_of_one_folder_have_a_title(tmp_path: Path) -> None:
    block = report_of(ranks(tmp_path / "ddp"))
    assert block["title"] == "ddp: 3 traces"
    assert [len(one["timeline"]["steps"]) for one in block["runs"]] == [3, 4, 5]


# The sentences.


def page_of(**changes: Any) -> dict[str, Any]:
    analysis = build.typical(**changes)
    built = RunReport(analysis, (), 0, (), 0, (), 0, None, label="run")
    (one,) = block_of(render_page(Report("t", (built,)), "0.1.0"))["runs"]
    assert len(one["sentences"]) == 3
    return dict(one)


def test_the_answer_of_a_run_folder() -> None:
    analysis = tracekit.analyze(RUN)
    where, idle, todo = report_of(RUN)["runs"][0]["sentences"]
    assert analysis.corrected is not None
    assert format_ns(analysis.time.kernel_ns) in where
    assert "by stage, denoise takes" in where
    assert f"{format_ns(analysis.corrected.idle_ns)} " in idle
    assert "measured" in idle
    assert "the host is late" in idle
    assert f"{analysis.advice[0].speedup:.2f}x at most" in todo


def test_the_answer_where_nothing_was_corrected_or_is_to_be_gained() -> None:
    one = page_of(corrected=None, advice=())
    assert "profiler included" in one["sentences"][1]
    assert "not known" in one["sentences"][2]
    estimated = report_of(EXAMPLE)["runs"][0]["sentences"]
    assert "estimated" in estimated[1]


def test_nothing_to_gain_is_said() -> None:
    bound = WhatIf("no_launch_gaps", "run", 100, 1.01, "as if")
    one = page_of(advice=(), what_if=(bound,))
    assert "Nothing that tracekit knows of would make this run 5% faster" in one["sentences"][2]


def test_how_the_numbers_were_made() -> None:
    (one,) = report_of(RUN)["runs"]
    made = [(row["label"], row["text"]) for row in one["made"]]
    labels = [label for label, _ in made]
    assert {"File", "Recorded on", "Time", "Without the profiler", "Dilation", "Stages"} <= {
        *labels
    }
    analysis = tracekit.analyze(RUN)
    for row in analysis.left_out:
        assert any(label == "Left out" and row.why in text for label, text in made)
    assert any("Decided by:" in text for label, text in made if label == "Categories")
    manifest = json.loads((RUN / "run.json").read_text())
    (versions,) = (text for label, text in made if label == "Versions")
    for name in ("torch", "cuda", "driver", "diffusers"):
        assert f"{name} {manifest['versions'][name]}" in versions
    assert "hip" not in versions
    passes = [text for label, text in made if label == "Pass"]
    assert len(passes) == len(manifest["passes"])
    for text, row in zip(passes, manifest["passes"], strict=True):
        assert text.startswith(f"{row['pass']} ({row['file']}): ")
        slow = f"{row['dilation']:.2f}x" if row["pass"] != "timing" else "unprofiled"
        assert slow in text
    (run_text,) = (text for label, text in made if label == "Run")
    assert "model stable-diffusion" in run_text
    assert "dtype bfloat16" in run_text


@pytest.mark.parametrize(
    "manifest",
    [
        {"model": 5, "versions": [], "passes": {}, "seed": True, "peak_memory_bytes": -1},
        {"model": {"name": None}, "versions": {"torch": 2}, "passes": [1, {"pass": 3}]},
        {"passes": [{"pass": "rich", "wall_ms": "1", "dilation": float("nan"), "file": 7}]},
    ],
)
def test_a_strange_manifest_says_nothing(manifest: dict[str, Any]) -> None:
    facts = run_facts(manifest)
    assert facts is not None
    assert (facts.model, facts.seed, facts.peak_memory_bytes) == (None, None, None)
    assert facts.versions == {}
    assert [(one.file, one.wall_ns, one.dilation) for one in facts.passes] in (
        [],
        [(None, None, None)],
    )
    assert run_facts(None) is None


def test_kernels_have_a_name_that_people_read() -> None:
    (one,) = report_of(RUN)["runs"]
    expected = {name: readable_name(name) for name in (row["name"] for row in one["kernels"])}
    for row in (*one["kernels"], *one["timeline"]["kinds"]):
        # Where two would be called alike, what differs follows.
        assert row["short"].split(" …")[0] == expected[row["name"]].split(" …")[0]
    shorts = {row["name"]: row["short"] for row in one["kernels"]}
    assert len(set(shorts.values())) > 0.9 * len(shorts) > len(set(expected.values())) * 0.9
    assert all(point["short"] for point in one["roofline_points"])


def test_only_scripts_of_the_page_may_run() -> None:
    # The hash of the empty text, as RFC 4634's test suites have it.
    assert csp_hash("") == "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_assets_are_read_by_name() -> None:
    assert "tracekit-data" in asset("report.html.j2")
    with pytest.raises(FileNotFoundError):
        asset("nothing.css")
