"""What a study found of causes: what was varied, projected to another device, run without the host.

Times are ns of the whole work, shares between 0 and 1, and null is what was not measured, as in
`study_results`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tracekit.spread_results import Ratio, Spread


@dataclass(frozen=True, slots=True)
class StudyVariant:
    """One model with Flash Attention in which one thing differs from how it is studied.

    `layout_ns` is what changes of layout around convolutions take, a part of `conv`; `ratio` is the
    kernel time over that of the model as it is studied, null without that.
    """

    model: str
    variant: str
    wall_ns: Spread | None
    kernel_ns: int
    categories: dict[str, int]
    layout_ns: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class StageTime:
    """What one stage of a model with Flash Attention takes of its kernel time, by category."""

    model: str
    stage: str
    time_share: float
    categories: dict[str, int]


@dataclass(frozen=True, slots=True)
class Projection:
    """A model's kernels on another device, each as far from its roof as here; not a measurement.

    `categories` are measured, `projected` what they would take there; `layout_ns` is as in
    `StudyVariant`. `bounded_share` is the share of the measured time of kernels of known FLOPs and
    bytes; the others are taken to wait for memory.
    """

    model: str
    task: str
    architecture: str
    device: str
    categories: dict[str, int]
    projected: dict[str, int]
    layout_ns: int
    bounded_share: float


@dataclass(frozen=True, slots=True)
class GraphedSteps:
    """The calls of a model's main stages, scaled to the whole work, with and without the host.

    `launched_ns` is what they take one kernel after the other, null where nothing was called;
    `graph_ns` as CUDA graphs, null where no call could be captured. `refused` says which could not.
    """

    model: str
    attention: str
    task: str
    architecture: str
    stages: tuple[str, ...]
    launched_ns: Spread | None
    graph_ns: Spread | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class GraphSpeedup:
    """Written-out attention over Flash Attention of the same calls; `kernels` of their stages."""

    model: str
    task: str
    architecture: str
    launched: Ratio
    graph: Ratio | None
    kernels: float | None


@dataclass(frozen=True, slots=True)
class StudyCache:
    """Hit rates of temporal and spatial attention that Nsight Compute counted, means by time.

    `launches` is how many it counted; rates are null where they did not match the kernels, in
    their order.
    """

    name: str
    model: str
    attention: str
    launches: int
    temporal_l1: float | None
    spatial_l1: float | None
    temporal_l2: float | None
    spatial_l2: float | None
