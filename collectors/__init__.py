"""What runs on the GPU machine and records traces; the only part of tracekit that imports torch.

Everything in `__all__` is loaded on first use, and torch only when something is recorded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.collectors.passes import RecordOptions, RunSummary, record_workload
    from tracekit.collectors.recording import Recording, record, trace_handler, traced_step
    from tracekit.collectors.workload import ModelOptions, Workload

_HOME_OF = {
    "ModelOptions": "tracekit.collectors.workload",
    "RecordOptions": "tracekit.collectors.passes",
    "Recording": "tracekit.collectors.recording",
    "RunSummary": "tracekit.collectors.passes",
    "Workload": "tracekit.collectors.workload",
    "record": "tracekit.collectors.recording",
    "record_workload": "tracekit.collectors.passes",
    "trace_handler": "tracekit.collectors.recording",
    "traced_step": "tracekit.collectors.recording",
}

__all__ = [
    "ModelOptions",
    "RecordOptions",
    "Recording",
    "RunSummary",
    "Workload",
    "record",
    "record_workload",
    "trace_handler",
    "traced_step",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
