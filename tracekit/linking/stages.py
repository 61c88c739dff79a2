"""Which stage and step of the run each activity belongs to, from annotations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.labels import PREFIX, parse_stage
from tracekit.linking.link import Linked
from tracekit.linking.nesting import Forest, build_forest
from tracekit.trace import NULL, BoolArray, IntArray, Spans

_PROFILER_STEP: Final = re.compile(r"^ProfilerStep#(\d+)$")
_MAX_DIGITS: Final = 9
_SEPARATORS: Final = " \t#:_/.-[("
_OF_PYTORCH: Final = re.compile(
    r"^(?:ProfilerStep\*?$"
    r"|ProfilerStep#"
    r"|Optimizer\.(?:step|zero_grad)#"
    r"|enumerate\(DataLoader\)#"
    r"|_?(?:nccl|gloo|mpi|ucc|c10d)::?"
    r"|record_param_comms"
    r"|DistributedDataParallel\."
    r"|(?:FullyShardedDataParallel|FSDP|FSDP2|_?fsdp)(?:\.|::|$)"
    r"|torch\.distributed\."
    r"|## Call CompiledFxGraph"
    r"|Torch-Compiled Region"
    r"|TorchDynamo |AOTDispatcher |Pregraph bytecode|CompiledFunction"
    r"|.* \(dynamo_timed\)$"
    r"|Inductor |Triton|PyTorch Profiler"
    r"|Iteration Start)"
)
"""Annotations that PyTorch itself writes; they tell how it works, not what the user runs."""

RUN_SHARE: Final = 0.95
"""An annotation that covers this share of all launches is the run, not a stage of it."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Stage and step of each activity.

    `stage` is a position in `names` and `sources`, -1 outside of any stage; `step` is the number
    of the repetition, `NULL` where there is none.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    stage: IntArray
    step: IntArray


def is_of_pytorch(annotation: str) -> bool:
    """Say whether PyTorch itself wrote an annotation, to tell how it works."""
    return _OF_PYTORCH.match(annotation) is not None


def stem_of(annotation: str) -> str:
    """Return an annotation without the integer at its end."""
    return _split_number(annotation)[0]


def assign_stages(linked: Linked) -> Stages:
    """Return the stages of a trace: collectors' labels first, else the user's annotations.

    Annotations of PyTorch itself are no stages, and `ProfilerStep` gives steps only. One that
    covers 95% of all launches is the run, and its parts are looked at instead, if it has any.
    Names that differ in a trailing integer are one stage, and so are repetitions of one name;
    the integer, else the number of the repetition, is the step.
    """
    spans, texts = linked.trace.annotations, linked.trace.strings
    none = np.full(len(linked), -1, np.int64)
    unknown = np.full(len(linked), NULL, np.int64)
    if not len(spans) or not len(linked):
        return Stages((), (), none, unknown)
    labels = _chosen(spans, [parse_stage(text) is not None for text in texts])
    if len(labels):
        found = _innermost(linked, labels, _label_of)
    else:
        of_user = [not text.startswith(PREFIX) and not is_of_pytorch(text) for text in texts]
        found = _outermost(linked, _chosen(spans, of_user))
    step = np.where(found.step == NULL, _profiler_steps(linked), found.step)
    return Stages(found.names, found.sources, found.stage, step)


def _label_of(text: str) -> tuple[str, int | None]:
    label = parse_stage(text)
    return (text, None) if label is None else label


def _innermost(
    linked: Linked, spans: Spans, read: Callable[[str], tuple[str, int | None]]
) -> Stages:
    row = _row_at(linked, _forest(spans), spans)
    parsed = [read(linked.trace.text(code) or "") for code in spans.name.tolist()]
    names = list(dict.fromkeys(name for name, _ in parsed))
    stage_of = np.array([names.index(name) for name, _ in parsed], np.int64)
    step_of = np.array([NULL if step is None else step for _, step in parsed], np.int64)
    return _picked(row, tuple(names), ("label",) * len(names), stage_of, step_of)


def _outermost(linked: Linked, spans: Spans) -> Stages:
    """Take the outermost annotations below the run as stages."""
    forest = _forest(spans)
    row = _row_at(linked, forest, spans)
    root = _roots(forest, _runs(forest, row))
    row = np.where(row >= 0, root[row], -1) if len(root) else row
    used = np.unique(root[root >= 0])
    names, stage_of, step_of = _families(
        [linked.trace.text(int(spans.name[span])) or "" for span in used.tolist()],
        spans.start_ns[used],
    )
    stages = np.full(len(spans), -1, np.int64)
    steps = np.full(len(spans), NULL, np.int64)
    stages[used], steps[used] = stage_of, step_of
    return _picked(row, names, ("annotation",) * len(names), stages, steps)


