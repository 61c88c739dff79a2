"""What the name of a GPU activity says, for when no op is known: graphs, kernels-only traces.

Confidences are judgements, checked against the launching op's verdict on real traces: they stand
at or below the agreement seen there (but for sorts and scans, which were seen only in embedding
gradients), well below it where an attention written out in the model would lower it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

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
from tracekit.classifying.triton_names import NameVerdict, is_triton_name, verdict_for_triton_name

__all__ = ["NameVerdict", "matching_pattern", "verdict_for_kernel_name"]

_LONGEST_NAME: Final = 2_000
"""Characters that are looked at: templates say what they are well before their end."""

UNKNOWN: Final = NameVerdict(OTHER, 0.1, "no pattern matches this name")
"""The verdict on a name that says nothing."""


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One line of the ordered table: what a lower-case name must hold, and what it then means.

    Plain words stand apart from the regular expression because looking for them is far faster.
    """

    words: tuple[str, ...]
    regex: re.Pattern[str] | None
    verdict: NameVerdict

    def matches(self, text: str) -> bool:
        """Say whether a lower-case name holds one of the words or matches the expression."""
        if any(word in text for word in self.words):
            return True
        return self.regex is not None and self.regex.search(text) is not None


def _line(category: str, confidence: float, reason: str, words: str) -> NamePattern:
    """Search for any of the blank-separated words, some of which are regular expressions."""
    plain = tuple(word for word in words.split() if re.escape(word) == word)
    others = [word for word in words.split() if word not in plain]
    regex = re.compile("|".join(others)) if others else None
    return NamePattern(plain, regex, NameVerdict(category, confidence, reason))


_MAY_SERVE_OTHERS: Final = "it may serve an attention or a 1x1 convolution"

_COMMUNICATION = (
    # Its long list of tuning parameters could hold any word, so it comes first.
    _line(LINEAR, 0.75, f"rocBLAS or hipBLASLt GEMM; {_MAY_SERVE_OTHERS}", r"^cijk_"),
    _line(COMMUNICATION, 0.97, "NCCL or RCCL collective", r"^(?:void\s)?[nr]ccl ^mscclkernel"),
    _line(
        COMMUNICATION,
        0.9,
        "collective kernel of a framework",
        r"all_?reduce cross_device_reduce all_?gather(?!ed) reduce_?scatter all_?to_?all nvshmem"
        r" deep_?ep:: _shot_reduce",
    ),
)

_ATTENTION = (
    _line(
        MEMORY,
        0.95,
        "write into a key-value cache",
        r"reshape_and_cache concat_and_cache store_?kv copy_blocks_kernel append_?paged"
        r" set_kv_buffer kv_?cache_(?:update|copy)",
    ),
    _line(
        ATTENTION, 0.97, "flash attention kernel", r"flash_?(?:fwd|bwd|attn|attention|mla) flash::"
    ),
    _line(ATTENTION, 0.97, "fused attention kernel of cuDNN", r"sdpa"),
    _line(
        ATTENTION,
        0.97,
        "fused multi-head attention kernel",
        r"fmha mha_(?:fwd|bwd|varlen) mmha masked_multihead",
    ),
    _line(
        ATTENTION,
        0.95,
        "memory-efficient attention kernel",
        r"attentionkernel attentionbackwardkernel efficient_?attention",
    ),
    _line(
        ATTENTION,
        0.95,
        "paged or ragged attention kernel of a serving engine",
        r"paged_?attention unified_attention batch(?:prefill|decode)with"
        r" single(?:prefill|decode)with merge_?(?:attn_)?states? fwd_(?:grouped_)?kernel_stage\d"
        r" mla_(?:fwd|decode|prefill|kernel) ^reduce_segments$",
    ),
    _line(
        ATTENTION, 0.9, "SageAttention kernel", r"sage_?(?:attn|fwd|quant|attention) qk_int\d?_sv"
    ),
    _line(
        ATTENTION,
        0.93,
        "Triton attention kernel",
        r"attn_(?:fwd|bwd|prep) bwd_kernel_(?:dk_dv|dq|fuse) bwd_preprocess"
        r" flex_(?:attention|decoding)",
    ),
    _line(
        ATTENTION,
        0.85,
        "softmax with the scale and mask of an attention",
        r"scaled_(?:upper_triang_|aligned_causal_)?(?:masked_)?softmax",
    ),
)

