"""Copies that Inductor makes, which are named after what they come from or go to."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import COPY, GEMM, POINT, SOFTMAX, Program

from tracekit.classifying.fused_copies import lays_out, spreads_one
from tracekit.classifying.triton_names import verdict_for_triton_name

SPREAD = (
    "triton_poi_fused__scaled_dot_product_cudnn_attention__to_copy_clone_expand_mean_mul_pow_"
    "rsqrt_unsqueeze_view_7"
)
FOR_CONVOLUTION = "triton_poi_fused_convolution_permute_view_9"
HEADS = [2, 8, 64, 40]
CAST = "void at::native::vectorized_elementwise_kernel<4, at::native::bfloat16_copy_kernel_cuda>"


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (((1, 8, 512, 128), (1, 16, 512, 128)), True),
        (((1, 16, 512, 128), (1, 16, 512, 128)), False),  # may scale in place
        (((196, 1024), (200, 1024)), False),  # pads
        (((512, 2048), (128,), (1, 16, 512, 128)), False),  # a weight scales
        ((), False),
    ],
)
def test_what_is_larger_than_the_one_input_was_repeated(
    shapes: tuple[tuple[int, ...], ...], expected: bool
) -> None:
    assert spreads_one(SPREAD, shapes) is expected


@pytest.mark.parametrize(
    ("name", "shapes", "expected"),
    [
        (FOR_CONVOLUTION, ((128, 32, 64), (16, 256, 64, 1)), True),
        (FOR_CONVOLUTION, ((16, 256, 64, 1), (256,)), False),  # a bias
        ("triton_poi_fused_convolution_silu_9", ((16, 256), (16, 256)), False),
        ("triton_red_fused_convolution_view_9", ((16, 256), (16, 256)), False),
        ("triton_poi_fused__unsafe_view_clone_split_3", ((64, 960), (2, 8, 64, 40, 1)), True),
    ],
)
def test_a_layout_of_one_input_adds_and_scales_nothing(
    name: str, shapes: tuple[tuple[int, ...], ...], expected: bool
) -> None:
    assert lays_out(name, shapes) is expected


def test_repeated_keys_are_no_norm(tmp_path: Path) -> None:
    program = Program()
    program.op(SPREAD, SPREAD, [[1, 8, 512, 128], [1, 16, 512, 128], [], []])
    program.op(SPREAD, SPREAD, [[512, 2048], [128], [1, 16, 512, 128], []])
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["attention", "norm"]


def test_a_variance_alone_is_of_a_norm_a_pointwise_one_is_not() -> None:
    assert verdict_for_triton_name("triton_per_fused_var_2").category == "norm"
    assert verdict_for_triton_name("triton_poi_fused_var_2").category == "elementwise"


def compiled_attention(program: Program) -> None:
    """Issue projections, copies of heads and an operator as Inductor does."""
    for number, layout in enumerate(([2, 8, 64, 40, 1], [2, 8, 40, 64, 1])):
        program.op("aten::mm", GEMM, [[128, 320], [320, 320]])
        name = f"triton_poi_fused__unsafe_view_clone_permute_unsqueeze_view_{number}"
        program.op(name, name, [[128, 320], layout, []])
    program.op("aten::bmm", GEMM, [[16, 64, 40], [16, 40, 64]])
    softmax = "triton_per_fused__softmax_mul_4"
    program.op(softmax, softmax, [[2, 8, 64, 64], []])
    program.op("aten::bmm", GEMM, [[16, 64, 64], [16, 64, 40]])


def test_copies_of_heads_between_projections_are_the_operators(tmp_path: Path) -> None:
    program = Program()
    compiled_attention(program)
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["linear", "attention", "linear", *["attention"] * 4]


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [([[16, 64, 40], [2, 320, 8, 8], []], "attention"), ([[2, 320, 8, 8], [320], []], "conv")],
    ids=["layout", "bias"],
)
def test_what_lays_out_the_result_for_a_convolution_is_the_operators(
    shapes: list[list[int]], expected: str, tmp_path: Path
) -> None:
    program = Program()
    compiled_attention(program)
    program.op(FOR_CONVOLUTION, FOR_CONVOLUTION, shapes)
    program.op("aten::convolution", GEMM, [[2, 320, 8, 8], [320, 320, 1, 1]])
    [categories] = program.columns(tmp_path, "category")
    assert categories[-2:] == [expected, "conv"]


def compiled_video(program: Program, *names: str) -> None:
    """Issue attention over 4 clips of 16 frames of 16 positions, after norms of these names."""
    for name in names:
        program.op(name, name, [[4, 16, 16, 320], [320], [320], [64, 16, 320], [], []])
        program.op("aten::mm", GEMM, [[1024, 320], [320, 960]])
        for number in range(2):
            layout = f"triton_poi_fused_clone_split_view_{number}"
            program.op(layout, layout, [[1024, 960], [64, 8, 16, 40, 1], []])
        program.op("aten::bmm", GEMM, [[512, 16, 40], [512, 40, 16]])
        program.op("triton_per_fused__softmax_mul_4", SOFTMAX, [[64, 8, 16, 16], []])
        program.op("aten::bmm", GEMM, [[512, 16, 16], [512, 16, 40]])


def test_a_turn_that_is_fused_with_a_norm_tells_time_from_space(tmp_path: Path) -> None:
    program = Program()
    space = "triton_per_fused_add_native_layer_norm_view_6"
    time = "triton_per_fused_add_clone_native_layer_norm_transpose_view_8"
    compiled_video(program, space, time, space, time)
    axis, calls = program.columns(tmp_path, "attention_axis", "category")
    told = [one for one, category in zip(axis, calls, strict=True) if one is not None]
    assert told == [*["spatial"] * 5, *["temporal"] * 5] * 2


def test_without_turns_nothing_tells_frames_from_positions(tmp_path: Path) -> None:
    program = Program()
    compiled_video(program, *["triton_per_fused_add_native_layer_norm_view_6"] * 4)
    [categories] = program.columns(tmp_path, "category")
    assert "temporal_attention" not in categories


def test_nothing_before_a_projection_of_all_three_is_a_piece(tmp_path: Path) -> None:
    """The scale of a residual is as large as the queries; that after their projection is theirs."""
    program = Program()
    program.op("aten::convolution", GEMM, [[2, 320, 8, 8], [320, 320, 3, 3]])
    program.op("aten::mul", POINT, [[2, 320, 8, 8], []])
    program.op("aten::convolution", GEMM, [[2, 320, 8, 8], [960, 320, 1, 1]])
    program.op("aten::mul", POINT, [[2, 8, 64, 40], []])
    program.written(2, 8, 64, 64)
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["conv", "elementwise", "conv", *["attention"] * 5]


def test_copies_of_added_keys_are_the_operators(tmp_path: Path) -> None:
    """Text that is put before the image's keys is as long as it is."""
    program = Program()
    program.linear()
    program.op("aten::clone", COPY, [[2, 7, 8, 40]])
    for _ in range(3):
        program.linear()
    program.sdpa(HEADS, [2, 8, 71, 40])
    [categories] = program.columns(tmp_path, "category")
    assert categories == ["linear", "attention", *["linear"] * 3, "attention"]


