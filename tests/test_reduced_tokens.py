"""Calls between two sizes of the same tokens, and batch and heads that the layer after tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import COPY, GEMM, SOFTMAX, Program
from test_attention_traits import convolve, told

from tracekit.trace import NULL

WHOLE = "9223372036854775807"


def project(program: Program, *counts: int) -> None:
    for count in counts:
        program.op("aten::linear", GEMM, [[8, count, 128], [128, 128], []])


def every_other(program: Program, shape: list[int], axis: int, end: str = WHOLE) -> list[int]:
    """Issue a slice that takes every other element along an axis; return what is left."""
    program.view("aten::slice", [shape, [], [], [], []], "", str(axis), "0", end, "2")
    return [*shape[:axis], -(-shape[axis] // 2), *shape[axis + 1 :]]


def test_every_other_row_and_column_of_the_queries(tmp_path: Path) -> None:
    """LeViT shrinks its grid between stages, 7 by 7 to 4 by 4; nothing convolves them after."""
    program = Program()
    convolve(program, [8, 128, 13, 13], 2, 1, 3)
    program.sdpa([8, 4, 49, 32], [8, 4, 49, 32])
    project(program, 49)
    every_other(program, every_other(program, [8, 7, 7, 128], 1), 2)
    project(program, 16)
    program.sdpa([8, 4, 16, 32], [8, 4, 49, 32])
    project(program, 16, 16)
    program.sdpa([8, 6, 16, 32], [8, 6, 16, 32])
    assert told(program, tmp_path, "attention_kind") == ["self"] * 3
    assert told(program, tmp_path, "attention_axis") == ["spatial"] * 3


@pytest.mark.parametrize("end", [WHOLE, ""])
def test_every_other_token_of_a_sequence(tmp_path: Path, end: str) -> None:
    program = Program()
    project(program, 512)
    every_other(program, [8, 512, 128], 1, end)
    project(program, 256)
    program.sdpa([8, 4, 256, 32], [8, 4, 512, 32])
    assert told(program, tmp_path, "attention_kind") == ["self"]
    assert told(program, tmp_path, "attention_axis") == ["sequence"]


def test_latents_are_of_elsewhere_however_many_they_are(tmp_path: Path) -> None:
    """A resampler has 64 latents for 256 patches; a grid of 16 by 16 could shrink to 8 by 8."""
    program = Program()
    convolve(program, [8, 128, 16, 16], 1, 1, 3)
    program.sdpa([8, 4, 256, 32], [8, 4, 256, 32])
    project(program, 256, 64)
    program.sdpa([8, 4, 64, 32], [8, 4, 256, 32])
    assert told(program, tmp_path, "attention_kind") == ["self", "cross"]


@pytest.mark.parametrize(("frames", "axis"), [(1, "spatial"), (3, "spatio-temporal")])
def test_queries_that_a_convolution_of_each_head_made_smaller(
    frames: int, axis: str, tmp_path: Path
) -> None:
    """MViTv2 pools queries, keys and values head by head, and keeps a class token beside."""
    program = Program()
    image = [14, 14] if frames == 1 else [frames, 14, 14]
    project(program, frames * 196)
    stride = [2, 2] if frames == 1 else [1, 2, 2]
    rank = len(image)
    program.op(
        f"aten::conv{rank}d", "depthwise",
        [[64, 96, *image], [96, 1, *[3] * rank], [], [], [], [], []],
        "", "", "", str(stride), str([1] * rank), str([1] * rank), "96",
    )  # fmt: skip
    convolve(program, [64, 96, *image], 1, 1, 3)
    program.sdpa([8, 8, frames * 49 + 1, 96], [8, 8, frames * 196 + 1, 96])
    assert told(program, tmp_path, "attention_kind") == ["self"]
    assert told(program, tmp_path, "attention_axis") == [axis]


def test_parts_of_an_image_that_are_put_together_again_are_not_joint(tmp_path: Path) -> None:
    """A masked autoencoder decodes 49 visible patches and 147 masked ones, and a class token."""
    for tokens, kind in ((197, "self"), (196 + 49, "joint")):
        program = Program()
        convolve(program, [8, 128, 14, 14], 1, 1, 3)
        program.op("aten::cat", COPY, [[[8, 50, 128], [8, tokens - 50, 128]], []])
        project(program, tokens, tokens, tokens)
        program.sdpa([8, 4, tokens, 32], [8, 4, tokens, 32])
        assert told(program, tmp_path, "attention_kind") == [kind]


def test_gates_and_convolutions_over_tokens_lay_nothing_out(tmp_path: Path) -> None:
    program = Program()
    convolve(program, [2, 128, 16, 16], 1, 1, 3)
    convolve(program, [2, 128, 1, 1], 1, 0, 1)
    program.sdpa([2, 4, 256, 32], [2, 4, 256, 32])
    assert told(program, tmp_path, "attention_axis") == ["spatial"]
    program = Program()
    # The values of 8 heads, convolved along their 1,024 tokens.
    program.op(
        "aten::conv2d", "depthwise", [[2, 8, 1024, 64], [8, 1, 33, 1], [], [], [], [], []],
        "", "", "", "[1, 1]", "[16, 0]", "[1, 1]", "8",
    )  # fmt: skip
    project(program, 1024)
    program.sdpa([2, 8, 1024, 64], [2, 8, 1024, 64])
    assert told(program, tmp_path, "attention_axis") == ["sequence"]


def sizes(program: Program, path: Path) -> list[int]:
    """Return batch, heads, sequences and lengths of a program's only call."""
    calls = program.table(path).calls
    columns = (calls.batch, calls.heads, calls.sequences, calls.query_length, calls.key_length)
    assert len(calls) == 1
    return [int(column[0]) for column in columns]


