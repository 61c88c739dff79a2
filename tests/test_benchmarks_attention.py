"""Attention calls against labels: what counts as equal, and the table of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from programs import Program

import tracekit
from benchmarks import attention_lengths
from tracekit.labels import AttentionLabel, attention_label


@pytest.mark.parametrize(
    ("lengths", "heads", "how"),
    [
        ((64, 77), 8, "equal"),
        ((None, None), None, "equal"),
        ((64, 73), 8, "more"),
        ((64, 68), 8, "other"),
        ((128, 77), 8, "fewer"),
        ((64, 154), 8, "fewer"),
        ((32, 77), 8, "other"),
        ((64, 77), 4, "other"),
    ],
)
def test_a_call_is_held_against_its_label(
    lengths: tuple[int | None, int | None], heads: int | None, how: str, tmp_path: Path
) -> None:
    program = Program()
    program.linear()
    program.sdpa([2, 8, 64, 40], [2, 8, 77, 40])
    label = AttentionLabel("attn", "cross", "spatial", *lengths, heads)
    program.b.annotation(attention_label(label), 0, 100 * program.count)
    counts = attention_lengths.compared(tracekit.load(program.b.write(tmp_path / "t.json")))
    assert counts == Counter({how: 1, "missing": 0, "kind": 1, "axis": 0})


def test_a_labelled_module_without_a_call_is_counted(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.linear()
    label = attention_label(AttentionLabel("a", query_length=64))
    program.b.annotation(label, 0, 95)
    program.b.annotation(label, 100, 95)
    counts = attention_lengths.compared(tracekit.load(program.b.write(tmp_path / "t.json")))
    assert counts == Counter(equal=1, missing=1, kind=1, axis=1)


def test_the_document_gets_the_table(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.b.annotation(attention_label(AttentionLabel("a", query_length=99)), 0, 95)
    trace, docs = program.b.write(tmp_path / "t.json"), tmp_path / "a.md"
    docs.write_text("<!-- lengths:begin -->\n<!-- lengths:end -->\n")
    assert attention_lengths.main([str(trace), "--docs", str(docs)]) == 0
    assert "| t.json | 1 | 0 | 0 | 0 | 1 | 1 | 1 |" in docs.read_text()