def test_queries_added_to_the_result_are_the_operators(tmp_path: Path) -> None:
    program = Program()
    program.written(2, 8, 64, 64)
    program.op("aten::add", POINT, [HEADS, HEADS, []])
    program.op("aten::clone", COPY, [[2, 64, 8, 40]])
    program.op("aten::addmm", GEMM, [[320], [128, 320], [320, 320]])
    program.op("aten::add", POINT, [[2, 64, 320], [2, 64, 320], []])
    [categories] = program.columns(tmp_path, "category")
    assert categories == [*["attention"] * 6, "linear", "elementwise"]


def test_values_that_a_convolution_returned_may_be_added(tmp_path: Path) -> None:
    program = Program()
    program.written(2, 8, 64, 64)
    program.op("aten::convolution", "conv_depthwise2d", [HEADS, [8, 1, 33, 1]])
    program.op("aten::add_", POINT, [HEADS, HEADS, []])
    program.op("aten::addmm", GEMM, [[320], [128, 320], [320, 320]])
    [categories] = program.columns(tmp_path, "category")
    assert categories == [*["attention"] * 4, "conv", "attention", "linear"]


def test_copies_that_name_the_operator_are_no_calls_of_it(tmp_path: Path) -> None:
    """The copies that lay out packed projections for a fused operator are named after it."""
    program = Program()
    program.op("aten::addmm", GEMM, [[960], [128, 320], [320, 960]])
    for number in range(3):
        name = f"triton_poi_fused__scaled_dot_product_cudnn_attention_clone_select_view_{number}"
        program.op(name, name, [[128, 960], [2, 8, 64, 40], []])
    program.sdpa(HEADS, HEADS)
    table = program.table(tmp_path)
    assert len(table.calls) == 1
    assert table.call.tolist() == [-1, 0, 0, 0, 0]


