"""The measurement of annotating: every row of its table, on a small trace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from annotation_helpers import small
from benchmarks.annotating import main


def test_the_table_goes_into_the_document(tmp_path: Path) -> None:
    docs = tmp_path / "perfetto.md"
    docs.write_text("before\n<!-- annotating:begin -->\n<!-- annotating:end -->\nafter\n")
    source = small().write(tmp_path / "t.json")
    assert main([str(source), "--mb", "0.01", "--runs", "1", "--docs", str(docs)]) == 0
    text = docs.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "`t.json` repeated" in text
    rows = re.findall(
        r"^\| (.+?) \| ([\d.]+) \([\d.–]+\) \| [\d,]+ \| [\d.]+ \|$", text, re.MULTILINE
    )
    assert len(rows) == 7
    assert all(float(seconds) > 0 for _, seconds in rows)


def test_a_trace_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json"), "--docs", str(tmp_path / "d.md")]) == 1
    assert "benchmarks.annotating: " in capsys.readouterr().err
