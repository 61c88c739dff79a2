"""A slow, obvious loader and slow, obvious analyses: what the fast ones must agree with."""

from __future__ import annotations

import gzip
import json
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

GPU = ("kernel", "gpu_memcpy", "gpu_memset")


def read_events(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    value = json.loads(data, parse_float=Decimal)
    events = value["traceEvents"] if isinstance(value, dict) else value
    assert isinstance(events, list)
    return events


def to_ns(value_us: Any) -> int:
    exact = Decimal(value_us) * 1000
    return int(exact.to_integral_value(ROUND_HALF_EVEN))


def gpu_rows(events: list[dict[str, Any]]) -> list[tuple[int, int, str, int, int]]:
    """(start_ns, dur_ns, name, device, stream) of every GPU activity, in start order."""
    rows = [
        (to_ns(e["ts"]), to_ns(e["dur"]), e["name"], e["args"]["device"], e["args"]["stream"])
        for e in events
        if e.get("ph") == "X" and e.get("cat") in GPU
    ]
    return sorted(rows, key=lambda row: row[0])


def covered_ns(intervals: list[tuple[int, int]]) -> int:
    """Union of intervals, one after the other."""
    covered, reach = 0, None
    for start, end in sorted(intervals):
        if reach is None or start > reach:
            covered += end - start
            reach = end
        elif end > reach:
            covered += end - reach
            reach = end
    return covered