_NORM = (
    _line(
        NORM,
        0.95,
        "normalization kernel",
        r"(?:layer|group|rms|batch|instance)_?norm cudnn::bn_ (?<![a-z])bn_(?:fw|bw)"
        r" (?<![a-z])ln_(?:fwd|bwd) norm2d(?:fwd|bwd)",
    ),
    _line(
        NORM,
        0.95,
        "statistics or gradients of a normalization",
        r"rowwisemoments gammabeta computefusedparams computeinternalgradients"
        r" computebackwardfusedparams cucomputegradinput",
    ),
    _line(
        NORM, 0.7, "normalization of an unnamed kind", r"qk_?norm (?<![a-z])norm_(?:fwd|bwd)_kernel"
    ),
)

_CONV = (
    _line(
        CONV,
        0.95,
        "implicit-GEMM convolution",
        r"implicit_?gemm (?:implicit|precomputed|explicit)_convolve convolve_"
        r" igemm_(?:fwd|bwd|wrw)",
    ),
    _line(CONV, 0.95, "convolution pass of cuDNN or CUTLASS", r"fprop dgrad wgrad scudnn"),
    _line(CONV, 0.95, "Winograd or FFT convolution", r"winograd fft2d_[cr]2[cr] cudnn.{0,20}fft"),
    _line(
        CONV,
        0.95,
        "convolution kernel",
        r"(?<!de)conv(?:olution|olve)?[123]d conv(?:fwd|bwd|direct|asm|ocl|hip|bin)"
        r" conv_(?:fwd|bwd|depthwise|transpose|direct|dw|[1-7]x[1-7]) bwd_(?:weight|data)"
        r" naive_conv convolution cutlass::conv",
    ),
    _line(
        CONV,
        0.92,
        "layout change or set-up of MIOpen",
        r"batched_transpose_\d subtensorop scalepackedtensor miopen",
    ),
    _line(
        CONV,
        0.85,
        "layout change or set-up that a convolution library issues",
        r"nchw_?(?:to|2)_?nhwc nhwc_?(?:to|2)_?nchw nchw2cnhw cnhw2nchw"
        r" tensortransformgeneric im(?:2d)?2_?col col2_?im vol2col col2vol"
        r" compute[a-z]{0,20}offsets cask_",
    ),
    _line(CONV, 0.8, "GEMM or helper of cuDNN, which serves convolutions", r"cudnn"),
    _line(ATTENTION, 0.7, "kernel named after attention", r"attention (?<![a-z])attn"),
)

_EXPERTS = (
    _line(
        ELEMENTWISE,
        0.9,
        "weighted sum of what experts returned",
        r"moe::dev::finalize finalizemoerouting",
    ),
    _line(MEMORY, 0.9, "tokens laid out for experts", r"expandinputrows moe::dev::permute"),
    _line(
        OTHER,
        0.9,
        "choice of experts, or how many tokens each has",
        r"routing moe_?sorting moe_align sum_bitmatrix_rows",
    ),
    _line(LINEAR, 0.9, "result of grouped GEMMs put together", r"finalize_matmul_scatter"),
)

