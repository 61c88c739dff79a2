"""The kernel table: one row a GPU activity, with its category and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying.call_columns import AttentionCalls
from tracekit.costing.operations import Operations, operations
from tracekit.linking.link import PHASES, Linked
from tracekit.linking.stages import Stages
from tracekit.trace import NULL, AnyArray, FloatArray, IntArray, SmallArray

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Final = (
    "rank",
    "device",
    "stream",
    "start_ns",
    "dur_ns",
    "correlation",
    "name",
    "category",
    "evidence",
    "confidence",
    "reason",
    "attention_kind",
    "attention_axis",
    "causal",
    "phase",
    "stage",
    "step",
    "module",
    "op",
    "launch_start_ns",
    "launch_dur_ns",
    "flops",
    "bytes",
)
"""The columns of the kernel table, in their order; a contract."""


@dataclass(frozen=True, slots=True)
class FromDonors:
    """What nodes of replayed graphs take from the kernels that they were found to be.

    `module` holds positions in `modules`, `op` in `ops`, `phase` in `PHASES`, all -1 where a row
    has its own. `operations` has operations numbered from 0, null where none were taken.
    `call` holds rows of `calls`, the attention calls of the donors, and `partner` the row of its
    table that a node was found to be, both -1 for none.
    """

    module: IntArray
    modules: tuple[str, ...]
    op: IntArray
    ops: tuple[str, ...]
    phase: SmallArray
    call: IntArray
    calls: AttentionCalls | None
    partner: IntArray
    operations: Operations | None = None


@dataclass(frozen=True)
class KernelTable:
    """One row a GPU activity in start order (or a CPU op, on a CPU-only trace).

    `category` holds positions in `CATEGORIES`, `evidence` in `EVIDENCES`, `reason` in `reasons`;
    `confidence` is NaN where the evidence is direct. `axis` holds positions in `axes` and `kind`
    in `kinds`, `causal` is 1 or 0, -1 where they are not known: for attention, and for all work of
    an attention module that a label describes, its projections included. `call` is the attention
    call in `calls` that a row belongs to, -1 for none.
    """

    linked: Linked
    stages: Stages
    category: SmallArray
    evidence: SmallArray
    confidence: FloatArray
    reason: IntArray
    reasons: tuple[str, ...]
    axis: IntArray
    axes: tuple[str, ...]
    kind: IntArray
    kinds: tuple[str, ...]
    causal: SmallArray
    call: IntArray
    calls: AttentionCalls
    from_donors: FromDonors | None = None

    def __len__(self) -> int:
        return len(self.linked)

    @property
    def start_ns(self) -> IntArray:
        """Start of each row in ns, as in the file."""
        return self.linked.start_ns

    @property
    def dur_ns(self) -> IntArray:
        """Duration of each row in ns."""
        return self.linked.dur_ns

    @cached_property
    def device(self) -> IntArray:
        """Device of each row, `NULL` on a CPU-only trace."""
        return self._of_activity("device")

    @cached_property
    def stream(self) -> IntArray:
        """Stream of each row, `NULL` on a CPU-only trace."""
        return self._of_activity("stream")

    @cached_property
    def module_paths(self) -> tuple[str, ...]:
        """What `module` points into: attribute paths of labels, then chains of module calls."""
        linked = self.linked
        donated = () if self.from_donors is None else self.from_donors.modules
        return tuple(dict.fromkeys((*linked.labels.paths, *linked.modules.paths, *donated)))

    @cached_property
    def module(self) -> IntArray:
        """Module of each row: the path that a label gives, else the chain of calls, else -1.

        Nodes of graphs have that of the kernel that they were found to be.
        """
        linked, donated = self.linked, self.from_donors
        position = {path: at for at, path in enumerate(self.module_paths)}
        of_chain = np.array([*(position[path] for path in linked.modules.paths), -1], np.int64)
        own = np.where(linked.labels.path >= 0, linked.labels.path, of_chain[linked.module])
        if donated is None:
            return own
        of_donor = np.array([*(position[path] for path in donated.modules), -1], np.int64)
        return np.where(donated.module >= 0, of_donor[donated.module], own)

    @cached_property
    def op_names(self) -> tuple[str, ...]:
        """What `op` points into."""
        donated = () if self.from_donors is None else self.from_donors.ops
        return (*self.linked.trace.strings, *donated)

    @cached_property
    def op(self) -> IntArray:
        """Innermost op of each row as a position in `op_names`, else -1."""
        linked, donated = self.linked, self.from_donors
        own = np.where(linked.op >= 0, _at(linked.trace.ops.name, linked.op), -1).astype(np.int64)
        if donated is None:
            return own
        return np.where(donated.op >= 0, len(linked.trace.strings) + donated.op, own)

    @cached_property
    def phase(self) -> SmallArray:
        """Phase of each row as a position in `PHASES`."""
        donated = self.from_donors
        if donated is None:
            return self.linked.phase
        return np.where(donated.phase >= 0, donated.phase, self.linked.phase)

    @cached_property
    def operations(self) -> Operations:
        """What operation each row works for; FLOPs and bytes stand on its longest kernel.

        Nodes of graphs have those of the kernels that they were found to be, numbered on behind
        the ops of the trace.
        """
        own, donated = operations(self.linked), self.from_donors
        given = None if donated is None else donated.operations
        if given is None:
            return own
        taken = given.op >= 0
        return Operations(
            op=np.where(taken, len(self.linked.trace.ops) + given.op, own.op),
            flops=np.where(taken, given.flops, own.flops),
            bytes_=np.where(taken, given.bytes_, own.bytes_),
            dtype=np.where(taken, given.dtype, own.dtype),
        )

    def name_at(self, row: int) -> str | None:
        """Return the name of one row."""
        return self.linked.trace.text(int(self.linked.name[row]))

    def stage_at(self, row: int) -> str | None:
        """Return the stage of one row, null outside of any stage."""
        stage = int(self.stages.stage[row])
        return None if stage < 0 else self.stages.names[stage]

    def to_arrow(self) -> pa.Table:
        """Return the table as Arrow columns named as in `COLUMNS`; missing values are null."""
        import pyarrow as pa

        return pa.table(self._arrow_columns(), schema=arrow_schema())

    def to_pandas(self) -> Any:
        """Return the table as a pandas DataFrame: nullable numbers, texts as categories.

        Raises
        ------
        MissingDependencyError
            pandas is not installed.
        """
        from tracekit.tabular import to_pandas

        return to_pandas(self.to_arrow())

    def _of_activity(self, name: str) -> IntArray:
        if self.linked.basis == "cpu":
            return np.full(len(self), NULL, np.int64)
        column: IntArray = getattr(self.linked.trace.activities, name)
        return column

    def _arrow_columns(self) -> dict[str, Any]:
        linked, trace, stages = self.linked, self.linked.trace, self.stages
        calls, rank = trace.calls, trace.rank
        count = len(self)
        return {
            "rank": _integers(np.full(count, NULL if rank is None else rank, np.int64)),
            "device": _integers(self.device),
            "stream": _integers(self.stream),
            "start_ns": _integers(self.start_ns),
            "dur_ns": _integers(self.dur_ns),
            "correlation": _integers(self._of_activity("correlation")),
            "name": _texts(linked.name, trace.strings),
            "category": _texts(self.category, CATEGORIES),
            "evidence": _texts(self.evidence, EVIDENCES),
            "confidence": _floats(self.confidence),
            "reason": _texts(self.reason, self.reasons),
            "attention_kind": _texts(self.kind, self.kinds),
            "attention_axis": _texts(self.axis, self.axes),
            "causal": _booleans(self.causal),
            "phase": _texts(self.phase, PHASES),
            "stage": _texts(stages.stage, stages.names),
            "step": _integers(stages.step),
            "module": _texts(self.module, self.module_paths),
            "op": _texts(self.op, self.op_names),
            "launch_start_ns": _integers(_launch(calls.start_ns, linked.launch)),
            "launch_dur_ns": _integers(_launch(calls.dur_ns, linked.launch)),
            "flops": _integers(self.operations.flops),
            "bytes": _integers(self.operations.bytes_),
        }


def arrow_schema() -> pa.Schema:
    """Return the Arrow schema of the kernel table."""
    import pyarrow as pa

    text = pa.dictionary(pa.int32(), pa.string())
    types = {
        **dict.fromkeys(COLUMNS, pa.int64()),
        **dict.fromkeys(
            ("name", "category", "evidence", "reason", "attention_kind", "attention_axis"), text
        ),
        **dict.fromkeys(("phase", "stage", "module", "op"), text),
        "confidence": pa.float64(),
        "causal": pa.bool_(),
    }
    return pa.schema([(name, types[name]) for name in COLUMNS])


def _at(column: AnyArray, rows: IntArray) -> AnyArray:
    return column[rows] if len(column) else np.full(len(rows), -1)


def _launch(column: IntArray, launch: IntArray) -> IntArray:
    if not len(column):
        return np.full(len(launch), NULL, np.int64)
    return np.where(launch >= 0, column[launch], NULL)


def _integers(values: IntArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.int64(), mask=values == NULL)


def _floats(values: FloatArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(values, pa.float64(), mask=np.isnan(values))


def _booleans(values: SmallArray) -> pa.Array:
    import pyarrow as pa

    return pa.array(values == 1, pa.bool_(), mask=values < 0)


def _texts(codes: AnyArray, texts: tuple[str, ...]) -> pa.Array:
    """Return a dictionary column of the texts in use, by first row: the same however codes fell."""
    import pyarrow as pa

    used, first, code = np.unique(codes[codes >= 0], return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(used), np.int32)
    place[order] = np.arange(len(used))
    full = np.zeros(len(codes), np.int32)
    full[codes >= 0] = place[code]
    return pa.DictionaryArray.from_arrays(
        pa.array(full, pa.int32(), mask=codes < 0),
        pa.array([texts[position] for position in used[order].tolist()], pa.string()),
    )
