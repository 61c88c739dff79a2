"""FLOPs, bytes, lengths and profiles of attention calls, from built traces to the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from programs import FLASH, GEMM, SOFTMAX, Program

import tracekit
from tracekit.reports import render
from tracekit.reports.attention_cells import sparkline
from tracekit.results import Analysis, AttentionResult


def analysis(program: Program, path: Path, **options: Any) -> Analysis:
    return tracekit.analyze(program.b.write(path / "t.json"), **options)


def attention(program: Program, path: Path, **options: Any) -> AttentionResult:
    return analysis(program, path, **options).attention


def typed(program: Program, *dims: list[int], dtype: str = "c10::BFloat16", **flags: str) -> None:
    """Issue SDPA with element types; `causal` and `inner` say how and by which op."""
    number, program.count = program.count, program.count + 1
    shapes = [*dims, [], [], [], [], []]
    inputs = ["", "", "", "", "0.", flags.get("causal", "False"), "", "False"]
    args = {
        "Input Dims": shapes,
        "Concrete Inputs": inputs,
        "Input type": [dtype] * 3 + ["", "Scalar", "Scalar", "", "Scalar"],
        "Sequence number": number,
        "Fwd thread id": 0,
    }
    program.b.op("aten::scaled_dot_product_attention", 100 * number, 90, **args)
    if "inner" in flags:
        program.b.op(flags["inner"], 100 * number + 2, 80, **args)
    at = 100 * number
    program.b.launched(FLASH, at + 10, 1_000_000 + at, 50, tid=1)


def test_a_fused_call_has_flops_bytes_type_and_backend(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    flash = "aten::_scaled_dot_product_flash_attention"
    typed(program, [2, 8, 4096, 40], [2, 8, 77, 40], [2, 8, 77, 40], inner=flash)
    program.linear()
    result = attention(program, tmp_path)
    [call] = result.calls
    assert (call.batch, call.heads, call.sequences, call.key_heads) == (2, 8, 16, 8)
    assert (call.query_length, call.key_length, call.head_size) == (4096, 77, 40)
    assert (call.kind, call.phase, call.dtype, call.backend) == (
        "cross", "forward", "bfloat16", "flash",
    )  # fmt: skip
    assert call.flops == call.flops_causal == 4 * 16 * 4096 * 77 * 40
    assert call.bytes == 2 * 16 * 2 * 40 * (4096 + 77)
    assert (call.kernels, call.time_ns, call.causal) == (1, 50, False)
    [kind] = result.by_kind
    assert (kind.key, kind.calls, kind.flops, kind.time_share) == ("cross", 1, call.flops, 1.0)
    assert (result.calls_total, result.calls_listed) == (1, 1)


@pytest.mark.parametrize(
    ("inner", "backend"),
    [
        ("aten::_scaled_dot_product_efficient_attention", "memory_efficient"),
        ("aten::_scaled_dot_product_cudnn_attention", "cudnn"),
        ("aten::_scaled_dot_product_attention_math", "math"),
        ("aten::_scaled_dot_product_fused_attention_overrideable", "fused"),
    ],
)
def test_the_op_inside_tells_the_backend(inner: str, backend: str, tmp_path: Path) -> None:
    program = Program()
    typed(program, *[[2, 8, 64, 40]] * 3, inner=inner)
    [call] = attention(program, tmp_path).calls
    assert call.backend == backend


def test_without_such_an_op_the_kernel_tells_the_backend(tmp_path: Path) -> None:
    program = Program()
    program.sdpa([2, 8, 64, 40], [2, 8, 64, 40])
    [call] = attention(program, tmp_path).calls
    assert (call.backend, call.dtype, call.bytes) == ("flash", None, None)
    assert call.flops == 4 * 16 * 64 * 64 * 40


def test_grouped_queries_read_fewer_keys_than_they_multiply(tmp_path: Path) -> None:
    program = Program()
    typed(program, [1, 32, 512, 128], [1, 8, 512, 128], [1, 8, 512, 128])
    [call] = attention(program, tmp_path).calls
    assert (call.heads, call.key_heads, call.sequences) == (32, 8, 32)
    assert call.flops == 4 * 32 * 512 * 512 * 128
    assert call.bytes == 2 * 2 * 128 * 512 * (32 + 8)


def test_values_of_another_width_count_with_their_own(tmp_path: Path) -> None:
    program = Program()
    typed(program, [1, 16, 128, 192], [1, 16, 128, 192], [1, 16, 128, 128], dtype="c10::Half")
    [call] = attention(program, tmp_path).calls
    assert (call.head_size, call.value_size) == (192, 128)
    assert call.flops == 2 * 16 * 128 * 128 * (192 + 128)
    assert call.bytes == 2 * 16 * 2 * 128 * (192 + 128)


def test_a_causal_call_is_counted_in_full_and_as_a_triangle(tmp_path: Path) -> None:
    program = Program()
    typed(program, *[[1, 4, 512, 64]] * 3, causal="True")
    typed(program, [1, 4, 8, 64], [1, 4, 512, 64], [1, 4, 512, 64], causal="True")
    typed(program, [1, 4, 20, 64], [1, 4, 12, 64], [1, 4, 12, 64], causal="True")
    square, wide, tall = attention(program, tmp_path).calls
    assert (square.causal, square.flops) == (True, 4 * 4 * 512 * 512 * 64)
    assert square.flops_causal == 4 * 4 * 64 * (512 * 513 // 2)
    for call in (wide, tall):
        assert call.causal
        pairs = sum(min(i + 1, call.key_length or 0) for i in range(call.query_length or 0))
        assert call.flops_causal == 4 * 4 * 64 * pairs
        assert call.flops == 4 * 4 * 64 * (call.query_length or 0) * (call.key_length or 0)


def test_libraries_differ_in_what_the_first_of_fewer_queries_sees(tmp_path: Path) -> None:
    """A kernel's template says that it is causal, not which keys the first query has."""
    program = Program()
    name = (
        "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false, false, "
        "cutlass::bfloat16_t>, false, true, false, false, true, true, false, false>"
    )
    for number, queries in enumerate((512, 8)):
        shapes = [[1, queries, 4, 64], [1, 512, 4, 64], [1, 512, 4, 64]]
        types = ["c10::BFloat16"] * 3
        args = {"Input Dims": shapes, "Input type": types, "Sequence number": number}
        program.b.op("flash_attn::_flash_attn_forward", 100 * number, 90, **args)
        program.b.launched(name, 100 * number + 10, 1_000_000 + 100 * number, 50, tid=1)
    square, wide = attention(program, tmp_path).calls
    assert (square.causal, wide.causal) == (True, True)
    assert square.flops_causal == 4 * 4 * 64 * (512 * 513 // 2)
    assert (wide.flops, wide.flops_causal) == (4 * 4 * 64 * 8 * 512, None)


def test_a_written_call_has_heads_flops_and_all_its_kernels(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::linear", GEMM, [[2, 4096, 320], [320, 320], [320]])
    program.op("aten::bmm", GEMM, [[16, 4096, 40], [16, 40, 4096]])
    program.op("aten::softmax", SOFTMAX, [[16, 4096, 4096], [], []])
    program.op("aten::bmm", GEMM, [[16, 4096, 4096], [16, 4096, 40]])
    program.op("aten::linear", GEMM, [[2, 4096, 320], [320, 320], [320]])
    [call] = attention(program, tmp_path).calls
    assert (call.backend, call.kernels, call.time_ns) == ("written_out", 3, 150)
    assert (call.batch, call.heads, call.head_size, call.value_size) == (2, 8, 40, 40)
    assert call.flops == 4 * 16 * 4096 * 4096 * 40


def test_a_convolution_after_a_call_tells_heads_too(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::bmm", GEMM, [[16, 256, 32], [16, 32, 256]])
    program.op("aten::softmax", SOFTMAX, [[16, 256, 256], [], []])
    program.op("aten::bmm", GEMM, [[16, 256, 256], [16, 256, 32]])
    program.op("aten::conv2d", "implicit_gemm", [[4, 128, 16, 16], [64, 128, 1, 1], [64]])
    [call] = attention(program, tmp_path).calls
    assert (call.batch, call.heads) == (4, 4)


def test_heads_stay_unknown_where_the_next_layer_takes_something_else(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::bmm", GEMM, [[16, 256, 32], [16, 32, 256]])
    program.op("aten::softmax", SOFTMAX, [[16, 256, 256], [], []])
    program.op("aten::bmm", GEMM, [[16, 256, 256], [16, 256, 32]])
    program.op("aten::linear", GEMM, [[4, 256, 320], [320, 320], [320]])
    [call] = attention(program, tmp_path).calls
    assert (call.batch, call.heads, call.sequences) == (None, None, 16)
    assert call.flops == 4 * 16 * 256 * 256 * 32


def test_softmaxes_of_linear_attention_are_not_of_the_windows_before_it(tmp_path: Path) -> None:
    """They are as large as what the windows returned, by chance."""
    program = Program()
    program.written(8, 8, 128, 384, 64)
    for _ in range(2):
        program.op("aten::softmax", SOFTMAX, [[2, 4, 1024, 64], [], []])
    program.op("aten::bmm", GEMM, [[8, 64, 1024], [8, 1024, 64]])
    program.op("aten::bmm", GEMM, [[8, 1024, 64], [8, 64, 64]])
    windows, linear = attention(program, tmp_path).calls
    assert (windows.query_length, windows.key_length, windows.head_size) == (128, 384, 64)
    assert (linear.query_length, linear.key_length, linear.sequences) == (1024, 1024, 8)
    assert linear.flops == 2 * 2 * 8 * 1024 * 64 * 64


def test_a_function_that_takes_heads_first_is_known_by_its_name(tmp_path: Path) -> None:
    program = Program()
    program.op("FlashAttentionFunction", FLASH, [[2, 16, 256, 64], *[[2, 16, 257, 64]] * 2])
    [call] = attention(program, tmp_path).calls
    assert (call.heads, call.query_length, call.key_length) == (16, 256, 257)


def test_backward_is_a_call_of_its_own_that_computes_the_scores_again(tmp_path: Path) -> None:
    program = Program()
    typed(program, *[[2, 8, 64, 40]] * 3)
    node = "autograd::engine::evaluate_function: ScaledDotProductFlashAttentionBackward0"
    program.backward(0, node, "flash_bwd_dq_dk_dv_loop_kernel", f"aten::{FLASH}")
    result = attention(program, tmp_path)
    forward, backward = result.calls
    assert (forward.phase, backward.phase) == ("forward", "backward")
    assert forward.flops is not None
    assert forward.bytes is not None
    assert backward.flops == 5 * forward.flops // 2
    assert backward.bytes == 2 * forward.bytes
    assert [(row.calls, row.kernels) for row in result.by_kind] == [(1, 2)]
    assert [row.calls for row in result.sequence_lengths] == [1]


def test_without_shapes_sizes_and_flops_are_null_and_counted(tmp_path: Path) -> None:
    program = Program()
    program.op("aten::scaled_dot_product_attention", FLASH)
    result = attention(program, tmp_path)
    [call] = result.calls
    assert (call.query_length, call.heads, call.flops, call.bytes) == (None,) * 4
    [axis] = result.by_axis
    assert (axis.calls, axis.flops, axis.calls_without_flops) == (1, None, 1)
    assert (result.length_ratio, result.profile) == (None, ())
    [length] = result.sequence_lengths
    assert (length.query_length, length.calls) == (None, 1)


@pytest.mark.parametrize("types", [1.5, {"a": 1}, None, "c10::Half", [3, ["c10::Half"]]])
def test_broken_types_are_unknown(types: Any, tmp_path: Path) -> None:
    program = Program()
    dims = [[1, 8, 64, 40]] * 3
    program.b.op(
        "aten::scaled_dot_product_attention", 0, 90, **{"Input Dims": dims, "Input type": types}
    )
    program.b.launched(FLASH, 10, 1_000_000, 50, tid=1)
    [call] = attention(program, tmp_path).calls
    assert (call.dtype, call.query_length) == (None, 64)


def test_sizes_beyond_int64_are_unknown(tmp_path: Path) -> None:
    program = Program()
    typed(program, *[[2**20, 2**20, 2**20, 64]] * 3)
    [call] = attention(program, tmp_path).calls
    assert (call.query_length, call.flops, call.bytes) == (2**20, None, None)


def test_the_largest_calls_are_listed_in_the_order_of_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracekit.analysis.analyze.LISTED_CALLS", 2)
    program = Program()
    for length in (64, 128, 256):
        program.sdpa([1, 8, length, 40], [1, 8, length, 40])
    result = attention(program, tmp_path)
    assert [call.query_length for call in result.calls] == [64, 128]
    assert (result.calls_total, result.calls_listed) == (3, 2)
    assert sum(row.calls for row in result.sequence_lengths) == 3
    whole = attention(program, tmp_path, list_all=True)
    assert (len(whole.calls), whole.calls_listed) == (3, 3)


def unet(program: Program, steps: int) -> None:
    """Issue the self- and cross-attention of a small UNet, and mark the steps."""
    for step in range(steps):
        begin = 100 * program.count
        for length in (4096, 1024, 64, 1024, 4096):
            program.sdpa([2, 8, length, 40], [2, 8, length, 40])
            program.sdpa([2, 8, length, 40], [2, 8, 77, 40])
        program.b.annotation(f"tk1|stage|denoise|{step}", begin, 100 * program.count - begin)


def test_a_unet_is_a_cycle_of_levels(tmp_path: Path) -> None:
    program = Program()
    unet(program, 3)
    result = analysis(program, tmp_path)
    [profile] = result.attention.profile
    assert profile.lengths == (4096, 1024, 64, 1024, 4096)
    assert (profile.calls, profile.steps, profile.repeats, profile.points) == (15, 3, True, "call")
    ratio = result.attention.length_ratio
    assert ratio is not None
    assert (ratio.longest, ratio.shortest, ratio.ratio, ratio.neighbour_ratio) == (
        4096, 64, 64.0, 16.0,
    )  # fmt: skip
    assert (ratio.stage, ratio.step) == ("denoise", 0)
    assert ratio.by_stage[0].levels == (4096, 1024, 64)
    text = render(result, "text")
    assert "█▆▁▆██▆▁▆██▆▁▆█  64–4,096  in each of 3 steps" in text
    assert "4,096 × 77" in text


def test_decoding_is_a_ramp(tmp_path: Path) -> None:
    program = Program()
    for step in range(8):
        begin = 100 * program.count
        for _ in range(2):
            program.op("aten::cat", "cat", [[[1, 8, 512 + step, 40], [1, 8, 1, 40]], []])
            program.sdpa([1, 8, 1, 40], [1, 8, 513 + step, 40])
        program.b.annotation(f"tk1|stage|decode|{step}", begin, 100 * program.count - begin)
    result = analysis(program, tmp_path)
    [profile] = result.attention.profile
    assert profile.lengths == tuple(range(513, 521))
    assert (profile.points, profile.repeats, profile.steps) == ("step", False, 8)
    text = render(result, "text")
    assert "▁▂▃▄▅▆▇█  513–520  over 8 steps" in text
    assert "1 × 513–520" in text


def test_a_transformer_is_a_level_line(tmp_path: Path) -> None:
    program = Program()
    for _ in range(6):
        program.sdpa([1, 8, 256, 40], [1, 8, 256, 40])
    text = render(analysis(program, tmp_path), "text")
    assert "whole run        ▄▄▄▄▄▄     256  over 6 calls" in text


@pytest.mark.parametrize(
    ("values", "width", "line"),
    [
        ([], 8, ""),
        ([5], 8, "▄"),
        ([100, 101, 102], 8, "▄▄▄"),
        ([1, 8], 8, "▁█"),
        ([512, 1024], 8, "▆█"),
        ([4096, 512] * 8, 4, "▅▅▅▅"),
        ([0, 0], 2, "▄▄"),
        ([3] * 100, 10, "▄" * 10),
    ],
)
def test_sparklines(values: list[int], width: int, line: str) -> None:
    assert sparkline(values, width) == line
