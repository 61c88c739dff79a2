"""Attention time by axis and by kind."""

from __future__ import annotations

import numpy as np

from tracekit.categories import ATTENTION, CODE_OF, TEMPORAL_ATTENTION
from tracekit.classifying.table import KernelTable
from tracekit.results import AttentionResult, AttentionShare
from tracekit.units import share_of


def attention_times(table: KernelTable) -> AttentionResult:
    """Return attention time by axis; an axis that nothing tells is null.

    Kinds, calls and sequence lengths are not computed.
    """
    of_attention = np.isin(table.category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])
    total_ns = int(table.dur_ns[of_attention].sum())
    shares = []
    for axis in np.unique(table.axis[of_attention]).tolist():
        rows = of_attention & (table.axis == axis)
        time_ns = int(table.dur_ns[rows].sum())
        shares.append(
            AttentionShare(
                key=None if axis < 0 else table.axes[axis],
                kernels=int(np.count_nonzero(rows)),
                time_ns=time_ns,
                time_share=share_of(time_ns, total_ns),
            )
        )
    shares.sort(key=lambda share: -share.time_ns)
    return AttentionResult(by_axis=tuple(shares))
