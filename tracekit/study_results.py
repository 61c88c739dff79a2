"""What `tracekit study report` returns: frozen records; renderers read these and nothing else.

Times are ns of the whole work unless a field says otherwise: what was sampled is scaled, stage by
stage, by the steps that the whole has. Shares are between 0 and 1, null is what was not measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tracekit.cause_results import (
    GraphedSteps,
    GraphSpeedup,
    Projection,
    StageTime,
    StudyCache,
    StudyVariant,
)
from tracekit.spread_results import Ratio, Spread

STUDY_SCHEMA: Final = "tracekit.study-report/1"

HOLDS: Final = "holds"
IN_PART: Final = "holds in part"
NOT_HERE: Final = "does not hold here"
NOT_MEASURED: Final = "not measured"
VerdictName = Literal["holds", "holds in part", "does not hold here", "not measured"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Steps of a stage: how many were timed, how many recorded, how many the whole work has."""

    stage: str
    timed: int
    recorded: int
    whole: int


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One model with one attention.

    `wall_ns` is of the unprofiled whole work, `kernel_ns` the sum of its kernels, `categories`
    and `attention_axes` parts of that. `kernel_spread` is how far the passes that recorded kernels
    are apart, as a share, null where only one did. `refused` says why a larger preset was not
    taken. `backends` counts attention calls by what really ran.
    """

    name: str
    model: str
    attention: str
    task: str
    architecture: str
    preset: str | None
    refused: str | None
    parameters: int | None
    sampled: tuple[Sampling, ...]
    backends: dict[str, int]
    wall_ns: Spread | None
    kernel_ns: int
    kernel_spread: float | None
    categories: dict[str, int]
    attention_axes: dict[str, int]
    peak_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class NotMeasured:
    """A case that has no result, and why."""

    name: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Speedup:
    """Time with written-out attention (or `base`) over time with Flash Attention."""

    model: str
    task: str
    architecture: str
    base: str
    wall: Ratio | None
    kernels: float | None
    attention: float | None


@dataclass(frozen=True, slots=True)
class SamplingCheck:
    """A model timed with all of its steps, beside the sampled steps scaled to as many."""

    model: str
    whole_ns: Spread
    scaled_ns: Spread
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class StudyLengths:
    """Lengths of self-attention over one stage of a model, and what time they take.

    `profile` is in time order; `distribution` counts the calls of each length in it.
    """

    model: str
    stage: str | None
    axis: str | None
    longest: int
    shortest: int
    ratio: float
    neighbour_ratio: float
    profile: tuple[int, ...]
    distribution: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class QueryLength:
    """Self-attention of a model from so many queries, in all stages: its calls and their time.

    `time_share` is of the attention time of the recorded steps.
    """

    model: str
    axis: str | None
    query_length: int
    calls: int
    time_share: float | None


@dataclass(frozen=True, slots=True)
class StudyLikeness:
    """Whether a model's main stage works like prefill or decode, with its FLOPs a byte.

    `to_prefill` and `to_decode` are its FLOPs a byte over those of the language model's stages.
    """

    model: str
    task: str
    architecture: str
    stage: str | None
    like: str | None
    query_length: int
    key_length: int
    intensity: float | None
    ridge: float | None
    to_prefill: float | None
    to_decode: float | None


@dataclass(frozen=True, slots=True)
class TemporalAttention:
    """Attention along time beside attention over space, of one model with one attention.

    `stage` is null for the whole work.
    `share` is of all attention time, ratios are temporal over spatial. `is_factorized` says that
    both together are most of the model's attention.
    """

    model: str
    attention: str
    stage: str | None
    share: float
    time_ratio: float
    flops_ratio: float | None
    is_factorized: bool


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What the stage of a sweep takes at one value; `times` in ns and `flops` by part."""

    value: int
    attention: str
    wall_ns: Spread | None
    kernel_ns: int
    times: dict[str, int]
    flops: dict[str, int]
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class PowerFit:
    """Least squares of logarithms: `what` grows with this power of the variable.

    `error` is the standard error, null of two points; `first` and `last` are the values between
    which `points` lie.
    """

    what: str
    attention: str
    exponent: float
    error: float | None
    points: int
    first: int
    last: int
    is_all: bool


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where temporal attention reaches spatial attention, or, not `is_upward`, falls below it.

    `is_beyond` is beyond what was measured, found by a fit.
    """

    what: str
    attention: str
    value: float
    is_beyond: bool
    is_upward: bool = True


@dataclass(frozen=True, slots=True)
class SweepResult:
    """One sweep: its points by attention and value, and how each part grows."""

    name: str
    title: str
    model: str
    stage: str
    points: tuple[SweepPoint, ...]
    fits: tuple[PowerFit, ...]
    crossovers: tuple[Crossover, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryPoint:
    """Bytes that the scores of the largest call hold by the model, and measured peaks of a step.

    `ratio` is the measured excess of written-out attention over what the model predicts for it.
    """

    value: int
    model_bytes: int
    eager_bytes: int | None
    flash_bytes: int | None
    ratio: float | None


@dataclass(frozen=True, slots=True)
class StudyMemory:
    """The memory model against measured peaks over the image side, with fitted exponents."""

    model: str
    points: tuple[MemoryPoint, ...]
    model_fit: PowerFit | None
    measured_fit: PowerFit | None


@dataclass(frozen=True, slots=True)
class StudyIdle:
    """Idle time of the sampled work without the profiler; `graph_speedup` is a bound."""

    model: str
    attention: str
    wall_ns: int | None
    busy_ns: int | None
    idle_share: float | None
    graph_speedup: float | None


@dataclass(frozen=True, slots=True)
class TimedAgain:
    """Cases whose times are of another sitting than their kernels; `when` as ISO 8601."""

    cases: tuple[str, ...]
    repeats: int
    when: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim of the paper, what was measured, and what follows; `rule` says how."""

    number: int
    claim: str
    measured: str
    verdict: VerdictName
    why: str
    rule: str


@dataclass(frozen=True, slots=True)
class StudyReport:
    """All that a study found."""

    schema: str
    scale: str
    device: str | None
    versions: dict[str, str | None]
    dtype: str
    verdicts: tuple[Verdict, ...]
    runs: tuple[StudyRun, ...]
    missing: tuple[NotMeasured, ...]
    speedups: tuple[Speedup, ...]
    checks: tuple[SamplingCheck, ...]
    lengths: tuple[StudyLengths, ...]
    query_lengths: tuple[QueryLength, ...]
    likeness: tuple[StudyLikeness, ...]
    temporal: tuple[TemporalAttention, ...]
    sweeps: tuple[SweepResult, ...]
    memory: StudyMemory | None
    idle: tuple[StudyIdle, ...]
    stages: tuple[StageTime, ...] = ()
    variants: tuple[StudyVariant, ...] = ()
    projections: tuple[Projection, ...] = ()
    graphed: tuple[GraphedSteps, ...] = ()
    graph_speedups: tuple[GraphSpeedup, ...] = ()
    caches: tuple[StudyCache, ...] = ()
    timed_again: tuple[TimedAgain, ...] = ()
