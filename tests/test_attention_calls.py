"""Attention calls from ops: fused and written out, their sizes, kinds, axes and their own work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import COPY, FLASH, GEMM, POINT, SOFTMAX, Program

from tracekit.trace import NULL


def sizes(table: Any) -> list[tuple[int | None, ...]]:
    calls = table.calls
    columns = (calls.batch, calls.heads, calls.query_length, calls.key_length, calls.head_size)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [tuple(None if value == NULL else value for value in row) for row in rows]


def test_a_fused_call_knows_its_sizes(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    program.sdpa([2, 8, 4096, 40], [2, 8, 77, 40])
    program.linear()
    table = program.table(tmp_path)
    assert sizes(table) == [(2, 8, 4096, 77, 40)]
    assert table.call.tolist() == [-1, 0, -1]
    assert table.calls.causal.tolist() == [0]


def test_a_written_call_knows_its_sizes_and_its_work(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    program.written(2, 8, 4096, 4096)
    program.linear()
    table = program.table(tmp_path)
    assert sizes(table) == [(2, 8, 4096, 4096, 40)]
    categories = table.to_arrow().to_pydict()["category"]
    assert categories == ["linear", *["attention"] * 4, "linear"]


def test_copies_right_beside_the_operator_are_its_own(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::clone", COPY)
    program.linear()
    for _ in range(3):
        program.op("aten::clone", COPY, [[2, 64, 8, 40]])
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.op("aten::clone", COPY, [[2, 64, 8, 40]])
    program.linear()
    program.op("aten::clone", COPY)
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["memory", "linear", *["attention"] * 5, "linear", "memory"]


def test_pieces_between_the_projections_are_told_by_their_sizes(tmp_path: Path) -> None:
    """A scale, head-wise copies and a mask belong to the operator, a rotation does not."""
    program = Program()
    program.op("aten::mul", POINT, [[2, 64, 320], []])
    program.op("aten::layer_norm", POINT, [[2, 64, 320]])
    program.linear()
    program.op("aten::mul", POINT, [[2, 64, 320], []])
    program.op("aten::clone", COPY, [[2, 8, 64, 40]])
    program.linear()
    program.op("aten::clone", COPY, [[2, 8, 64, 40]])
    program.op("aten::ones", POINT, [[], []])
    program.op("aten::tril", POINT, [[64, 64], []])
    program.op("aten::neg", POINT, [[2, 8, 64, 20]])
    program.linear()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    program.linear()
    [categories] = program.columns(tmp_path, "category")
    assert categories == [
        "elementwise", "norm", "linear", "attention", "attention", "linear", "attention",
        "attention", "attention", "elementwise", "linear", "attention", "linear",
    ]  # fmt: skip


def test_a_bias_may_be_computed_between_the_scores_and_the_softmax(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::bmm", GEMM, [[16, 64, 40], [16, 40, 64]])
    program.op("aten::linear", GEMM, [[127, 128], [8, 128], [8]])
    program.op("aten::add", POINT, [[2, 8, 64, 64], [8, 64, 64]])
    program.op("aten::softmax", SOFTMAX, [[2, 8, 64, 64], [], []])
    program.op("aten::bmm", GEMM, [[16, 64, 64], [16, 64, 40]])
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["attention", "linear", *["attention"] * 3]


def test_equal_sizes_do_not_tie_two_operators_together(tmp_path: Path) -> None:
    """With as many keys as the head has dimensions all products are of one size."""
    program = Program()
    for _ in range(2):
        program.written(2, 8, 64, 64, 64)
        program.linear()
        program.op("aten::add", POINT, [[2, 64, 512], [2, 64, 512]])
        program.linear()
    [categories] = program.columns(tmp_path, "category")
    assert categories == [*["attention"] * 4, "linear", "elementwise", "linear"] * 2


def test_experts_between_attention_are_linear(tmp_path: Path) -> None:
    """A router's softmax stands between two batched products, too."""
    program = Program()
    program.written(2, 8, 64, 64)
    program.linear()
    program.op("aten::softmax", SOFTMAX, [[128, 16], [], []])
    program.op("aten::bmm", GEMM, [[16, 32, 640], [16, 640, 2560]])
    program.op("aten::silu", POINT)
    program.op("aten::bmm", GEMM, [[16, 32, 2560], [16, 2560, 640]])
    [categories] = program.columns(tmp_path, "category")
    assert categories[:4] == ["attention"] * 4
    assert categories[4:] == ["linear", "elementwise", "linear", "elementwise", "linear"]


