"""Attention time by axis and by kind."""

from __future__ import annotations

import numpy as np

from tracekit.analysis.breakdown import sums_by_code
from tracekit.categories import ATTENTION, CODE_OF, TEMPORAL_ATTENTION
from tracekit.classifying.table import KernelTable
from tracekit.results import AttentionResult, AttentionShare
from tracekit.trace import IntArray
from tracekit.units import share_of


def attention_times(table: KernelTable) -> AttentionResult:
    """Return attention time by axis and by kind; what nothing tells is null.

    Calls and sequence lengths are not computed.
    """
    of_attention = np.isin(table.category, [CODE_OF[ATTENTION], CODE_OF[TEMPORAL_ATTENTION]])
    dur_ns = table.dur_ns[of_attention]
    return AttentionResult(
        by_axis=_shares(table.axis[of_attention], table.axes, dur_ns),
        by_kind=_shares(table.kind[of_attention], table.kinds, dur_ns),
    )


def _shares(
    codes: IntArray, names: tuple[str, ...], dur_ns: IntArray
) -> tuple[AttentionShare, ...]:
    total_ns = int(dur_ns.sum())
    kernels, time_ns = sums_by_code(codes + 1, dur_ns, len(names) + 1)
    shares = [
        AttentionShare(
            key=names[code - 1] if code else None,
            kernels=int(kernels[code]),
            time_ns=int(time_ns[code]),
            time_share=share_of(int(time_ns[code]), total_ns),
        )
        for code in np.flatnonzero(kernels).tolist()
    ]
    return tuple(sorted(shares, key=lambda share: -share.time_ns))
