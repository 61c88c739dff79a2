"""What the name of an op says about the kernels launched below it.

A caller with an op stack takes the outermost decisive rule; where there is none, the innermost
rule; among those, one that is no `helper` goes before the casts, copies and fills inside it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import Final

from tracekit.categories import COMMUNICATION
from tracekit.classifying.op_table import (
    COLLECTIVE_LIBRARY,
    NAMESPACES,
    PATTERNS,
    PRODUCT,
    RULES,
    OpRule,
)
from tracekit.classifying.triton_names import is_triton_name, verdict_for_triton_name

__all__ = ["OpRule", "plain_op_name", "rule_for_op"]

_ENGINE_PREFIX: Final = "autograd::engine::evaluate_function:"
_REGION_PREFIXES: Final = ("torch-compiled region", "torchdynamo", "aotdispatcher", "pregraph")

_LONGEST_NAME: Final = 300
"""Characters that are looked at: matching stays linear however long a name is."""

_NODE_SUFFIX: Final = re.compile(r"_?Backwards?\d*$")
_CAMEL_STEP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DIMENSION: Final = re.compile(r"(?<=\d)D(?=[A-Z_]|$)")
_PREFIX: Final = re.compile(r"^(?:foreach_|unsafe_|fused_(?=adam|sgd|adagrad)|sparse_(?=softmax))")
_SUFFIX: Final = re.compile(
    r"_(?:double_backward|backward(?:_(?:data|input|weight|bias|elemt|reduce|overrideable|cuda|copy"
    r"|scalar|args))?|forward(?:_only)?|overrideable|out|functional|function)$"
)


@lru_cache(maxsize=1 << 16)
def rule_for_op(name: str) -> OpRule | None:
    """Return what an op's name says about the kernels below it, or null.

    `name` is as traces hold it: `aten::add_.Tensor`, `AddmmBackward0`, `c10d::allreduce_`,
    `vllm::rms_norm`, `triton_poi_fused_add_3`. Null means that the op decides nothing: it is a
    view, a wrapper of several operations (`aten::einsum`, a compiled region, the autograd
    engine's frame around a node), or unknown. A backward op and an autograd node have the rule
    of their forward op. Never raises.
    """
    if is_triton_name(name):
        return OpRule(verdict_for_triton_name(name).category, decisive=True)
    if name.startswith(_ENGINE_PREFIX) or name.lower().startswith(_REGION_PREFIXES):
        return None
    namespace, plain = plain_op_name(name)
    if COLLECTIVE_LIBRARY.search(namespace):
        fused = PRODUCT.search(plain)
        return None if fused else OpRule(COMMUNICATION, decisive=True)
    return RULES[plain] if plain in RULES else _matching_rule(plain, namespace)


def _matching_rule(plain: str, namespace: str) -> OpRule | None:
    """Return the rule of the first pattern that a plain name, else its namespace, matches."""
    for pattern in PATTERNS:
        if pattern.regex.search(plain):
            return _outside_library(pattern.rule) if not namespace else pattern.rule
    return next((p.rule for p in NAMESPACES if p.regex.search(namespace)), None)


def _outside_library(rule: OpRule | None) -> OpRule | None:
    """Make a user's autograd function that is called after a collective a wrapper of others."""
    if rule is not None and rule.category == COMMUNICATION:
        return replace(rule, decisive=False)
    return rule


@lru_cache(maxsize=1 << 16)
def plain_op_name(name: str) -> tuple[str, str]:
    """Split an op's name into its namespace and its plain form, both in lower case.

    `aten::_foreach_add_.List` gives `("aten", "add")`, `NativeLayerNormBackward0` gives
    `("", "native_layer_norm")`, `nccl:all_reduce` gives `("nccl", "all_reduce")`.
    """
    text = name[:_LONGEST_NAME].strip()
    _, _, inside = text.partition("CppNode<")
    text = (inside or text).partition("<")[0].rstrip("> ")
    namespace, _, base = text.rpartition(":")
    base = base.strip().partition(".")[0]
    return namespace.strip(": ").rpartition("::")[2].lower(), _plain(base)


def _plain(base: str) -> str:
    node = _NODE_SUFFIX.sub("", base)
    if node != base or base[:1].isupper() or "_" not in base.strip("_"):
        node = _CAMEL_STEP.sub("_", _DIMENSION.sub("d", node))
    plain = node.lower().strip("_")
    plain = _strip_suffixes(plain)
    if plain not in RULES:
        plain = _PREFIX.sub("", plain)
    return plain


def _strip_suffixes(plain: str) -> str:
    """Take `_backward`, `_out` and the like off, but never from a name that is known as it is."""
    while plain not in RULES:
        shorter = _SUFFIX.sub("", plain).rstrip("_")
        if shorter == plain:
            break
        plain = shorter
    return plain
