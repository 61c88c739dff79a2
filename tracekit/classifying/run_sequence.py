"""The work of a run as one sequence, with what tells a model's whole pass from a layer of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from tracekit.categories import (
    ATTENTION,
    CODE_OF,
    CONV,
    ELEMENTWISE,
    EMBEDDING,
    LINEAR,
    NORM,
    TEMPORAL_ATTENTION,
)
from tracekit.classifying.kernel_kinds import kernel_kind
from tracekit.classifying.table import KernelTable
from tracekit.classifying.triton_names import is_triton_name
from tracekit.linking.codes import distinct_rows
from tracekit.linking.link import PHASES
from tracekit.trace import ACTIVITY_KINDS, NO_TEXT, NULL, BoolArray, CodeArray, IntArray, SmallArray

UPDATE, LOOK_UP, SAMPLE, TIME, RARE = 5, 4, 3, 2, 1
"""What is done once a pass: updating weights, looking up tokens, drawing or picking, the time."""

_SAMPLES: Final = re.compile(
    r"distribution_(?:elementwise|nullary)|::(?:randn?|randn_like|normal_|uniform_|exponential_)$"
    r"|multinomial|argmax|bernoulli",
    re.IGNORECASE,
)
_RARE: Final = re.compile(
    r"::(?:arange|topk|sort|_local_scalar_dense)$"
    r"|elementwise_kernel_with_index|gathertopk|radixsort|memcpy (?:htod|dtoh)",
    re.IGNORECASE,
)
_UPDATES: Final = re.compile(r"fused_?adam|FusedAdam|_fused_sgd|adam_?kernel|AdamFunctor|FusedSgd")
_WAVES: Final = re.compile(r"(?:^|[_:])(?:sin|cos)(?:_kernel|_|$)")
_ACTIVATES: Final = re.compile(r"(?:silu|gelu|mish|swish|relu|sigmoid|softplus)", re.IGNORECASE)
_LAYERS: Final = [CODE_OF[category] for category in (LINEAR, CONV, NORM)]
_PRODUCTS: Final = ("gemm", "softmax", "attention")
_BESIDE: Final = re.compile(r"at::native|at_cuda_detail|elementwise_kernel")
_FUNCTORS: Final = re.compile(r"\w*(?:[fF]unctor|_kernel_cuda|_kernel_impl)\w*")
_TWO: Final = 2


@dataclass(frozen=True, slots=True)
class RunSequence:
    """The activities of one device in the order of their issue, as columns of one length.

    `rows` are rows of the kernel table. `codes` are equal for the same kind of work, whatever
    algorithm does it and however large it is; `exact` only where launch grids or shapes are equal
    too (null where neither is known). `attends` marks where calls of attention begin; `is_layer`
    marks all work of layers, what is beside their products too; `rare` says
    what a model does once a pass (`LOOK_UP`, `SAMPLE`, …), 0 for all other work; `activates` marks
    activation functions.
    `phase` and `causal` are those of the table, `queries` the query length of a row's call.
    """

    rows: IntArray
    codes: IntArray
    exact: IntArray | None
    attends: BoolArray
    is_conv: BoolArray
    is_linear: BoolArray
    is_norm: BoolArray
    is_layer: BoolArray
    rare: SmallArray
    activates: BoolArray
    phase: SmallArray
    causal: SmallArray
    queries: IntArray

    def __len__(self) -> int:
        return len(self.rows)


def run_sequence(table: KernelTable) -> RunSequence:
    """Return the work of a run in the order of its issue.

    Of several devices it is the one with most work; of a CPU-only trace the leaf ops, because
    which others do work of their own depends on their timing.
    """
    rows = _in_order(table)
    linked = table.linked
    names = linked.name[rows].astype(np.int64)
    kind = np.zeros(len(rows), np.int64)
    if linked.basis == "gpu":
        kind = linked.trace.activities.kind[rows].astype(np.int64)
    first, which = distinct_rows((names, kind))
    told = [
        (linked.trace.strings[names[at]], ACTIVITY_KINDS[kind[at]] if linked.basis == "gpu" else "")
        for at in first.tolist()
    ]
    category = table.category[rows]
    multiplies = np.array([_multiplies(*one) for one in told], np.bool_)[which]
    attention = np.isin(category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])
    return RunSequence(
        rows=rows,
        codes=_numbers(told, work_kind)[which],
        exact=_exact(table, rows, names),
        attends=_calls(attention, multiplies),
        is_conv=category == CODE_OF[CONV],
        is_linear=(category == CODE_OF[LINEAR]) & multiplies,
        is_norm=category == CODE_OF[NORM],
        is_layer=np.isin(category, _LAYERS) | (attention & ~np.append(False, attention[:-1])),
        rare=_rare(told, which, category, table.phase[rows]),
        activates=_named(told, _ACTIVATES)[which] & (category == CODE_OF[ELEMENTWISE]),
        phase=table.phase[rows],
        causal=table.causal[rows],
        queries=_of_calls(table)[rows],
    )


@lru_cache(maxsize=1 << 16)
def work_kind(name: str, activity: str) -> str:
    """Return a word that is equal for the same kind of work; `activity` is empty for CPU ops."""
    if not activity:
        return name
    kind = kernel_kind(name, activity)
    if kind == "pointwise":
        return " ".join([kind, *_FUNCTORS.findall(name)[:_TWO]])
    return name.split("<")[0] if kind == name and not is_triton_name(name) else kind


@lru_cache(maxsize=1 << 16)
def _multiplies(name: str, activity: str) -> bool:
    """Say whether this may be the product that a layer is, not a copy or a sum beside it.

    Of kernels alone a category is a guess, and what is beside a layer is easily taken for one.
    """
    if activity != "kernel":
        return not activity
    return kernel_kind(name, activity) in _PRODUCTS or not _BESIDE.search(name)


def _calls(attention: BoolArray, multiplies: BoolArray) -> BoolArray:
    """Return where calls of attention begin: stretches of its work that hold a product."""
    begins = attention & ~np.append(False, attention[:-1])
    number = np.cumsum(begins)
    held = np.bincount(number[attention & multiplies], minlength=int(begins.sum()) + 1) > 0
    return np.asarray(begins & held[number])


def _in_order(table: KernelTable) -> IntArray:
    linked = table.linked
    if linked.basis == "cpu":
        is_leaf = np.ones(len(linked.ops.parent), np.bool_)
        is_leaf[linked.ops.parent[linked.ops.parent >= 0]] = False
        return np.flatnonzero(is_leaf[linked.op])
    devices, which = np.unique(table.device, return_inverse=True)
    time_ns = np.bincount(which, weights=table.dur_ns) if len(devices) else np.empty(0)
    rows = np.flatnonzero(which == int(np.argmax(time_ns))) if len(devices) else np.empty(0, int)
    if (linked.launch[rows] >= 0).all():
        # Streams run side by side; how they interleave differs from step to step.
        rows = rows[np.lexsort((rows, linked.time_ns[rows]))]
    return rows


def _exact(table: KernelTable, rows: IntArray, names: IntArray) -> IntArray | None:
    linked = table.linked
    sizes: CodeArray = (
        linked.trace.activities.grid[rows]
        if linked.basis == "gpu"
        else linked.trace.ops.input_dims[linked.op[rows]]
    )
    if not len(rows) or (sizes == NO_TEXT).all():
        return None
    return distinct_rows((names, sizes.astype(np.int64)))[1]


def _of_calls(table: KernelTable) -> IntArray:
    return np.append(table.calls.query_length, NULL)[table.call]


def _numbers(told: list[tuple[str, str]], word: Callable[[str, str], str]) -> IntArray:
    known: dict[str, int] = {}
    return np.array([known.setdefault(word(*one), len(known)) for one in told], np.int64)


def _named(told: list[tuple[str, str]], pattern: re.Pattern[str]) -> BoolArray:
    return np.array([pattern.search(name) is not None for name, _ in told], np.bool_)


def _rare(
    told: list[tuple[str, str]], which: IntArray, category: SmallArray, phase: SmallArray
) -> SmallArray:
    by_name = np.array([_rare_by_name(name) for name, _ in told], np.int8)[which]
    embeds = category == CODE_OF[EMBEDDING]
    looks_up = embeds & ~np.append(False, embeds[:-1])
    updates = phase == PHASES.index("optimizer")
    updates |= _named(told, _UPDATES)[which]
    begins = updates & ~np.append(False, updates[:-1])
    found = np.where(looks_up, LOOK_UP, by_name)
    return np.where(updates, np.where(begins, UPDATE, 0), found).astype(np.int8)


@lru_cache(maxsize=1 << 14)
def _rare_by_name(name: str) -> int:
    if _SAMPLES.search(name):
        return SAMPLE
    if _WAVES.search(name):
        return RARE if is_triton_name(name) else TIME
    return RARE if _RARE.search(name) else 0