_LINEAR = (
    _line(
        LINEAR,
        0.9,
        "quantized, grouped or mixture-of-experts GEMM",
        r"enable_3x_kernel_for_sm groupproblemshape"
        r" marlin gptq exllama awq_ machete deep_gemm w\d{1,2}a\d{1,2} mul_mat_q"
        r" (?:int[48]|fp[48]|i8|[48]bit|block_scale)[a-z_]{0,20}(?:(?<!fb)gemm|gemv|matmul|_mm)"
        r" gem[mv]_?(?:[48]bit|int[48]|fp[48]|a8w) group(?:ed)?_?(?:gemm|mm|matmul) fused_moe"
        r" moe_gemm ^bmm_[a-z]{0,10}e\dm\d matmul_ogs",
    ),
    _line(
        LINEAR,
        0.55,
        "batched GEMM, which may serve an attention written out",
        r"(?<![a-z])bmm batched_?gemm",
    ),
    _line(LINEAR, 0.75, f"cuBLAS GEMM; {_MAY_SERVE_OTHERS}", r"^nvjet"),
    _line(LINEAR, 0.75, f"GEMM; {_MAY_SERVE_OTHERS}", r"(?<!fb)gemm matmul (?<![a-z])mm_kernel"),
    _line(
        LINEAR,
        0.65,
        "matrix-vector product, which may serve an attention",
        r"gemv wvsplitk llgemm",
    ),
    _line(
        LINEAR,
        0.8,
        "reduction or epilogue of a GEMM",
        r"split_?k_?reduce reducesplitk epilogue::impl cublas streamk magma_",
    ),
    _line(LINEAR, 0.6, "CUTLASS kernel of an unnamed kind, most often a GEMM", r"cutlass"),
)

_TABLES = (
    _line(ELEMENTWISE, 0.9, "rotary embedding", r"rotary (?<![a-z])rope(?![a-z])"),
    _line(
        EMBEDDING,
        0.9,
        "embedding table look-up or its gradient",
        r"embedding permute_pooled_embs bounds_check_indices linearize_index krn_partial"
        r" compute_grad_weight sum_and_scatter",
    ),
    _line(
        EMBEDDING,
        0.6,
        "row selection, as table look-ups issue it",
        r"indexselect(?:large|small)index vectorized_gather",
    ),
)

_OTHER = (
    _line(
        OTHER,
        0.5,
        "sort, which may serve an embedding's gradient",
        r"radix_?sort bitonic merge_?sort (?<![a-z])sort(?![a-z])",
    ),
    _line(OTHER, 0.9, "top-k", r"topk (?<![a-z])top_?[kp] radixfindkth"),
    _line(ELEMENTWISE, 0.85, "dropout", r"dropout"),
    _line(
        OTHER,
        0.85,
        "random numbers or sampling",
        r"distribution_ philox bernoulli multinomial randperm (?<!up)sampling curand rocrand",
    ),
    _line(OTHER, 0.8, "FFT", r"(?<![a-z])fft vector_fft regular_fft"),
    _line(
        OTHER,
        0.7,
        "box suppression, bucketing or a wait",
        r"(?<![a-z])nms spin_kernel bucketize_sparse offsets_range",
    ),
)

_MEMORY = (
    _line(
        ELEMENTWISE,
        0.6,
        "type conversion, which may serve the op around it",
        r"(?:float|half|int|bool|complex)[\da-z]{0,20}_copy_kernel loadwithcast",
    ),
    _line(
        MEMORY,
        0.65,
        "ATen copy, which may convert types or serve the op around it",
        r"direct_copy_kernel copyfunctor",
    ),
    _line(MEMORY, 0.85, "concatenation", r"catarraybatchedcopy chunk_cat split_with_sizes_copy"),
    _line(
        MEMORY,
        0.7,
        "fill or creation",
        r"fillfunctor arange linspace fillbuffer (?<![a-z])(?:fill|zero)_kernel",
    ),
    _line(
        MEMORY,
        0.85,
        "gather, scatter or index copy",
        r"index_(?:put_|copy_|fill_)?kernel index_elementwise gather scatter indexfunc index_add"
        r" masked_select copybuffer",
    ),
    _line(
        MEMORY,
        0.8,
        "padding, transposition or permutation",
        r"(?:constant|reflection|replication)_?pad (?<![a-z])pad(?![a-z]) transpose"
        r" (?<![a-z])permute(?![a-z]) roll_cuda flip_kernel repeat_interleave"
        r" (?<![a-z])compute_cuda_kernel",
    ),
    _line(
        MEMORY,
        0.6,
        "copy of an unnamed kind",
        r"(?<![a-z])(?:mem|batched_|async_)?(?:copy|set)(?![a-z]) memcpy memset",
    ),
)

