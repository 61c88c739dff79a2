"""What a timeline shows beside a trace, or of it: tracks of slices and counters, as columns.

Times are int64 nanoseconds as in the file. Renderers read these and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from tracekit.labels import OWN_CATEGORY as OWN_CATEGORY

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray: TypeAlias = npt.NDArray[np.int64]
    FloatArray: TypeAlias = npt.NDArray[np.float64]
    AnyArray: TypeAlias = npt.NDArray[Any]
else:
    IntArray = FloatArray = AnyArray = np.ndarray

STAGES: Final = "stages"
STEPS: Final = "steps"
ATTENTION_CALLS: Final = "attention"
IDLE: Final = "idle"
CATEGORY: Final = "categories"
ORIGINAL: Final = "original"
"""What the slices of a track are: `SliceTrack.kind`."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of texts: positions in `texts`, -1 where there is none."""

    code: AnyArray
    texts: tuple[str, ...]

    def part(self, rows: slice) -> Texts:
        """Return some of the rows."""
        return Texts(self.code[rows], self.texts)


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column of integers; `known` is false where there is none, null if all are there."""

    value: IntArray
    known: AnyArray | None = None

    def part(self, rows: slice) -> Numbers:
        """Return some of the rows."""
        return Numbers(self.value[rows], None if self.known is None else self.known[rows])


Column: TypeAlias = Texts | Numbers


@dataclass(frozen=True, slots=True)
class Flows:
    """Arrows between slices of any tracks: slices with one id belong to one flow.

    `id` holds one an arrow end, `slice` the row of the track at which it is.
    """

    id: IntArray
    slice: IntArray


@dataclass(frozen=True, slots=True)
class SliceTrack:
    """Slices in the order of their start, a longer one before what starts with it.

    Slices of a track overlap only where one holds the other. `label` is what each is called,
    `category` its `cat`, `details` hold what is known of it, by name.
    """

    name: str
    kind: str
    start_ns: IntArray
    dur_ns: IntArray
    label: Texts
    category: Texts | None = None
    details: dict[str, Column] = field(default_factory=dict)
    flows: Flows | None = None

    def __len__(self) -> int:
        return len(self.start_ns)

    def part(self, rows: slice) -> SliceTrack:
        """Return some of the slices, without flows."""
        return SliceTrack(
            name=self.name,
            kind=self.kind,
            start_ns=self.start_ns[rows],
            dur_ns=self.dur_ns[rows],
            label=self.label.part(rows),
            category=None if self.category is None else self.category.part(rows),
            details={name: column.part(rows) for name, column in self.details.items()},
        )


@dataclass(frozen=True, slots=True)
class CounterTrack:
    """A number over time: each value holds until the next."""

    name: str
    unit: str
    time_ns: IntArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.time_ns)


@dataclass(frozen=True, slots=True)
class TrackGroup:
    """The tracks of one device (or process), in the order in which they are shown.

    `is_own` tells what tracekit found out from what the file holds.
    """

    name: str
    is_own: bool
    slices: tuple[SliceTrack, ...]
    counters: tuple[CounterTrack, ...] = ()
