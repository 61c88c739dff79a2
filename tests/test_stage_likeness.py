"""Prefill-like or decode-like: from query lengths, and from FLOPs a byte beside the ridge point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import Program
from test_attention_costs import analysis, typed

import tracekit
from tracekit.analysis.stage_likeness import _like
from tracekit.attention_results import StageLikeness
from tracekit.reports.attention_cells import likeness_rows
from tracekit.results import AttentionResult

RUNS = Path(__file__).parent.parent / "examples" / "runs"


@pytest.mark.parametrize(
    ("queries", "keys", "share", "like"),
    [
        (4096, 4096, 1.1, "prefill"),
        (4096, 4096, None, "prefill"),
        (77, 77, 0.15, "prefill"),
        # Many queries, and yet bound by memory.
        (4096, 4096, 0.05, None),
        (1, 513, 0.003, "decode"),
        (1, 513, None, "decode"),
        (1, 1, None, "decode"),
        (5, 600, 0.02, "decode"),
        # One query of each of very many sequences.
        (1, 513, 1.5, None),
        # A short prompt.
        (10, 10, 0.5, "prefill"),
        (17, 600, 0.5, "prefill"),
    ],
)
def test_lengths_decide_unless_intensity_says_otherwise(
    queries: int, keys: int, share: float | None, like: str | None
) -> None:
    assert _like(queries, keys, share) == like


def gemm(program: Program, rows: int, width: int = 1024) -> None:
    """Issue a product of 16-bit types with so many rows."""
    number, program.count = program.count, program.count + 1
    args: dict[str, Any] = {
        "Input Dims": [[rows, width], [width, width]],
        "Input type": ["c10::BFloat16"] * 2,
        "Sequence number": number,
        "Fwd thread id": 0,
    }
    program.b.op("aten::mm", 100 * number, 90, **args)
    program.b.launched("nvjet_tst", 100 * number + 10, 1_000_000 + 100 * number, 50, tid=1)


def test_stages_in_order_with_their_evidence(tmp_path: Path) -> None:
    program = Program()
    for name, queries in (("prefill", 512), ("decode", 1)):
        start = 100 * program.count
        for _ in range(2):
            for _ in range(3):
                gemm(program, queries)
            typed(program, [1, 8, queries, 64], *[[1, 8, 513, 64]] * 2)
            gemm(program, queries)
        program.b.annotation(f"tk1|stage|{name}|", start, 100 * program.count - start)
    peaks = {"bfloat16": 1e15, "bandwidth": 5e12}
    prefill, decode = analysis(program, tmp_path, peaks=peaks).attention.likeness
    assert (prefill.stage, prefill.like) == ("prefill", "prefill")
    assert (prefill.query_length, prefill.key_length, prefill.ridge) == (512, 513, 200)
    assert (decode.stage, decode.like) == ("decode", "decode")
    assert decode.intensity is not None
    assert decode.intensity < 2
    assert decode.evidence == (
        f"1 query at once on 513 keys; {decode.intensity:.2f} FLOPs a byte, where 200 balance "
        "arithmetic and memory"
    )


def test_frames_are_no_queries_of_decoding(tmp_path: Path) -> None:
    """Temporal attention has few queries; that over space tells what the stage is like."""
    program = Program()
    for axis, length, count in (("spatial", 1024, 1), ("temporal", 4, 3)):
        for _ in range(count):
            start = 100 * program.count
            program.sdpa([8, 8, length, 40], [8, 8, length, 40])
            label = f"tk1|attn|net|self|{axis}|{length}|{length}|8"
            program.b.annotation(label, start, 95)
    (row,) = analysis(program, tmp_path).attention.likeness
    assert (row.like, row.query_length) == ("prefill", 1024)


def test_the_median_is_by_time_and_cross_attention_does_not_count(tmp_path: Path) -> None:
    program = Program()
    for kind, queries, count in (("self", 64, 2), ("self", 256, 3), ("cross", 4096, 9)):
        for _ in range(count):
            start = 100 * program.count
            program.sdpa([1, 8, queries, 40], [1, 8, queries if kind == "self" else 77, 40])
            label = f"tk1|attn|net|{kind}|spatial|{queries}|{queries}|8"
            program.b.annotation(label, start, 95)
    (row,) = analysis(program, tmp_path).attention.likeness
    assert row.query_length == 256


def test_without_lengths_nothing_is_said(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    assert analysis(program, tmp_path).attention.likeness == ()


def test_diffusion_is_like_prefill() -> None:
    found = tracekit.analyze(RUNS / "stable-diffusion-h200")
    assert isinstance(found, tracekit.Analysis)
    rows = {row.stage: row for row in found.attention.likeness}
    assert list(rows) == ["text_encoder", "denoise", "vae_decode"]
    assert {row.like for row in rows.values()} == {"prefill"}
    # 989.4 TFLOP/s over 4.8 TB/s.
    assert rows["denoise"].ridge == pytest.approx(206.1, abs=0.1)


def test_the_rows() -> None:
    rows = (
        StageLikeness("a|b", "decode", 1, 9, None, None, "1 query at once on 9 keys"),
        StageLikeness(None, None, 64, 64, 1.0, 200.0, "64 queries at once on 64 keys"),
    )
    assert likeness_rows(AttentionResult(likeness=rows)) == [
        ("a|b", "decoding", "1", "9", "–", "–"),
        ("whole run", "neither", "64", "64", "1.00", "200"),
    ]
