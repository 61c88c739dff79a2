"""The words that op classification rests on: operation names in their plain form, by category.

A plain form has no namespace, overload, leading underscore, in-place underscore or backward
suffix; `op_rules` brings real names into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tracekit.categories import (
    ATTENTION,
    COMMUNICATION,
    CONV,
    ELEMENTWISE,
    EMBEDDING,
    LINEAR,
    MEMORY,
    NORM,
    OTHER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class OpRule:
    """What one op says about the kernels launched below it.

    `decisive`: everything below the op in its stack serves it. A rule that is not decisive gives
    way to context (an enclosing decisive op, a norm module, an attention written out).
    `helper`: a cast, copy or fill, which serves the op around it where there is one.
    """

    category: str
    decisive: bool
    helper: bool = False


@dataclass(frozen=True, slots=True)
class OpPattern:
    """One line of an ordered table: what a name must hold, and the rule (None: decides nothing)."""

    regex: re.Pattern[str]
    rule: OpRule | None


_CONV = """
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution conv_tbc
deform_conv2d
"""

_LINEAR = """
linear addmm mm mv addmv addmm_activation linear_relu linear_dynamic cudnn_rnn miopen_rnn
sparse_semi_structured_linear cslt_sparse_mm scaled_mm scaled_mm_v2 int_mm grouped_mm
scaled_grouped_mm scaled_grouped_mm_v2 weight_int4pack_mm weight_int8pack_mm mixed_dtypes_linear
addmm_gelu smm sspaddmm dyn_quant_matmul_4bit
"""

# Attention written out is made of these, and `matmul` wraps them: context decides.
_BATCHED = "bmm baddbmm addbmm matmul bilinear trilinear"

_ATTENTION = """
scaled_dot_product_attention scaled_dot_product_attention_math scaled_dot_product_flash_attention
scaled_dot_product_efficient_attention scaled_dot_product_cudnn_attention
scaled_dot_product_fused_attention_overrideable flash_attention efficient_attention
cudnn_attention triton_scaled_dot_attention flex_attention flex_decoding
"""

_NORM = """
layer_norm native_layer_norm group_norm native_group_norm batch_norm native_batch_norm
native_batch_norm_legit native_batch_norm_legit_functional native_batch_norm_legit_no_training
native_batch_norm_legit_no_stats cudnn_batch_norm miopen_batch_norm batch_norm_impl_index
batch_norm_with_update batch_norm_no_update batch_norm_stats batch_norm_elemt
batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_update_stats instance_norm
rms_norm fused_rms_norm local_response_norm
"""

_ELEMENTWISE = """
abs absolute acos acosh add addcdiv addcmul addr aminmax amax amin angle argmax argmin asin asinh
atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor bitwise_left_shift
bitwise_right_shift all any bucketize cdist ceil celu clamp clamp_max clamp_min clip complex
conj_physical copysign corrcoef cos cosh cosine_similarity count_nonzero cov cross cummax cummin
cumprod cumsum cumulative_trapezoid deg2rad diff digamma dist div divide dot dropout alpha_dropout
feature_dropout native_dropout fused_dropout masked_scale elu eq equal erf erfc erfinv exp exp2
expm1 fix float_power floor floor_divide fmax fmin fmod frac frexp gcd ge gelu geqrf glu gt
hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 igamma igammac isclose isfinite isin
isinf isnan isneginf isposinf isreal kron lcm ldexp le leaky_relu lerp lgamma linalg_cross
linalg_norm linalg_vector_norm log log10 log1p log2 log_sigmoid log_softmax logaddexp logaddexp2
logcumsumexp logical_and logical_not logical_or logical_xor logit logsumexp lt masked_fill
masked_softmax softmax_backward_data max maximum mean min minimum mish mul multiply mvlgamma
nan_to_num nanmean nansum ne neg negative nextafter norm norm_except_dim outer polar polygamma
positive pow prelu prelu_kernel prod rad2deg real reciprocal relu relu6 remainder renorm round
rrelu rrelu_with_noise rsqrt rsub searchsorted segment_reduce selu sgn sigmoid sign signbit silu
sin sinc sinh softmax safe_softmax sparse_softmax softplus softshrink sqrt square std std_mean sub
subtract sum sum_to_size grad_sum_to_size swish tan tanh tanhshrink threshold trace
trapezoid tril triu true_divide trunc var var_mean vdot weight_norm weight_norm_interface
weight_norm_differentiable where xlogy value_selecting_reduction amp_update_scale
amp_foreach_non_finite_check_and_unscale fake_quantize_per_tensor_affine
fake_quantize_learnable_per_tensor_affine
fake_quantize_per_channel_affine quantize_per_tensor quantize_per_channel dequantize
grid_sampler grid_sampler_2d grid_sampler_3d cudnn_grid_sampler affine_grid_generator roi_align
roi_pool ps_roi_align thnn_fused_lstm_cell thnn_fused_gru_cell apply_rotary_emb cross_entropy_loss
nll_loss nll_loss2d nll_loss_nd l1_loss smooth_l1_loss huber_loss mse_loss kl_div
binary_cross_entropy binary_cross_entropy_with_logits ctc_loss cudnn_ctc_loss poisson_nll_loss
histc bincount histogram convex_sum scale_gradient view_as_complex_copy
comm_op_gradient_scaling inductor_random
"""

_EMBEDDING = """
embedding embedding_bag embedding_bag_forward_only embedding_dense embedding_sparse embedding_renorm
embedding_bag_dense embedding_bag_sparse embedding_bag_per_sample_weights
bounds_check_indices
"""

_COMMUNICATION = "record_param_comms wait_tensor multimem_all_reduce"

_MEMORY = """
cat concat concatenate chunk_cat stack hstack vstack dstack column_stack row_stack block_diag pad
constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
replication_pad2d replication_pad3d circular_pad pad_circular index index_put index_put_impl
index_copy index_add index_fill index_select index_reduce masked_index masked_index_put_accumulate
masked_select masked_scatter gather scatter scatter_add scatter_reduce take take_along_dim put
select slice narrow_copy select_scatter slice_scatter diagonal_scatter as_strided_scatter diag_embed
repeat repeat_interleave tile roll flip fliplr flipud rot90 nonzero nonzero_static argwhere item
local_scalar_dense one_hot pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im unfold
pin_memory nested_from_padded nested_tensor_from_mask jagged_to_padded_dense_forward
padded_dense_to_jagged_forward to_padded_tensor to_dense to_sparse coalesce combinations
cartesian_prod flatten_dense_tensors copy_bucket_to_grad all_gather_copy_in
split_with_sizes_copy meshgrid swap_blocks copy_blocks weak_ref_tensor shuffle_rows fast_gather
permute_2d_sparse_data permute_1d_sparse_data permute_sparse_features permute_sparse_data
sparse_label_to_bool sparse_label_to_dense to_dense_representation offsets_range
recat_embedding_grad_output_mixed_d_batch
"""

# Casts: `x.to(dtype)` holds a copy_, which serves it.
_CASTS = """
to to_copy type_as float half bfloat16 double convert_element_type
autocast_to_reduced_precision autocast_to_full_precision
"""

# Creation, copies and fills: `aten::copy_` under `aten::matmul` serves the product.
_COPIES = """
copy copys copy_from copy_from_and_resize clone contiguous fill zero zeros zeros_like ones
ones_like full full_like new_zeros new_ones new_full arange range iota linspace logspace eye
scalar_tensor tril_indices triu_indices copy_slices to_cpu
"""

_OTHER = """
sort argsort msort topk kthvalue median nanmedian mode unique unique2 unique_dim
unique_consecutive multinomial rand randn randint randperm rand_like randn_like randint_like
normal normal_functional standard_gamma sample_dirichlet poisson binomial nms fft_r2c fft_c2r
fft_c2c stft istft hann_window hamming_window bartlett_window kaiser_window cholesky
cholesky_inverse cholesky_solve linalg_cholesky_ex linalg_eigh linalg_svd linalg_qr linalg_inv_ex
linalg_solve_ex linalg_lu_factor_ex linalg_lu linalg_lstsq linalg_det triangular_solve
linalg_solve_triangular lu_unpack ormqr linalg_householder_product linalg_matrix_exp
inductor_seeds inductor_lookup_seed block_bucketize_sparse_features selective_scan sort_tokens
"""

# Fillers with random numbers: `dropout` holds a bernoulli_, which serves it.
_RANDOM_FILLS = "uniform bernoulli exponential random geometric cauchy log_normal"

# Wrappers that hold operations of several categories, and views that launch nothing.
_NOTHING = """
accumulate_grad alias as_strided broadcast_tensors broadcast_to checkpoint_function chunk
compiled_function chain_matmul detach diagonal einsum empty empty_like empty_permuted empty_strided
expand expand_as flatten forward getitem gru lift_fresh linalg_multi_dot lstm mamba_inner_fn
moe_forward moe_forward_shared movedim multi_head_attention native_multi_head_attention narrow
new_empty new_empty_strided noop_save_inputs permute ravel record_stream reshape reshape_alias
resize resize_as resolve_conj resolve_neg result_type rnn_relu rnn_tanh set split split_with_sizes
squeeze sumproduct_pair swapaxes swapdims t tensor_split tensordot transformer_encoder_layer_fwd
transpose unbind unflatten unflatten_dense_tensors unsafe_view unsqueeze view view_as
view_as_complex view_as_real sync_batch_norm fused_moe fused_experts inplace_fused_experts
outplace_fused_experts rnn_tanh_cell lstm_cell gru_cell view_dtype
"""


def _entries() -> Iterator[tuple[str, OpRule | None]]:
    for words, rule in (
        (_CONV, OpRule(CONV, decisive=True)),
        (_LINEAR, OpRule(LINEAR, decisive=True)),
        (_BATCHED, OpRule(LINEAR, decisive=False)),
        (_ATTENTION, OpRule(ATTENTION, decisive=True)),
        (_NORM, OpRule(NORM, decisive=True)),
        (_ELEMENTWISE, OpRule(ELEMENTWISE, decisive=False)),
        (_EMBEDDING, OpRule(EMBEDDING, decisive=True)),
        (_COMMUNICATION, OpRule(COMMUNICATION, decisive=True)),
        (_MEMORY, OpRule(MEMORY, decisive=False)),
        (_CASTS, OpRule(ELEMENTWISE, decisive=False, helper=True)),
        (_COPIES, OpRule(MEMORY, decisive=False, helper=True)),
        (_OTHER, OpRule(OTHER, decisive=False)),
        (_RANDOM_FILLS, OpRule(OTHER, decisive=False, helper=True)),
        (_NOTHING, None),
    ):
        yield from ((word, rule) for word in words.split())


RULES: Final[dict[str, OpRule | None]] = dict(_entries())
"""The rule of each plain operation name; None: the name is known and decides nothing."""


def _pattern(regex: str, category: str | None, *, decisive: bool = False) -> OpPattern:
    return OpPattern(re.compile(regex), OpRule(category, decisive) if category else None)


_WORD_COLLECTIVE = (
    r"all_?reduce|all_?gather|reduce_?scatter|all_?(?:to|2)_?all"
    r"|(?:^|_)(?:broadcast_coalesced|barrier|isend|irecv)(?:_|$)|low_latency_(?:dispatch|combine)"
)
_WORD_GEMM = r"gemm|gemv|matmul|mul_mat|(?:^|_)(?:mm|linear)(?:_|\d|$)"

PATTERNS: Final = (
    # Resampling is linear at times.
    _pattern(r"upsample|interpolate|pool(?:[123]d)?(?:_|$)|resample|grid_sampl", ELEMENTWISE),
    # Several categories in one op: what runs below decides.
    _pattern(rf"(?:{_WORD_COLLECTIVE}).*(?:{_WORD_GEMM})", None),
    _pattern(rf"(?:{_WORD_GEMM}).*(?:{_WORD_COLLECTIVE})", None),
    _pattern(rf"(?:{_WORD_GEMM}).*communication", None),
    _pattern(r"(?:^|_)(?:ring|zigzag|ulysses|context_parallel)_|sync_batch_?norm", None),
    _pattern(r"norm_?(?:linear|mlp)|multi_?head_?attention|transformer_", None),
    _pattern(_WORD_COLLECTIVE, COMMUNICATION, decisive=True),
    # Cache writes say `attention` or `flash` at times.
    _pattern(r"reshape_and_cache|concat_and_cache|(?:store|update|append)_\w*cache", MEMORY),
    _pattern(r"kv_?(?:cache|buffer)_(?:update|write|store|impl)|append_paged", MEMORY),
    _pattern(
        r"scaled_dot_product|(?:^|_)sdpa|flash_?(?:attn|attention|mla)", ATTENTION, decisive=True
    ),
    _pattern(
        r"fmha|(?:^|_)mha_|(?:^|_)mla_|attn_(?:fwd|bwd|func|varlen)", ATTENTION, decisive=True
    ),
    _pattern(
        r"(?:paged|efficient|unified|flex|sage|sparse)_?(?:attn|attention)",
        ATTENTION,
        decisive=True,
    ),
    _pattern(
        r"(?:prefill|decode)_with_|^sage_|^spas_|qk_int8|quant_per_(?:block|warp)|(?:^|_)na[123]d",
        ATTENTION,
        decisive=True,
    ),
    _pattern(
        r"attention|(?:^|_)attn(?:_|$)|gated_delta_rule|merge_(?:attn_)?states?",
        ATTENTION,
        decisive=True,
    ),
    _pattern(r"(?:rms|layer|group|batch|instance)_?norm|qk_norm", NORM, decisive=True),
    _pattern(r"(?:^|_)conv(?:olution)?(?:[123]d)?(?:_|$)|^implicit_gemm", CONV, decisive=True),
    _pattern(r"moe_(?:align|fused_gate)|top_?[kp](?:_|$)|sampling_from|routing", OTHER),
    _pattern(r"moe_(?:un)?permute|_repack(?:_|$)", MEMORY),
    _pattern(r"(?:^|_)(?:bmm|baddbmm)(?:_|$)|batched_gemm", LINEAR),
    _pattern(_WORD_GEMM, LINEAR, decisive=True),
    _pattern(r"wv_?split_?k|llmm1|(?:^|_)sparse_?(?:add)?mm(?:_|$)", LINEAR, decisive=True),
    _pattern(r"rotary|(?:^|_)rope(?:_|$)", ELEMENTWISE),
    _pattern(
        r"split_?(?:embedding|lookup)|embedding_(?:bag|lookup)|permute_\w*emb",
        EMBEDDING,
        decisive=True,
    ),
    _pattern(
        r"adam|(?:^|_)(?:sgd|lamb|lion|adagrad|adafactor|rmsprop)(?:_|$)|optimizer", ELEMENTWISE
    ),
    _pattern(r"silu|gelu|relu|swiglu|geglu|swish|sigmoid|(?:^|_)tanh|act_and_mul", ELEMENTWISE),
    _pattern(r"quant|fp8|(?:^|_)cast(?:_|$)|softmax|dropout|cumsum|moe_sum", ELEMENTWISE),
    _pattern(r"(?:^|_)loss(?:_|$)|cross_entropy|^special_|^nested_sum", ELEMENTWISE),
    _pattern(r"(?:^|_)(?:i?r?fft|sort|topk|rand|multinomial|nms|philox)(?:n|\d)?(?:_|$)", OTHER),
    _pattern(r"selective_scan|chunk_scan|ssd_|linalg_", OTHER),
    _pattern(r"^(?:masked_)?(?:index|scatter|gather)_|_copy$", MEMORY),
)
"""What decides for names outside `RULES`, first match first; searched in the plain form."""

COLLECTIVE_LIBRARY: Final = re.compile(
    r"^(?:c10d|_?c10d_functional(?:_autograd)?|symm_mem|nccl|rccl|gloo|mpi|ucc|deep_ep)$"
)
"""Namespaces that hold collectives only, but for those that are fused with a product."""

PRODUCT: Final = re.compile(_WORD_GEMM)
"""Plain names of matrix products."""

NAMESPACES: Final = (
    _pattern(
        r"^(?:flash_attn|xformers_flash|sage_?att|spas_sage|natten|flash_mla|vllm_flash)",
        ATTENTION,
        decisive=True,
    ),
    _pattern(r"^(?:spconv|torchsparse|minkowski|causal_conv1d)", CONV, decisive=True),
    _pattern(r"^(?:marlin|gptq|awq|machete|deep_gemm|fbgemm_gemm|exllama)", LINEAR, decisive=True),
)
"""What decides for names that nothing else knows: the library they belong to."""
