"""Collects decoded events into the columns of a `Trace`, and counts what no column holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np

from tracekit.labels import OWN_CATEGORY
from tracekit.loading.events import NO_ARGS, NOT_AN_EVENT, Event, EventArgs
from tracekit.loading.limits import LoadLimits
from tracekit.loading.numbers import MAX_DUR_NS, MAX_START_NS, int_column, ns_of_us_texts
from tracekit.loading.pools import FragmentPool, SignaturePool, TextPool, ThreadPool
from tracekit.trace import (
    ACTIVITY_KINDS,
    NULL,
    Activities,
    AnyArray,
    BoolArray,
    Calls,
    CodeArray,
    EventCount,
    Frames,
    IntArray,
    Ops,
    Spans,
    Table,
)

Chunk: TypeAlias = tuple[int, dict[str, AnyArray]]
TableT = TypeVar("TableT", bound=Table)

_OLD_KINDS: Final = {"Kernel": "kernel", "Memcpy": "gpu_memcpy", "Memset": "gpu_memset"}
_KIND_OF: Final = {
    **{kind: code for code, kind in enumerate(ACTIVITY_KINDS)},
    **{old: ACTIVITY_KINDS.index(kind) for old, kind in _OLD_KINDS.items()},
}

TABLE_OF: Final = {
    **dict.fromkeys(_KIND_OF, "activities"),
    "cuda_runtime": "calls",
    "cuda_driver": "calls",
    "hip_runtime": "calls",
    "hip_driver": "calls",
    "cpu_op": "ops",
    "python_function": "frames",
    "user_annotation": "annotations",
    "overhead": "overheads",
    "cuda_sync": "synchronizations",
    "Runtime": "calls",
    "Operator": "ops",
}
"""The table that holds each category of complete (`ph: X`) events, torch 1.8's names included."""

_TABLE_OF_ANY: Final[dict[str | None, str]] = dict(TABLE_OF.items())

_MIRRORS: Final = frozenset({"gpu_user_annotation", "Trace"})
"""Complete events that repeat what others say: annotations seen from the GPU, the window."""

OWN_EVENTS: Final = (
    "tracks of tracekit",
    "`tracekit annotate` added them; they are no part of it",
)

_FLOW_PHASES: Final = frozenset("stf")
_MARKERS: Final = ("Iteration Start: ", "Record Window End")
_NO_DURATION: Final = {
    "C": ("counter events", "counters are not analyzed"),
    "B": ("begin/end events", "only complete events (ph X) are read"),
    "E": ("begin/end events", "only complete events (ph X) are read"),
    "i": ("instant events", "they have no duration"),
    "I": ("instant events", "they have no duration"),
    NOT_AN_EVENT.ph: ("list elements", "they are not objects, or hold numbers out of range"),
    "": ("events without a phase", "`ph` is missing or no text"),
}


