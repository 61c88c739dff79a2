"""What attention consists of: parts by kernel name, by axis, temporal beside spatial."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import Program
from test_attention_costs import attention

from result_builders import analysis as built
from tracekit.attention_results import AttentionInside, AxisInside, AxisRatio, PartTime
from tracekit.classifying.attention_parts import PARTS, part_of_attention
from tracekit.reports import render
from tracekit.reports.attention_cells import inside_rows, temporal_to_spatial
from tracekit.results import AttentionResult

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<96, 128, 64>>", "fused"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7", "fused"),
        ("void cudnn::fusion::compute_dot_do_o_specialized<true, 64>(void const*)", "fused"),
        ("fmha_cutlassF_bf16_aligned_32x128_gmem_sm80(PyTorchMemEffAttention::", "fused"),
        ("triton_tem_fused__to_copy_flex_attention_ones_slice_2", "fused"),
        ("nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT", "gemm"),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_nn_n_tilesize64x64x8_stage3", "gemm"),
        ("triton_tem_fused_bmm_4", "gemm"),
        ("void (anonymous namespace)::softmax_warp_forward<float, float, float, 10>", "softmax"),
        ("void at::native::(anonymous namespace)::cunn_SoftMaxForwardReg<float>", "softmax"),
        ("triton_per_fused__softmax__to_copy_mul_3", "softmax"),
        ("triton_red_fused_prepare_softmax_online_1", "softmax"),
        ("vectorized_elementwise_kernel<4, AUnaryFunctor<MulFunctor<float>>>", "elementwise"),
        ("elementwise_kernel<128, 4, gpu_kernel_impl_nocast<masked_fill_kernel(", "elementwise"),
        ("unrolled_elementwise_kernel<MulFunctor<float>, LoadWithCast<1>>", "elementwise"),
        ("triton_poi_fused_add_mul_7", "elementwise"),
        ("elementwise_kernel<128, 2, gpu_kernel_impl_nocast<direct_copy_kernel_cuda(", "copy"),
        ("vectorized_elementwise_kernel<8, at::native::bfloat16_copy_kernel_cuda(", "copy"),
        ("CatArrayBatchedCopy_vectorized<OpaqueType<2u>", "copy"),
        ("triton_poi_fused_clone_2", "copy"),
        ("aten::bmm", "gemm"),
        ("aten::_softmax", "softmax"),
        ("aten::mul", "elementwise"),
        ("aten::copy_", "copy"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "fused"),
        ("some_kernel_of_mine", "other"),
        ("", "other"),
    ],
)  # fmt: skip
def test_part_of_a_kernel_by_its_name(name: str, part: str) -> None:
    assert part_of_attention(name, "kernel") == part
    assert part in PARTS


@pytest.mark.parametrize("activity", ["gpu_memcpy", "gpu_memset"])
def test_copies_and_fills_of_the_driver_are_copies(activity: str) -> None:
    assert part_of_attention("Memset (Device)", activity) == "copy"


def labelled(program: Program, axis: str, shape: tuple[int, int, int]) -> None:
    """Issue written-out attention of a module whose label tells kind and axis."""
    batch, heads, length = shape
    start = 100 * program.count
    label = f"tk1|attn|net.{axis}|self|{axis}|{length}|{length}|{heads}"
    program.written(batch, heads, length, length)
    program.b.annotation(label, start, 100 * program.count - start)
    program.linear()


def test_temporal_beside_spatial(tmp_path: Path) -> None:
    program = Program()
    program.linear()
    for _ in range(3):
        labelled(program, "spatial", (8, 4, 64))
    labelled(program, "temporal", (64, 4, 8))
    result = attention(program, tmp_path)
    assert [row.axis for row in result.inside.by_axis] == ["spatial", "temporal"]
    for row, count, calls in zip(result.inside.by_axis, (12, 4), (3, 1), strict=True):
        assert (row.calls, row.kernels, row.time_ns) == (calls, count, 50 * count)
        assert row.time_per_call_ns == 200
        assert [(part.part, part.kernels) for part in row.parts] == [
            ("gemm", 2 * calls),
            ("softmax", calls),
            ("elementwise", calls),
        ]
        assert [part.time_share for part in row.parts] == [0.5, 0.25, 0.25]
        assert sum(part.time_ns for part in row.parts) == row.time_ns
        assert row.parts[0].time_per_call_ns == 100
    spatial, temporal = result.inside.by_axis
    assert spatial.flops_per_call == 4 * 32 * 64 * 64 * 40
    assert temporal.flops_per_call == 4 * 256 * 8 * 8 * 40
    every, own = result.inside.temporal_to_spatial
    assert (every.kind, own.kind) == (None, "self")
    for ratio in (every, own):
        assert ratio.time == ratio.calls == pytest.approx(1 / 3)
        assert ratio.time_per_call == pytest.approx(1)
        assert ratio.flops == pytest.approx(1 / 3 / 8)
        assert ratio.flops_per_call == pytest.approx(1 / 8)
        assert ratio.parts == pytest.approx({"gemm": 1 / 3, "softmax": 1 / 3, "elementwise": 1 / 3})


def test_without_time_there_is_no_ratio(tmp_path: Path) -> None:
    program = Program()
    labelled(program, "spatial", (8, 4, 64))
    inside = attention(program, tmp_path).inside
    assert len(inside.by_axis) == 1
    assert inside.temporal_to_spatial == ()


def test_parts_add_up_on_real_traces() -> None:
    import tracekit

    found = tracekit.analyze(EXAMPLES / "traces" / "sdxl_math.json.gz")
    assert isinstance(found, tracekit.Analysis)
    (row,) = found.attention.inside.by_axis
    (share,) = found.attention.by_axis
    assert (row.axis, row.time_ns, row.calls) == (share.key, share.time_ns, share.calls)
    assert sum(part.time_ns for part in row.parts) == row.time_ns
    parts = {part.part: part for part in row.parts}
    assert list(parts) == ["gemm", "softmax", "elementwise", "copy"]
    # Two products and one softmax a call.
    assert parts["gemm"].kernels == 2 * parts["softmax"].kernels == 2 * (row.calls or 0)


def test_a_video_on_a_gpu_has_temporal_attention_of_more_time_and_fewer_flops() -> None:
    import tracekit

    found = tracekit.analyze(EXAMPLES / "traces" / "zeroscope_flash.json.gz")
    assert isinstance(found, tracekit.Analysis)
    every, own = found.attention.inside.temporal_to_spatial
    assert every.time > 1.5
    assert own.time > 2
    assert own.flops is not None
    assert own.flops < 0.1


def result(*parts: tuple[str, int], ratios: tuple[AxisRatio, ...] = ()) -> AttentionResult:
    whole = sum(time_ns for _, time_ns in parts)
    rows = tuple(PartTime(name, 1, time_ns, time_ns / whole, time_ns) for name, time_ns in parts)
    axis = AxisInside("temporal", 1, len(rows), whole, whole, None, rows)
    return AttentionResult(inside=AttentionInside((axis,), ratios))


def test_fused_kernels_have_no_inside_to_show() -> None:
    assert inside_rows(result(("fused", 995), ("copy", 5))) is None
    found = inside_rows(result(("fused", 500), ("softmax", 250), ("gemm", 250)))
    assert found is not None
    headers, rows = found
    assert headers == ("Inside attention", "Fused", "GEMM", "Softmax", "Time a call")
    assert rows == [("temporal", "50.0%", "25.0%", "25.0%", "1.00 µs")]
    assert inside_rows(AttentionResult()) is None


def test_the_sentence_on_ratios_says_what_is_not_known() -> None:
    ratio = AxisRatio(None, 1.0, 2.04, 2.04, None, None, {})
    own = AxisRatio("self", 1.0, 0.05, 0.05, 0.0123, 0.0123, {})
    assert temporal_to_spatial(result(("gemm", 1), ratios=(ratio, own))) == (
        "Temporal to spatial attention: 2.04x the time, FLOPs unknown; "
        "self-attention alone 0.05x the time, 0.012x the FLOPs."
    )
    assert temporal_to_spatial(AttentionResult()) is None


def test_the_terminal_shows_it() -> None:
    ratio = AxisRatio(None, 1.0, 2.0, 2.0, 0.5, 0.5, {})
    attention = result(("gemm", 600), ("softmax", 400), ratios=(ratio,))
    text = render(built({"attention": (2, 1000)}, attention=attention), "text")
    assert "Inside attention   GEMM  Softmax  Time a call" in text
    assert "temporal          60.0%    40.0%      1.00 µs" in text
    assert "2.00x the time, 0.50x the FLOPs." in text
