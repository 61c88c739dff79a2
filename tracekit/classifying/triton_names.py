"""What the names of Inductor's Triton kernels say: they list the operations that were fused.

Inductor keeps matrix products and convolutions outside its pointwise and reduction kernels, so
there `addmm` or `convolution` means that its bias, a cast or a change of layout was fused in.
Names hold at most ten operations in some versions, and none in the oldest (`triton__0d1d2d`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tracekit.categories import ATTENTION, CONV, ELEMENTWISE, EMBEDDING, LINEAR, MEMORY, NORM, OTHER
from tracekit.classifying.op_table import RULES


@dataclass(frozen=True, slots=True)
class NameVerdict:
    """What a kernel's name alone says.

    `confidence`: 0 to 1, the share of such kernels that is expected to serve `category`.
    `reason`: one clause.
    """

    category: str
    confidence: float
    reason: str


_NAME: Final = re.compile(
    r"^triton_(?:(poi|red|per|tem|for|spl|split_scan|mix|unk)(?:_|$))?(?:fused(?:_|$))?"
)
_NUMBER: Final = re.compile(r"(?:_\d[\ddce]*)+$")
_LONGEST_NAME: Final = 2_000
_MOST_WORDS: Final = 7
"""Words in the longest operation name that is looked for."""

_TEMPLATES: Final = (
    (("flex_attention", "flex_decoding", "scaled_dot_product_attention"), ATTENTION, 0.95),
    (("convolution", "convolution2d", "convolution3d", "conv2d", "conv3d"), CONV, 0.9),
    (("bmm", "baddbmm"), LINEAR, 0.55),
    (("mm", "addmm", "scaled_mm", "int_mm", "grouped_mm", "mixed_mm", "linear"), LINEAR, 0.85),
)
_TEMPLATE_WORDS: Final = frozenset(word for words, _, _ in _TEMPLATES for word in words)
_KNOWN: Final = frozenset(RULES) | _TEMPLATE_WORDS | {"backward", "prepare_softmax_online"}
_MEANS: Final = frozenset({"mean", "sum"})
_SQUARES: Final = frozenset({"pow", "square", "mul"})
_REDUCTIONS: Final = ("red", "per")
_BATCHED: Final = frozenset({"bmm", "baddbmm", "addbmm", "matmul"})
_SOFTMAX: Final = frozenset({"softmax", "safe_softmax", "log_softmax", "prepare_softmax_online"})


def is_triton_name(name: str) -> bool:
    """Say whether Inductor gave a kernel or an op this name."""
    return name.startswith("triton_")


@lru_cache(maxsize=1 << 16)
def is_triton_template(name: str) -> bool:
    """Say whether a Triton kernel is a template: a product, or attention, and not what is fused."""
    matched = _NAME.match(name)
    kind = matched.group(1) if matched else None
    operations = fused_operations(name)
    is_unnamed = kind is None and bool(operations) and operations[0] in _TEMPLATE_WORDS
    return kind == "tem" or is_unnamed


def fuses(name: str, operations: frozenset[str]) -> bool:
    """Say whether Inductor gave this name, and lists one of these operations in it."""
    return is_triton_name(name) and not operations.isdisjoint(fused_operations(name))


@lru_cache(maxsize=1 << 16)
def fused_operations(name: str) -> tuple[str, ...]:
    """Return the operations that an Inductor kernel name lists, in its order.

    Names are the plain forms of `op_table`; words that belong to no known operation are left out.
    """
    text = _NUMBER.sub("", _NAME.sub("", name[:_LONGEST_NAME]))
    words = [word for word in text.split("_") if word and not word.isdigit()]
    found: list[str] = []
    at = 0
    while at < len(words):
        for end in range(min(at + _MOST_WORDS, len(words)), at, -1):
            operation = "_".join(words[at:end])
            if operation in _KNOWN:
                found.append(operation)
                at = end
                break
        else:
            at += 1
    return tuple(found)


@lru_cache(maxsize=1 << 16)
def verdict_for_triton_name(name: str, *, only_repeats: bool = False) -> NameVerdict:
    """Return the category of the most expensive operation that a Triton kernel itself holds.

    `name` begins with `triton_`. `only_repeats` says that it repeats what it is given, and so holds
    no normalization, whatever that came from. Never raises.
    """
    operations = fused_operations(name)
    matched = _NAME.match(name)
    kind = matched.group(1) if matched else None
    reason = f"Triton kernel that fuses {', '.join(operations)}"
    if is_triton_template(name):
        return _of_template(operations, reason)
    if not operations:
        return NameVerdict(ELEMENTWISE, 0.5, "Triton kernel whose name lists no known operation")
    category, confidence = _of_fusion(frozenset(operations), kind, only_repeats=only_repeats)
    return NameVerdict(category, confidence, reason)


def _of_template(operations: tuple[str, ...], reason: str) -> NameVerdict:
    for words, category, confidence in _TEMPLATES:
        if any(word in operations for word in words):
            return NameVerdict(
                category, confidence, reason.replace("kernel that fuses", "template of")
            )
    return NameVerdict(LINEAR, 0.5, "Triton template, most often a matrix product")


def _of_fusion(
    operations: frozenset[str], kind: str | None, *, only_repeats: bool
) -> tuple[str, float]:
    """Return the category of the most expensive of the operations.

    A norm's statistics or scaling is work of this kernel; of a convolution, a product or an
    attention it holds the bias, the layout or the casts, which belong to that operation.
    """
    held = {rule.category for name in operations if (rule := RULES.get(name)) is not None}
    if NORM in held and not only_repeats:
        return NORM, 0.9
    if _is_written_norm(operations, kind) and not only_repeats:
        return NORM, 0.75
    for category in (CONV, ATTENTION):
        if category in held:
            return category, 0.7
    if LINEAR in held - _only_wrapped(operations):
        return LINEAR, 0.6
    if operations & _SOFTMAX:
        return ELEMENTWISE, 0.4
    if EMBEDDING in held:
        return EMBEDDING, 0.8
    if "sort" in operations or "topk" in operations:
        return OTHER, 0.8
    if ELEMENTWISE in held:
        return ELEMENTWISE, 0.6 if MEMORY in held else 0.8
    if LINEAR in held:
        return LINEAR, 0.5
    if OTHER in held:
        return OTHER, 0.6
    return MEMORY, 0.7


def _only_wrapped(operations: frozenset[str]) -> frozenset[str]:
    """Return LINEAR where only batched products are named: context tells what these serve."""
    products = {name for name in operations if (r := RULES.get(name)) and r.category == LINEAR}
    return frozenset({LINEAR}) if products <= _BATCHED else frozenset()


def _is_written_norm(operations: frozenset[str], kind: str | None) -> bool:
    """Recognise the statistics and the scaling of a norm written out in pointwise operations."""
    if "linalg_vector_norm" in operations or ("var" in operations and "mean" in operations):
        return True
    root = "rsqrt" in operations or "sqrt" in operations
    if operations & {"var_mean", "var"} and (root or kind in _REDUCTIONS):
        return True
    squared_mean = bool(operations & _MEANS) and bool(operations & _SQUARES)
    if "rsqrt" in operations and squared_mean:
        return True
    return kind in _REDUCTIONS and "pow" in operations and bool(operations & _MEANS)