def _runs(forest: Forest, row: IntArray) -> BoolArray:
    """Return which annotations cover nearly all launches and have others inside."""
    held = np.bincount(row[row >= 0], minlength=len(forest.parent)).astype(np.int64)
    for span in forest.order[::-1].tolist():
        if forest.parent[span] >= 0:
            held[forest.parent[span]] += held[span]
    has_parts = np.zeros(len(held), np.bool_)
    has_parts[forest.parent[forest.parent >= 0]] = True
    return np.asarray((held >= RUN_SHARE * len(row)) & has_parts)


def _roots(forest: Forest, is_run: BoolArray) -> IntArray:
    """Return each annotation's outermost ancestor below the runs, -1 for the runs themselves."""
    root = np.full(len(forest.parent), -1, np.int64)
    for span in forest.order.tolist():
        if not is_run[span]:
            above = forest.parent[span]
            inherited = root[above] if above >= 0 else -1
            root[span] = inherited if inherited >= 0 else span
    return root


def _families(names: list[str], start_ns: IntArray) -> tuple[tuple[str, ...], IntArray, IntArray]:
    """Group names that differ in a trailing integer, and number repetitions of one name."""
    variants: dict[str, set[str]] = defaultdict(set)
    split = [_split_number(name) for name in names]
    for name, (stem, number) in zip(names, split, strict=True):
        if number is not None:
            variants[stem].add(name)
    numbered = {stem for stem, group in variants.items() if len(group) > 1}
    known: dict[str, int] = {}
    stage_of = np.empty(len(names), np.int64)
    step_of = np.full(len(names), NULL, np.int64)
    for row in np.argsort(start_ns, kind="stable").tolist():
        stem, number = split[row]
        is_numbered = number is not None and stem in numbered
        stage_of[row] = known.setdefault(stem if is_numbered else names[row], len(known))
        if is_numbered and number is not None:
            step_of[row] = number
    for stage in range(len(known)):
        rows = np.flatnonzero(stage_of == stage)
        if len(rows) > 1 and (step_of[rows] == NULL).all():
            step_of[rows[np.argsort(start_ns[rows], kind="stable")]] = np.arange(len(rows))
    return tuple(known), stage_of, step_of


def _split_number(name: str) -> tuple[str, int | None]:
    bare = name[:-1] if name.endswith(("]", ")")) else name
    stem = bare.rstrip("0123456789")
    number = bare[len(stem) :]
    if not stem or not number or len(number) > _MAX_DIGITS:
        return name, None
    return stem.rstrip(_SEPARATORS) or stem, int(number)


def _profiler_steps(linked: Linked) -> IntArray:
    numbers = [_PROFILER_STEP.match(text) for text in linked.trace.strings]
    spans = _chosen(linked.trace.annotations, [match is not None for match in numbers])
    row = _row_at(linked, _forest(spans), spans)
    number_of = np.array([int(m[1]) if m and len(m[1]) < 10 else NULL for m in numbers])
    if not len(spans):
        return np.full(len(row), NULL, np.int64)
    return np.where(row >= 0, number_of[spans.name[row]], NULL)


def _row_at(linked: Linked, forest: Forest, spans: Spans) -> IntArray:
    """Return the innermost annotation around each launch.

    The launching thread's own annotations count first; work issued from a thread that has none
    around it (autograd's, say) belongs to what another thread had open at that time.
    """
    known = linked.time_ns != NULL
    row = np.full(len(linked), -1, np.int64)
    row[known] = forest.innermost_at(linked.thread[known], linked.time_ns[known])
    rest = np.flatnonzero(known & (row < 0))
    if len(rest) and len(spans):
        anywhere = build_forest(np.zeros(len(spans), np.int32), spans.start_ns, spans.end_ns)
        row[rest] = anywhere.innermost_at(np.zeros(len(rest), np.int32), linked.time_ns[rest])
    return row


def _chosen(spans: Spans, is_name: list[bool]) -> Spans:
    flags = np.array(is_name, np.bool_)
    return spans.take(np.flatnonzero(flags[spans.name] & (spans.name >= 0)))


def _forest(spans: Spans) -> Forest:
    return build_forest(spans.thread, spans.start_ns, spans.end_ns)


def _picked(
    row: IntArray,
    names: tuple[str, ...],
    sources: tuple[str, ...],
    stage_of: IntArray,
    step_of: IntArray,
) -> Stages:
    if not len(stage_of):
        return Stages(names, sources, np.full(len(row), -1), np.full(len(row), NULL))
    inside = row >= 0
    return Stages(
        names,
        sources,
        np.where(inside, stage_of[row], -1),
        np.where(inside, step_of[row], NULL),
    )
