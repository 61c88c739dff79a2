"""Backward copies of views: they belong to the operator that the view stands beside, or to none."""

from __future__ import annotations

from pathlib import Path

from programs import COPY, GEMM, POINT, Program

TOKENS = [2, 64, 320]
HEADS = [2, 8, 64, 40]
COPIES = ("aten::reshape", "aten::clone", "aten::copy_")


def nested_linear(program: Program) -> int:
    """Issue a projection as PyTorch does, with ops inside that are layers by name, too."""
    number = program.op("aten::linear", GEMM, [TOKENS, [320, 320], [320]])
    program.b.op("aten::addmm", 100 * number + 2, 80)
    return number


def view_of_heads(program: Program) -> int:
    return program.view("aten::view", [TOKENS, []], "", "[2, -1, 8, 40]")


def test_heads_may_be_split_right_after_each_projection(tmp_path: Path) -> None:
    program = Program()
    nested_linear(program)
    views = []
    for _ in range(3):
        nested_linear(program)
        views.append(view_of_heads(program))
    program.sdpa(HEADS, HEADS)
    nested_linear(program)
    for view in views:
        program.backward(view, "ViewBackward0", COPY, *COPIES)
    [categories] = program.columns(tmp_path, "category")
    assert categories[-3:] == ["attention"] * 3


def test_two_kinds_of_tokens_have_six_projections(tmp_path: Path) -> None:
    """What is farther away than three layers has to split tokens into the heads of the call."""
    program = Program()
    nested_linear(program)
    first = view_of_heads(program)
    other = program.view("aten::view", [TOKENS, []], "", "[2, 8, 8, 320]")
    for _ in range(4):
        nested_linear(program)
    program.sdpa(HEADS, HEADS)
    nested_linear(program)
    for view in (first, other):
        program.backward(view, "ViewBackward0", COPY, *COPIES)
    [categories] = program.columns(tmp_path, "category")
    assert categories[-2:] == ["attention", "memory"]


def test_casts_in_backward_of_what_is_no_view_are_not_the_operator(tmp_path: Path) -> None:
    """A rotation in float32 casts its gradient back."""
    program = Program()
    for _ in range(3):
        nested_linear(program)
    rotation = program.op("aten::mul", POINT, [HEADS, [1, 1, 64, 40]])
    program.sdpa(HEADS, HEADS)
    nested_linear(program)
    node = "autograd::engine::evaluate_function: MulBackward0"
    cast = ("aten::to", "aten::_to_copy", "aten::copy_")
    program.backward(rotation, node, "bfloat16_copy_kernel_cuda", *cast)
    [categories] = program.columns(tmp_path, "category")
    assert categories[-1] == "elementwise"


def test_sums_of_queries_to_landmarks_are_part_of_the_operator(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    program.op("aten::sum", "reduce_kernel", [[2, 8, 16, 40, 4], [], [], []])
    program.op("aten::mean", "reduce_kernel", [[2, 64, 320], [], []])
    program.sdpa(HEADS, HEADS)
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["linear", "attention", "elementwise", "attention"]


def test_copies_of_heads_may_be_six_projections_away(tmp_path: Path) -> None:
    """Two kinds of tokens have projections of their own; each is laid out after its own."""
    program = Program()
    nested_linear(program)
    program.op("aten::clone", COPY, [HEADS])
    program.op("aten::clone", COPY, [[2, 8, 77, 40]])
    program.op("aten::clone", COPY, [TOKENS])
    for _ in range(4):
        nested_linear(program)
    program.sdpa(HEADS, [2, 8, 141, 40])
    [categories] = program.columns(tmp_path, "category")
    assert categories[1:4] == ["attention", "attention", "memory"]


def test_what_inductor_fused_beside_linear_attention(tmp_path: Path) -> None:
    program = Program()
    tokens = [2048, 320]
    program.op("aten::mm", GEMM, [tokens, [320, 960], [2048, 960]])
    features = "triton_poi_fused__to_copy__unsafe_view_clone_relu_transpose_view_7"
    program.op(features, features, [[2048, 960], [16, 32, 1024]])
    program.op("aten::bmm", GEMM, [[16, 33, 1024], [16, 1024, 32], [16, 33, 32]])
    program.op("aten::bmm", GEMM, [[16, 33, 32], [16, 32, 1024], [16, 33, 1024]])
    normalizer = "triton_poi_fused__to_copy_add_clone_div_slice_transpose_view_9"
    program.op(normalizer, normalizer, [[16, 33, 1024], [2048, 320]])
    gate = "triton_poi_fused_mul_silu_view_10"
    program.op(gate, gate, [[2048, 320], [2048, 320]])
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["linear", *["attention"] * 4, "elementwise"]