def test_a_second_product_of_scores_is_part_of_the_operator(tmp_path: Path) -> None:
    """Relative positions are a product of their own that is added to the scores."""
    program = Program()
    program.op("aten::bmm", GEMM, [[16, 64, 40], [16, 40, 64]])
    program.op("aten::bmm", GEMM, [[16, 64, 40], [16, 40, 64]])
    program.op("aten::add", POINT, [[16, 64, 64], [16, 64, 64]])
    program.op("aten::softmax", SOFTMAX, [[16, 64, 64], [], []])
    program.op("aten::bmm", GEMM, [[16, 64, 64], [16, 64, 40]])
    assert program.columns(tmp_path, "category") == [["attention"] * 5]


def test_linear_attention_has_no_scores(tmp_path: Path) -> None:
    program = Program()
    """What makes features before, and the normalizer after, are its own."""
    program.op("aten::gelu", POINT, [[2, 4096, 512]])
    program.linear()
    program.op("aten::relu", POINT, [[16, 4096, 32]])
    program.op("aten::bmm", GEMM, [[16, 33, 4096], [16, 4096, 32]])
    program.op("aten::bmm", GEMM, [[16, 33, 32], [16, 32, 4096]])
    program.op("aten::div", POINT, [[16, 32, 4096], [16, 1, 4096]])
    program.linear()
    table = program.table(tmp_path)
    categories = table.to_arrow().to_pydict()["category"]
    assert categories == ["elementwise", "linear", *["attention"] * 4, "linear"]
    assert table.calls.query_length.tolist() == [4096]


