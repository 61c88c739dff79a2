"""Classification: each pass alone, then whole tiny traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import TraceBuilder
from tracekit.api import kernels
from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying import passes
from tracekit.classifying.module_names import module_hint
from tracekit.classifying.situation import Situation

GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT"
COPY = "void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda(int)>"
CAST = "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(int), LoadWithCast<1>>"  # noqa: E501
MUL = "void at::native::vectorized_elementwise_kernel<4, at::native::MulFunctor<float>>"


@pytest.mark.parametrize(
    ("stack", "category"),
    [
        (("aten::conv2d", "aten::_convolution", "aten::cudnn_convolution"), "conv"),
        (("aten::conv2d", "aten::_convolution", "aten::add_"), "conv"),
        (("aten::linear", "aten::addmm"), "linear"),
        (("aten::linear", "aten::matmul", "aten::mm"), "linear"),
        (("aten::scaled_dot_product_attention", "aten::bmm"), "attention"),
        (("aten::layer_norm", "aten::native_layer_norm"), "norm"),
        (("aten::embedding", "aten::index_select"), "embedding"),
        (("c10d::allreduce_", "record_param_comms"), "communication"),
        (("autograd::engine::evaluate_function: X", "aten::convolution_backward"), "conv"),
    ],
)
def test_by_decisive_op(stack: tuple[str, ...], category: str) -> None:
    verdict = passes.by_decisive_op(Situation(GEMM, "kernel", op_stack=stack))
    assert verdict is not None
    assert (verdict.category, verdict.evidence, verdict.confidence) == (category, "op", None)
    assert stack[-1] in verdict.reason


def test_generic_ops_are_not_decisive() -> None:
    for stack in (("aten::mul",), ("aten::to", "aten::copy_"), ("aten::bmm",), ("my::op",), ()):
        assert passes.by_decisive_op(Situation(MUL, "kernel", op_stack=stack)) is None


@pytest.mark.parametrize(
    ("kernel", "activity", "stack", "category"),
    [
        (MUL, "kernel", ("aten::mul",), "elementwise"),
        (CAST, "kernel", ("aten::to", "aten::_to_copy", "aten::copy_"), "elementwise"),
        (COPY, "kernel", ("aten::contiguous", "aten::clone", "aten::copy_"), "memory"),
        ("Memcpy HtoD", "gpu_memcpy", ("aten::to", "aten::_to_copy"), "memory"),
        ("Memset (Device)", "gpu_memset", ("aten::sum",), "elementwise"),
        ("Memset (Device)", "gpu_memset", ("aten::zeros", "aten::zero_"), "memory"),
        ("CatArrayBatchedCopy", "kernel", ("aten::cat",), "memory"),
        (GEMM, "kernel", ("aten::bmm",), "linear"),
    ],
)
def test_by_generic_op(kernel: str, activity: str, stack: tuple[str, ...], category: str) -> None:
    verdict = passes.by_generic_op(Situation(kernel, activity, op_stack=stack))
    assert verdict is not None
    assert (verdict.category, verdict.evidence) == (category, "op")


@pytest.mark.parametrize(
    ("converts", "kernel", "category"),
    [
        (True, COPY, "elementwise"),
        (False, CAST, "memory"),
        (None, CAST, "elementwise"),
        (None, COPY, "memory"),
    ],
)
def test_the_types_of_a_copy_count_before_its_name(
    converts: bool | None, kernel: str, category: str
) -> None:
    verdict = passes.by_generic_op(
        Situation(kernel, "kernel", ("aten::to", "aten::copy_"), converts=converts)
    )
    assert verdict is not None
    assert verdict.category == category


def test_copies_serve_the_op_around_them() -> None:
    verdict = passes.by_generic_op(Situation(COPY, "kernel", ("aten::matmul", "aten::clone")))
    assert verdict is not None
    assert verdict.category == "linear"


def test_collectives_keep_their_category_inside_other_ops() -> None:
    inside = Situation("ncclDevKernel_AllGather", "kernel", ("aten::scaled_dot_product_attention",))
    assert passes.decide(inside).category == "communication"


def test_copies_know_their_types(tmp_path: Path) -> None:
    b = TraceBuilder()
    for i, types in enumerate((["float", "c10::Half"], ["float", "float"])):
        b.op("aten::copy_", 100 * i, 50, **{"Input type": types})
        b.launched(COPY, 100 * i + 10, 1000 + 100 * i, 5)
    assert categories(b, tmp_path / "t.json") == ["elementwise", "memory"]


def test_by_norm_module() -> None:
    inside = Situation(MUL, "kernel", ("aten::mul",), module_hint="norm", module="T5LayerNorm")
    verdict = passes.by_norm_module(inside)
    assert verdict is not None
    assert (verdict.category, verdict.evidence) == ("norm", "module")
    assert "T5LayerNorm" in verdict.reason
    assert passes.by_norm_module(Situation(MUL, "kernel", ("aten::mul",))) is None


def test_by_kernel_name_carries_a_confidence() -> None:
    verdict = passes.by_kernel_name(Situation(GEMM, "kernel"))
    assert verdict is not None
    assert (verdict.category, verdict.evidence) == ("linear", "name")
    assert verdict.confidence is not None
    assert 0 < verdict.confidence < 1


def test_attention_in_a_temporal_module_is_temporal() -> None:
    verdict = passes.by_decisive_op(
        Situation(
            "flash_fwd_kernel",
            "kernel",
            ("aten::scaled_dot_product_attention",),
            module_hint="temporal_attention",
            attention_axis="temporal",
            axis_evidence="module",
            module="TransformerTemporalModel",
        )
    )
    assert verdict is not None
    assert (verdict.category, verdict.evidence) == ("temporal_attention", "module")


def test_what_nothing_knows_is_other_with_a_reason() -> None:
    verdict = passes.decide(Situation("zzz_unheard_of", "kernel", ("my::op",)))
    assert verdict.category == "other"
    assert verdict.reason
    assert verdict.confidence is not None


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("Net_0/LayerNorm_3", "norm"),
        ("Net_0/LlamaRMSNorm_3", "norm"),
        ("Net_0/GroupNorm_0", "norm"),
        ("Net_0/T5LayerNorm_0", "norm"),
        ("Net_0/FP32LayerNorm_0", "norm"),
        ("Net_0/BatchNorm2d_0", "norm"),
        ("Net_0/AdaLayerNormZero_0/LayerNorm_1", "norm"),
        ("Net_0/AdaLayerNormZero_0/Linear_1", None),
        ("Net_0/Linear_0", None),
        ("Net_0/NormalizedAttentionBlock_0", None),
        ("UNet3D_0/TransformerTemporalModel_1/Attention_0", "temporal_attention"),
        ("UNet_0/AnimateDiffTransformer3D_1/Attention_0", "temporal_attention"),
        ("UNet_0/BasicTransformerBlock_1/Attention_0", None),
    ],
)
def test_module_hints(path: str, hint: str | None) -> None:
    assert module_hint(path)[0] == hint


def categories(builder: TraceBuilder, path: Path) -> list[str]:
    table = kernels(builder.write(path))
    return [CATEGORIES[code] for code in table.category]


def written_attention(b: TraceBuilder, at: int, *, product: str = "aten::matmul") -> None:
    """A projection, q·k, scale, mask, softmax, cast, ·v, a projection."""
    steps = [
        (("aten::linear", "aten::addmm"), GEMM),
        ((product, "aten::clone", "aten::copy_"), COPY),
        ((product, "aten::bmm"), GEMM),
        (("aten::div",), MUL),
        (("aten::add",), MUL),
        (("aten::softmax", "aten::_softmax"), "softmax_warp_forward"),
        (("aten::to", "aten::_to_copy", "aten::copy_"), CAST),
        ((product, "aten::bmm"), GEMM),
        (("aten::linear", "aten::addmm"), GEMM),
    ]
    root_end: dict[int, int] = {1: 2}
    for index, (stack, kernel) in enumerate(steps):
        start = at + 100 * index
        for depth, name in enumerate(stack):
            if depth == 0 and index == 2:
                continue
            end = at + 100 * root_end.get(index, index) + 90 if depth == 0 else start + 80 - depth
            b.op(name, start + depth, end - start - depth)
        b.launched(kernel, start + 20, 100_000 + start, 50)


@pytest.mark.parametrize("product", ["aten::matmul", "aten::einsum"])
def test_attention_written_out_is_one_operator(tmp_path: Path, product: str) -> None:
    b = TraceBuilder()
    written_attention(b, 0, product=product)
    written_attention(b, 2000, product=product)
    found = categories(b, tmp_path / "t.json")
    assert found == (["linear", *["attention"] * 7, "linear"]) * 2


def test_a_softmax_without_products_is_elementwise(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::linear", 0, 50)
    b.launched(GEMM, 10, 1000, 5)
    b.op("aten::softmax", 100, 50)
    b.launched("softmax_warp_forward", 110, 1100, 5)
    b.op("aten::bmm", 200, 50)
    b.launched(GEMM, 210, 1200, 5)
    assert categories(b, tmp_path / "t.json") == ["linear", "elementwise", "linear"]


def test_backward_of_written_attention_is_attention(tmp_path: Path) -> None:
    b = TraceBuilder()
    for index, name in enumerate(("aten::bmm", "aten::_softmax", "aten::bmm")):
        b.op(name, 100 * index, 50, **{"Sequence number": index, "Fwd thread id": 0})
        b.launched("k", 100 * index + 10, 10_000 + index, 1)
    for index, name in enumerate(("BmmBackward0", "SoftmaxBackward0", "BmmBackward0")):
        number = {"Sequence number": 2 - index, "Fwd thread id": 1}
        b.op(name, 1000 + 100 * index, 50, tid=2, **number)
        b.op("aten::bmm" if "Bmm" in name else "aten::mul", 1001 + 100 * index, 40, tid=2)
        b.launched("g", 1010 + 100 * index, 20_000 + index, 1, tid=2)
    assert categories(b, tmp_path / "t.json") == ["attention"] * 6


def test_every_row_says_why(tmp_path: Path) -> None:
    b = TraceBuilder()
    written_attention(b, 0)
    b.kernel("ncclDevKernel_AllReduce", 900_000, 5)
    b.kernel("what", 900_100, 5)["name"] = None
    table = kernels(b.write(tmp_path / "t.json")).to_arrow().to_pydict()
    assert set(table["evidence"]) <= set(EVIDENCES)
    assert all(table["reason"])
    weak = [e in ("name", "sequence") for e in table["evidence"]]
    assert [c is not None for c in table["confidence"]] == weak
    assert table["name"][-1] is None
    assert table["category"][-2:] == ["communication", "other"]
