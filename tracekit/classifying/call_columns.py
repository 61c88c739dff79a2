"""The columns that attention calls are held in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final, Self

import numpy as np

from tracekit.trace import BoolArray, CodeArray, IntArray, SmallArray

BACKENDS: Final = (
    "flash",
    "memory_efficient",
    "cudnn",
    "math",
    "written_out",
    "fused",
    "sage",
    "flex",
)
"""What computes attention; `fused` is a fused implementation that PyTorch does not name."""

DTYPES: Final = {
    "float64": 8,
    "float32": 4,
    "bfloat16": 2,
    "float16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int8": 1,
}
"""Element types of queries, keys and values, with their bytes."""


@dataclass(frozen=True, slots=True)
class AttentionCalls:
    """One row a call of an attention operator, by thread and in the order of their issue.

    `start_ns` to `end_ns` on `thread` is where its work was issued. `op` is the fused op, or the
    first op of an operator that is written out (`is_written`). `sequences` is batch times heads,
    and `batch` and `heads` are known where an op tells them apart; `key_heads` are those of the
    keys where they differ, `head_size` is of queries and keys, `value_size` of values; sizes are
    `NULL` where unknown. `is_linear` says that there are no scores. `causal` is 1, 0, or -1 for
    unknown; `is_top_left` says that query i of a causal call has the first i keys. `backend` holds
    positions in `BACKENDS`, `dtype` in `DTYPES`, -1 where unknown. `call` holds the call of each
    activity, -1 for none.
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
    key_heads: IntArray
    value_size: IntArray
    is_linear: BoolArray
    causal: SmallArray
    is_top_left: BoolArray
    backend: SmallArray
    dtype: SmallArray
    call: IntArray

    def __len__(self) -> int:
        return len(self.op)

    def joined(self, other: Self) -> Self:
        """Return the calls of both, those of another trace behind; `call` stays that of this one.

        Ops and threads of the other's calls are rows of the other's trace.
        """
        columns = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in fields(self)
            if field.name != "call"
        }
        return type(self)(**columns, call=self.call)
