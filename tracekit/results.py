"""What the analyses return: plain frozen records whose fields are those of the JSON contract.

Times are int64 nanoseconds, sizes bytes, shares between 0 and 1 (null when the whole is 0).
Renderers read these and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from tracekit.attention_results import AttentionResult as AttentionResult
from tracekit.attention_results import AttentionShare as AttentionShare
from tracekit.roofline_results import Roofline

if TYPE_CHECKING:
    from tracekit.reports.frames import Frames

SCHEMA: Final = "tracekit.analysis/1"
"""Name and version of the JSON that `tracekit analyze --format json` writes."""

Basis = Literal["gpu", "cpu"]


@dataclass(frozen=True, slots=True)
class TraceInfo:
    """Which file was analyzed and what it holds.

    `events` counts the elements of the file's event list; `gpu_events` the GPU activities among
    them. `truncated` says that the file ends before its event list does. `warnings` are sentences
    about what the reader should know before trusting the rest.
    """

    path: str
    pass_: str | None
    rank: int | None
    world_size: int | None
    device_name: str | None
    torch: str | None
    basis: Basis
    events: int
    gpu_events: int
    truncated: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeTotals:
    """Span, busy, idle and kernel time in ns, summed over devices."""

    span_ns: int
    busy_ns: int
    idle_ns: int
    kernel_ns: int


@dataclass(frozen=True, slots=True)
class DeviceTime:
    """Span, busy, idle and kernel time in ns of one device (null on a CPU-only trace).

    `start_ns` is the start of its first activity, where the span begins.
    """

    device: int | None
    span_ns: int
    busy_ns: int
    idle_ns: int
    kernel_ns: int
    start_ns: int | None = None


@dataclass(frozen=True, slots=True)
class CauseTime:
    """Idle time of one cause, and in how many gaps it is; `time_share` is of all idle time."""

    cause: str
    time_ns: int
    time_share: float | None
    gaps: int


@dataclass(frozen=True, slots=True)
class Blame:
    """Idle time of one cause that the launching thread spent in one place.

    `stage` is that of the activity that was waited for, `module` a path in which `*` stands for
    the numbers of repeated modules, `op` the innermost op, `annotation` the user's innermost one.
    Traces with stacks have `python`, the innermost function, and `caller`, the innermost one of
    the user's own; `is_own` says that they are the same. All are null where the trace does not
    tell.
    """

    cause: str
    stage: str | None
    module: str | None
    op: str | None
    annotation: str | None
    python: str | None
    caller: str | None
    is_own: bool
    time_ns: int
    gaps: int


@dataclass(frozen=True, slots=True)
class CorrectedStage:
    """One stage without the profiler; busy and idle are those of the mean device.

    `dilation` is how many times longer the stage took in the analyzed file. `by_cause` says what
    its idle time consists of. Both are null where the trace cannot tell.
    """

    stage: str
    wall_ns: int
    busy_ns: int
    idle_ns: int
    dilation: float | None = None
    by_cause: tuple[CauseTime, ...] | None = None


@dataclass(frozen=True, slots=True)
class Corrected:
    """What would have been without the profiler; `method` says in a sentence how that is known.

    `wall_ns` is the median of the unprofiled repeats, `low_ns` and `high_ns` their range.
    `busy_ns` is the interval union of GPU activity (of several devices the mean), `idle_ns` the
    rest of the wall time. `dilation` is how many times longer the analyzed file's run took.
    `stages` is empty where stages were not timed. `by_cause` and `blame` say what `idle_ns`
    consists of, null and empty where the trace cannot tell.
    """

    source: Literal["measured", "estimated"]
    wall_ns: int
    low_ns: int
    high_ns: int
    busy_ns: int
    idle_ns: int
    idle_share: float | None
    dilation: float | None
    by_cause: tuple[CauseTime, ...] | None
    method: str
    stages: tuple[CorrectedStage, ...] = ()
    blame: tuple[Blame, ...] = ()


@dataclass(frozen=True, slots=True)
class CategoryTime:
    """One category's kernels and time; `time_share` is of the kernel time of the file."""

    category: str
    kernels: int
    time_ns: int
    time_share: float | None


@dataclass(frozen=True, slots=True)
class StepTime:
    """One step of a stage; `span_ns` is how long it lasted, `busy_share` of that on a device.

    A step that comes again, in a repeated run, has the sums of all its times.
    """

    step: int
    kernels: int
    start_ns: int
    end_ns: int
    busy_ns: int
    time_ns: int
    categories: dict[str, int]
    span_ns: int = 0
    busy_share: float | None = None


@dataclass(frozen=True, slots=True)
class OutlierStep:
    """A step whose kernel time (`time`) or length (`span`) is far from the median of its stage."""

    step: int
    measure: Literal["time", "span"]
    value_ns: int
    median_ns: int


