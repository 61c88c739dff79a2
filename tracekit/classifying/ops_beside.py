"""Ops of one kind around points in time, thread by thread."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from tracekit.classifying.op_index import OpIndex
from tracekit.classifying.op_rules import plain_op_name
from tracekit.linking.link import Linked
from tracekit.linking.nesting import outermost_marked
from tracekit.trace import BoolArray, CodeArray, IntArray


@dataclass(frozen=True, slots=True)
class OpsBeside:
    """Ops of one thread that tell of calls, by start: their starts in ns, and rows."""

    starts: list[int]
    rows: list[int]

    def last_before(self, time_ns: int) -> int | None:
        """Return the last row that started before a time."""
        at = bisect_left(self.starts, time_ns)
        return self.rows[at - 1] if at else None

    def before(self, time_ns: int, count: int) -> list[int]:
        """Return the last rows that started before a time."""
        at = bisect_left(self.starts, time_ns)
        return self.rows[max(at - count, 0) : at]

    def between(self, from_ns: int, to_ns: int) -> list[int]:
        """Return the rows that started from one time on and before another."""
        return self.rows[bisect_left(self.starts, from_ns) : bisect_left(self.starts, to_ns)]

    def has_between(self, from_ns: int, to_ns: int) -> bool:
        """Say whether any row started from one time on and before another."""
        return bisect_left(self.starts, from_ns) < bisect_left(self.starts, to_ns)

    def after(self, time_ns: int, count: int) -> list[int]:
        """Return the first rows that started from a time on."""
        at = bisect_left(self.starts, time_ns)
        return self.rows[at : at + count]


def named_tops(linked: Linked, index: OpIndex, plain_names: frozenset[str]) -> IntArray:
    """Return the outermost forward ops of these plain names."""
    chosen = index.named(lambda name: plain_op_name(name)[1] in plain_names)
    return outermost_rows(linked, chosen & linked.op_is_forward)


def outermost_rows(linked: Linked, marked: BoolArray) -> IntArray:
    """Return the marked ops that are in no other marked op."""
    top = outermost_marked(linked.ops.parent, marked)
    return np.flatnonzero(marked & (top == np.arange(len(top))))


def by_thread(linked: Linked, rows: IntArray) -> dict[int, OpsBeside]:
    """Return ops by their threads, each thread's by start."""
    ops = linked.trace.ops
    rows = rows[np.argsort(ops.start_ns[rows], kind="stable")]
    owners: CodeArray = ops.thread[rows]
    return {
        thread: OpsBeside(
            ops.start_ns[rows[owners == thread]].tolist(), rows[owners == thread].tolist()
        )
        for thread in np.unique(owners).tolist()
    }
