"""What a report of one or several runs holds beside their analyses.

Fields are those of the report's data block, as in `results`; what has a row for each GPU activity
stands in int64 arrays, and is encoded where it is written. Times are ns, as in the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from tracekit.results import Analysis, UnreadableInput

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Column: TypeAlias = npt.NDArray[np.int64]

SCHEMA: Final = "tracekit.report/1"
"""Name and version of the data block of an HTML report."""


@dataclass(frozen=True, slots=True)
class KernelKind:
    """What kernels have in common that are of one name and were put into a category for one reason.

    `confidence` is the lowest among them, null where the evidence is direct.
    """

    name: str | None
    category: str
    evidence: str
    confidence: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class KindTime:
    """All kernels of one kind, summed; `time_share` is of the kernel time of the file.

    `flops` and `bytes` sum over the operations that are known to cost them and whose longest kernel
    is of this kind, null where there is none.
    """

    name: str | None
    category: str
    evidence: str
    confidence: float | None
    reason: str
    calls: int
    time_ns: int
    time_share: float | None
    min_ns: int
    max_ns: int
    flops: int | None
    bytes: int | None


@dataclass(frozen=True, slots=True)
class ModuleTime:
    """The kernels of one module, its path or chain of calls, without those of modules inside it.

    `module` is null for the kernels of no module. `categories` holds those that have time.
    """

    module: str | None
    kernels: int
    time_ns: int
    time_share: float | None
    categories: dict[str, int]


@dataclass(frozen=True, slots=True)
class RooflinePoint:
    """Operations of one name, category, type and cost; `flops`, `bytes` and `time_ns` are sums.

    `dtype` is the type whose peak counts (`tf32` for float32 on tensor cores), null without any.
    `roofline_share` is how much of the time they take at their roof, null where a peak is unknown.
    """

    name: str | None
    category: str
    operations: int
    time_ns: int
    flops: int | None
    bytes: int | None
    dtype: str | None
    roofline_share: float | None


@dataclass(frozen=True, slots=True)
class Lane:
    """A stream of a device, or a thread of a CPU-only trace (`device` and `stream` null).

    Its rows are those from `first` on, `rows` of them.
    """

    label: str
    device: int | None
    stream: int | None
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Place:
    """The module and the innermost op that rows come from."""

    module: str | None
    op: str | None


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time that one step of one stage takes on the devices."""

    stage: str
    step: int | None
    start_ns: int
    end_ns: int
    source: str


@dataclass(frozen=True, slots=True)
class TimelineGaps:
    """All gaps of all devices, in start order, by the rows of the timeline around them.

    A gap lasts from the end of row `before` to the start of row `after`. `cause` holds positions in
    `causes`, `device` is -1 where the file tells none.
    """

    device: Column
    before: Column
    after: Column
    cause: Column
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimelineCalls:
    """All attention calls in start order.

    A call lasts from the start of its first to the end of its last kernel; `time_ns` sums them.
    Lengths are 0 where they are unknown. `axis` holds positions in `axes` and `kind` in `kinds`,
    -1 for none.
    """

    start_ns: Column
    dur_ns: Column
    time_ns: Column
    query_length: Column
    key_length: Column
    axis: Column
    kind: Column
    axes: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Every row of the kernel table, lane by lane, in start order within a lane.

    `kind` holds positions in `kinds`, `place` in `places`, and `band` in `bands`, -1 for rows of no
    stage. `origin_ns` is the first start.
    """

    origin_ns: int
    span_ns: int
    lanes: tuple[Lane, ...]
    start_ns: Column
    dur_ns: Column
    kind: Column
    place: Column
    band: Column
    kinds: tuple[KernelKind, ...]
    places: tuple[Place, ...]
    bands: tuple[Band, ...]
    gaps: TimelineGaps
    attention: TimelineCalls

    def __len__(self) -> int:
        return len(self.start_ns)


@dataclass(frozen=True, slots=True)
class PassFacts:
    """One pass of a run: the file it wrote, its wall time, and how much the profiler slowed it."""

    name: str
    file: str | None
    wall_ns: int | None
    dilation: float | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """How a run folder was recorded, as its manifest says; null and empty where it does not."""

    created: str | None
    model: str | None
    attention: str | None
    dtype: str | None
    seed: int | None
    peak_memory_bytes: int | None
    versions: dict[str, str]
    passes: tuple[PassFacts, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run of a report: its analysis, and what the page shows beyond it.

    `kernels`, `modules` and `roofline_points` list those of most time first; the totals count all.
    `timeline` is null where the file holds no row, `facts` outside of run folders.
    """

    analysis: Analysis
    kernels: tuple[KindTime, ...]
    kernels_total: int
    modules: tuple[ModuleTime, ...]
    modules_total: int
    roofline_points: tuple[RooflinePoint, ...]
    roofline_points_total: int
    timeline: Timeline | None
    facts: RunFacts | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The runs of a report side by side, and the inputs that could not be used."""

    title: str
    runs: tuple[RunReport, ...]
    unreadable: tuple[UnreadableInput, ...] = ()
    schema: str = field(default=SCHEMA)