@dataclass(frozen=True, slots=True)
class StageTime:
    """One stage of the run; `stage` is null for the kernels that no stage encloses.

    `source` is what tells the stage: `label`, `annotation`, `module`, or `sequence`, which was
    found in the order of the kernels. `span_ns` sums the stretches of time that the stage takes.
    `steps` is the true number of repetitions, `traced_steps` how many the file holds. `busy_ns`
    is the interval union of the stage's activities, `time_ns` the sum of their durations.
    """

    stage: str | None
    source: str | None
    steps: int | None
    traced_steps: int | None
    kernels: int
    start_ns: int
    end_ns: int
    busy_ns: int
    time_ns: int
    categories: dict[str, int]
    per_step: tuple[StepTime, ...] = ()
    span_ns: int = 0
    busy_share: float | None = None
    outlier_steps: tuple[OutlierStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which one device has no GPU activity.

    `before` and `after` name the activities around it, `stage` is that of the one after. `causes`
    holds the time in ns of each piece, and `cause` is that of the largest.
    """

    device: int | None
    start_ns: int
    time_ns: int
    stage: str | None
    before: str | None
    after: str | None
    cause: str | None = None
    causes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdleResult:
    """Idle time by cause and by culprit, and the gaps, largest first."""

    by_cause: tuple[CauseTime, ...]
    blame: tuple[Blame, ...]
    gaps: tuple[Gap, ...]
    gaps_total: int
    gaps_listed: int


@dataclass(frozen=True, slots=True)
class WorkTime:
    """How long a device did one kind of work (the union), and how long nothing else beside it."""

    kind: str
    busy_ns: int
    exposed_ns: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """What of a device's work overlaps; `saved_ns` is kernel time beyond its busy time."""

    device: int | None
    busy_ns: int
    saved_ns: int
    work: tuple[WorkTime, ...]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A bound on the wall time of the run, or of a stage (`scope`), under one assumption."""

    name: str
    scope: str
    wall_ns: int
    speedup: float
    assumption: str


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do: a sentence, what it would give at most, and the numbers behind it."""

    text: str
    speedup: float | None
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Events of the file that no table holds, with the reason."""

    what: str
    events: int
    time_ns: int | None
    why: str


@dataclass(frozen=True, slots=True)
class EvidenceTime:
    """Kernel time decided by one kind of evidence."""

    evidence: str
    kernels: int
    time_ns: int
    time_share: float | None


@dataclass(frozen=True, slots=True)
class KernelTime:
    """All launches of one kernel name in one category, summed."""

    name: str | None
    category: str
    calls: int
    time_ns: int
    time_share: float | None
    min_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that `tracekit analyze` says of one file."""

    trace: TraceInfo
    time: TimeTotals
    devices: tuple[DeviceTime, ...]
    corrected: Corrected | None
    categories: tuple[CategoryTime, ...]
    evidence: tuple[EvidenceTime, ...]
    top_kernels: tuple[KernelTime, ...]
    stages: tuple[StageTime, ...]
    attention: AttentionResult
    idle: IdleResult
    roofline: Roofline | None
    overlap: tuple[Overlap, ...] = ()
    blocks: tuple[dict[str, Any], ...] = ()
    what_if: tuple[WhatIf, ...] = ()
    advice: tuple[Advice, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    schema: str = field(default=SCHEMA)

    @property
    def tables(self) -> Frames:
        """All tables by name, as pandas DataFrames (the extra `pandas`)."""
        from tracekit.reports.frames import Frames

        return Frames(self)

    def _repr_html_(self) -> str:
        """Return the summary that a notebook shows."""
        from tracekit.reports.notebook import summary

        return summary(self)


@dataclass(frozen=True, slots=True)
class UnreadableInput:
    """One of several inputs that could not be used, and why."""

    path: str
    error: str


@dataclass(frozen=True, slots=True)
class Overall:
    """Sums over several inputs; `unreadable` lists the inputs that could not be used."""

    time: TimeTotals
    categories: tuple[CategoryTime, ...]
    unreadable: tuple[UnreadableInput, ...] = ()


@dataclass(frozen=True, slots=True)
class AnalysisSet:
    """Several analyses, one an input, and their sums."""

    runs: tuple[Analysis, ...]
    overall: Overall
    schema: str = field(default=SCHEMA)

    @property
    def tables(self) -> Frames:
        """All tables by name, as pandas DataFrames (the extra `pandas`)."""
        from tracekit.reports.frames import Frames

        return Frames(self)

    def _repr_html_(self) -> str:
        """Return the summary that a notebook shows."""
        from tracekit.reports.notebook import summary

        return summary(self)
