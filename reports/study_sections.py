"""The sections of a study's report: titles, sentences, tables; both renderers draw these."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from tracekit.categories import CATEGORIES
from tracekit.reports.palette import label_of
from tracekit.reports.study_causes import (
    cache_table,
    graph_section,
    projection_section,
    stage_section,
    timed_again_table,
    variant_section,
)
from tracekit.reports.study_cells import Section, Table, ratio, spread, times
from tracekit.reports.study_sweeps import memory_section, sweep_section
from tracekit.units import (
    MISSING,
    format_bytes,
    format_count,
    format_intensity,
    format_ns,
    format_share,
)

if TYPE_CHECKING:
    from tracekit.study_results import StudyReport, StudyRun

_MOST_LENGTHS: Final = 6


def title_of(report: StudyReport) -> str:
    """Return what was measured, with what."""
    device = report.device or "CPU only: times mean nothing but that everything ran"
    shown = ("torch", "cuda", "diffusers", "transformers", "driver")
    versions = ", ".join(
        f"{name} {report.versions[name]}" for name in shown if _known(report, name)
    )
    return f"{device}; {report.dtype}; {report.scale} plan; {versions}"


def _known(report: StudyReport, name: str) -> bool:
    return bool(report.versions.get(name))


def sections(report: StudyReport) -> tuple[Section, ...]:
    """Return the sections that have something to show, the claims first."""
    found = [
        _claims(report),
        _runs(report),
        _breakdown(report),
        stage_section(report),
        _speedups(report),
        _lengths(report),
        _likeness(report),
        _temporal(report),
        *map(sweep_section, report.sweeps),
        memory_section(report),
        _idle(report),
        variant_section(report),
        projection_section(report),
        graph_section(report),
        _sampling(report),
        _missing(report),
    ]
    return tuple(one for one in found if any(table.rows for table in one.tables))


def _claims(report: StudyReport) -> Section:
    rows = [
        (str(one.number), one.claim, one.measured, one.verdict, one.why) for one in report.verdicts
    ]
    rules = [(str(one.number), one.rule) for one in report.verdicts]
    return Section(
        "The claims",
        "What Golden et al. (arXiv 2312.14385) found, and what was measured here. A number within "
        "a tenth of the claimed one agrees with it.",
        (
            Table(("#", "Claim", "Measured", "Verdict", "Why"), "lllll", rows),
            Table(("#", "How it was judged"), "ll", rules),
        ),
    )


def _runs(report: StudyReport) -> Section:
    rows = [
        (
            run.model,
            run.attention,
            run.preset or MISSING,
            _parameters(run.parameters),
            spread(run.wall_ns),
            format_ns(run.kernel_ns),
            MISSING if run.kernel_spread is None else f"{run.kernel_spread:.1%}",
            format_bytes(run.peak_memory_bytes),
            _backends(run),
        )
        for run in report.runs
    ]
    refused = [
        (f"{run.model} {run.attention}", f"preset {run.preset}: {run.refused}")
        for run in report.runs
        if run.refused
    ]
    headers = (
        "Model", "Attention", "Preset", "Parameters", "Wall time", "Kernels", "Light pass apart",
        "Peak memory", "Attention calls by what ran",
    )  # fmt: skip
    return Section(
        "The models",
        "Unprofiled wall time of the whole work as median (least–greatest) of so many runs, and "
        "the sum of its kernels; loops are sampled and scaled. Apart from that sum is that of a "
        "light pass, which records kernels only, where there was one.",
        (
            Table(headers, "lllrrrrrl", rows),
            Table(("Taken in a smaller preset", "Why"), "ll", refused),
        ),
        "models",
    )


def _parameters(count: int | None) -> str:
    if count is None:
        return MISSING
    return f"{count / 1e9:.2f} B" if count >= 10_000_000 else f"{count / 1e6:.2f} M"


def _backends(run: StudyRun) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in run.backends.items()) or MISSING


def _breakdown(report: StudyReport) -> Section:
    used = [slug for slug in CATEGORIES if any(run.categories.get(slug) for run in report.runs)]
    rows = [
        (run.model, run.attention, format_ns(run.kernel_ns), *(_part(run, slug) for slug in used))
        for run in report.runs
    ]
    headers = ("Model", "Attention", "Kernels", *map(label_of, used))
    return Section(
        "Where the time goes",
        "Shares of kernel time of the whole work, from the kept kernel tables.",
        (Table(headers, "llr" + "r" * len(used), rows),),
        "breakdown",
    )


def _part(run: StudyRun, slug: str) -> str:
    time = run.categories.get(slug, 0)
    return format_share(time / run.kernel_ns) if time and run.kernel_ns else MISSING


def _speedups(report: StudyReport) -> Section:
    rows = [
        (
            one.model,
            one.architecture,
            one.base,
            ratio(one.wall),
            "no" if one.wall is not None and not one.wall.is_difference else "yes",
            times(one.kernels),
            times(one.attention),
        )
        for one in report.speedups
    ]
    headers = ("Model", "Kind", "Over", "Wall time", "A difference", "Kernels", "Attention")
    return Section(
        "What Flash Attention gives",
        "Time with the other attention over that with Flash Attention. A difference of wall time "
        "is one only if the ranges of the runs do not touch.",
        (Table(headers, "lllrlrr", rows),),
        "speedups",
    )


def _lengths(report: StudyReport) -> Section:
    rows = [
        (
            one.model,
            one.stage or MISSING,
            one.axis or MISSING,
            format_count(one.longest),
            format_count(one.shortest),
            f"{one.ratio:.1f}",
            f"{one.neighbour_ratio:.1f}",
            _distribution(one.distribution),
        )
        for one in report.lengths
    ]
    headers = (
        "Model", "Stage", "Axis", "Longest", "Shortest", "Ratio", "Neighbours",
        "Length: calls",
    )  # fmt: skip
    return Section(
        "Sequence lengths",
        "Self-attention with Flash Attention: lengths over one step of each stage, or over the "
        "steps where each has its own, as in decoding.",
        (Table(headers, "lllrrrrl", rows), _query_lengths(report)),
        "lengths",
    )


def _distribution(rows: Iterable[tuple[int, int]]) -> str:
    ordered = sorted(rows, reverse=True)
    texts = [f"{length:,}: {calls:,}" for length, calls in ordered[:_MOST_LENGTHS]]
    more = len(ordered) - _MOST_LENGTHS
    return "; ".join([*texts, *([f"{more} more"] if more > 0 else [])])


def _query_lengths(report: StudyReport) -> Table:
    """Return the lengths that take most of each model's attention time, one row a model."""
    by_model: dict[str, list[str]] = {}
    for one in report.query_lengths:
        axis = "" if one.axis in (None, "sequence") else f" {one.axis}"
        told = f"{one.query_length:,}{axis}: {one.calls:,}, {format_share(one.time_share)}"
        by_model.setdefault(one.model, []).append(told)
    rows = [
        (
            model,
            "; ".join(told[:_MOST_LENGTHS])
            + (f"; {len(told) - _MOST_LENGTHS} more" if len(told) > _MOST_LENGTHS else ""),
        )
        for model, told in by_model.items()
    ]
    return Table(("Model", "Queries at once: calls, share of attention time"), "ll", rows)


