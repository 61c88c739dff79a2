"""What op names decide: a line for every pattern, and the promises about any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracekit.categories import (
    ATTENTION,
    CATEGORIES,
    COMMUNICATION,
    CONV,
    ELEMENTWISE,
    EMBEDDING,
    LINEAR,
    MEMORY,
    NORM,
    OTHER,
)
from tracekit.classifying.op_rules import OpRule, plain_op_name, rule_for_op
from tracekit.classifying.op_table import NAMESPACES, PATTERNS, RULES

DECISIVE = [
    (CONV, "aten::conv2d aten::conv_transpose3d aten::_convolution aten::convolution_backward"),
    (CONV, "aten::cudnn_convolution aten::miopen_convolution_add_relu ConvolutionBackward0"),
    (CONV, "aten::slow_conv2d_forward aten::_conv_depthwise2d aten::conv2d.padding"),
    (CONV, "torchvision::deform_conv2d quantized::conv2d_relu spconv::implicit_gemm_fwd"),
    (CONV, "causal_conv1d::fwd causal_conv1d_fn _causal_conv1d_fwd_cpp"),
    (LINEAR, "aten::linear aten::addmm aten::mm aten::mm.out AddmmBackward0 MmBackward0"),
    (LINEAR, "aten::_scaled_mm aten::_int_mm aten::_grouped_mm aten::_weight_int4pack_mm"),
    (LINEAR, "quantized::linear_dynamic bitsandbytes::int8_linear_matmul vllm::marlin_gemm"),
    (LINEAR, "_C::gptq_marlin_gemm _C::awq_gemm _C::cutlass_scaled_mm marlin::run"),
    (LINEAR, "torchao::_scaled_grouped_mm aiter::gemm_a8w8 sgl_kernel::fp8_scaled_mm"),
    (LINEAR, "bitsandbytes::gemv_4bit _rocm_C::wvSplitK te_gemm_ts LinearFunctionBackward"),
    (LINEAR, "aten::_sparse_addmm aten::_sparse_semi_structured_linear aten::_cslt_sparse_mm"),
    (ATTENTION, "aten::scaled_dot_product_attention aten::_scaled_dot_product_attention_math"),
    (ATTENTION, "aten::_scaled_dot_product_flash_attention_backward"),
    (ATTENTION, "aten::_scaled_dot_product_cudnn_attention aten::_efficient_attention_forward"),
    (ATTENTION, "ScaledDotProductFlashAttentionBackward0 FlashAttnFunc FlashAttnFuncBackward"),
    (ATTENTION, "flash_attn::_flash_attn_forward flash_attn_3::fwd vllm::unified_attention"),
    (ATTENTION, "vllm::unified_attention_with_output _C::paged_attention_v1 aiter::fmha_v3_fwd"),
    (ATTENTION, "aiter::mha_batch_prefill xformers::efficient_attention_forward_cutlass"),
    (ATTENTION, "xformers_flash::flash_fwd sageattention::qk_int8_sv_f16 sage_fwd_1"),
    (ATTENTION, "flashinfer::batch_prefill_with_kv_cache flex_attention _C::merge_attn_states"),
    (ATTENTION, "sageattn::quant_per_warp natten::na2d_forward vllm::gdn_attention"),
    (ATTENTION, "te_fused_attn_fwd _C::sparse_attention fla::chunk_gated_delta_rule"),
    (NORM, "aten::layer_norm aten::native_layer_norm_backward NativeLayerNormBackward0"),
    (NORM, "aten::group_norm aten::_batch_norm_impl_index CudnnBatchNormBackward0"),
    (NORM, "aten::_native_batch_norm_legit.no_stats aten::rms_norm FusedRmsNormBackward0"),
    (NORM, "_C::rms_norm _C::fused_add_rms_norm vllm::rms_norm_dynamic_per_token_quant"),
    (NORM, "aiter::rmsnorm2d_fwd_with_add_ck FusedLayerNormAffineFunctionBackward"),
    (NORM, "sgl_kernel::fused_qk_norm_rope fused_layer_norm_cuda::forward_affine_layernorm"),
    (EMBEDDING, "aten::embedding aten::embedding_dense_backward aten::_embedding_bag"),
    (EMBEDDING, "fbgemm::split_embedding_codegen_forward_cpu fbgemm::permute_pooled_embs"),
    (COMMUNICATION, "c10d::allreduce_ c10d::broadcast_ c10d::scatter_ record_param_comms"),
    (COMMUNICATION, "nccl:all_reduce _c10d_functional::wait_tensor vllm::all_reduce"),
    (COMMUNICATION, "_c10d_functional::all_gather_into_tensor symm_mem::multimem_all_reduce_"),
    (COMMUNICATION, "deep_ep::low_latency_dispatch flashinfer::trtllm_allreduce_fusion"),
]

GENERIC = [
    (LINEAR, "aten::matmul aten::bmm aten::baddbmm_ BmmBackward0 flashinfer::bmm_fp8"),
    (LINEAR, "aiter::batched_gemm_a8w8"),
    (ELEMENTWISE, "aten::add_.Tensor aten::mul aten::_softmax aten::softmax.int MulBackward0"),
    (ELEMENTWISE, "aten::_foreach_add_.List aten::_fused_adamw_ aten::to aten::_to_copy"),
    (ELEMENTWISE, "aten::gelu aten::silu_backward aten::native_dropout aten::cumsum"),
    (ELEMENTWISE, "aten::upsample_nearest2d aten::max_pool2d_with_indices_backward"),
    (ELEMENTWISE, "MaxPool2DWithIndicesBackward0 aten::_adaptive_avg_pool2d prims::sum"),
    (ELEMENTWISE, "aten::mse_loss_backward aten::cross_entropy_loss aten::linalg_vector_norm"),
    (ELEMENTWISE, "_C::silu_and_mul _C::rotary_embedding xformers::rope aten::grid_sampler_2d"),
    (ELEMENTWISE, "_C::static_scaled_fp8_quant bitsandbytes::dequantize_4bit aten::where.self"),
    (ELEMENTWISE, "Optimizer.step#AdamW.step aten::special_erf aten::_weight_norm_interface"),
    (ELEMENTWISE, "_moe_C::moe_sum aten::fused_moving_avg_obs_fake_quant my::swiglu_fwd"),
    (ELEMENTWISE, "lib::cosine_embedding_loss_fn torchvision::interpolate_bilinear"),
    (MEMORY, "aten::copy_ aten::clone aten::contiguous aten::cat aten::pad aten::fill_"),
    (MEMORY, "aten::index.Tensor aten::_index_put_impl_ aten::gather_backward aten::zeros"),
    (MEMORY, "aten::scatter_add_ aten::slice_backward aten::_local_scalar_dense CopyBackwards"),
    (MEMORY, "aten::_foreach_copy_ fsdp::all_gather_copy_in aten::expand_copy"),
    (MEMORY, "aten::index_put_accumulate_helper _moe_C::moe_permute _C::gptq_marlin_repack"),
    (MEMORY, "_C_cache_ops::reshape_and_cache_flash _C_cache_ops::concat_and_cache_mla"),
    (MEMORY, "vllm::unified_kv_cache_update sglang::store_cache flashinfer::append_paged_mla"),
    (OTHER, "aten::sort aten::topk aten::randn aten::multinomial aten::_fft_r2c torchvision::nms"),
    (OTHER, "_moe_C::topk_softmax sgl_kernel::moe_align_block_size mamba::selective_scan_fwd"),
    (OTHER, "flashinfer::top_k_top_p aten::linalg_eig aten::fft_rfft lib::fast_sort"),
    (COMMUNICATION, "All2All_Pooled_Req ReduceScatterBase_WaitBackward _AllToAll"),
]

UNDECIDED = [
    "aten::reshape",
    "aten::einsum",
    "aten::view",
    "aten::empty",
    "aten::t",
    "aten::transpose",
    "aten::detach",
    "aten::_transformer_encoder_layer_fwd",
    "aten::_native_multi_head_attention",
    "AccumulateGrad",
    "torch::autograd::AccumulateGrad",
    "CompiledFunctionBackward",
    "aten::broadcast_to",
    "vllm::moe_forward",
    "symm_mem::fused_all_gather_matmul",
    "vllm::all_gather_gemm",
    "gemm_all_reduce",
    "_LayerNormLinearBackward",
    "SyncBatchNormBackward",
    "RingFlashAttnFunc",
    "ring_flash_attn_fwd",
    "LinearWithGradAccumulationAndAsyncCommunicationBackward",
    "CheckpointFunction",
    "mylib::frobnicate",
    "ViewBackward0",
    "TBackward0",
    "aten::broadcast_tensors",
    "aten::tensordot",
    "aten::lstm",
    "aten::resolve_conj",
]


def _cases(table: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(category, name) for category, names in table for name in names.split()]


@pytest.mark.parametrize(("category", "name"), _cases(DECISIVE))
def test_all_below_a_decisive_op_serves_it(category: str, name: str) -> None:
    rule = rule_for_op(name)
    assert rule is not None
    assert (rule.category, rule.decisive) == (category, True)


@pytest.mark.parametrize(("category", "name"), _cases(GENERIC))
def test_a_generic_op_gives_way_to_context(category: str, name: str) -> None:
    rule = rule_for_op(name)
    assert rule is not None
    assert (rule.category, rule.decisive) == (category, False)


@pytest.mark.parametrize(
    "name",
    [
        *UNDECIDED,
        "",
        "autograd::engine::evaluate_function: AddmmBackward0",
        "Torch-Compiled Region: 0/0",
        "TorchDynamo Cache Lookup",
        "Pregraph bytecode",
    ],
)
def test_wrappers_views_and_strangers_decide_nothing(name: str) -> None:
    assert rule_for_op(name) is None


@pytest.mark.parametrize(
    ("name", "helps"),
    [
        ("aten::copy_", True),
        ("aten::to", True),
        ("aten::zero_", True),
        ("aten::bernoulli_", True),
        ("aten::cat", False),
        ("aten::mul", False),
    ],
)
def test_casts_copies_and_fills_help_the_op_around_them(name: str, helps: bool) -> None:
    rule = rule_for_op(name)
    assert rule is not None
    assert rule.helper is helps


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("triton_per_fused_add_native_layer_norm_4", NORM),
        ("triton_tem_fused_addmm_12", LINEAR),
        ("triton_poi_fused_gelu_3", ELEMENTWISE),
    ],
)
def test_an_inductor_op_is_its_own_kernel(name: str, category: str) -> None:
    assert rule_for_op(name) == OpRule(category, decisive=True)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("aten::_foreach_add_.List", ("aten", "add")),
        ("NativeLayerNormBackward0", ("", "native_layer_norm")),
        ("MaxPool2DWithIndicesBackward0", ("", "max_pool2d_with_indices")),
        ("nccl:all_reduce", ("nccl", "all_reduce")),
        ("aten::_softmax_backward_data.out", ("aten", "softmax_backward_data")),
        ("torch::autograd::CppNode<(anonymous namespace)::SomeLookup_Op>", ("", "some_lookup_op")),
        ("torch::autograd::CppNode<lib::Perm<&lib::f> >", ("lib", "perm")),
        ("torch::distributed::reducer::mul_out", ("reducer", "mul")),
    ],
)
def test_names_come_into_a_plain_form(name: str, plain: tuple[str, str]) -> None:
    assert plain_op_name(name)[1] == plain[1]
    assert plain_op_name(name)[0].endswith(plain[0])


def test_every_pattern_has_a_test_line() -> None:
    names = [name for _, name in _cases(DECISIVE) + _cases(GENERIC)] + UNDECIDED
    used: set[str] = set()
    for namespace, plain in map(plain_op_name, names):
        if plain in RULES:
            continue
        by_name = [p for p in PATTERNS if p.regex.search(plain)]
        by_library = [p for p in NAMESPACES if p.regex.search(namespace)]
        used.update(p.regex.pattern for p in (by_name or by_library)[:1])
    assert {p.regex.pattern for p in (*PATTERNS, *NAMESPACES)} - used == set()


def test_every_plain_name_of_the_table_is_one_and_is_found_under_aten() -> None:
    assert len(RULES) > 500
    for plain, rule in RULES.items():
        assert plain == plain.lower().strip("_")
        assert rule_for_op(f"aten::{plain}") == rule
        assert rule is None or rule.category in CATEGORIES


@given(st.text() | st.text(alphabet="abconvmtrie_:<>0Backwrd. ", max_size=80))
@example("CppNode<")
@example("::")
@example("_")
@example("triton_")
def test_any_text_has_a_known_category_or_none(name: str) -> None:
    rule = rule_for_op(name)
    assert rule is None or rule.category in CATEGORIES


@pytest.mark.parametrize(
    "piece", ["a", "_", "conv_", "update_", "gemm_all_reduce", "Backward", "CppNode<", "::", "aB"]
)
def test_long_names_take_little_time(piece: str) -> None:
    began = time.perf_counter()
    rule_for_op((piece * 100_000)[:100_000])
    assert time.perf_counter() - began < 0.5
