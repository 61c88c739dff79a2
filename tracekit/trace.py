"""The columns of one trace: what every analysis starts from.

Integers are int64 unless noted, times are nanoseconds. Text is held once in `strings`; columns
that hold text hold its position there as int32, `NO_TEXT` where there is none. Integer columns
mark what is missing by `NULL`; nothing outside the analyzer sees either mark.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray: TypeAlias = npt.NDArray[np.int64]
    CodeArray: TypeAlias = npt.NDArray[np.int32]
    SmallArray: TypeAlias = npt.NDArray[np.int8]
    BoolArray: TypeAlias = npt.NDArray[np.bool_]
    FloatArray: TypeAlias = npt.NDArray[np.float64]
    AnyArray: TypeAlias = npt.NDArray[Any]
else:
    # numpy.typing takes longer to import than a small trace to load.
    IntArray = CodeArray = SmallArray = BoolArray = FloatArray = AnyArray = np.ndarray

NULL: Final = int(np.iinfo(np.int64).min)
"""Marks a missing integer in an int64 column; no trace can hold it."""

NO_TEXT: Final = -1
"""Marks missing text in a code column."""

ACTIVITY_KINDS: Final = ("kernel", "gpu_memcpy", "gpu_memset")
"""Names of the kinds of GPU activity; `Activities.kind` holds positions in this tuple."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of one length, one row an event, in file order unless noted."""

    start_ns: IntArray
    dur_ns: IntArray
    name: CodeArray

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def end_ns(self) -> IntArray:
        """End of each event in ns."""
        return self.start_ns + self.dur_ns

    def take(self, rows: AnyArray) -> Self:
        """Return the rows at these positions (or under this mask), in that order."""
        return type(self)(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def nbytes(self) -> int:
        """Bytes that the columns hold."""
        return sum(getattr(self, f.name).nbytes for f in fields(self))


@dataclass(frozen=True, slots=True)
class Activities(Table):
    """GPU activities: kernels, copies and memsets (`kind`), on `device` and `stream`."""

    kind: SmallArray
    device: IntArray
    stream: IntArray
    correlation: IntArray
    size_bytes: IntArray
    grid: CodeArray
    block: CodeArray
    graph_node: IntArray


@dataclass(frozen=True, slots=True)
class Calls(Table):
    """Runtime and driver calls on host threads, launches among them."""

    thread: CodeArray
    correlation: IntArray


@dataclass(frozen=True, slots=True)
class Ops(Table):
    """`cpu_op` events; shapes, types, strides, concrete inputs are codes of their JSON text."""

    thread: CodeArray
    sequence_number: IntArray
    forward_thread: IntArray
    input_dims: CodeArray
    input_types: CodeArray
    input_strides: CodeArray
    concrete_inputs: CodeArray


@dataclass(frozen=True, slots=True)
class Frames(Table):
    """`python_function` events of traces recorded with stacks."""

    thread: CodeArray
    python_id: IntArray
    python_parent_id: IntArray


@dataclass(frozen=True, slots=True)
class Spans(Table):
    """Annotations, profiler overheads and the like: a name over an interval of a thread."""

    thread: CodeArray


@dataclass(frozen=True, slots=True)
class EventCount:
    """Events that no table holds: how many, their summed duration in ns if known, and why."""

    what: str
    why: str
    events: int
    time_ns: int | None


@dataclass(frozen=True, slots=True)
class Trace:
    """One trace file as columns.

    `threads` holds the (pid, tid) pairs that thread columns point into, as text. `metadata` is
    what the file says beside its events. `events` counts the elements of the event list;
    `left_out` those among them that no table holds. `warnings` are sentences for the reader.
    """

    path: str
    strings: tuple[str, ...]
    threads: tuple[tuple[str, str], ...]
    activities: Activities
    calls: Calls
    ops: Ops
    frames: Frames
    annotations: Spans
    overheads: Spans
    synchronizations: Spans
    metadata: dict[str, Any]
    events: int
    truncated: bool
    left_out: tuple[EventCount, ...] = ()
    warnings: tuple[str, ...] = ()
    rank: int | None = None

    def text(self, code: int) -> str | None:
        """Return the text of a code, null for `NO_TEXT`."""
        return None if code == NO_TEXT else self.strings[code]