def in_windows(program: Program, scores: list[int], size: int) -> None:
    *outer, queries, keys = scores
    count = outer[0] * outer[1] * (outer[2] if len(outer) > 2 else 1)
    program.op("aten::bmm", GEMM, [[count, queries, size], [count, size, keys]])
    program.op("aten::softmax", SOFTMAX, [scores, [], []])
    program.op("aten::bmm", GEMM, [[count, queries, keys], [count, keys, size]])


def test_windows_behind_the_heads(tmp_path: Path) -> None:
    """Hiera's units and Flamingo's media are behind the heads: (batch, heads, windows, …)."""
    program = Program()
    in_windows(program, [8, 2, 49, 16, 64], 96)
    program.op("aten::linear", GEMM, [[8, 49 * 16, 192], [192, 192], []])
    assert sizes(program, tmp_path) == [8 * 49, 2, 8 * 2 * 49, 16, 64]


def test_windows_where_heads_are(tmp_path: Path) -> None:
    """Local attention has (batch · heads, windows, tokens): the layer after has half of 8 heads."""
    program = Program()
    in_windows(program, [8, 8, 128, 384], 64)
    program.view("aten::reshape", [[8, 8, 128, 64], []], "", "[8, 1024, 64]")
    program.op("aten::linear", GEMM, [[2, 1024, 512], [512, 512], []])
    assert sizes(program, tmp_path) == [NULL, NULL, 64, 128, 384]


def test_heads_behind_the_queries(tmp_path: Path) -> None:
    """Longformer lays its banded scores out as (batch, queries, heads, keys)."""
    program = Program()
    program.op("aten::bmm", GEMM, [[84, 512, 64], [84, 64, 512]])
    program.op("aten::softmax", SOFTMAX, [[1, 2048, 12, 513], [], []])
    program.op("aten::bmm", GEMM, [[96, 256, 768], [96, 768, 64]])
    program.op("aten::linear", GEMM, [[1, 2048, 768], [768, 768], []])
    assert sizes(program, tmp_path) == [1, 12, 12, 2048, 513]


def test_heads_that_agree_stay(tmp_path: Path) -> None:
    program = Program()
    in_windows(program, [2, 8, 256, 77], 40)
    program.op("aten::linear", GEMM, [[2, 256, 320], [320, 320], []])
    assert sizes(program, tmp_path) == [2, 8, 16, 256, 77]
