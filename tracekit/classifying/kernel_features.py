"""What a kernel is, in numbers: the input of the sequence model.

A kernel is described by its kind (what its name says that it computes, told from the libraries' own
names), by marks within the name (memory layout, data type, epilogue) and by its launch grid.
"""

from __future__ import annotations

import re
from functools import lru_cache
from math import log2, prod
from typing import Final

import msgspec
import numpy as np

from tracekit.classifying.triton_names import is_triton_name, verdict_for_triton_name
from tracekit.trace import FloatArray

_KINDS: Final[tuple[tuple[str, str], ...]] = (
    ("collective", r"nccl|rccl|all_?reduce|all_?gather|reduce_?scatter"),
    (
        "attention backward",
        r"(?:flash|fmha|attn|attention|sdpa)\w*?(?:bwd|backward|bprop)|cutlassb_",
    ),
    (
        "attention",
        r"flash_?fwd|flash_fprop|fmha|(?:flash|sdpa|attn|attention)\w*?(?:fwd|forward|fprop)"
        r"|flash(?:_attn)?::|pytorch_flash|paged_attention|mha_|unified_attention",
    ),
    ("softmax backward", r"soft_?max_?(?:warp_)?backward|softmaxbackward"),
    ("softmax", r"soft_?max"),
    ("to channels last", r"nchw_?(?:to|2)_?nhwc|nchw2cnhw"),
    ("to channels first", r"nhwc_?(?:to|2)_?nchw|cnhw2nchw"),
    (
        "convolution",
        r"implicit_?gemm|implicit_convolve|igemm_|fprop|dgrad|wgrad|scudnn|winograd"
        r"|conv(?:olution)?_?[123]d|conv_?depthwise|convolve|convolution|conv_(?:fwd|bwd)|naive_conv",
    ),
    (
        "convolution helper",
        r"cask_|compute\w{0,20}offsets|im2?_?col|col2_?im|tensortransform"
        r"|batched_transpose|subtensorop|scalepackedtensor|miopen",
    ),
    ("cudnn", r"cudnn"),
    ("layer norm backward", r"gammabeta|layer_?norm_?(?:grad|backward)|norm_?backward|norm_grad"),
    ("layer norm", r"layer_?norm|rms_?norm"),
    ("norm moments", r"rowwisemoments|welford"),
    ("group norm", r"group_?norm|computefusedparams|batch_?norm|instance_?norm|bn_fw|bn_bw"),
    ("split-k", r"split_?k_?reduce|reduce_?split_?k|splitkreduce"),
    ("nvjet", r"^nvjet"),
    ("gemv", r"gemv|dot_kernel|wvsplitk"),
    ("gemm", r"gemm|cijk_|matmul|(?<![a-z])mm_kernel|xmma|cutlass|bmm"),
    ("gather rows", r"indexselect|vectorized_gather|embedding"),
    ("concatenation", r"catarray|chunk_cat"),
    (
        "index",
        r"index_?(?:elementwise|put|copy|fill|kernel)|indexing_backward|gather|scatter|masked_sel",
    ),
    (
        "cast",
        r"(?:float|half|bfloat|int|bool|double|complex)[\da-z]*_copy_kernel|loadwithcast|storewithcast",
    ),
    ("copy", r"direct_copy|copyfunctor|(?<![a-z])copy(?![a-z])|transpose|permute"),
    ("fill", r"fillfunctor|fill_kernel|zero_kernel"),
    ("creation", r"arange|linspace|range_kernel|eye_|triu_?tril|tril_?triu"),
    ("pad", r"_?pad(?![a-z])|roll_cuda|flip_kernel|repeat_interleave|im2col"),
    ("dropout", r"dropout"),
    ("random", r"distribution_|philox|bernoulli|multinomial|randperm|curand|normal_and_transform"),
    ("sort", r"sort|topk|top_k|bitonic|radix"),
    ("scan", r"scan|cumsum|cub::|thrust"),
    ("resampling", r"upsampl|interpolat|pool|grid_sampl"),
    ("optimizer", r"multi_tensor|adam|foreach"),
    ("fft", r"(?<![a-z])fft|vector_fft|regular_fft"),
    ("mean", r"meanops"),
    ("two-norm", r"normtwoops|normops"),
    ("extremum", r"minops|maxops|maxnan|minnan|argm(?:ax|in)|minmax|aminmax"),
    ("sum", r"sum_functor|sumops|reduce_kernel"),
    ("gelu", r"gelu"),
    ("silu", r"silu|swish"),
    ("glu", r"glu|act_and_mul"),
    ("relu", r"relu|threshold|clamp"),
    ("sigmoid", r"sigmoid"),
    ("tanh", r"tanh"),
    ("power", r"pow_|square"),
    ("root", r"sqrt"),
    ("exponential", r"(?<![a-z])exp|expm1|log_?kernel|log1p|log2"),
    ("wave", r"(?<![a-z])(?:cos|sin)(?:_kernel|h)|rotary|rope"),
    (
        "choice",
        r"where_kernel|masked_fill|masked_scale|compare|logical|bitwise|isnan|isfinite|eqfunctor|nefunctor",
    ),
    ("division", r"divfunctor|div_true|div_trunc|div_floor|reciprocal|remainder"),
    ("product", r"mulfunctor|mul_kernel|addcmul|addcdiv|lerp"),
    ("sum of two", r"functor_add|functoronself_add|functoronother_add|add_kernel|addfunctor"),
    ("difference", r"sub_kernel|subfunctor|neg_kernel|abs_kernel"),
    ("quantization", r"quant|fp8|int8|dequant"),
    ("pointwise", r"elementwise"),
    ("loss", r"loss|cross_?entropy"),
)
_ACTIVITIES: Final = ("gpu_memcpy", "gpu_memset")
_TRITON: Final = (
    "conv",
    "linear",
    "attention",
    "norm",
    "elementwise",
    "embedding",
    "memory",
    "other",
    "softmax",
)
_MARKS: Final = (
    r"vectorized_elementwise",
    r"(?<!vectorized_)(?<!unrolled_)elementwise_kernel<",
    r"unrolled_elem",
    r"_nocast",
    r"bunaryfunctor|aunaryfunctor",
    r"binaryfunctor",
    r"bfloat16|bf16",
    r"half|f16(?!b)",
    r"float, float, float",
    r"long|int, int",
    r"_bias_|bias",
    r"splitk",
    r"coop",
    r"ssched",
    r"sm80",
    r"sm90",
    r"sm100",
    r"relu|gelu|silu",
    r"batched|bmm",
    r"warp_forward|warp_backward",
    r"_tnt\b|_tnt$",
    r"_tnn\b|_tnn$",
    r"_nnt\b|_nnt$",
    r"_nnn\b|_nnn$",
    r"_ntn\b|_ntt\b|_ntn$|_ntt$",
    r"_tn_|_tn\b",
    r"_nn_|_nn\b",
    r"_nt_|_nt\b",
    r"cublaslt|cublas",
    r"cutlass_80",
    r"simt|sgemm",
    r"s16816|s1688",
    r"welford",
    r"persistent",
    r"cunn_",
    r"f32f32|tf32",
    r"onself",
    r"lambda",
)
_REGEXES: Final = tuple(re.compile(regex) for _, regex in _KINDS)
_MARK_REGEXES: Final = tuple(re.compile(regex) for regex in _MARKS)
_LONGEST_NAME: Final = 1200
_TILE: Final = re.compile(r"(\d{1,3})x(\d{1,3})")