class Columns:
    """Everything collected from one file so far.

    `segment` numbers the stretch of the file that events come from: workers take stretches in any
    order, and tables are put together in the order of the file.
    """

    def __init__(self, limits: LoadLimits) -> None:
        self.segment = 0
        self.nbytes = 0
        self.texts = TextPool(limits)
        self.fragments = FragmentPool(self.texts)
        self.signatures = SignaturePool(self.fragments)
        self.threads = ThreadPool()
        self.events = 0
        self.process_names: set[str] = set()
        self.categories: set[str] = set()
        self._limits = limits
        self._chunks: dict[str, list[Chunk]] = defaultdict(list)
        self._left_out: dict[tuple[str, str], list[int]] = {}

    def add(self, events: list[Event]) -> None:
        """Take in decoded events, in file order."""
        self.events += len(events)
        by_table: dict[str | None, list[Event]] = defaultdict(list)
        incomplete: list[Event] = []
        table_of = _TABLE_OF_ANY.get
        for event in events:
            if event.ph == "X":
                by_table[table_of(event.cat)].append(event)
            else:
                incomplete.append(event)
        self._add_incomplete(incomplete)
        self._add_unknown(by_table.pop(None, []))
        if by_table:
            self._add_complete(by_table)
        self.check_limits()

    def check_limits(self) -> None:
        """Check the events and bytes taken in so far.

        Raises
        ------
        LimitExceededError
            There are more than allowed.
        """
        self._limits.check_columns(self.events, self.nbytes + self.texts.nbytes)

    def leave_out(self, what: str, why: str, events: int = 1, time_ns: int | None = None) -> None:
        """Count events that no table holds."""
        count = self._left_out.setdefault((what, why), [0, NULL])
        count[0] += events
        if time_ns is not None and time_ns != NULL:
            count[1] = time_ns + (0 if count[1] == NULL else count[1])

    def left_out(self) -> tuple[EventCount, ...]:
        """Return what was left out, by name."""
        return tuple(
            EventCount(what, why, events, None if time_ns == NULL else time_ns)
            for (what, why), (events, time_ns) in sorted(self._left_out.items())
        )

    def table(self, name: str, kind: type[TableT]) -> TableT:
        """Return one table, and remove it from here."""
        columns = self.joined(name)[1] or {
            field.name: np.empty(0, _DTYPES.get(field.name, np.int64)) for field in fields(kind)
        }
        return kind(**columns)

    def _add_incomplete(self, events: list[Event]) -> None:
        own = [event for event in events if event.cat == OWN_CATEGORY]
        if own:
            self.leave_out(*OWN_EVENTS, len(own))
            events = [event for event in events if event.cat != OWN_CATEGORY]
        for phase, count in Counter([event.ph for event in events]).items():
            if phase == "M":
                self._add_metadata(events)
            elif phase not in _FLOW_PHASES:
                unread = count - self._markers(events, phase)
                what, why = _NO_DURATION.get(
                    phase, (f"events of phase {phase!r}", "this phase is not read")
                )
                if unread:
                    self.leave_out(what, why, unread)

    def _markers(self, events: list[Event], phase: str) -> int:
        """Return how many instants are the profiler's own marks of its window."""
        if phase not in ("i", "I"):
            return 0
        names = (event.name or "" for event in events if event.ph == phase)
        return sum(name.startswith(_MARKERS) for name in names)

    def _add_metadata(self, events: list[Event]) -> None:
        for event in events:
            if event.name == "process_name" and event.args is not None and event.args.label:
                self.process_names.add(str(event.args.label))

    def _add_unknown(self, events: list[Event]) -> None:
        for event in events:
            if event.cat in _MIRRORS:
                continue
            if event.cat == OWN_CATEGORY:
                self.leave_out(*OWN_EVENTS)
                continue
            self.categories.add(event.cat or "")
            (dur_ns,) = ns_of_us_texts([event.dur]).tolist()
            time_ns = dur_ns if 0 <= dur_ns <= MAX_DUR_NS else None
            what = f"{event.cat!r} events" if event.cat else "events without a category"
            self.leave_out(what, "not a category of torch.profiler that tracekit reads", 1, time_ns)

    def _add_complete(self, by_table: dict[str | None, list[Event]]) -> None:
        """Take in events with their tables; what they have in common is converted in one go."""
        events = [event for group in by_table.values() for event in group]
        start_ns = ns_of_us_texts([event.ts for event in events])
        dur_ns = ns_of_us_texts([event.dur for event in events])
        names = np.fromiter(
            map(self.texts.__getitem__, [event.name for event in events]), np.int32, len(events)
        )
        usable = self._usable(events, start_ns, dur_ns)
        first = 0
        for table, group in by_table.items():
            rows: slice | IntArray = slice(first, first + len(group))
            first += len(group)
            self.categories.add(str(table))
            if usable is not None:
                rows = np.flatnonzero(usable[rows]) + first - len(group)
                group = [events[row] for row in rows.tolist()]
            if group:
                columns: dict[str, AnyArray] = {
                    "start_ns": start_ns[rows],
                    "dur_ns": dur_ns[rows],
                    "name": names[rows],
                    **_EXTRACTORS[str(table)](self, group),
                }
                self.put(str(table), self.segment, columns)

    def put(self, table: str, segment: int, columns: dict[str, AnyArray]) -> None:
        """Add rows to a table."""
        self.nbytes += sum(column.nbytes for column in columns.values())
        self._chunks[table].append((segment, columns))

    def joined(self, table: str) -> tuple[list[tuple[int, int]], dict[str, AnyArray]]:
        """Return a table's columns in the order of the file, and remove it from here.

        Beside them the segments that its rows come from, with the number of rows of each.
        """
        # Stable: within a segment the order of the file is kept.
        chunks = sorted(self._chunks.pop(table, []), key=lambda chunk: chunk[0])
        if any("signature" in chunk for _, chunk in chunks):
            expand = self.signatures.expander()
            chunks = [(segment, expand(chunk)) for segment, chunk in chunks]
        names = chunks[0][1] if chunks else ()
        columns = {name: np.concatenate([chunk[name] for _, chunk in chunks]) for name in names}
        return [(segment, len(chunk["name"])) for segment, chunk in chunks], columns

    def tables(self) -> list[str]:
        """Return the tables that hold rows."""
        return list(self._chunks)

    def _usable(
        self, events: list[Event], start_ns: IntArray, dur_ns: IntArray
    ) -> BoolArray | None:
        """Return which rows have usable times, null when all have; count the others."""
        if (
            start_ns.min() >= -MAX_START_NS
            and start_ns.max() <= MAX_START_NS
            and dur_ns.min() >= 0
            and dur_ns.max() <= MAX_DUR_NS
        ):
            return None
        usable = np.ones(len(events), np.bool_)
        for rows, why in (
            (start_ns == NULL, "`ts` is missing, not a number, or beyond int64 ns"),
            (dur_ns == NULL, "`dur` is missing, not a number, or beyond int64 ns"),
            (dur_ns < 0, "`dur` is negative"),
            (np.abs(start_ns) > MAX_START_NS, "`ts` is beyond 146 years"),
            (dur_ns > MAX_DUR_NS, "`dur` is beyond 104 days"),
        ):
            for row in np.flatnonzero(rows & usable).tolist():
                self.leave_out(f"{events[row].cat!r} events", why)
            usable &= ~rows
        return usable

    def thread_codes(self, events: list[Event]) -> CodeArray:
        """Return the codes of the threads that events stand on."""
        try:
            codes = list(map(self.threads.__getitem__, [(e.pid, e.tid) for e in events]))
        except TypeError:
            codes = [self.threads[(str(e.pid), str(e.tid))] for e in events]
        return np.array(codes, np.int32)

    def fragment_codes(self, fragments: list[Any]) -> CodeArray:
        """Return the codes of JSON fragments."""
        return np.fromiter(
            map(self.fragments.__getitem__, map(bytes, fragments)), np.int32, len(fragments)
        )

    def signature_codes(self, args: list[EventArgs]) -> CodeArray:
        """Return the codes of all that is known of the inputs of ops, taken together."""
        keys = [
            b"\0".join((a.input_dims, a.input_types, a.input_strides, a.concrete_inputs))
            for a in args
        ]
        return np.fromiter(map(self.signatures.__getitem__, keys), np.int32, len(keys))


