"""How a trace is read."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracekit.loading.launch import PARALLEL_BYTES, processor_count
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
    parallel_bytes: int = PARALLEL_BYTES

    def worker_count(self) -> int:
        """Return how many processes may parse."""
        return processor_count() if self.workers is None else max(1, self.workers)
