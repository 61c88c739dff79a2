"""What the name of a GPU activity says, for when no op is known: graphs, kernels-only traces.

The confidences of patterns that real traces held often are the share of kernel time for which
the op that launched such a kernel agreed; the others follow from patterns like them.
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
from tracekit.classify.triton_names import NameVerdict, is_triton_name, verdict_for_triton_name

__all__ = ["NameVerdict", "matching_pattern", "verdict_for_kernel_name"]

_LONGEST_NAME: Final = 2_000
"""Characters that are looked at: templates say what they are well before their end."""

UNKNOWN: Final = NameVerdict(OTHER, 0.1, "no pattern matches this name")
"""The verdict on a name that says nothing."""


@dataclass(frozen=True, slots=True)
class NamePattern:
    """One line of the ordered table: what a name must hold, and what it then means."""

    regex: re.Pattern[str]
    verdict: NameVerdict


def _line(category: str, confidence: float, reason: str, *words: str) -> NamePattern:
    """Search for any of `words`, regardless of case unless one begins with `=`."""
    parts = [w[1:] if w.startswith("=") else f"(?i:{w})" for w in words]
    return NamePattern(re.compile("|".join(parts)), NameVerdict(category, confidence, reason))


_COMMUNICATION = (
    _line(COMMUNICATION, 0.97, "NCCL or RCCL collective", r"^(?:void )?[nr]ccl", "mscclKernel"),
    _line(
        COMMUNICATION, 0.9, "collective kernel of a framework",
        "all_?reduce", "cross_device_reduce", "all_?gather(?!ed)", "reduce_?scatter", "all_?to_?all",
        "nvshmem", "deep_?ep::", "_shot_reduce", "quickreduce",
    ),
)  # fmt: skip

_ATTENTION = (
    _line(
        MEMORY, 0.85, "write into a key-value cache",
        "reshape_and_cache", "concat_and_cache", "store_kv", "copy_blocks_kernel", "append_paged",
        "set_kv_buffer", "_kv_?cache_(?:update|kernel|copy)",
    ),
    _line(ATTENTION, 0.97, "flash attention kernel", "flash_?(?:fwd|bwd|attn|attention|mla)", "flash::"),
    _line(ATTENTION, 0.97, "fused attention kernel of cuDNN", "sdpa"),
    _line(ATTENTION, 0.97, "fused multi-head attention kernel", "fmha", r"mha_(?:fwd|bwd|varlen)", "mmha"),
    _line(
        ATTENTION, 0.95, "memory-efficient attention kernel",
        "=AttentionKernel", "=AttentionBackwardKernel", "efficient_?attention",
    ),
    _line(
        ATTENTION, 0.95, "paged or ragged attention kernel of a serving engine",
        "paged_?attention", "unified_attention", r"=Batch(?:Prefill|Decode)With",
        r"=Single(?:Prefill|Decode)With", "merge_?(?:attn_)?states?", "=MergeStates",
        r"_fwd_(?:grouped_)?kernel_stage[12]", "mla_(?:fwd|decode|prefill|kernel)", "decode_att_m",
    ),
    _line(ATTENTION, 0.9, "SageAttention kernel", "sage_?(?:attn|fwd|quant|attention)", r"qk_int\d?_sv"),
    _line(
        ATTENTION, 0.93, "Triton attention kernel",
        r"attn_(?:fwd|bwd|prep)", r"bwd_kernel_(?:dk_dv|dq|fuse)", "bwd_preprocess", "flex_(?:attention|decoding)",
    ),
    _line(
        ATTENTION, 0.85, "softmax with the scale and mask of an attention",
        r"scaled_(?:upper_triang_)?(?:aligned_)?(?:causal_)?(?:masked_)?softmax",
    ),
)  # fmt: skip

_NORM = (
    _line(
        NORM, 0.95, "normalization kernel",
        r"(?:layer|group|rms|batch|instance)_?norm", "cudnn::bn_", r"(?<![a-z])bn_(?:fw|bw)",
        r"(?<![a-z])ln_(?:fwd|bwd)", "norm2d(?:Fwd|Bwd)",
    ),
    _line(
        NORM, 0.95, "statistics or gradients of a normalization",
        "=RowwiseMoments", "=GammaBeta", "=ComputeFusedParams", "=ComputeInternalGradients",
        "=ComputeBackwardFusedParams", "=cuComputePartGrad", "=cuComputeGradInput",
    ),
    _line(NORM, 0.7, "normalization of queries and keys, or of an unnamed kind", "qk_?norm", r"(?<![a-z])norm_(?:fwd|bwd)_kernel"),
)  # fmt: skip

_CONV = (
    _line(CONV, 0.95, "implicit-GEMM convolution", "implicit_?gemm", "implicit_convolve", "igemm_(?:fwd|bwd|wrw)"),
    _line(CONV, 0.95, "convolution pass of cuDNN or CUTLASS", "fprop", "dgrad", "wgrad", "scudnn", "=cudnn_generated"),
    _line(CONV, 0.95, "Winograd or FFT convolution", "winograd", r"fft2d_[cr]2[cr]", "cudnn.{0,20}fft", "flip_filter"),
    _line(
        CONV, 0.95, "convolution kernel",
        r"(?<!de)conv(?:olution|olve)?[123]d", "=Conv(?:Fwd|Bwd|Direct|Asm|Ocl|Hip|Bin)",
        r"conv_(?:fwd|bwd|depthwise|transpose|direct|1x1|3x3)", "bwd_(?:weight|data)", "naive_conv",
        "convolution", "cutlass::conv", "conv_dw", "grouped_direct_conv",
    ),
    _line(
        CONV, 0.85, "layout change or set-up that a convolution library issues",
        r"nchw_?(?:to|2)_?nhwc", r"nhwc_?(?:to|2)_?nchw", r"_?C?N?CHW2C?NCHW", r"batched_transpose_\d",
        "=tensorTransformGeneric", r"im(?:2d)?2_?col", "col2_?im", r"compute\w{0,20}Offsets", "cask_", r"=SubTensorOp",
        "=scalePackedTensor", "=CNHW2NCHW", "=MIOpen", "=miopen",
    ),
    _line(CONV, 0.8, "GEMM or helper of cuDNN, which serves convolutions", "cudnn"),
)  # fmt: skip

_LINEAR = (
    _line(
        LINEAR, 0.9, "quantized or mixture-of-experts GEMM",
        "marlin", "gptq", "exllama", r"awq_", "machete", "deep_gemm", r"w\d{1,2}a\d{1,2}",
        r"(?:int[48]|fp[48]|i8|4bit|8bit|mxfp4|nvfp4|block_scale)\w{0,20}(?:gemm|gemv|matmul|_mm)", r"(?:gemm|gemv)_?(?:4bit|int|fp[48]|a8w)",
        "grouped_?(?:gemm|mm)", "group_gemm", "fused_moe", "moe_gemm", r"^bmm_\w{0,10}E\dm\d", "matmul_ogs", "grouped_matmul", "mul_mat_q",
    ),
    _line(LINEAR, 0.55, "batched GEMM, which may serve an attention written out", r"(?<![a-z])bmm", "batched_?gemm"),
    _line(LINEAR, 0.7, "hipBLASLt or rocBLAS GEMM; it may serve an attention or a 1x1 convolution", "^Cijk_"),
    _line(LINEAR, 0.7, "cuBLAS GEMM; it may serve an attention or a 1x1 convolution", "^nvjet"),
    _line(LINEAR, 0.7, "GEMM; it may serve an attention or a 1x1 convolution", "gemm", "matmul", r"(?<![a-z])mm_kernel"),
    _line(LINEAR, 0.6, "matrix-vector product; it may serve an attention", "gemv", "wvsplitk", "llgemm", "gemmk1"),
    _line(
        LINEAR, 0.7, "reduction or epilogue of a GEMM",
        "split_?k_?reduce", "=ReduceSplitK", "=epilogue::impl", "cublas", "streamk", "magma_",
    ),
    _line(LINEAR, 0.6, "CUTLASS kernel of an unnamed kind, most often a GEMM", "cutlass"),
)  # fmt: skip

_TABLES = (
    _line(ELEMENTWISE, 0.9, "rotary embedding", "rotary", r"(?<![a-z])rope(?![a-z])"),
    _line(
        EMBEDDING, 0.9, "embedding table look-up or its gradient",
        "embedding", "permute_pooled_embs", "bounds_check_indices", "linearize_index",
        "krn_partial", "compute_grad_weight", "sum_and_scatter",
    ),
    _line(
        EMBEDDING, 0.5, "row selection, as table look-ups issue it",
        "=indexSelect(?:Large|Small)Index", "=vectorized_gather",
    ),
)  # fmt: skip

_OTHER = (
    _line(OTHER, 0.85, "sort or top-k", r"radix_?sort", "bitonic", "merge_?sort", r"(?<![a-z])sort(?![a-z])", "top_?k", "topp", "radixFindKth", "=sbtopk", "segmented_sort"),
    _line(ELEMENTWISE, 0.85, "dropout", "dropout"),
    _line(
        OTHER, 0.85, "random numbers or sampling",
        "distribution_", "philox", "bernoulli", "multinomial", "randperm", "sampling", "curand", "rocrand",
    ),
    _line(OTHER, 0.8, "FFT", r"(?<![a-z])fft", "vector_fft", "regular_fft"),
    _line(OTHER, 0.7, "expert routing, box suppression or a wait", "routing", r"(?<![a-z])nms", "spin_kernel", "moe_align", "bucketize_sparse"),
)  # fmt: skip

_MEMORY = (
    _line(ELEMENTWISE, 0.85, "type conversion", r"(?:float|half|int|bool|complex)\w{0,20}_copy_kernel", "=LoadWithCast"),
    _line(MEMORY, 0.65, "ATen copy, which may convert types or serve the op around it", "direct_copy_kernel", "=CopyFunctor"),
    _line(MEMORY, 0.85, "concatenation", "=CatArrayBatchedCopy", "chunk_cat", "split_with_sizes_copy"),
    _line(MEMORY, 0.7, "fill or creation", "=FillFunctor", "arange", "linspace", "fillBuffer", r"(?<![a-z])(?:fill|zero)_kernel"),
    _line(
        MEMORY, 0.85, "gather, scatter or index copy",
        r"index_(?:put_|copy_|fill_)?kernel", "index_elementwise", "gather", "scatter", "=indexFunc", "index_add", "masked_select", "copyBuffer",
    ),
    _line(
        MEMORY, 0.8, "padding, transposition or permutation",
        r"(?:constant|reflection|replication)_?pad", r"(?<![a-z])pad(?![a-z])", "transpose", r"(?<![a-z])permute(?![a-z])", "roll_cuda", "flip_kernel", "repeat_interleave", "compute_cuda_kernel",
    ),
    _line(MEMORY, 0.5, "copy of an unnamed kind", r"(?<![a-z])(?:mem|batched_|async_)?(?:copy|set)(?![a-z])", "memcpy", "memset"),
)  # fmt: skip

_ELEMENTWISE = (
    _line(ELEMENTWISE, 0.4, "softmax, which most often serves an attention", "soft_?max"),
    _line(ELEMENTWISE, 0.9, "optimizer update or other multi-tensor kernel", "multi_tensor_apply", "(?<![a-z])adamw?(?![a-z])"),
    _line(ELEMENTWISE, 0.85, "gated or plain activation", "act_and_mul", "silu", "gelu", "swiglu", "(?<![a-z])relu"),
    _line(ELEMENTWISE, 0.85, "quantization of values", "quant"),
    _line(ELEMENTWISE, 0.9, "resampling or pooling", "upsample", "interp(?:olate)?_", "pool", "grid_sampl", "=roi_?[aA]lign"),
    _line(ELEMENTWISE, 0.85, "loss", "nll_loss", "cross_?entropy", "=ctc_loss"),
    _line(ELEMENTWISE, 0.75, "pointwise kernel", "elementwise_kernel", "elementwise", "tril_?triu|triu_?tril"),
    _line(ELEMENTWISE, 0.75, "reduction or scan", "reduce_kernel", "=tensor_kernel_scan", "=DeviceScan", "(?<![a-z])cumsum", "wrapped_scan"),
    _line(OTHER, 0.5, "primitive of CUB, Thrust or rocPRIM", "cub::", "rocprim", "thrust"),
    _line(ATTENTION, 0.7, "its name speaks of attention", "attention", r"(?<![a-z])attn"),
    _line(ELEMENTWISE, 0.4, "Triton kernel whose name lists nothing", r"^triton_"),
)  # fmt: skip

PATTERNS: Final = (
    *_COMMUNICATION,
    *_ATTENTION,
    *_NORM,
    *_CONV,
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
        return NameVerdict(MEMORY, 0.8, "memset")
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
    text = name[:_LONGEST_NAME]
    return next((pattern for pattern in PATTERNS if pattern.regex.search(text)), None)