def _activities(columns: Columns, events: list[Event]) -> dict[str, AnyArray]:
    args = _args(events)
    device = int_column([a.device for a in args])
    stream = int_column([a.stream for a in args])
    if (device == NULL).any():
        device = np.where(device == NULL, int_column([e.pid for e in events]), device)
    if (stream == NULL).any():
        stream = np.where(stream == NULL, int_column([e.tid for e in events]), stream)
    return {
        "kind": np.array([_KIND_OF[event.cat or ""] for event in events], np.int8),
        "device": device,
        "stream": stream,
        "correlation": int_column([a.correlation for a in args]),
        "size_bytes": int_column([a.size_bytes for a in args]),
        "grid": columns.fragment_codes([a.grid for a in args]),
        "block": columns.fragment_codes([a.block for a in args]),
        "graph_node": int_column([a.graph_node for a in args]),
    }


def _calls(columns: Columns, events: list[Event]) -> dict[str, AnyArray]:
    return {
        "thread": columns.thread_codes(events),
        "correlation": int_column([a.correlation for a in _args(events)]),
    }


def _ops(columns: Columns, events: list[Event]) -> dict[str, AnyArray]:
    args = _args(events)
    return {
        "thread": columns.thread_codes(events),
        "sequence_number": int_column([a.sequence_number for a in args]),
        "forward_thread": int_column([a.forward_thread for a in args]),
        "signature": columns.signature_codes(args),
    }


def _frames(columns: Columns, events: list[Event]) -> dict[str, AnyArray]:
    args = _args(events)
    return {
        "thread": columns.thread_codes(events),
        "python_id": int_column([a.python_id for a in args]),
        "python_parent_id": int_column([a.python_parent_id for a in args]),
    }


def _spans(columns: Columns, events: list[Event]) -> dict[str, AnyArray]:
    return {"thread": columns.thread_codes(events)}


def _args(events: list[Event]) -> list[EventArgs]:
    return [event.args or NO_ARGS for event in events]


_EXTRACTORS: Final[dict[str, Callable[[Columns, list[Event]], dict[str, AnyArray]]]] = {
    "activities": _activities,
    "calls": _calls,
    "ops": _ops,
    "frames": _frames,
    "annotations": _spans,
    "overheads": _spans,
    "synchronizations": _spans,
}

CODE_COLUMNS: Final = (
    "name",
    "thread",
    "grid",
    "block",
    "input_dims",
    "input_types",
    "input_strides",
    "concrete_inputs",
)
_DTYPES: Final[dict[str, type]] = {**dict.fromkeys(CODE_COLUMNS, np.int32), "kind": np.int8}

TABLES: Final[dict[str, type[Table]]] = {
    "activities": Activities,
    "calls": Calls,
    "ops": Ops,
    "frames": Frames,
    "annotations": Spans,
    "overheads": Spans,
    "synchronizations": Spans,
}
"""The tables of a trace, by the name of the field of `Trace` that holds them."""