KIND_NAMES: Final = (
    *(name for name, _ in _KINDS),
    *(name.removeprefix("gpu_") for name in _ACTIVITIES),
    *(f"triton {name}" for name in _TRITON),
    "unknown",
)
"""Names of the kinds, in the order of the features."""

_GRID_FEATURES: Final = 8
SIZE: Final = len(KIND_NAMES) + len(_MARKS) + 2 + _GRID_FEATURES
"""Number of features of a kernel."""


@lru_cache(maxsize=1 << 14)
def kind_of(name: str, activity: str) -> int:
    """Return the kind of an activity, a position in `KIND_NAMES`."""
    if activity in _ACTIVITIES:
        return len(_KINDS) + _ACTIVITIES.index(activity)
    if is_triton_name(name):
        category = "softmax" if "softmax" in name else verdict_for_triton_name(name).category
        return len(_KINDS) + len(_ACTIVITIES) + _TRITON.index(category)
    text = name[:_LONGEST_NAME].lower()
    for at, regex in enumerate(_REGEXES):
        if regex.search(text):
            return at
    return len(KIND_NAMES) - 1


def kernel_features(name: str, activity: str, grid: str | None, block: str | None) -> FloatArray:
    """Return the features of a kernel, float64 `(SIZE,)`; grid and block are JSON lists or null."""
    row = np.zeros(SIZE)
    of_name = _name_features(name, activity)
    at = len(of_name)
    row[:at] = of_name
    sides, threads = dimensions(grid), dimensions(block)
    if sides:
        row[at : at + 3] = [log2(side) / 8 for side in sides]
        row[at + 3] = log2(prod(sides)) / 16
        row[at + 4], row[at + 5] = sides[1] > 1, sides[2] > 1
    if threads:
        row[at + 6] = log2(prod(threads)) / 10
        row[at + 7] = threads[1] > 1
    return row


@lru_cache(maxsize=1 << 14)
def _name_features(name: str, activity: str) -> tuple[float, ...]:
    """Return kind, marks and tile of a kernel."""
    kind = [0.0] * len(KIND_NAMES)
    kind[kind_of(name, activity)] = 1.0
    if activity != "kernel":
        return (*kind, *[0.0] * (len(_MARKS) + 2))
    text = name[:_LONGEST_NAME].lower()
    marks = [float(regex.search(text) is not None) for regex in _MARK_REGEXES]
    tile = _TILE.search(text)
    sizes = [0.0, 0.0] if tile is None else [log2(max(int(side), 1)) / 8 for side in tile.groups()]
    return (*kind, *marks, *sizes)


@lru_cache(maxsize=1 << 12)
def dimensions(text: str | None) -> tuple[int, int, int] | None:
    """Return three sizes of at least 1 from JSON like `[32, 1, 1]`, null for anything else."""
    if text is None:
        return None
    try:
        value = msgspec.json.decode(text, type=list[int])
    except (msgspec.DecodeError, RecursionError):
        return None
    if not 1 <= len(value) <= 3 or min(value) < 1:
        return None
    x, y, z = (*value, 1, 1)[:3]
    return x, y, z