def _likeness(report: StudyReport) -> Section:
    rows = [
        (
            one.model,
            one.architecture,
            one.stage or MISSING,
            one.like or "neither",
            format_count(one.query_length),
            format_count(one.key_length),
            format_intensity(one.intensity),
            format_intensity(one.ridge),
            times(one.to_prefill),
            times(one.to_decode),
        )
        for one in report.likeness
    ]
    headers = (
        "Model", "Kind", "Stage", "Like", "Queries", "Keys", "FLOPs a byte", "Balance",
        "Over prefill", "Over decode",
    )  # fmt: skip
    return Section(
        "Prefill or decode",
        "The main stage of each model: queries at once, FLOPs a byte beside what balances the "
        "device, and over those of the language model's prefill and decode.",
        (Table(headers, "llllrrrrrr", rows),),
        "likeness",
    )


def _temporal(report: StudyReport) -> Section:
    rows = [
        (
            one.model,
            one.attention,
            one.stage or "all",
            format_share(one.share),
            times(one.time_ratio),
            times(one.flops_ratio),
            "yes" if one.is_factorized else "no",
        )
        for one in report.temporal
    ]
    headers = (
        "Model", "Attention", "Stage", "Share of attention", "Time / spatial", "FLOPs / spatial",
        "Space and time in turn",
    )  # fmt: skip
    return Section(
        "Attention along time",
        "Temporal attention beside spatial, and hit rates of the caches where Nsight Compute "
        "counted them, in another run of the same work.",
        (Table(headers, "lllrrrl", rows), cache_table(report)),
        "temporal",
    )


def _idle(report: StudyReport) -> Section:
    rows = [
        (
            one.model,
            one.attention,
            format_ns(one.wall_ns),
            format_ns(one.busy_ns),
            format_share(one.idle_share),
            times(one.graph_speedup),
        )
        for one in report.idle
        if one.wall_ns is not None or one.graph_speedup is not None
    ]
    headers = ("Model", "Attention", "Wall time", "Busy", "Idle", "Without launch gaps")
    return Section(
        "Idle time",
        "Of the sampled work, without the profiler; and how much faster it would be at most if the "
        "device never waited for the host, as in one CUDA graph. The paper did not look at this.",
        (Table(headers, "llrrrr", rows),),
        "idle",
    )


def _sampling(report: StudyReport) -> Section:
    sampled = [
        (
            run.model,
            run.attention,
            "; ".join(
                f"{one.stage}: {one.timed} timed, {one.recorded} recorded of {one.whole}"
                for one in run.sampled
            ),
        )
        for run in report.runs
    ]
    checks = [
        (one.model, spread(one.whole_ns), spread(one.scaled_ns), ratio(one.ratio))
        for one in report.checks
    ]
    return Section(
        "What was sampled",
        "Of repeated stages some steps were run, the first, the last and others evenly between.",
        (
            Table(
                ("Checked", "All steps timed", "Sampled, scaled", "Scaled / whole"), "lrrr", checks
            ),
            Table(("Model", "Attention", "Steps"), "lll", sampled),
            timed_again_table(report),
        ),
    )


def _missing(report: StudyReport) -> Section:
    rows = [(one.name, one.status.replace("_", " "), one.reason) for one in report.missing]
    return Section("What was not measured", "", (Table(("Case", "State", "Why"), "lll", rows),))