_ELEMENTWISE = (
    _line(
        ELEMENTWISE,
        0.9,
        "log-softmax, which makes probabilities of classes",
        r"log_?soft_?max softmax_warp_(?:for|back)ward<(?:[^,<>]+,){4}\s*true",
    ),
    _line(ELEMENTWISE, 0.4, "softmax, which most often serves an attention", r"soft_?max"),
    _line(
        ELEMENTWISE,
        0.9,
        "optimizer update or other multi-tensor kernel",
        r"multi_tensor_apply (?<![a-z])adamw?(?![a-z])",
    ),
    _line(
        ELEMENTWISE,
        0.9,
        "gated or plain activation",
        r"act_and_mul silu gelu swiglu (?<![a-z])relu (?<![a-z])[cps]?elu_kernel"
        r" (?<![a-z])hard(?:swish|sigmoid|shrink)_ (?<![a-z])mish_kernel softplus_kernel"
        r" (?<![a-z])glu_kernel",
    ),
    _line(ELEMENTWISE, 0.85, "quantization of values", r"quant (?<![a-z])fp8 qparam"),
    _line(
        ELEMENTWISE, 0.9, "resampling or pooling", r"upsampl interpolate pool grid_sampl roi_?align"
    ),
    _line(ELEMENTWISE, 0.85, "loss", r"nll_loss cross_?entropy ctc_loss"),
    _line(
        ELEMENTWISE,
        0.8,
        "pointwise kernel",
        r"elementwise tril_?triu triu_?tril searchsorted",
    ),
    _line(
        ELEMENTWISE,
        0.75,
        "reduction or scan",
        r"reduce_kernel tensor_kernel_scan devicescan (?<![a-z])cumsum wrapped_scan",
    ),
    _line(OTHER, 0.3, "primitive of CUB, Thrust or rocPRIM", r"cub:: rocprim thrust"),
)

PATTERNS: Final = (
    *_COMMUNICATION,
    *_ATTENTION,
    *_NORM,
    *_CONV,
    *_EXPERTS,
    *_LINEAR,
    *_TABLES,
    *_OTHER,
    *_MEMORY,
    *_ELEMENTWISE,
)
"""The table; the first line that a name matches decides."""


@lru_cache(maxsize=1 << 16)
def verdict_for_kernel_name(name: str, activity: str) -> NameVerdict:
    """Return what the name of a GPU activity says, with how far to trust it.

    `activity` is `kernel`, `gpu_memcpy` or `gpu_memset`. Always returns a verdict: `other` with a
    low confidence where no pattern matches. Never raises.
    """
    if activity == "gpu_memset":
        return NameVerdict(MEMORY, 0.2, "memset, which most often serves the operation after it")
    if activity == "gpu_memcpy":
        between_devices = "ptop" in name.lower() or "peer" in name.lower()
        if between_devices:
            return NameVerdict(COMMUNICATION, 0.9, "copy between devices")
        return NameVerdict(MEMORY, 0.85, "memcpy")
    if is_triton_name(name):
        return verdict_for_triton_name(name)
    pattern = matching_pattern(name)
    return UNKNOWN if pattern is None else pattern.verdict


def matching_pattern(name: str) -> NamePattern | None:
    """Return the line of the table that decides a kernel name, if one does."""
    text = name[:_LONGEST_NAME].lower()
    return next((pattern for pattern in PATTERNS if pattern.matches(text)), None)
