"""The operations of nodes of replayed graphs: those of the kernels that they were found to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracekit.costing.operations import Operations
from tracekit.trace import NULL, IntArray


@dataclass(frozen=True, slots=True)
class DonatedCosts:
    """Columns that are filled donor by donor; `donor` is the number of the donor of `costs.op`."""

    costs: Operations
    donor: IntArray

    @classmethod
    def nothing(cls, count: int) -> DonatedCosts:
        """Begin without any."""
        return cls(
            Operations(
                op=np.full(count, -1, np.int64),
                flops=np.full(count, NULL, np.int64),
                bytes_=np.full(count, NULL, np.int64),
                dtype=np.full(count, -1, np.int8),
            ),
            np.full(count, -1, np.int64),
        )

    def take(self, number: int, given: Operations, rows: IntArray, partner: IntArray) -> None:
        """Take over what the partners of some rows cost, and to which operation they belong."""
        known = given.op[partner] >= 0
        rows, partner = rows[known], partner[known]
        self.donor[rows] = number
        self.costs.op[rows] = given.op[partner]
        self.costs.flops[rows] = given.flops[partner]
        self.costs.bytes_[rows] = given.bytes_[partner]
        self.costs.dtype[rows] = given.dtype[partner]

    def numbered(self, replay: IntArray) -> Operations:
        """Return the operations, numbered from 0, each replay having its own.

        `replay` tells the replays of the rows apart. An operation whose longest kernel has no
        node is left out: what it costs stands there.
        """
        rows = np.flatnonzero(self.costs.op >= 0)
        op = np.full(len(self.donor), -1, np.int64)
        if len(rows):
            keys = np.stack([replay[rows], self.donor[rows], self.costs.op[rows]])
            _, number = np.unique(keys, axis=1, return_inverse=True)
            number = number.reshape(-1)
            told = (self.costs.flops[rows] != NULL) | (self.costs.bytes_[rows] != NULL)
            is_told = np.bincount(number, told) > 0
            op[rows] = np.where(is_told[number], number, -1)
        return Operations(op, self.costs.flops, self.costs.bytes_, self.costs.dtype)
