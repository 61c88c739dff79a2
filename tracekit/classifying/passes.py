"""The passes that decide a category, strongest evidence first; each looks at one situation.

A pass returns a verdict or null, and never looks at what the others said: the first verdict in
the order of `PASSES` counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from tracekit.categories import (
    ATTENTION,
    COMMUNICATION,
    CONV,
    ELEMENTWISE,
    LINEAR,
    MEMORY,
    NORM,
    OTHER,
    TEMPORAL_ATTENTION,
)
from tracekit.classifying.kernel_names import verdict_for_kernel_name
from tracekit.classifying.op_rules import OpRule, rule_for_op
from tracekit.classifying.situation import Situation, Verdict
from tracekit.classifying.triton_names import is_triton_name, verdict_for_triton_name

_CAST_KERNEL: Final = re.compile(
    r"WithCast|gpu_kernel_impl<[\w:()\s]*direct_copy"
    r"|(?:float|half|int|bool|complex)[\d_a-z]*?(?:to[a-z\d]+)?_copy_kernel"
)
"""ATen copy kernels that convert between types (aten/src/ATen/native/cuda/Copy.cu).

The loop `gpu_kernel_impl` converts where `gpu_kernel_impl_nocast` does not (CUDALoops.cuh).
"""

_TRANSFERS: Final = ("gpu_memcpy", "gpu_memset")

TEMPORAL: Final = "temporal"
"""The attention axis along which a video's frames stand."""

_WHY_TEMPORAL: Final = {
    "annotation": "along time, as its label says",
    "shape": "along time, as the shapes of the calls say",
}

_MAY_SERVE: Final = (ELEMENTWISE, MEMORY, LINEAR, OTHER)

Pass = Callable[[Situation], Verdict | None]


def by_label(situation: Situation) -> Verdict | None:
    """Decide by a label that names the category."""
    if situation.category_label is None:
        return None
    return Verdict(situation.category_label, "annotation", "as a label around it says")


def by_collective_kernel(situation: Situation) -> Verdict | None:
    """Decide for the kernels of collective libraries, which keep their category in any op."""
    if situation.activity == "cpu_op":
        return None
    found = verdict_for_kernel_name(situation.kernel or "", situation.activity)
    if found.category != COMMUNICATION:
        return None
    for name in (*situation.op_stack, *situation.backward_stack):
        rule = rule_for_op(name)
        if rule is not None and rule.category == COMMUNICATION:
            return Verdict(COMMUNICATION, "op", _serves(situation, name))
    return Verdict(COMMUNICATION, "name", found.reason, found.confidence)


def by_decisive_op(situation: Situation) -> Verdict | None:
    """Decide by an op that everything inside it serves: a convolution, a linear layer."""
    for name in (*situation.op_stack, *situation.backward_stack):
        if is_triton_name(name):
            fused = _of_fused(situation, name)
            if fused is None:
                continue
            return _on_axis(situation, fused)
        rule = rule_for_op(name)
        if rule is not None and rule.decisive:
            return _on_axis(situation, Verdict(rule.category, "op", _serves(situation, name)))
    return None


def by_attention_operator(situation: Situation) -> Verdict | None:
    """Decide for products, softmax and what stands between them, and for copies beside them."""
    if not situation.in_attention or _crosses_the_bus(situation):
        return None
    part = (situation.op_stack or situation.backward_stack or ("op",))[-1]
    reason = f"{part} in the attention operator: product, softmax, product and their copies"
    return _on_axis(situation, Verdict(ATTENTION, "op", reason))


def by_written_norm(situation: Situation) -> Verdict | None:
    """Decide for the pieces of a normalization that is written out."""
    if not situation.in_norm or _crosses_the_bus(situation):
        return None
    part = (situation.op_stack or situation.backward_stack or ("op",))[-1]
    return Verdict(NORM, "op", f"{part} in a normalization written out as mean, root and product")


def by_rotary_embedding(situation: Situation) -> Verdict | None:
    """Decide for what joins parts of heads around a rotary embedding."""
    if not situation.in_rotary or _crosses_the_bus(situation):
        return None
    part = (situation.op_stack or ("op",))[-1]
    return Verdict(ELEMENTWISE, "op", f"{part} of the parts of a rotary embedding")


def by_gate(situation: Situation) -> Verdict | None:
    """Decide for what joins the gradients of halves of which one gates the other."""
    if not situation.in_gate or _crosses_the_bus(situation):
        return None
    part = (situation.backward_stack or ("op",))[-1]
    return Verdict(ELEMENTWISE, "op", f"{part} of the halves of a gated activation")


def by_convolution_input(situation: Situation) -> Verdict | None:
    """Decide for what pads the input of the convolution right after it."""
    if not situation.before_convolution or _crosses_the_bus(situation):
        return None
    part = (situation.op_stack or ("op",))[-1]
    return Verdict(CONV, "op", f"{part} of the input of the convolution right after it")


