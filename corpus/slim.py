"""Makes a trace small: drops what no reader of it needs, and keeps every event that says something.

What is dropped: mirrors of annotations on the GPU's tracks, flow arrows, Python frames other than
those of modules, queries of the runtime, and arguments beyond those that are listed here. Times of
the host are rounded down to 0.1 µs at both ends, which keeps every nesting; those of GPU activities
stay exact.
"""

from __future__ import annotations

import gzip
import json
import re
from decimal import Decimal
from math import floor
from pathlib import Path
from typing import Any, Final

_ARGS: Final = (
    "correlation", "device", "stream", "bytes", "graph node id", "grid", "block",
    "shared memory", "Input Dims", "Input type", "Concrete Inputs", "Sequence number",
    "Fwd thread id", "Python id", "Python parent id", "Python module id",
)  # fmt: skip
_FIELDS: Final = ("ph", "cat", "name", "pid", "tid", "ts", "dur")
_DROPPED: Final = ("gpu_user_annotation", "ac2g", "fwdbwd", "async_cpu_to_gpu")
_QUERY: Final = re.compile(
    r"^(?:cuda(?:Occupancy|FuncGet|FuncSet|Get|StreamIsCapturing|StreamGet|PeekAt|Device[GS]et"
    r"|EventQuery|Pointer)|hip(?:Get|Func)|cu(?:Func|Kernel|Module|Library|Ctx|Tensor|Pointer)"
    r"(?!.*Launch))"
)
_FRAME: Final = "nn.Module: "
_ON_GPU: Final = ("kernel", "gpu_memcpy", "gpu_memset")
_HOST_TICKS: Final = 10
"""To the µs."""


def slim(source: Path, target: Path) -> dict[str, int]:
    """Write a small gzipped copy of a trace and return what it holds.

    Returns
    -------
    dict of str to int
        `events`, `kernels`, `bytes` of the copy.
    """
    text = source.read_text(encoding="utf-8", errors="replace")
    trace = json.loads(text, parse_float=Decimal)
    events = [slimmed for event in trace["traceEvents"] if (slimmed := _slim(event)) is not None]
    first = min((event["ts"] for event in events if event["ph"] == "X"), default=Decimal(0))
    for event in events:
        _retime(event, first)
    base = int(trace.get("baseTimeNanoseconds", 0)) + int(first * 1000)
    kept = {
        "schemaVersion": trace.get("schemaVersion"),
        "deviceProperties": trace.get("deviceProperties", [])[:1],
        "baseTimeNanoseconds": base,
    }
    text = json.dumps(
        {**kept, "traceEvents": events}, separators=(",", ":"), ensure_ascii=False, default=float
    )
    packed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    target.write_bytes(packed)
    kernels = sum(event.get("cat") == "kernel" for event in events)
    return {"events": len(events), "kernels": kernels, "bytes": len(packed)}


def _retime(event: dict[str, Any], first: Decimal) -> None:
    """Let time begin at the first event; host times become short."""
    if event["ph"] != "X":
        event.pop("ts", None)
        return
    start, end = event["ts"] - first, event["ts"] - first + event["dur"]
    if event["cat"] not in _ON_GPU:
        start, end = (Decimal(floor(one * _HOST_TICKS)) / _HOST_TICKS for one in (start, end))
    event["ts"], event["dur"] = float(start), float(end - start)


def _slim(event: dict[str, Any]) -> dict[str, Any] | None:
    category, name = event.get("cat"), str(event.get("name", ""))
    if category in _DROPPED or event.get("ph") in ("s", "f", "t"):
        return None
    if category == "python_function" and not name.startswith(_FRAME):
        return None
    if category in ("cuda_runtime", "cuda_driver") and _QUERY.match(name):
        return None
    if category is None:
        return event if event.get("ph") == "M" else None
    kept: dict[str, Any] = {key: event[key] for key in _FIELDS if key in event}
    args = event.get("args", {})
    found = {key: args[key] for key in _ARGS if key in args}
    if not any(found.get("Concrete Inputs", ())):
        found.pop("Concrete Inputs", None)
    return {**kept, "args": found} if found else kept
