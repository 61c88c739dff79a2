"""What a study says of its models: times, speedups, lengths, likeness, temporal attention, idle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from tracekit.study.families import FAMILIES
from tracekit.study.plan import BASELINE, FLASH, MATH
from tracekit.study.reading import ATTENTION, MeasuredCase, ratio_of
from tracekit.study_results import (
    QueryLength,
    SamplingCheck,
    Speedup,
    StudyIdle,
    StudyLengths,
    StudyLikeness,
    StudyRun,
    TemporalAttention,
    TimedAgain,
)

LANGUAGE: Final = "llama"
"""The language model that the others are held against."""
_PREPARING: Final = ("text_encoder", "image_encoder", "vae_encode")
_GRAPH: Final = "no_launch_gaps"
_MOST_POINTS: Final = 400
_SIZES: Final = ("frames", "size")
"""Options that a plan may give beside a preset."""


def model_cases(cases: Iterable[MeasuredCase]) -> tuple[MeasuredCase, ...]:
    """Return the cases of models, without sweeps, variants and the check of the sampling."""
    others = ("sweep", "is_whole", "variant")
    return tuple(case for case in cases if not any(case.entry.get(name) for name in others))


def run_of(case: MeasuredCase) -> StudyRun:
    """Return what a case took, scaled to the whole work."""
    entry, family = case.entry, FAMILIES[case.entry["model"]]
    times = case.times()
    refused = entry.get("instead_of") or ()
    return StudyRun(
        name=entry["name"],
        model=entry["model"],
        attention=entry["attention"],
        task=family.task,
        architecture=family.architecture,
        preset=_preset(entry),
        refused=refused[-1] if refused else None,
        parameters=entry.get("parameters"),
        sampled=case.sampled,
        backends=dict(entry.get("attention_backends") or {}),
        wall_ns=case.wall_ns(),
        kernel_ns=sum(times.values()),
        kernel_spread=_kernel_spread(case),
        categories=times,
        attention_axes={axis: time for axis, (time, _) in case.by_axis().items()},
        peak_memory_bytes=entry.get("peak_memory_bytes"),
    )


def _preset(entry: Mapping[str, Any]) -> str | None:
    """Return the preset, and what the plan took smaller than that."""
    smaller = [f"{name} {entry['options'][name]}" for name in _SIZES if name in entry["options"]]
    return ", ".join([entry.get("preset") or "", *smaller]).strip(", ") or None


def _kernel_spread(case: MeasuredCase) -> float | None:
    found = case.entry.get("kernel_ns") or {}
    again = case.entry.get("timed_again") or {}
    rich, light = found.get("rich"), found.get("light") or again.get("light_ns")
    return abs(rich / light - 1) if rich and light else None


def speedups(runs: Sequence[StudyRun]) -> tuple[Speedup, ...]:
    """Return how much faster each model is with Flash Attention than with another."""
    by_name = {(run.model, run.attention): run for run in runs}
    found = []
    for run in runs:
        flash = by_name.get((run.model, FLASH))
        if run.attention in (BASELINE, MATH) and flash is not None:
            found.append(_speedup(run, flash))
    return tuple(found)


def _speedup(base: StudyRun, flash: StudyRun) -> Speedup:
    walls = (base.wall_ns, flash.wall_ns)
    before, after = (
        sum(run.categories.get(name, 0) for name in ATTENTION) for run in (base, flash)
    )
    return Speedup(
        model=base.model,
        task=base.task,
        architecture=base.architecture,
        base=base.attention,
        wall=None if walls[0] is None or walls[1] is None else ratio_of(walls[0], walls[1]),
        kernels=base.kernel_ns / flash.kernel_ns if flash.kernel_ns else None,
        attention=before / after if after else None,
    )


def _attention_ns(run: StudyRun) -> int:
    return sum(run.categories.get(name, 0) for name in ATTENTION)


def sampling_checks(cases: Sequence[MeasuredCase]) -> Iterator[SamplingCheck]:
    """Yield the models that were timed whole beside their sampled time."""
    for whole in cases:
        if not whole.entry["is_whole"]:
            continue
        for case in model_cases(cases):
            same = (case.entry["model"], case.entry["attention"])
            if same != (whole.entry["model"], whole.entry["attention"]):
                continue
            true, scaled = whole.wall_ns(), case.wall_ns()
            if true is not None and scaled is not None:
                yield SamplingCheck(same[0], true, scaled, ratio_of(scaled, true))


def lengths(cases: Sequence[MeasuredCase]) -> Iterator[StudyLengths]:
    """Yield the lengths of self-attention in the main stages of each model with flash attention."""
    for case in _with_flash(cases):
        attention = case.analysis.attention
        levels = () if attention.length_ratio is None else attention.length_ratio.by_stage
        for profile in attention.profile:
            found = next(
                (one for one in levels if (one.stage, one.axis) == (profile.stage, profile.axis)),
                None,
            )
            if not profile.lengths or _is_preparing(profile.stage):
                continue
            # Decoding has one query a step: what varies are the keys.
            given = found.levels if found and profile.points == "call" else profile.lengths
            longest, shortest = max(given), min(given)
            step = -(-len(profile.lengths) // _MOST_POINTS)
            yield StudyLengths(
                model=case.entry["model"],
                stage=profile.stage,
                axis=profile.axis,
                longest=longest,
                shortest=shortest,
                ratio=longest / shortest,
                neighbour_ratio=1.0 if found is None else found.neighbour_ratio,
                profile=profile.lengths[::step],
                distribution=tuple(sorted(Counter(profile.lengths).items())),
            )


def query_lengths(cases: Sequence[MeasuredCase]) -> Iterator[QueryLength]:
    """Yield how many queries self-attention has at once in each model with flash attention."""
    for case in _with_flash(cases):
        sums: dict[tuple[str | None, int], tuple[int, float]] = {}
        for row in case.analysis.attention.sequence_lengths:
            if row.kind in ("self", "joint") and row.query_length is not None:
                key = (row.axis, row.query_length)
                calls, share = sums.get(key, (0, 0.0))
                sums[key] = (calls + row.calls, share + (row.time_share or 0))
        for (axis, length), (calls, share) in sorted(sums.items(), key=lambda one: -one[1][1]):
            yield QueryLength(case.entry["model"], axis, length, calls, share)


def _is_preparing(stage: str | None) -> bool:
    return stage is not None and stage.startswith(_PREPARING)


def _with_flash(cases: Sequence[MeasuredCase]) -> tuple[MeasuredCase, ...]:
    return tuple(one for one in model_cases(cases) if one.entry["attention"] == FLASH)


def likeness(cases: Sequence[MeasuredCase]) -> tuple[StudyLikeness, ...]:
    """Return what the main stage of each model is like; of the language model both stages."""
    found = [row for case in _with_flash(cases) for row in _likeness(case)]
    known = {row.stage: row.intensity for row in found if row.model == LANGUAGE}
    return tuple(
        replace(
            row,
            to_prefill=_over(row.intensity, known.get("prefill")),
            to_decode=_over(row.intensity, known.get("decode")),
        )
        for row in found
    )


def _over(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _likeness(case: MeasuredCase) -> Iterator[StudyLikeness]:
    rows = [row for row in case.analysis.attention.likeness if not _is_preparing(row.stage)]
    if not rows:
        return
    family = FAMILIES[case.entry["model"]]
    times: dict[str | None, float] = {}
    for one in case.rows:
        times[one.stage] = times.get(one.stage, 0) + one.time_ns * case.scale(one.stage)
    if family.task != "text":
        rows = [max(rows, key=lambda row: times.get(row.stage, 0))]
    for row in rows:
        yield StudyLikeness(
            model=case.entry["model"],
            task=family.task,
            architecture=family.architecture,
            stage=row.stage,
            like=row.like,
            query_length=row.query_length,
            key_length=row.key_length,
            intensity=row.intensity,
            ridge=row.ridge,
            to_prefill=None,
            to_decode=None,
        )


def temporal(cases: Sequence[MeasuredCase]) -> Iterator[TemporalAttention]:
    """Yield temporal attention beside spatial of the models that have both, whole and by stage."""
    for case in model_cases(cases):
        whole = _temporal(case, None)
        if whole is None:
            continue
        yield whole
        stages = dict.fromkeys(row.stage for row in case.rows if row.stage is not None)
        found = [one for stage in stages if (one := _temporal(case, stage)) is not None]
        yield from found if len(found) > 1 else ()


def _temporal(case: MeasuredCase, stage: str | None) -> TemporalAttention | None:
    """Return temporal beside spatial attention of a stage, or the whole, null without both."""
    axes = case.by_axis(stage)
    if not axes.get("temporal", (0, 0))[0] or not axes.get("spatial", (0, 0))[0]:
        return None
    (time, flops), (beside, spatial_flops) = axes["temporal"], axes["spatial"]
    whole = sum(one for one, _ in axes.values())
    return TemporalAttention(
        model=case.entry["model"],
        attention=case.entry["attention"],
        stage=stage,
        share=time / whole,
        time_ratio=time / beside,
        flops_ratio=flops / spatial_flops if flops and spatial_flops else None,
        is_factorized=2 * (time + beside) > whole,
    )


def timed_again(entries: Iterable[Mapping[str, Any]]) -> tuple[TimedAgain, ...]:
    """Return the cases whose times are of another sitting than their kernels, by day and hour."""
    groups: dict[tuple[int, str | None], list[str]] = {}
    for entry in entries:
        again = entry.get("timed_again") or {}
        if "created" in again:
            created = again["created"]
            hour = None if created is None else str(created)[:13]
            groups.setdefault((int(entry["repeats"]), hour), []).append(entry["name"])
    return tuple(
        TimedAgain(tuple(names), repeats, when) for (repeats, when), names in groups.items()
    )


def idle(cases: Sequence[MeasuredCase]) -> Iterator[StudyIdle]:
    """Yield idle time without the profiler, and what one CUDA graph of it all would give at most.

    Both are of the sampled work as it was recorded.
    """
    for case in model_cases(cases):
        found, bounds = case.analysis.corrected, case.analysis.what_if
        yield StudyIdle(
            model=case.entry["model"],
            attention=case.entry["attention"],
            wall_ns=None if found is None else found.wall_ns,
            busy_ns=None if found is None else found.busy_ns,
            idle_share=None if found is None else found.idle_share,
            graph_speedup=next(
                (one.speedup for one in bounds if (one.name, one.scope) == (_GRAPH, "run")), None
            ),
        )