def by_weight(situation: Situation) -> Verdict | None:
    """Decide for what normalizes the weight of the layer right after it."""
    if situation.makes_weight_of is None or _crosses_the_bus(situation):
        return None
    part = (situation.op_stack or situation.backward_stack or ("op",))[-1]
    reason = f"{part} makes the weight of the layer right after it"
    return Verdict(situation.makes_weight_of, "op", reason)


def by_norm_module(situation: Situation) -> Verdict | None:
    """Decide for normalization layers that are written out as pow, mean, rsqrt and mul."""
    if situation.module_hint != "norm" or _crosses_the_bus(situation):
        return None
    reason = f"inside the normalization module {situation.module}"
    return Verdict(NORM, situation.module_evidence, reason)


def by_generic_op(situation: Situation) -> Verdict | None:
    """Decide by the innermost op that means the same wherever it stands.

    Copies, casts and fills serve the op around them; alone, the outermost of them counts.
    """
    helper: tuple[str, OpRule] | None = None
    for name in (*reversed(situation.backward_stack), *reversed(situation.op_stack)):
        rule = rule_for_op(name)
        if rule is not None and not rule.helper:
            return _of_generic(situation, name, rule)
        if rule is not None:
            helper = (name, rule)
    return None if helper is None else _of_helper(situation, *helper)


def by_kernel_name(situation: Situation) -> Verdict | None:
    """Decide by the kernel's own name, where no op says more."""
    if situation.activity == "cpu_op":
        return None
    found = verdict_for_kernel_name(situation.kernel or "", situation.activity)
    verdict = Verdict(found.category, "name", found.reason, found.confidence)
    return _on_axis(situation, verdict)


PASSES: Final[tuple[Pass, ...]] = (
    by_label,
    by_collective_kernel,
    by_rotary_embedding,
    by_gate,
    by_decisive_op,
    by_weight,
    by_norm_module,
    by_written_norm,
    by_attention_operator,
    by_convolution_input,
    by_generic_op,
    by_kernel_name,
)
"""The passes in the order in which they are asked."""


def decide(situation: Situation) -> Verdict:
    """Return the first verdict of the passes, or an honest `other`."""
    for one_pass in PASSES:
        verdict = one_pass(situation)
        if verdict is not None:
            return verdict
    op = situation.op_stack[-1] if situation.op_stack else None
    return Verdict(OTHER, "name", f"no rule knows {op or situation.kernel!r}", 0.0)


def _of_fused(situation: Situation, name: str) -> Verdict | None:
    """Return what Inductor fused, null for what is an attention operator's own.

    That is what stands between its products, and copies beside them; these are named after the
    convolution, too, that takes what they lay out.
    """
    found = verdict_for_triton_name(name, only_repeats=situation.only_repeats)
    is_edge = found.category == CONV and situation.only_lays_out
    if situation.in_attention and (found.category in _MAY_SERVE or is_edge):
        return None
    return Verdict(found.category, "op", found.reason)


def _of_generic(situation: Situation, name: str, rule: OpRule) -> Verdict:
    if _crosses_the_bus(situation):
        return Verdict(MEMORY, "op", f"{situation.activity[4:]} issued by {name}")
    return Verdict(rule.category, "op", f"issued by {name}")


def _crosses_the_bus(situation: Situation) -> bool:
    """Say whether an activity copies between host and device, which serves no operation."""
    return situation.activity == "gpu_memcpy" and "DtoD" not in (situation.kernel or "")


def _of_helper(situation: Situation, name: str, rule: OpRule) -> Verdict:
    if situation.activity in _TRANSFERS:
        return Verdict(MEMORY, "op", f"{situation.activity[4:]} issued by {name}")
    if rule.category not in (MEMORY, ELEMENTWISE):
        return Verdict(rule.category, "op", f"issued by {name}")
    converts = situation.converts
    if converts is None:
        converts = _CAST_KERNEL.search(situation.kernel or "") is not None
    if converts:
        return Verdict(ELEMENTWISE, "op", f"{name} converts between types")
    return Verdict(MEMORY, "op", f"{name} moves data without converting it")


def _serves(situation: Situation, name: str) -> str:
    innermost = (situation.backward_stack or situation.op_stack)[-1]
    side = "backward of " if situation.backward_stack and name in situation.op_stack else ""
    return f"{side}{name}" if innermost == name else f"{innermost} inside {side}{name}"


def _on_axis(situation: Situation, verdict: Verdict) -> Verdict:
    """Move attention along time to temporal attention."""
    if verdict.category != ATTENTION or situation.attention_axis != TEMPORAL:
        return verdict
    evidence = situation.axis_evidence
    where = _WHY_TEMPORAL.get(evidence, "along time, as the grids of the calls say")
    if evidence == "module":
        where = f"along time in {situation.module}"
    reason = f"{verdict.reason}, {where}"
    return Verdict(TEMPORAL_ATTENTION, evidence, reason, verdict.confidence)
