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
    told = Counter({how: 1, "missing": 0, "kind": 1, "axis": 0, "operator": 1})
    assert counts == told


def test_a_labelled_module_without_a_call_is_counted(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.linear()
    label = attention_label(AttentionLabel("a", query_length=64))
    program.b.annotation(label, 0, 95)
    program.b.annotation(label, 100, 95)
    counts = attention_lengths.compared(tracekit.load(program.b.write(tmp_path / "t.json")))
    assert counts == Counter(equal=1, missing=1, kind=1, axis=1, operator=1)


def test_the_document_gets_the_table(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.b.annotation(attention_label(AttentionLabel("a", query_length=99)), 0, 95)
    trace, docs = program.b.write(tmp_path / "t.json"), tmp_path / "a.md"
    docs.write_text("<!-- lengths:begin -->\n<!-- lengths:end -->\n")
    assert attention_lengths.main([str(trace), "--docs", str(docs)]) == 0
    assert "| t | 1 | 1 | 0.0% | 100.0% | 100.0% | 100.0% | – |" in docs.read_text()


@pytest.mark.parametrize(("keys", "confirmed"), [(81, 1), (77, 0)])
def test_the_operator_in_a_module_tells_who_is_right(
    keys: int, confirmed: int, tmp_path: Path
) -> None:
    program = Program()
    program.op("aten::bmm", "gemm", [[16, 64, 40], [16, 40, 81]])
    program.op("aten::softmax", "softmax", [[2, 8, 64, 81], [], []])
    program.op("aten::bmm", "gemm", [[16, 64, 81], [16, 81, 40]])
    # PyTorch's own softmax is what is asked; of one dimension it is of no scores.
    program.op("aten::_softmax", "softmax", [[2, 8, 64, keys], [], []])
    program.op("aten::_softmax", "softmax", [[8], [], []])
    label = AttentionLabel("a", query_length=64, key_length=77)
    program.b.annotation(attention_label(label), 0, 100 * program.count)
    trace = tracekit.load(program.b.write(tmp_path / "t.json"))
    counts = attention_lengths.compared(trace)
    assert (counts["more"], counts["operator"]) == (1, confirmed)


def test_models_in_which_nearly_all_calls_agree_are_not_listed() -> None:
    counts = Counter(equal=99, more=1, kind=100, axis=100, operator=99)
    text = attention_lengths.table({"a.default": counts, "parti.train": Counter(more=1)})
    assert "Of 101 calls in 2 runs of 2 models, 98.0% equal their labels" in text
    assert "In 1 models at least 99%" in text
    assert "| a |" not in text
    assert text.splitlines()[-1].endswith("| 0.0% | 0.0% | 0.0% | 0.0% | one learned key |")


def test_compiled_calls_are_held_against_eager_ones(tmp_path: Path) -> None:
    eager, fused = Program(), Program()
    for program, second in ((eager, 77), (fused, 64)):
        program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
        program.linear()
        program.sdpa([2, 8, 64, 40], [2, 8, second, 40])
    label = attention_label(AttentionLabel("attn", "self", "spatial", 64, 64, 8))
    eager.b.annotation(label, 0, 95)
    docs = tmp_path / "a.md"
    docs.write_text("<!-- lengths:begin -->\n<!-- lengths:end -->\n")
    paths = [
        program.b.write(tmp_path / f"toy.{way}.json")
        for program, way in ((eager, "default"), (fused, "compile"))
    ]
    traces = [tracekit.load(path) for path in paths]
    assert attention_lengths.like_eager(traces[0], traces[0]) == (2, 1)
    assert attention_lengths.like_eager(traces[1], traces[0]) == (2, 0)
    assert attention_lengths.main([*map(str, paths), "--docs", str(docs)]) == 0
    told = "Compiled, 1 models have 2 calls, found without labels; 0.0% have the lengths"
    assert told in docs.read_text()
    assert "the others are of toy (2 of 2)." in docs.read_text()
