"""The sections of a study's report that say why: what was varied, projected, freed of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracekit.reports.palette import label_of
from tracekit.reports.study_cells import Section, Table, ratio, spread, times
from tracekit.units import MISSING, format_count, format_ns, format_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracekit.study_results import StudyReport

_SHARED: Final = ("conv", "linear", "attention", "norm", "elementwise", "memory")


def stage_section(report: StudyReport) -> Section:
    """Return the section on what each stage of a model is made of."""
    used = [name for name in _SHARED if any(one.categories.get(name) for one in report.stages)]
    rows = [
        (
            one.model,
            one.stage,
            format_share(one.time_share),
            *(_share(one.categories, name) for name in used),
        )
        for one in report.stages
    ]
    headers = ("Model", "Stage", "Of its time", *map(label_of, used))
    return Section(
        "Where the time goes, by stage",
        "Shares of the kernel time of each stage, with Flash Attention. A model's share is that of "
        "its stages, each by its time: more steps of one, or none of another, and it is another.",
        (Table(headers, "ll" + "r" * (len(headers) - 2), rows),),
        "stages",
    )


def variant_section(report: StudyReport) -> Section:
    """Return the section on models in which one thing was varied."""
    used = [name for name in _SHARED if any(one.categories.get(name) for one in report.variants)]
    rows = [
        (
            one.model,
            one.variant,
            format_ns(one.kernel_ns),
            times(one.ratio),
            *(_share(one.categories, name) for name in used),
            format_share(one.layout_ns / one.kernel_ns) if one.layout_ns else MISSING,
            spread(one.wall_ns),
        )
        for one in report.variants
    ]
    headers = (
        "Model", "Varied", "Kernels", "Over as studied", *map(label_of, used),
        "Of it changes of layout", "Wall time",
    )  # fmt: skip
    return Section(
        "Why: one thing varied",
        "Models with Flash Attention in which one thing differs from how they are studied; shares "
        "of kernel time. Changes of layout are what cuDNN does to images before and after a "
        "convolution, and count as convolution. All of one sitting.",
        (Table(headers, "ll" + "r" * (len(headers) - 2), rows),),
        "variants",
    )


def _share(categories: Mapping[str, int], name: str) -> str:
    whole = sum(categories.values())
    return format_share(categories[name] / whole) if categories.get(name) else MISSING


def projection_section(report: StudyReport) -> Section:
    """Return the section on the same kernels under the roof of the paper's device."""
    found = report.projections
    used = [name for name in _SHARED if any(one.categories.get(name) for one in found)]
    rows = [
        (
            one.model,
            *(
                f"{_share(one.categories, name)} → {_share(one.projected, name)}"
                if one.categories.get(name)
                else MISSING
                for name in used
            ),
            times(sum(one.projected.values()) / sum(one.categories.values())),
            format_share(one.layout_ns / sum(one.categories.values())),
            format_share(one.bounded_share),
        )
        for one in found
        if sum(one.categories.values())
    ]
    device = found[0].device if found else ""
    headers = (
        "Model", *map(label_of, used), "Kernel time", "Changes of layout here", "Of known cost",
    )  # fmt: skip
    return Section(
        "Why: another generation of GPU, projected",
        f"Shares of kernel time measured here → projected to an {device}, with Flash Attention. A "
        "projection, no measurement: each kernel stays as far from its roof as it is here, one "
        "that computes takes longer by the ratio of the peaks, one that waits for memory by that "
        "of the bandwidths.",
        (Table(headers, "l" + "r" * (len(headers) - 1), rows),),
        "projections",
    )


def graph_section(report: StudyReport) -> Section:
    """Return the section on the steps of models as CUDA graphs."""
    rows = [
        (
            one.model,
            one.attention,
            ", ".join(one.stages),
            spread(one.launched_ns),
            spread(one.graph_ns),
            times(
                one.launched_ns.median / one.graph_ns.median
                if one.launched_ns and one.graph_ns
                else None
            ),
            one.refused or MISSING,
        )
        for one in report.graphed
    ]
    gains = [
        (
            one.model,
            one.architecture,
            ratio(one.launched),
            "yes" if one.launched.is_difference else "no",
            ratio(one.graph),
            MISSING if one.graph is None else "yes" if one.graph.is_difference else "no",
            times(one.kernels),
        )
        for one in report.graph_speedups
    ]
    return Section(
        "Why: steps without the host",
        "The calls that the main stages are made of (denoisers, decoders), scaled to the whole "
        "work: launched by the host one kernel after the other, and as CUDA graphs, which need no "
        "host. Then what Flash Attention gives each way, and in the kernels of these stages.",
        (
            Table(
                (
                    "Model", "Attention", "Stages", "Launched", "As graphs", "Graphs give",
                    "Not captured",
                ),
                "lllrrrl",
                rows,
            ),
            Table(
                (
                    "Flash Attention gives", "Kind", "Launched", "A difference", "As graphs",
                    "A difference, as graphs", "Kernels",
                ),
                "llrlrlr",
                gains,
            ),
        ),
        "graphs",
    )  # fmt: skip


def cache_table(report: StudyReport) -> Table:
    """Return the hit rates that Nsight Compute counted."""
    rows = [
        (
            one.name,
            one.model,
            one.attention,
            format_count(one.launches),
            f"{format_share(one.temporal_l1)} / {format_share(one.spatial_l1)}",
            f"{format_share(one.temporal_l2)} / {format_share(one.spatial_l2)}",
        )
        for one in report.caches
    ]
    headers = (
        "Counted", "Model", "Attention", "Launches", "L1 hits, temporal / spatial",
        "L2 hits, temporal / spatial",
    )  # fmt: skip
    return Table(headers, "lllrrr", rows)


def timed_again_table(report: StudyReport) -> Table:
    """Return what was timed in another sitting than its kernels were recorded in."""
    rows = [
        (_listed(one.cases), format_count(one.repeats), one.when or MISSING)
        for one in report.timed_again
    ]
    return Table(("Timed again, kernels as before", "Repeats", "Hour"), "lrl", rows)


def _listed(cases: tuple[str, ...]) -> str:
    """Return the cases, those of one sweep or model as their number."""
    groups: dict[str, int] = {}
    for name in cases:
        prefix = name.rpartition(".")[0]
        groups[prefix] = groups.get(prefix, 0) + 1
    return ", ".join(
        prefix if count == 1 else f"{prefix} ({count})" for prefix, count in groups.items()
    )
