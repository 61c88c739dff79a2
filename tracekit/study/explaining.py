"""What experiments say of why a figure deviates, as sentences for the verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tracekit.cause_results import GraphSpeedup, Projection, StudyCache, StudyVariant
from tracekit.study.experiments import AS_STUDIED
from tracekit.study.rules import is_close, judge_gains

_MOVED: Final = 0.03
"""What a share moves by at least, to be told."""
_SEVERAL: Final = 2


def share_causes(
    category: str,
    shares: Mapping[str, float],
    claimed: float,
    variants: Sequence[StudyVariant],
    projections: Sequence[Projection],
) -> str:
    """Return what moves a category's share in these models, and how far; empty if nothing is known.

    `shares` are those of the claim, by model. The text begins with a space.
    """
    found = {
        model: {
            one.variant: one.categories.get(category, 0) / one.kernel_ns
            for one in variants
            if one.model == model and one.kernel_ns
        }
        for model in shares
    }
    found = {model: varied for model, varied in found.items() if AS_STUDIED in varied}
    moved = [_moved(model, varied) for model, varied in found.items() if len(varied) > 1]
    parts = [f"Varied: {' '.join(moved)}"] if moved else []
    parts += _near(found, claimed)
    if (projected := _projected(category, shares, projections)) is not None:
        parts.append(projected)
    return "".join(f" {part}" for part in parts)


def _moved(model: str, varied: Mapping[str, float]) -> str:
    """Return what moves a model's share by three points or more, the most first."""
    plain = varied[AS_STUDIED]
    moved = sorted(
        (name for name, share in varied.items() if abs(share - plain) >= _MOVED),
        key=lambda name: -abs(varied[name] - plain),
    )
    told = "; ".join(f"{varied[name]:.0%} {name}" for name in moved)
    same = [name for name in varied if name not in moved and name != AS_STUDIED]
    text = f"{model}, {plain:.0%} as studied in the same sitting: {told or 'nothing moves it'}"
    return text + (f"; within three points of that: {'; '.join(same)}." if same else ".")


def _near(found: Mapping[str, Mapping[str, float]], claimed: float) -> list[str]:
    """Return with which variants, of all models that are varied, the claimed share is met."""
    if len(found) < _SEVERAL:
        return []
    common = set.intersection(*(set(varied) for varied in found.values())) - {AS_STUDIED}
    first = next(iter(found.values()))
    largest = {
        name: max(varied[name] for varied in found.values()) for name in first if name in common
    }
    near = [f"{share:.0%} {name}" for name, share in largest.items() if is_close(share, claimed)]
    if not near:
        return []
    return [f"Of these, the largest is within a tenth of {claimed:.0%}: {'; '.join(near)}."]


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