def test_products_of_large_weights_are_linear(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::bmm", GEMM, [[8, 512, 1024], [8, 1024, 4096]])
    program.op("aten::gelu", POINT)
    program.op("aten::bmm", GEMM, [[8, 512, 4096], [8, 4096, 1024]])
    assert program.columns(tmp_path, "category") == [["linear", "elementwise", "linear"]]


def test_without_shapes_a_layer_between_tells_two_operators_apart(tmp_path: Path) -> None:
    program = Program()
    for name, kernel in (
        ("aten::bmm", GEMM), ("aten::softmax", SOFTMAX), ("aten::bmm", GEMM),
        ("aten::linear", GEMM), ("aten::softmax", SOFTMAX), ("aten::linear", GEMM),
        ("aten::bmm", GEMM),
    ):  # fmt: skip
        program.op(name, kernel)
    [categories] = program.columns(tmp_path, "category")
    assert categories == [*["attention"] * 3, "linear", "elementwise", "linear", "linear"]


@pytest.mark.parametrize("form", ["fused", "written"])
def test_temporal_attention_is_told_by_shapes(tmp_path: Path, form: str) -> None:
    program = Program()

    def attend(batch: int, length: int, keys: int) -> None:
        program.linear()
        if form == "fused":
            program.sdpa([batch, 5, length, 64], [batch, 5, keys, 64])
        else:
            program.written(batch, 5, length, keys, 64)

    for positions in (1024, 256):
        attend(2 * 24, positions, positions)
        attend(2 * 24, positions, 77)
        attend(2 * positions, 24, 24)
    attend(2, 77, 77)
    table = program.table(tmp_path)
    columns = table.to_arrow().to_pydict()
    per_call = {
        int(call): tuple(columns[name][row] for name in ("category", "attention_axis",
                         "attention_kind", "evidence"))
        for row, call in enumerate(table.call.tolist()) if call >= 0
    }  # fmt: skip
    level = [
        ("attention", "spatial", "self", "op"),
        ("attention", "spatial", "cross", "op"),
        ("temporal_attention", "temporal", "self", "shape"),
    ]
    text = ("attention", "sequence", "self", "op")
    assert list(per_call.values()) == [*level, *level, text]


def test_joint_attention_is_put_together_of_two_sequences(tmp_path: Path) -> None:
    program = Program()
    for _ in range(2):
        for _ in range(3):
            program.op("aten::cat", COPY, [[[1, 512, 24, 128], [1, 4096, 24, 128]], []])
        program.sdpa([1, 24, 4608, 128], [1, 24, 4608, 128])
    program.linear()
    program.sdpa([1, 24, 4608, 128], [1, 24, 4608, 128])
    program.sdpa([1, 24, 77, 128], [1, 24, 77, 128])
    categories, kinds = program.columns(tmp_path, "category", "attention_kind")
    told = [kind for kind, one in zip(kinds, categories, strict=True) if one == "attention"]
    assert told == ["joint", "joint", "joint", "self"]


def test_a_cache_makes_no_cross_attention(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([1, 32, 512, 128], [1, 32, 512, 128], "True")
    for step in range(3):
        for _ in range(2):
            program.op("aten::cat", COPY, [[[1, 32, 512 + step, 128], [1, 32, 1, 128]], []])
        program.sdpa([1, 32, 1, 128], [1, 32, 513 + step, 128])
        program.linear()
        program.sdpa([1, 32, 1, 128], [1, 32, 64, 128])
    categories, kinds, causal = program.columns(tmp_path, "category", "attention_kind", "causal")
    told = [kind for kind, one in zip(kinds, categories, strict=True) if one == "attention"]
    assert told == ["self", *["self", "cross"] * 3]
    assert causal[0] is True


def test_spatial_and_both_axes_are_told_by_the_convolution_before(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::conv2d", "implicit_gemm", [[2, 4, 64, 64], [1152, 4, 2, 2], [1152]])
    program.sdpa([2, 16, 1024, 72], [2, 16, 1024, 72])
    program.op("aten::conv3d", "implicit_gemm", [[1, 16, 13, 60, 90], [1920, 16, 1, 2, 2], []])
    program.sdpa([1, 30, 226 + 13 * 30 * 45, 64], [1, 30, 226 + 13 * 30 * 45, 64])
    program.sdpa([1, 30, 300, 64], [1, 30, 300, 64])
    categories, axes = program.columns(tmp_path, "category", "attention_axis")
    assert [axis for axis, one in zip(axes, categories, strict=True) if one == "attention"] == [
        "spatial", "spatio-temporal", "sequence",
    ]  # fmt: skip


def test_a_mask_leaves_causality_open(tmp_path: Path) -> None:
    program = Program()
    shape = [1, 8, 64, 40]
    program.op(
        "aten::scaled_dot_product_attention", FLASH,
        [shape, shape, shape, [1, 1, 64, 64], [], [], [], []], "", "", "", "", "0.", "False",
    )  # fmt: skip
    assert program.columns(tmp_path, "causal") == [[None]]


def test_projections_tell_chunks_from_keys_of_elsewhere(tmp_path: Path) -> None:
    """Queries may be fewer than keys of the same tokens: all projections take as many."""
    program = Program()
    for length in (64, 64, 64):
        program.op("aten::linear", GEMM, [[2, length, 320], [320, 320], [320]])
    program.sdpa([2, 8, 32, 40], [2, 8, 64, 40])
    program.sdpa([2, 8, 32, 40], [2, 8, 64, 40])
    for length in (64, 77, 77):
        program.op("aten::linear", GEMM, [[2, length, 320], [320, 320], [320]])
    program.sdpa([2, 8, 64, 40], [2, 8, 77, 40])
    program.op("aten::linear", GEMM, [[2, 64, 320], [960, 320], [960]])
    program.sdpa([2, 8, 16, 40], [2, 8, 64, 40])
    program.op("aten::linear", GEMM, [[2, 1, 320], [320, 320], [320]])
    program.sdpa([2, 8, 1, 40], [2, 8, 77, 40])
    categories, kinds = program.columns(tmp_path, "category", "attention_kind")
    told = [kind for kind, one in zip(kinds, categories, strict=True) if one == "attention"]
    assert told == ["self", "self", "cross", "self", "cross"]


def test_frames_in_the_batch_of_a_convolution_make_both_axes(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::conv2d", "implicit_gemm", [[13, 16, 60, 90], [1920, 16, 2, 2], [1920]])
    program.sdpa([1, 30, 226 + 13 * 30 * 45, 64], [1, 30, 226 + 13 * 30 * 45, 64])
    program.op("aten::conv2d", "implicit_gemm", [[2, 96, 56, 56], [96, 96, 1, 1], [96]])
    program.sdpa([128, 3, 49, 32], [128, 3, 49, 32])
    categories, axes = program.columns(tmp_path, "category", "attention_axis")
    told = [axis for axis, one in zip(axes, categories, strict=True) if one == "attention"]
    assert told == ["spatio-temporal", "spatial"]


def test_without_shapes_copies_between_projections_lay_out_heads(tmp_path: Path) -> None:
    program = Program()
    for name, kernel in (
        ("aten::linear", GEMM), ("aten::mul", POINT), ("aten::contiguous", COPY),
        ("aten::linear", GEMM), ("aten::contiguous", COPY), ("aten::linear", GEMM),
        ("aten::contiguous", COPY), ("aten::scaled_dot_product_attention", FLASH),
        ("aten::linear", GEMM), ("aten::mul", POINT), ("aten::linear", GEMM),
    ):  # fmt: skip
        program.op(name, kernel)
    [categories] = program.columns(tmp_path, "category")
    before = ["linear", "attention", "attention", "linear", "attention", "linear", "attention"]
    assert categories == [*before, "attention", "linear", "elementwise", "linear"]


def test_without_shapes_a_copy_of_all_projections_at_once_lays_out_heads(tmp_path: Path) -> None:
    program = Program()
    for name, kernel in (
        ("aten::layer_norm", "layer_norm_kernel"), ("aten::contiguous", COPY),
        ("aten::linear", GEMM), ("aten::reshape", COPY), ("aten::add", POINT),
        ("aten::scaled_dot_product_attention", FLASH),
    ):  # fmt: skip
        program.op(name, kernel)
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["norm", "memory", "linear", "attention", "elementwise", "attention"]


def test_what_joins_chunks_of_attention_is_part_of_it(tmp_path: Path) -> None:
    program = Program()
    part = [4, 12, 128, 64]
    for _ in range(2):
        program.op("aten::bmm", GEMM, [[48, 128, 64], [48, 64, 512]])
        program.op("aten::softmax", SOFTMAX, [[4, 12, 128, 512], [], []])
        program.op("aten::bmm", GEMM, [[48, 128, 512], [48, 512, 64]])
    program.op("aten::cat", COPY, [[part, part], []])
    program.op("aten::reshape", COPY, [[4, 256, 12, 64], []])
    program.linear()
    program.op("aten::cat", COPY, [[part, part], []])
    [categories] = program.columns(tmp_path, "category")
    assert categories == [*["attention"] * 8, "linear", "memory"]


@pytest.mark.parametrize(
    ("softmax", "category"), [("triton_red_fused__softmax_5", "attention"), ("aten::softmax", None)]
)
def test_compilers_move_the_projection_of_the_values(
    softmax: str, category: str | None, tmp_path: Path
) -> None:
    program = Program()
    for name, kernel in (
        ("aten::mm", GEMM), ("aten::bmm", GEMM), (softmax, softmax), ("aten::mm", GEMM),
        ("aten::bmm", GEMM),
    ):  # fmt: skip
        program.op(name, kernel)
    [categories] = program.columns(tmp_path, "category")
    product = category or "linear"
    assert categories == ["linear", product, category or "elementwise", "linear", product]


@pytest.mark.parametrize("after", ["linear", "gelu"])
def test_the_copy_that_merges_heads_may_stand_apart(after: str, tmp_path: Path) -> None:
    program = Program()
    program.sdpa([1, 24, 256, 128], [1, 24, 256, 128])
    program.op("aten::pad", COPY, [[1, 24, 250, 128], [], []])
    program.op("aten::cat", COPY, [[[1, 24, 256, 128]], []])
    program.op("aten::clone", COPY, [[1, 256, 24, 128], [], []])
    program.op(f"aten::{after}", GEMM, [[1, 256, 3072], [3072, 3072], [3072]])
    [categories] = program.columns(tmp_path, "category")
    assert categories[0] == "attention"
    assert categories[3] == ("attention" if after == "linear" else "memory")


def test_a_compiled_softmax_tells_heads_apart(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::mm", GEMM, [[1024, 768], [768, 2304]])
    program.op("aten::bmm", GEMM, [[768, 16, 64], [768, 64, 20]])
    softmax = "triton_per_fused__softmax_mul_view_3"
    program.op(softmax, softmax, [[64, 12, 16, 20], [], []])
    program.op("aten::bmm", GEMM, [[768, 16, 20], [768, 20, 64]])
    calls = program.table(tmp_path).calls
    geometry = (calls.batch, calls.heads, calls.query_length, calls.key_length, calls.head_size)
    assert [column.tolist() for column in geometry] == [[64], [12], [16], [20], [64]]


@pytest.mark.parametrize("tokens", [1024, 900])
def test_compiled_linear_attention_with_the_softmax_of_the_queries_between(
    tokens: int, tmp_path: Path
) -> None:
    """1,024 tokens of 32: the maxima of the queries are as many as the elements of the product."""
    program = Program()
    program.op("aten::convolution", GEMM, [[16, 128, 1, tokens], [768, 128, 1, 1]])
    keys = "triton_red_fused__softmax_prepare_softmax_online_split_view_1"
    program.op(keys, keys, [[16, 768, 1, tokens], [16, 8, 32, 1], []])
    program.op("aten::bmm", GEMM, [[128, 32, tokens], [128, tokens, 32]])
    queries = "triton_poi_fused__softmax_exp_mul_split_sub_view_8"
    program.op(queries, queries, [[16, 768, 1, tokens], [16, 8, 1, tokens], []])
    program.op("aten::bmm", GEMM, [[128, 32, 32], [128, 32, tokens]])
    layout = "triton_poi_fused_convolution_permute_view_9"
    program.op(layout, layout, [[128, 32, tokens], [16, 256, 1, tokens], []])
    program.op("aten::convolution", GEMM, [[16, 256, 1, tokens], [128, 256, 1, 1]])
    table = program.table(tmp_path)
    calls = table.calls
    geometry = (calls.batch, calls.heads, calls.query_length, calls.key_length, calls.head_size)
    assert [column.tolist() for column in geometry] == [[16], [8], [tokens], [tokens], [32]]
    assert table.to_arrow().column("category").to_pylist()[:5] == ["conv", *["attention"] * 4]