def test_a_template_that_names_attention_is_a_call(tmp_path: Path) -> None:
    program = Program()
    program.op("triton_tem_fused_flex_attention_0", "triton_tem_fused_flex_attention_0")
    assert len(program.table(tmp_path).calls) == 1


@pytest.mark.parametrize(("dtype", "expected"), [("6", "attention"), ("15", "elementwise")])
def test_scores_in_a_wider_type_take_wider_queries(
    dtype: str, expected: str, tmp_path: Path
) -> None:
    """GPT-J and CodeGen widen them right before; what narrows undoes the rotation's type."""
    program = Program()
    program.linear()
    program.op("aten::mul", POINT, [HEADS, [1, 1, 64, 40]])
    program.op("aten::to", CAST, [HEADS, [], [], [], []], "", dtype, "False", "False", "")
    program.written(2, 8, 64, 64)
    [categories] = program.columns(tmp_path, "category")
    assert categories[1:3] == ["elementwise", expected]


def test_rotations_of_features_are_no_part_of_linear_attention(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::convolution", GEMM, [[2, 320, 1, 4096], [960, 320, 1, 1]])
    program.op("aten::relu", POINT, [[2, 8, 40, 4096]])
    program.op("aten::mul", POINT, [[2, 8, 40, 4096], [1, 1, 40, 4096]])
    program.op("aten::bmm", GEMM, [[16, 40, 4096], [16, 4096, 40]])
    program.op("aten::bmm", GEMM, [[16, 40, 40], [16, 40, 4096]])
    program.op("aten::convolution", GEMM, [[2, 320, 1, 4096], [320, 320, 1, 1]])
    [categories] = program.columns(tmp_path, "category")
    assert categories[2:5] == ["elementwise", "attention", "attention"]


def test_windows_of_a_pyramid_are_not_frames_and_positions(tmp_path: Path) -> None:
    """64 windows of 64 tokens an image, then 16: a map of 64 by 64 is copied in between."""
    program = Program()
    for windows, side in ((512, 64), (128, 32)):
        for _ in range(2):
            program.op("aten::clone", COPY, [[8, side, side, 96]])
            program.sdpa([windows, 3, 64, 32], [windows, 3, 64, 32])
    [axes] = program.columns(tmp_path, "attention_axis")
    assert "temporal" not in axes


def test_dimensions_before_the_tokens_may_be_frames_or_heads(tmp_path: Path) -> None:
    """Half the heads attend over space, half over time: (batch, heads, frames, tokens, size)."""
    program = Program()
    for _ in range(2):
        program.linear()
        for shape in ([2, 6, 20, 256, 64], [2, 6, 256, 20, 64]):
            program.sdpa(shape, shape)
    table = program.table(tmp_path)
    axes = table.to_arrow().to_pydict()["attention_axis"]
    assert axes == [None, "spatial", "temporal"] * 2
    assert table.calls.sequences.tolist() == [240, 3072] * 2


def test_networks_of_position_biases_keep_their_activations(tmp_path: Path) -> None:
    """Swin v2 makes biases between its products, from the offsets of a window."""
    program = Program()
    program.op("aten::bmm", GEMM, [[16, 64, 40], [16, 40, 64]])
    program.op("aten::linear", GEMM, [[225, 2], [512, 2], [512]])
    program.op("aten::relu", POINT, [[225, 512]])
    program.op("aten::linear", GEMM, [[225, 512], [8, 512]])
    program.op("aten::add", POINT, [[2, 8, 64, 64], [1, 8, 64, 64], []])
    program.op("aten::softmax", SOFTMAX, [[2, 8, 64, 64], [], []])
    program.op("aten::bmm", GEMM, [[16, 64, 64], [16, 64, 40]])
    [categories] = program.columns(tmp_path, "category")
    assert categories == [
        "attention", "linear", "elementwise", "linear", *["attention"] * 3
    ]  # fmt: skip
