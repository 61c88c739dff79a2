"""Why figures deviate: variants, the same kernels under another roof, steps without the host."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracekit.analysis.device_peaks import Peaks, peaks_of
from tracekit.cause_results import (
    GraphedSteps,
    GraphSpeedup,
    Projection,
    StageTime,
    StudyVariant,
)
from tracekit.errors import TraceFormatError
from tracekit.spread_results import Spread
from tracekit.study.experiments import AS_STUDIED
from tracekit.study.families import FAMILIES
from tracekit.study.folder import DONE, StudyFolder
from tracekit.study.kept import GRAPHS_FILE
from tracekit.study.plan import BASELINE, FLASH
from tracekit.study.reading import NS_IN_MS, MeasuredCase, ratio_of, spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

PAPERS_DEVICE: Final = "NVIDIA A100-SXM4-80GB"
"""What the paper measured on, as its driver calls it."""
_LEAST_SHARE: Final = 0.01
_LAYOUT: Final = re.compile(r"nchwToNhwc|nhwcToNchw|tensorTransform|AddPadding", re.IGNORECASE)
"""Names of cuDNN's kernels that change the layout of images."""


def variants(cases: Sequence[MeasuredCase]) -> Iterator[StudyVariant]:
    """Yield what was varied, in the order in which it was recorded."""
    found = [case for case in cases if case.entry.get("variant")]
    plain = {
        case.entry["model"]: sum(case.times().values())
        for case in found
        if case.entry["variant"] == AS_STUDIED
    }
    for case in found:
        times = case.times()
        kernel_ns, model = sum(times.values()), case.entry["model"]
        yield StudyVariant(
            model=model,
            variant=case.entry["variant"],
            wall_ns=case.wall_ns(),
            kernel_ns=kernel_ns,
            categories=times,
            layout_ns=layout_ns(case),
            ratio=kernel_ns / plain[model] if plain.get(model) else None,
        )


def stages(cases: Iterable[MeasuredCase]) -> Iterator[StageTime]:
    """Yield the stages of each model with Flash Attention, those that take a hundredth or more."""
    for case in cases:
        if case.entry["attention"] != FLASH:
            continue
        names = [name for name in dict.fromkeys(row.stage for row in case.rows) if name]
        order = [one.stage for one in case.sampled]
        whole = sum(case.times().values())
        for name in sorted(names, key=lambda one: order.index(one) if one in order else len(order)):
            times = case.times([row for row in case.rows if row.stage == name])
            share = sum(times.values()) / whole if whole else 0.0
            if share >= _LEAST_SHARE:
                yield StageTime(case.entry["model"], name, share, times)


def layout_ns(case: MeasuredCase) -> int:
    """Return what changes of layout around convolutions take in the whole work, in ns."""
    table = case.kept.kernels().select(["stage", "category", "name", "dur_ns"])
    sums = table.group_by(["stage", "category", "name"]).aggregate([("dur_ns", "sum")])
    total = 0.0
    for row in sums.to_pylist():
        if row["category"] == "conv" and _LAYOUT.search(row["name"]):
            total += row["dur_ns_sum"] * case.scale(row["stage"])
    return round(total)


def projections(
    cases: Iterable[MeasuredCase], device: str | None, dtype: str
) -> Iterator[Projection]:
    """Yield what the kernels of each model with Flash Attention would take on the paper's device.

    Each kernel stays as far from its roof as it is here: one that computes grows by the ratio of
    the peaks for the study's type, one that waits for memory by that of the bandwidths. Nothing is
    known of a device whose peaks for that type are not in our table.
    """
    here, there = peaks_of(device), peaks_of(PAPERS_DEVICE)
    if here is None or there is None:
        return
    if any(peaks.bandwidth is None or dtype not in peaks.flops for peaks in (here, there)):
        return
    for case in cases:
        if case.entry["attention"] == FLASH:
            yield _projected(case, here, there, dtype)


def _projected(case: MeasuredCase, here: Peaks, there: Peaks, dtype: str) -> Projection:
    import numpy as np

    table = case.kept.kernels().select(["stage", "category", "dur_ns", "flops", "bytes"])
    columns = {name: table[name].to_pylist() for name in ("stage", "category")}
    scale = {stage: case.scale(stage) for stage in set(columns["stage"])}
    scales = np.array([scale[stage] for stage in columns["stage"]], np.float64)
    dur_ns = np.array(table["dur_ns"].to_pylist(), np.float64) * scales
    work, moved = (
        np.array([0 if one is None else one for one in table[name].to_pylist()], np.float64)
        for name in ("flops", "bytes")
    )
    grown = dur_ns * _roof_s(work, moved, there, dtype) / _roof_s(work, moved, here, dtype)
    sums: defaultdict[str, float] = defaultdict(float)
    for category, time in zip(columns["category"], grown.tolist(), strict=True):
        sums[category] += time
    family, times = FAMILIES[case.entry["model"]], case.times()
    bounded = dur_ns[(work > 0) | (moved > 0)].sum()
    return Projection(
        model=case.entry["model"],
        task=family.task,
        architecture=family.architecture,
        device=there.name or PAPERS_DEVICE,
        categories=times,
        projected={name: round(sums[name]) for name in times},
        layout_ns=layout_ns(case),
        bounded_share=float(bounded / dur_ns.sum()) if dur_ns.sum() else 0.0,
    )


