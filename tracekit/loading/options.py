"""How a trace is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tracekit.loading.limits import LoadLimits


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a trace is read; nothing here changes what is read from a file within the limits.

    `workers` is how many processes parse, null for one a processor (8 at most); `window_bytes`
    how much JSON is parsed at a time (small windows stay in the processor's cache);
    `segment_bytes` how much a worker takes at a time, and `parallel_bytes` from which size of
    JSON on more than one works.
    """

    workers: int | None = None
    limits: LoadLimits = field(default_factory=LoadLimits)
    window_bytes: int = 1 << 18
    segment_bytes: int = 1 << 22
    parallel_bytes: int = 24_000_000

    def worker_count(self) -> int:
        """Return how many processes may parse."""
        if self.workers is not None:
            return max(1, self.workers)
        try:
            return min(8, len(os.sched_getaffinity(0)))
        except AttributeError:
            return min(8, os.cpu_count() or 1)
