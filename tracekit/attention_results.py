"""What the analyses say of attention: part of `tracekit.results`, whose rules hold here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttentionCall:
    """One call of an attention operator, fused or written out; null where nothing tells.

    `start_ns` is the start of its first kernel, `kernels` and `time_ns` are those of the operator
    alone. `phase` is forward or backward. `sequences` is batch times heads, `key_heads` are those
    of keys and values, `head_size` is of queries and keys, `value_size` of values. `flops` counts
    2 for a multiply-add and causal attention in full, `flops_causal` only what causality leaves;
    `bytes` is the least traffic: what goes in read once and what comes out written once.
    """

    start_ns: int
    stage: str | None
    step: int | None
    module: str | None
    kind: str | None
    axis: str | None
    phase: str
    causal: bool | None
    batch: int | None
    heads: int | None
    key_heads: int | None
    sequences: int | None
    query_length: int | None
    key_length: int | None
    head_size: int | None
    value_size: int | None
    dtype: str | None
    backend: str | None
    kernels: int
    time_ns: int
    flops: int | None
    flops_causal: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class AttentionShare:
    """Attention time of one axis or one kind; `time_share` is of all attention time.

    `calls` are forward calls, null where no kernel is known to be of one. `flops` sums over
    forward and backward calls whose sizes are known, null if none are; `calls_without_flops` counts
    the others.
    """

    key: str | None
    kernels: int
    time_ns: int
    time_share: float | None
    calls: int | None = None
    flops: int | None = None
    calls_without_flops: int = 0


@dataclass(frozen=True, slots=True)
class SequenceLength:
    """Forward calls of one query and key length, kind and axis, and their time."""

    query_length: int | None
    key_length: int | None
    kind: str | None
    axis: str | None
    calls: int
    time_ns: int
    time_share: float | None


@dataclass(frozen=True, slots=True)
class LengthLevels:
    """Query lengths of self-attention in one step of a stage, along one axis.

    `levels` are the distinct lengths, longest first; `ratio` is the longest over the shortest,
    `neighbour_ratio` the largest ratio of two that are neighbours among them.
    """

    stage: str | None
    step: int | None
    axis: str | None
    levels: tuple[int, ...]
    ratio: float
    neighbour_ratio: float


@dataclass(frozen=True, slots=True)
class LengthRatio:
    """The levels of the stage with most attention time, not along time if there are others.

    `by_stage` has those of every stage and axis.
    """

    stage: str | None
    step: int | None
    axis: str | None
    longest: int
    shortest: int
    ratio: float
    neighbour_ratio: float
    by_stage: tuple[LengthLevels, ...]


@dataclass(frozen=True, slots=True)
class LengthProfile:
    """How many tokens self-attention looks at, over one stage along one axis, in time order.

    `lengths` are key lengths, in joint attention query lengths. `points` says what each is of:
    `call` of the first step if every step repeats it (`repeats`, else of the whole stage), or
    `step` where each has a length of its own, as in decoding. A thousand at most are kept, evenly
    picked.
    """

    stage: str | None
    axis: str | None
    calls: int
    steps: int
    repeats: bool
    points: str
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartTime:
    """Kernels of attention that do one thing; `time_share` is of the attention of the axis.

    `part` is `fused` (all of it in one kernel), `gemm`, `softmax`, `elementwise` (scale, mask,
    dropout), `copy` (casts and layouts too) or `other`. `time_per_call_ns` is over forward calls.
    """

    part: str
    kernels: int
    time_ns: int
    time_share: float | None
    time_per_call_ns: int | None


@dataclass(frozen=True, slots=True)
class AxisInside:
    """What attention along one axis consists of; each call has its backward work with it.

    `calls` are forward ones, null where none is known. `flops_per_call` is null where the sizes of
    a call are not known.
    """

    axis: str | None
    calls: int | None
    kernels: int
    time_ns: int
    time_per_call_ns: int | None
    flops_per_call: int | None
    parts: tuple[PartTime, ...]


@dataclass(frozen=True, slots=True)
class AxisRatio:
    """Temporal attention over spatial attention: number of calls, time, FLOPs, and time by part.

    `kind` is null for all kinds, or `self`. `flops` is null where the sizes of a call are not
    known. `parts` has those that spatial attention has.
    """

    kind: str | None
    calls: float | None
    time: float
    time_per_call: float | None
    flops: float | None
    flops_per_call: float | None
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class AttentionInside:
    """What attention consists of, most time first; `temporal_to_spatial` is empty without both."""

    by_axis: tuple[AxisInside, ...] = ()
    temporal_to_spatial: tuple[AxisRatio, ...] = ()


@dataclass(frozen=True, slots=True)
class StageLikeness:
    """Whether a stage is like `prefill` or `decode`, null where lengths and intensity disagree.

    The lengths are those of the self-attention in the middle of the stage's attention time.
    `intensity` is the FLOPs a byte of the stage, `ridge` what balances the device's arithmetic, in
    the type of most of the stage's, and its memory; null where unknown. `evidence` is one clause.
    """

    stage: str | None
    like: str | None
    query_length: int
    key_length: int
    intensity: float | None
    ridge: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class PartCache:
    """Hit rates and memory traffic of one part of attention (as in `PartTime`), where counted.

    `kernels` and `time_ns` are of kernels with counters. Hit rates are 0–1, means weighted by time;
    null is what was not counted, traffic also where it was not counted of each kernel.
    """

    part: str
    kernels: int
    time_ns: int
    l1_hit_rate: float | None
    l2_hit_rate: float | None
    dram_read_bytes: int | None
    dram_write_bytes: int | None


@dataclass(frozen=True, slots=True)
class AxisCache:
    """The same of attention along one axis; `kernels_without` have no counters."""

    axis: str | None
    kernels: int
    kernels_without: int
    time_ns: int
    l1_hit_rate: float | None
    l2_hit_rate: float | None
    dram_read_bytes: int | None
    dram_write_bytes: int | None
    parts: tuple[PartCache, ...]


@dataclass(frozen=True, slots=True)
class AttentionCache:
    """What Nsight Compute counted of attention, and what matched.

    `kernels` are those of the trace that have counters, of which `kernels_repeated` have those of a
    launch in another step; `kernels_without` have none. `launches` are all of the file, of which
    `launches_unmatched` are no kernel of the trace.
    """

    by_axis: tuple[AxisCache, ...]
    kernels: int
    kernels_repeated: int
    kernels_without: int
    launches: int
    launches_unmatched: int


@dataclass(frozen=True, slots=True)
class AttentionResult:
    """Attention by call (in time order, the largest unless all are listed), axis, kind, length.

    `cache` is null unless hardware counters were given.
    """

    calls: tuple[AttentionCall, ...] = ()
    calls_total: int = 0
    calls_listed: int = 0
    by_axis: tuple[AttentionShare, ...] = ()
    by_kind: tuple[AttentionShare, ...] = ()
    sequence_lengths: tuple[SequenceLength, ...] = ()
    length_ratio: LengthRatio | None = None
    profile: tuple[LengthProfile, ...] = ()
    inside: AttentionInside = AttentionInside()
    likeness: tuple[StageLikeness, ...] = ()
    cache: AttentionCache | None = None
