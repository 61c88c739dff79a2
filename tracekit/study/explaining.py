"""What experiments say of why a figure deviates, as sentences for the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tracekit.cause_results import GraphSpeedup, Projection, StudyCache, StudyVariant
from tracekit.study.experiments import AS_STUDIED
from tracekit.study.rules import judge_gains


def share_causes(
    category: str,
    models: Iterable[str],
    variants: Sequence[StudyVariant],
    projections: Sequence[Projection],
) -> str:
    """Return what moves a category's share in these models, and how far; empty if nothing is known.

    The text begins with a space.
    """
    told = []
    for model in models:
        shares = {
            one.variant: one.categories.get(category, 0) / one.kernel_ns
            for one in variants
            if one.model == model and one.kernel_ns
        }
        plain = shares.pop(AS_STUDIED, None)
        if plain is None or not shares:
            continue
        low, high = (
            min(shares, key=lambda one: shares[one]),
            max(shares, key=lambda one: shares[one]),
        )
        told.append(
            f"{model}, {plain:.0%} as studied, has {shares[low]:.0%} with {low} and "
            f"{shares[high]:.0%} with {high}"
        )
    parts = [f"Varied: {'; '.join(told)}."] if told else []
    if (projected := _projected(category, models, projections)) is not None:
        parts.append(projected)
    return "".join(f" {part}" for part in parts)


def _projected(
    category: str, models: Iterable[str], projections: Sequence[Projection]
) -> str | None:
    chosen = set(models)
    found = [one for one in projections if one.model in chosen and any(one.projected.values())]
    if not found:
        return None
    shares = [
        f"{one.model} {_share(one.projected, category):.0%}"
        for one in sorted(found, key=lambda one: -_share(one.projected, category))
    ]
    return f"Projected to an {found[0].device} by its roofline: {', '.join(shares)}."


def _share(times: Mapping[str, int], category: str) -> float:
    return times.get(category, 0) / sum(times.values())


def layout_causes(projections: Sequence[Projection]) -> str:
    """Return how much of each model's time goes into changes of layout, with a space before it."""
    shares = {
        one.model: one.layout_ns / sum(one.categories.values())
        for one in projections
        if one.layout_ns and (one.task, one.architecture) == ("image", "diffusion")
    }
    if not shares:
        return ""
    ordered = sorted(shares.items(), key=lambda one: -one[1])
    listed = ", ".join(f"{model} {share:.0%}" for model, share in ordered)
    return f" Of it are changes of layout around convolutions: {listed} of kernel time."


def graph_causes(rows: Sequence[GraphSpeedup]) -> str:
    """Return what Flash Attention gives without the host, with a space before it."""
    known = {one.model: one for one in rows if one.task == "image" and one.graph is not None}
    if not known:
        return ""
    speedups = {
        # What is no difference is no speedup.
        model: one.graph.value if one.graph.is_difference else 1.0
        for model, one in known.items()
        if one.graph is not None
    }
    listed = ", ".join(
        f"{model} {one.graph.value:.2f} (kernels {one.kernels:.2f})"
        for model, one in known.items()
        if one.graph is not None and one.kernels is not None
    )
    gains = [
        value / other
        for model, value in speedups.items()
        for beside, other in speedups.items()
        if known[model].architecture == "diffusion" and known[beside].architecture == "transformer"
    ]
    told = f" With the host taken out, steps as CUDA graphs: {listed}"
    if gains:
        told += (
            f"; diffusion over transformer {min(gains):.2f}–{max(gains):.2f}: it "
            f"{judge_gains(gains)}"
        )
    return f"{told}."


def cache_rates(rows: Sequence[StudyCache]) -> list[str]:
    """Return the hit rates of each run that was counted."""
    told = []
    for one in rows:
        levels = (("L1", one.temporal_l1, one.spatial_l1), ("L2", one.temporal_l2, one.spatial_l2))
        known = [
            f"{level} {temporal:.0%} beside {spatial:.0%}"
            for level, temporal, spatial in levels
            if temporal is not None and spatial is not None
        ]
        if known:
            told.append(
                f"hit rates of temporal beside spatial attention, {one.model} {one.attention}: "
                + ", ".join(known)
            )
    return told
