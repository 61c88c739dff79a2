"""The columns that attention calls are held in."""

from __future__ import annotations

from dataclasses import dataclass

from tracekit.trace import BoolArray, CodeArray, IntArray, SmallArray


@dataclass(frozen=True, slots=True)
class AttentionCalls:
    """One row a call of an attention operator, by thread and in the order of their issue.

    `start_ns` to `end_ns` on `thread` is where its work was issued. `op` is the fused op, or the
    first op of an operator that is written out (`is_written`). `sequences` is batch times heads,
    and `batch` and `heads` are known where an op tells them apart; sizes are `NULL` where unknown.
    `causal` is 1, 0, or -1 for unknown. `call` holds the call of each activity, -1 for none.
    """

    thread: CodeArray
    start_ns: IntArray
    end_ns: IntArray
    op: IntArray
    is_written: BoolArray
    sequences: IntArray
    query_length: IntArray
    key_length: IntArray
    head_size: IntArray
    batch: IntArray
    heads: IntArray
    causal: SmallArray
    call: IntArray

    def __len__(self) -> int:
        return len(self.op)
