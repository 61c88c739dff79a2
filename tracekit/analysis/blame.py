"""Who is to blame for idle time: what the launching thread was in, piece by piece."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from tracekit.analysis.causes import CAUSES, Gaps, Pieces, launch_points
from tracekit.analysis.python_frames import PythonFrames
from tracekit.classifying.table import KernelTable
from tracekit.labels import PREFIX
from tracekit.linking.codes import distinct_rows, sorted_distinct
from tracekit.linking.labels import labels_at
from tracekit.linking.nesting import build_forest
from tracekit.linking.stages import is_of_pytorch, stem_of
from tracekit.results import Blame
from tracekit.trace import NULL, BoolArray, CodeArray, IntArray

_NUMBER: Final = re.compile(r"(?<=[._])\d+(?=[./]|$)")
"""The number of a repeated module: `blocks.3.attn`, `BasicTransformerBlock_3/Attention_0`."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where on the host each piece was spent; positions in texts, -1 for nothing known.

    `op`, `annotation`, `python` and `caller` point into the trace's `strings`, `module` into
    `modules`, `stage` into the table's stages.
    """

    stage: IntArray
    module: IntArray
    modules: tuple[str, ...]
    op: IntArray
    annotation: IntArray
    python: IntArray
    caller: IntArray

    def take(self, rows: IntArray) -> Places:
        """Return the places of the pieces at these positions."""
        stage, module, op, annotation, python, caller = (one[rows] for one in self.columns())
        return Places(stage, module, self.modules, op, annotation, python, caller)

    def columns(self) -> tuple[IntArray, ...]:
        """Return what tells one culprit from another."""
        return self.stage, self.module, self.op, self.annotation, self.python, self.caller


def places_of(table: KernelTable, gaps: Gaps, pieces: Pieces) -> Places:
    """Return where each piece was spent: at its own time, or at the launch that it waited for.

    The stage is that of the activity that was waited for.
    """
    thread, time_ns = pieces.host.thread, pieces.host.start_ns.copy()
    launch_thread, launched_ns = launch_points(table, gaps)
    waited = pieces.cause == CAUSES.index("launch_latency")
    time_ns[waited] = launched_ns[pieces.host.gap[waited]]
    thread = np.where(waited, launch_thread[pieces.host.gap], thread).astype(np.int32)
    known = (thread >= 0) & (time_ns != NULL)
    trace = table.linked.trace
    module, modules = _modules(table, thread[known], time_ns[known])
    op = table.linked.ops.innermost_at(thread[known], time_ns[known])
    python, caller = PythonFrames(trace).at(thread[known], time_ns[known])
    return Places(
        stage=_spread(known, table.stages.stage[gaps.after[pieces.host.gap[known]]]),
        module=_spread(known, module),
        modules=modules,
        op=_spread(known, np.where(op >= 0, _at(trace.ops.name, op), -1)),
        annotation=_spread(known, _annotations(table, thread[known], time_ns[known])),
        python=_spread(known, python),
        caller=_spread(known, caller),
    )


def blame_for(
    table: KernelTable, pieces: Pieces, places: Places, limit: int | None
) -> tuple[Blame, ...]:
    """Return idle time by cause and culprit, largest first; `limit` is how many, null for all."""
    if not len(pieces):
        return ()
    columns = (pieces.cause.astype(np.int64), *places.columns())
    first, of = distinct_rows(columns)
    time_ns = np.zeros(len(first), np.int64)
    np.add.at(time_ns, of, pieces.host.dur_ns)
    pairs = sorted_distinct(of * (pieces.host.gap.max() + 1) + pieces.host.gap)
    gaps = np.bincount(pairs // (pieces.host.gap.max() + 1), minlength=len(first))
    begin_ns = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(begin_ns, of, pieces.host.start_ns)
    # Threads are numbered as the file mentions them, so their order tells nothing.
    largest = np.lexsort((first, begin_ns, -time_ns))[:limit]
    return tuple(
        _row(table, pieces, places, int(first[at]), int(time_ns[at]), int(gaps[at]))
        for at in largest.tolist()
    )


def _row(
    table: KernelTable, pieces: Pieces, places: Places, at: int, time_ns: int, gaps: int
) -> Blame:
    text = table.linked.trace.text
    stage, module = int(places.stage[at]), int(places.module[at])
    return Blame(
        cause=CAUSES[pieces.cause[at]],
        stage=table.stages.names[stage] if stage >= 0 else None,
        module=places.modules[module] if module >= 0 else None,
        op=text(int(places.op[at])),
        annotation=text(int(places.annotation[at])),
        python=text(int(places.python[at])),
        caller=text(int(places.caller[at])),
        is_own=bool(0 <= places.python[at] == places.caller[at]),
        time_ns=time_ns,
        gaps=gaps,
    )


def _modules(
    table: KernelTable, thread: CodeArray, time_ns: IntArray
) -> tuple[IntArray, tuple[str, ...]]:
    """Return the module around points in time: the path of a label, else the chain of calls.

    What repeats is one: the numbers in a path are `*`.
    """
    linked = table.linked
    labels = labels_at(linked.trace, [(thread, time_ns)])
    chain = linked.modules.at(thread, time_ns)
    module = np.where(labels.path >= 0, labels.path, chain)
    module[(labels.path < 0) & (chain >= 0)] += len(labels.paths)
    paths = [_NUMBER.sub("*", path) for path in (*labels.paths, *linked.modules.paths)]
    distinct = tuple(dict.fromkeys(paths))
    place = {path: at for at, path in enumerate(distinct)}
    position = np.array([*(place[path] for path in paths), -1], np.int64)
    return position[module], distinct


def _annotations(table: KernelTable, thread: CodeArray, time_ns: IntArray) -> IntArray:
    """Return the innermost annotation of the user's around points in time, unless it is a stage."""
    trace = table.linked.trace
    known = [
        not text.startswith(PREFIX)
        and not is_of_pytorch(text)
        and stem_of(text) not in table.stages.names
        and text not in table.stages.names
        for text in trace.strings
    ]
    flags = np.array([*known, False], np.bool_)
    spans = trace.annotations.take(np.flatnonzero(flags[trace.annotations.name]))
    row = build_forest(spans.thread, spans.start_ns, spans.end_ns).innermost_at(thread, time_ns)
    return np.where(row >= 0, _at(spans.name, row), -1).astype(np.int64)


def _at(column: CodeArray, rows: IntArray) -> CodeArray:
    return column[rows] if len(column) else np.full(len(rows), -1, np.int32)


def _spread(known: BoolArray, values: IntArray) -> IntArray:
    column = np.full(len(known), -1, np.int64)
    column[known] = values
    return column