def _roof_s(work: FloatArray, moved: FloatArray, peaks: Peaks, dtype: str) -> FloatArray:
    """Return the least time of each kernel; of those of unknown cost one that goes by bandwidth."""
    import numpy as np

    bandwidth = peaks.bandwidth or np.nan
    unknown = (work <= 0) & (moved <= 0)
    by_memory = np.where(unknown, 1.0, moved) / bandwidth
    return np.maximum(work / peaks.flops.get(dtype, np.nan), by_memory)


def graphed(study: StudyFolder) -> Iterator[GraphedSteps]:
    """Yield the calls that were timed as CUDA graphs, scaled to the whole work."""
    for entry in study.cases.values():
        if entry["status"] == DONE and entry.get("is_graphed"):
            yield _graphed(entry, _calls(study, entry))


def _calls(study: StudyFolder, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    path = study.path / entry["folder"] / GRAPHS_FILE
    try:
        found: list[dict[str, Any]] = json.loads(path.read_bytes())["calls"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TraceFormatError(f"{path}: cannot be read; record the case again") from error
    return found


def _graphed(entry: Mapping[str, Any], calls: Sequence[Mapping[str, Any]]) -> GraphedSteps:
    family = FAMILIES[entry["model"]]
    captured = [call for call in calls if call["graph_ms"] is not None]
    refused = [call for call in calls if call["graph_ms"] is None]
    # What could be captured is held against the same calls; others are left out, and said.
    used = captured or refused
    return GraphedSteps(
        model=entry["model"],
        attention=entry["attention"],
        task=family.task,
        architecture=family.architecture,
        stages=tuple(dict.fromkeys(str(call["stage"]) for call in used)),
        launched_ns=_whole(entry, used, "launched_ms"),
        graph_ns=_whole(entry, used, "graph_ms") if captured else None,
        refused=_refusals(refused),
    )


def _refusals(calls: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why calls could not be captured, the stages of one reason together."""
    stages: dict[str, list[str]] = {}
    for call in calls:
        reason = str(call["refused"]).partition(". ")[0].rstrip(".")
        stages.setdefault(reason, []).append(str(call["stage"]))
    told = [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in stages.items()]
    return "; ".join(told) or None


def _whole(
    entry: Mapping[str, Any], calls: Sequence[Mapping[str, Any]], name: str
) -> Spread | None:
    """Return the time of all of these calls in the whole work, in ns, over the repeats."""
    sampled = entry["sampled"]
    repeats = min((len(call[name]) for call in calls), default=0)
    sums = []
    for at in range(repeats):
        total = 0.0
        for call in calls:
            steps = sampled.get(call["stage"], {})
            scale = (steps.get("whole") or 1) / (steps.get("timed") or 1)
            total += call[name][at] * call["count"] * scale * NS_IN_MS
        sums.append(total)
    return spread(sums)


def graph_speedups(
    rows: Sequence[GraphedSteps], cases: Sequence[MeasuredCase]
) -> Iterator[GraphSpeedup]:
    """Yield how much faster each model's calls are with Flash Attention, both ways."""
    by_name = {(row.model, row.attention): row for row in rows}
    kept = {(case.entry["model"], case.entry["attention"]): case for case in cases}
    for row in rows:
        eager = by_name.get((row.model, BASELINE))
        if row.attention != FLASH or eager is None:
            continue
        if eager.launched_ns is None or row.launched_ns is None:
            continue
        both = (kept.get((row.model, BASELINE)), kept.get((row.model, FLASH)))
        times = [None if case is None else _stages_ns(case, row.stages) for case in both]
        graphs = (eager.graph_ns, row.graph_ns)
        # Where one refused what the other did, they are of different calls.
        same = eager.stages == row.stages
        yield GraphSpeedup(
            model=row.model,
            task=row.task,
            architecture=row.architecture,
            launched=ratio_of(eager.launched_ns, row.launched_ns),
            graph=ratio_of(graphs[0], graphs[1]) if same and graphs[0] and graphs[1] else None,
            kernels=times[0] / times[1] if times[0] and times[1] else None,
        )


def _stages_ns(case: MeasuredCase, stages: Iterable[str]) -> float:
    chosen = set(stages)
    return sum(row.time_ns * case.scale(row.stage) for row in case.rows if row.stage in chosen)
