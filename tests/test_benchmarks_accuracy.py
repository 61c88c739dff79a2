"""The tables of docs/accuracy.md: from labelled runs into the file, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracekit
from benchmarks.accuracy import (
    HOLDOUT,
    MARKER,
    SECOND_HOLDOUT,
    THIRD_HOLDOUT,
    by_run,
    by_way,
    document,
    main,
    split_name,
)
from benchmarks.document import replace_between
from builders import TraceBuilder

ROOT = Path(__file__).parent.parent
MARKERS = f"before\n<!-- {MARKER}:begin -->\nold\n<!-- {MARKER}:end -->\nafter\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three runs of two models: right, half right, and right."""
    for name, classes in (
        ("net.eager", ("Linear",)),
        ("net.train", ("Linear", "Conv2d")),
        ("other.eager", ("Linear", "Linear", "Conv2d", "Linear")),
    ):
        b = TraceBuilder()
        for index, label in enumerate(classes):
            b.annotation(f"tk1|mod|{index}|{label}", 1000 * index, 900)
            b.op("aten::linear", 1000 * index + 10, 800)
            b.launched("nvjet", 1000 * index + 100, 100_000 + 1000 * index, 50)
        (tmp_path / "corpus" / name).mkdir(parents=True)
        b.write(tmp_path / "corpus" / name / "trace.json.gz")
    return tmp_path / "corpus"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("sd15.eager-flash", ("sd15", "eager-flash")),
        ("wan2.1.train", ("wan2.1", "train")),
        ("plain", ("plain", "trace")),
        ("net.train.json.gz", ("net", "train")),
    ],
)
def test_names_of_runs(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


def test_tables(corpus: Path) -> None:
    result = tracekit.validate(corpus)
    ways = by_way(result)
    assert ways.headers[:3] == ("Recorded as", "Runs", "Rich")
    assert [row[:3] for row in ways.rows] == [
        ("eager", "2", "87.50% (75.00%)"),
        ("train", "1", "50.00%"),
        ("all", "3", "75.00% (50.00%)"),
    ]
    assert {row[-1] for row in ways.rows} == {"0.00%"}
    runs = by_run(result)
    assert [(*row[:3], row[5]) for row in runs.rows] == [
        ("net", "eager", "1", "100.00%"),
        ("net", "train", "2", "50.00%"),
        ("other", "eager", "4", "75.00%"),
    ]
    text = document(result)
    assert "3 runs of 2 models, 7 GPU activities, 350 ns of GPU time" in text
    assert "| Convolution | 100 ns |  | 100.00% |" in text


def test_the_file_is_written_between_its_markers(corpus: Path, tmp_path: Path) -> None:
    docs = tmp_path / "accuracy.md"
    docs.write_text(MARKERS)
    assert main([str(corpus), "--docs", str(docs)]) == 0
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "net" in text


@pytest.mark.parametrize("marker", [HOLDOUT, SECOND_HOLDOUT, THIRD_HOLDOUT])
def test_models_held_out_have_markers_and_tables_of_their_own(
    marker: str, corpus: Path, tmp_path: Path
) -> None:
    docs = tmp_path / "accuracy.md"
    docs.write_text(MARKERS + MARKERS.replace("old", "older").replace(MARKER, marker))
    assert main([str(corpus), "--marker", marker, "--docs", str(docs)]) == 0
    corpus_part, _, held_out = docs.read_text().partition(f"<!-- {marker}:begin -->")
    assert "\nold\n" in corpus_part
    assert "older" not in held_out
    assert "3 runs of 2 models, 7 GPU activities, 350 ns of GPU time" in held_out
    for table in ("| all | 3 | 75.00% (50.00%)", "| Wrongly in other |", "| net | train | 2 |"):
        assert table in held_out
    assert "confused" not in held_out
    assert "wrong |" not in held_out
    assert "#" not in held_out


def test_nothing_is_written_where_it_fails(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "accuracy.md"
    assert main([str(corpus), "--docs", str(docs)]) == 3
    docs.write_text("no markers")
    assert main([str(corpus), "--docs", str(docs)]) == 3
    docs.write_text(MARKERS)
    assert main([str(tmp_path / "nothing"), "--docs", str(docs)]) == 3
    assert docs.read_text() == MARKERS
    assert "no such file" in capsys.readouterr().err


def test_the_documentation_has_the_markers() -> None:
    text = (ROOT / "docs" / "accuracy.md").read_text()
    for marker in (MARKER, HOLDOUT, SECOND_HOLDOUT, THIRD_HOLDOUT):
        assert "x" in replace_between(text, marker, "x")
