"""What serves a rotation, a gate or a norm: forward joins, and gradients of the views before them.

Views launch nothing forward; backward puts the gradients of their parts together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import COPY, FLASH, GEMM, POINT, Program

CAT = "CatArrayBatchedCopy"
HALF: list[Any] = [[1, 32, 256, 32], [1, 1, 256, 32]]
SAME: list[Any] = [[1, 32, 256, 32], [1, 32, 256, 32]]


def complex_product(program: Program) -> None:
    for name in ("mul", "mul", "sub", "mul", "mul", "add"):
        program.op(f"aten::{name}", POINT, HALF if name == "mul" else SAME)


def categories(program: Program, path: Path) -> list[str]:
    [found] = program.columns(path, "category")
    return found


@pytest.mark.parametrize(
    ("parts", "category"), [(SAME, "elementwise"), ([[1, 32, 256, 128], SAME[0]], "memory")]
)
def test_both_parts_of_a_complex_product_are_joined(
    parts: list[Any], category: str, tmp_path: Path
) -> None:
    program = Program()
    view = program.view("aten::slice", [[1, 32, 256, 64], [], [], [], []])
    complex_product(program)
    program.op("aten::cat", CAT, [parts, []], "", "-1")
    program.op("aten::cat", CAT, [[[1, 32, 256, 128], [1, 32, 256, 64]], []], "", "-1")
    program.backward(view, "SliceBackward0", COPY, "aten::slice_backward", "aten::copy_")
    assert categories(program, tmp_path)[6:] == [category, "memory", category]


def test_gradients_of_the_halves_of_a_rotation(tmp_path: Path) -> None:
    """Queries are cut from keys before the cosine; halves are cut right before the negation."""
    program = Program()
    queries = program.view("aten::split", [[2, 8, 64, 120], [], []])
    program.op("aten::mul", POINT, [[2, 8, 64, 40], [64, 40]])
    halves = program.view("aten::chunk", [[2, 8, 64, 40], [], []])
    program.op("aten::neg", POINT, [[2, 8, 64, 20]])
    program.op("aten::cat", CAT, [[[2, 8, 64, 20], [2, 8, 64, 20]], []], "", "-1")
    program.op("aten::mul", POINT, [[2, 8, 64, 40], [64, 40]])
    for view in (halves, queries):
        program.backward(view, "SplitBackward0", CAT, "aten::cat")
    assert categories(program, tmp_path)[-2:] == ["elementwise", "memory"]


@pytest.mark.parametrize(("after", "category"), [("mul", "elementwise"), ("add", "memory")])
def test_gradients_of_the_halves_of_a_gate(after: str, category: str, tmp_path: Path) -> None:
    program = Program()
    program.linear()
    halves = program.view("aten::chunk", [[2, 64, 2560], [], []])
    program.op("aten::silu", POINT, [[2, 64, 1280]])
    program.op(f"aten::{after}", POINT, [[2, 64, 1280], [2, 64, 1280]])
    program.backward(halves, "SplitBackward0", CAT, "aten::cat")
    assert categories(program, tmp_path)[-1] == category


def test_offsets_are_not_padded_for_the_convolution_after_them(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::pad", COPY, [[2], [], [], []])
    program.op("aten::conv3d", GEMM, [[1984, 3, 2, 14, 14], [1280, 3, 2, 14, 14], []])
    program.op("aten::pad", COPY, [[1, 3, 64, 64], [], [], []])
    program.op("aten::conv2d", GEMM, [[1, 3, 66, 66], [64, 3, 3, 3], []])
    assert categories(program, tmp_path) == ["memory", "conv", "conv", "conv"]


@pytest.mark.parametrize(
    ("parts", "axis", "category"),
    [
        ([[8, 64, 32, 32], [3, 64, 32, 32]], "0", "norm"),
        ([[8, 64, 32, 32], [8, 64, 32, 32]], "1", "memory"),
        ([[8, 64, 32, 32], [5, 64, 32, 32]], "0", "memory"),
    ],
)
def test_norms_of_chunks_are_joined(
    parts: list[Any], axis: str, category: str, tmp_path: Path
) -> None:
    program = Program()
    chunks = program.view("aten::split", [[11, 64, 32, 32], [], []])
    program.op("aten::group_norm", POINT, [parts[0], [], [64], [64], [], []])
    rest = parts[1] if category == "norm" or axis == "1" else [3, 64, 32, 32]
    program.op("aten::group_norm", POINT, [rest, [], [64], [64], [], []])
    program.op("aten::cat", CAT, [parts, []], "", axis)
    program.backward(chunks, "SplitBackward0", CAT, "aten::cat")
    assert categories(program, tmp_path)[2:] == [category, category]


def test_batch_norms_count_their_batches(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::add_", POINT, [[4, 64, 100], [4, 64, 100], []])
    program.op("aten::batch_norm", POINT, [[4, 64, 100], [64], [64], [64], [64]])
    program.op("aten::add_", POINT, [[], [], []])
    program.op("aten::batch_norm", POINT, [[4, 64, 100], [64], [64], [64], [64]])
    assert categories(program, tmp_path) == ["elementwise", "norm", "norm", "norm"]


def test_a_norm_ends_where_something_of_another_size_begins(tmp_path: Path) -> None:
    """The sines of one token are as flat as a weight."""
    program = Program()
    for name, dims in (
        ("pow", [[1, 1, 512], []]), ("mean", [[1, 1, 512], [], [], []]), ("add", [[1, 1, 1], []]),
        ("rsqrt", [[1, 1, 1]]), ("mul", [[1, 1, 512], [1, 1, 1]]), ("mul", [[512], [1, 1, 512]]),
        ("mul", [[1, 32, 1, 32], [1, 1, 1, 32]]),
    ):  # fmt: skip
        program.op(f"aten::{name}", POINT, dims)
    assert categories(program, tmp_path) == [*["norm"] * 6, "elementwise"]


def test_casts_before_a_rotation_are_not_the_operator(tmp_path: Path) -> None:
    heads = [2, 64, 8, 40]
    for turned in (True, False):
        program = Program()
        program.linear()
        program.op("aten::to", "direct_copy_kernel_cuda", [heads, [], [], [], []])
        if turned:
            program.op("aten::mul", POINT, [heads, [1, 64, 1, 40]])
        program.op("aten::scaled_dot_product_attention", FLASH, [[2, 8, 64, 40]] * 3)
        assert categories(program, tmp_path)[1] == ("memory" if turned else "attention")


def test_gradients_of_what_a_matrix_turns(tmp_path: Path) -> None:
    """FLUX turns pairs by 2 × 2 matrices, a column times an element of the pair each."""
    program = Program()
    turns, pairs = [2, 1, 1024, 32, 2], [2, 28, 1024, 32, 1]
    element = program.view("aten::select", [[*pairs, 2], [], []])
    program.op("aten::mul", POINT, [turns, pairs])
    program.op("aten::mul", POINT, [turns, pairs])
    program.op("aten::add", POINT, [[2, 28, 1024, 32, 2]] * 2)
    program.backward(element, "SelectBackward0", COPY, "aten::select_backward", "aten::copy_")
    assert categories(program, tmp_path) == ["elementwise"] * 4


def test_sines_are_repeated_for_both_halves(tmp_path: Path) -> None:
    program = Program()
    for _ in range(2):
        program.op("aten::repeat", COPY, [[2048, 10], []])
    program.op("aten::neg", POINT, [[1, 16, 2048, 10]])
    program.op("aten::stack", CAT, [[[1, 16, 2048, 10], [1, 16, 2048, 10]], []])
    program.op("aten::mul", POINT, [[1, 16, 2048, 20], [2048, 20]])
    program.op("aten::repeat", COPY, [[2048, 10], []])
    assert categories(program, tmp_path) == [*["elementwise"] * 5, "memory"]


def test_sines_may_be_repeated_before_both_products(tmp_path: Path) -> None:
    """GPT-J and CodeGen scale a half by its cosine first, then turn the other."""
    program = Program()
    for _ in range(2):
        program.op("aten::repeat_interleave", COPY, [[1, 512, 1, 32], [], [], []])
    program.op("aten::mul", POINT, [[1, 512, 32, 64], [1, 512, 1, 64]])
    program.op("aten::neg", POINT, [[1, 512, 32, 32]])
    program.op("aten::stack", CAT, [[[1, 512, 32, 32], [1, 512, 32, 32]], []])
    program.op("aten::mul", POINT, [[1, 512, 32, 64], [1, 512, 1, 64]])
    program.op("aten::repeat_interleave", COPY, [[1, 512, 1, 32], [], [], []])
    assert categories(program, tmp_path) == [*["elementwise"] * 6, "memory"]


def test_a_vector_that_scales_and_shifts_is_a_modulation(tmp_path: Path) -> None:
    """One is added to what a time embedding scales by; a norm has its weight made before it."""
    program = Program()
    tokens, vector = [4, 1024, 512], [512]
    program.op("aten::layer_norm", "vectorized_layer_norm_kernel", [tokens, [], [], [], [], []])
    program.op("aten::add", POINT, [vector, [], []])
    program.op("aten::mul", POINT, [tokens, vector])
    program.op("aten::add", POINT, [tokens, vector, []])
    program.linear()
    program.op("aten::add", POINT, [vector, [], []])
    shapes = [tokens, [], vector, vector, [], []]
    program.op("aten::layer_norm", "vectorized_layer_norm_kernel", shapes)
    expected = ["norm", *["elementwise"] * 3, "linear", "norm", "norm"]
    assert categories(program, tmp_path) == expected
