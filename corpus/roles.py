"""What each module and each function of PyTorch does, as far as that decides a category.

Truth comes from what the model's own source calls: the classes of its modules and the functions of
`torch.nn.functional`, never from the names of ops or kernels that a trace holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from corpus.spec import AttentionRule, Built
from tracekit.collectors.attention_inputs import AttentionReader

if TYPE_CHECKING:
    import torch

_NORM_CLASS: Final = re.compile(
    r"(?:^|[a-z\d_])(?:RMS|Layer|Group|Batch|Instance|Chan|Frozen\w*)?_?[Nn]orm(?:[123]d|ND|1p)?$"
    r"|RMSNorm|LayerNorm|_norm$"
)
_ACTIVATION_MODULES: Final = ("torch.nn.modules.activation", "transformers.activations")
_POOLING_MODULES: Final = ("torch.nn.modules.pooling", "torch.nn.modules.upsampling")
_ROTARY_CLASS: Final = re.compile(r"Rotary|RoPE|Rope")
_CONV_WRAPPER: Final = re.compile(r"Conv|Downsampl|Upsampl|Patch", re.IGNORECASE)

CONV: Final = frozenset(
    f"{prefix}conv{transposed}{rank}d"
    for prefix in ("", "_")
    for transposed in ("", "_transpose")
    for rank in "123"
)
LINEAR: Final = frozenset(
    {"linear", "bilinear", "addmm", "_grouped_mm", "grouped_mm", "_scaled_mm"}
)
NORM: Final = frozenset({
    "layer_norm", "group_norm", "batch_norm", "instance_norm", "rms_norm", "local_response_norm",
})  # fmt: skip
EMBEDDING: Final = frozenset({"embedding", "embedding_bag"})
ELEMENTWISE: Final = frozenset({
    "silu", "gelu", "relu", "relu_", "relu6", "mish", "sigmoid", "sigmoid_", "tanh", "softplus",
    "elu", "leaky_relu", "leaky_relu_", "hardswish", "hardsigmoid", "hardtanh", "glu", "selu",
    "logsigmoid", "interpolate", "upsample", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "max_pool1d", "max_pool2d", "max_pool3d", "boolean_dispatch", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "grid_sample", "mse_loss", "cross_entropy",
    "l1_loss", "nll_loss", "softmax", "log_softmax", "dropout",
})  # fmt: skip
MEMORY: Final = frozenset({"cat", "concat", "concatenate", "stack", "pad", "index_select"})
OTHER: Final = frozenset({
    "rand", "randn", "randint", "rand_like", "randn_like", "randint_like", "randperm", "normal_",
    "uniform_", "bernoulli_", "multinomial", "sort", "argsort", "topk", "fft_fft", "fft_rfft",
    "fft_rfft2", "fft_irfft2", "fft_fftn",
})  # fmt: skip
_OPERATORS: Final = ("add", "sub", "mul", "truediv", "div", "true_divide", "neg")
ARITHMETIC: Final = frozenset(
    form
    for name in _OPERATORS
    for form in (name, f"{name}_", f"__{name}__", f"__r{name}__", f"__i{name}__", f"r{name}")
) | frozenset(
    {"subtract", "multiply", "divide", "exp", "clamp", "where", "addcmul", "pow", "square"}
)
PRODUCTS: Final = frozenset({"matmul", "__matmul__", "bmm", "baddbmm", "einsum", "mm"})
ATTENTION_PARTS: Final = ARITHMETIC | PRODUCTS | frozenset({
    "softmax", "_softmax", "masked_fill", "masked_fill_", "amax", "sum", "mean", "max", "expand",
    "contiguous", "reshape", "clone", "to", "type", "type_as", "float", "half", "bfloat16",
    "flatten", "dropout", "tril", "triu", "repeat", "view", "copy_", "unflatten", "nan_to_num",
})  # fmt: skip
"""What is part of attention where it stands between the projections of an attention module."""
FUSED_ATTENTION: Final = "scaled_dot_product_attention"

SIMPLE_RULES: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (CONV, "conv"),
    (LINEAR, "linear"),
    (NORM, "norm"),
    (EMBEDDING, "embedding"),
    (ELEMENTWISE, "elementwise"),
    (OTHER, "other"),
)


@dataclass(frozen=True, slots=True)
class Role:
    """What a module is.

    `slug` is the category of all that happens inside it, null where that is mixed. `attention` is
    the rule that makes it an attention module, `is_silent` says that nothing inside is decided,
    `is_mixed` that only functions of layers are, `projects` that it is a linear layer or a
    convolution.
    """

    path: str
    class_name: str
    slug: str | None = None
    is_leaf: bool = False
    attention: AttentionRule | None = None
    reader: AttentionReader | None = None
    wraps_conv: bool = False
    is_silent: bool = False
    is_mixed: bool = False
    projects: bool = False

    @property
    def is_soft(self) -> bool:
        """Whether it is part of attention where it stands between products."""
        return self.class_name in ("Softmax", "Dropout", "Identity")


def roles_of(built: Built) -> Iterator[tuple[torch.nn.Module, Role]]:
    """Yield every module of a model, once, with its role."""
    seen: set[int] = set()
    for name, root in built.modules.items():
        for path, module in root.named_modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module, _role(module, ".".join(filter(None, (name, path))), built)


def _role(module: torch.nn.Module, path: str, built: Built) -> Role:
    class_name = type(module).__name__
    is_leaf = next(module.children(), None) is None
    for rule in built.attention:
        if re.search(rule.classes, class_name) and re.search(rule.path, path):
            reader = AttentionReader(module, path, rule.axis)
            return Role(path, class_name, None, is_leaf, rule, reader)
    slug, layer = category_of(module, built.extra), _layer_of(module)
    is_mixed = slug == "mixed"
    return Role(
        path,
        class_name,
        None if slug in ("silent", "mixed") else slug,
        # The name of a class that does more than a layer would mislead who reads it as one.
        is_leaf and not is_mixed and not (layer is not None and slug is None),
        wraps_conv=bool(_CONV_WRAPPER.search(class_name)),
        is_silent=slug == "silent" or bool(_ROTARY_CLASS.search(class_name)),
        is_mixed=is_mixed,
        projects=layer is not None,
    )


def category_of(module: torch.nn.Module, extra: Mapping[str, str]) -> str | None:
    """Return the category of all that a module does, null where it is mixed or unknown."""
    import torch.nn as nn

    kind = type(module)
    if kind.__name__ in extra:
        return extra[kind.__name__] or None
    layer = _layer_of(module)
    if layer is not None:
        # One that does something of its own before (padding, normalized weights) is mixed.
        return layer if kind.forward in _plain_forwards() or _is_transformers_conv1d(kind) else None
    if kind in (nn.Embedding, nn.EmbeddingBag):  # those derived from them do more
        return "embedding"
    if _is_norm(module):
        return "norm"
    is_leaf = next(module.children(), None) is None
    if is_leaf and (kind.__module__.startswith(_ACTIVATION_MODULES) or _resamples(kind)):
        return None if kind.__name__ == "MultiheadAttention" else "elementwise"
    return None


def _layer_of(module: torch.nn.Module) -> str | None:
    import torch.nn as nn

    conv: Any = nn.modules.conv
    if isinstance(module, conv._ConvNd):
        return "conv"
    if isinstance(module, nn.Linear | nn.Bilinear) or _is_transformers_conv1d(type(module)):
        return "linear"
    return None


def _plain_forwards() -> tuple[Any, ...]:
    import torch.nn as nn

    conv: Any = nn.modules.conv
    kinds = [nn.Linear, nn.Bilinear, *(one for one in vars(conv).values() if isinstance(one, type))]
    return tuple(one.forward for one in kinds if hasattr(one, "forward"))


def _is_transformers_conv1d(kind: type) -> bool:
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"


def _resamples(kind: type) -> bool:
    return kind.__module__.startswith(_POOLING_MODULES)


def _is_norm(module: torch.nn.Module) -> bool:
    import torch.nn as nn

    modules = nn.modules
    known = (modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
    if isinstance(module, known):
        return True
    if not _NORM_CLASS.search(type(module).__name__):
        return False
    weighty = (nn.Linear, modules.conv._ConvNd, nn.Embedding)
    return not any(isinstance(inner, weighty) for inner in module.modules())
