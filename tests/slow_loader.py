"""A slow, obvious loader with tracekit's rules: what the fast one must agree with on valid JSON.

It reads the whole file with `json`, keeps the digits of numbers, and decides event by event.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

KINDS = ("kernel", "gpu_memcpy", "gpu_memset")
OLD_KINDS = {"Kernel": 0, "Memcpy": 1, "Memset": 2}
KIND_OF = {**{kind: code for code, kind in enumerate(KINDS)}, **OLD_KINDS}
TABLE_OF = {
    **dict.fromkeys(KIND_OF, "activities"),
    **dict.fromkeys(("cuda_runtime", "cuda_driver", "hip_runtime", "hip_driver"), "calls"),
    "Runtime": "calls",
    "cpu_op": "ops",
    "Operator": "ops",
    "python_function": "frames",
    "user_annotation": "annotations",
    "overhead": "overheads",
    "cuda_sync": "synchronizations",
}
ARGS = {
    "activities": {"correlation": "correlation", "bytes": "size_bytes",
                   "graph node id": "graph_node"},
    "calls": {"correlation": "correlation"},
    "ops": {"Sequence number": "sequence_number", "Fwd thread id": "forward_thread"},
    "frames": {"Python id": "python_id", "Python parent id": "python_parent_id"},
}  # fmt: skip
FRAGMENTS = {
    "activities": {"grid": "grid", "block": "block"},
    "ops": {"Input Dims": "input_dims", "Input type": "input_types",
            "Input Strides": "input_strides",
            "Concrete Inputs": "concrete_inputs"},
}  # fmt: skip
UNREAD = "not a category of torch.profiler that tracekit reads"
MAX_START_NS = 2**62
MAX_DUR_NS = 2**53
INT64_MAX = 2**63 - 1


class Number(float):
    """A JSON float that keeps its digits."""

    text: str

    def __new__(cls, text: str) -> Number:
        made = super().__new__(cls, text)
        made.text = text
        return made


@dataclass
class SlowTrace:
    """What the file holds: rows as dicts by table, and what is left out as (events, ns)."""

    rows: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {name: [] for name in set(TABLE_OF.values())}
    )
    events: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_ns: dict[str, int] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def span_ns(self) -> int:
        """First start to last end of GPU activity, once for each device."""
        rows = self.rows["activities"]
        if not rows:
            return 0
        span_ns = max(r["start_ns"] + r["dur_ns"] for r in rows) - min(r["start_ns"] for r in rows)
        return span_ns * len({row["device"] for row in rows})


def slow_load(text: str) -> SlowTrace:
    """Return the trace of a valid JSON text."""
    value = json.loads(text, parse_float=Number)
    trace = SlowTrace()
    events = value.pop("traceEvents") if isinstance(value, dict) else value
    trace.metadata = value if isinstance(value, dict) else {}
    trace.events = len(events)
    for event in events:
        _take(trace, event)
    trace.rows["activities"].sort(key=lambda row: row["start_ns"])
    return trace


def _take(trace: SlowTrace, event: Any) -> None:
    if not isinstance(event, dict):
        trace.left_out["list elements"] += 1
        return
    phase = event.get("ph")
    if phase != "X":
        what = _incomplete(phase, event)
        if what:
            trace.left_out[what] += 1
        return
    category = event.get("cat")
    if not isinstance(category, str):
        category = ""
    if category in ("gpu_user_annotation", "Trace"):
        return
    table = TABLE_OF.get(category)
    start_ns, dur_ns = to_ns(event.get("ts")), to_ns(event.get("dur"))
    what = f"{category!r} events" if category else "events without a category"
    if table is None:
        trace.left_out[what] += 1
        if dur_ns is not None:
            trace.left_out_ns[what] = trace.left_out_ns.get(what, 0) + dur_ns
    elif start_ns is None or dur_ns is None or not _is_usable(start_ns, dur_ns):
        trace.left_out[what] += 1
    else:
        trace.rows[table].append(_row(table, category, event, start_ns, dur_ns))


def _is_usable(start_ns: int, dur_ns: int) -> bool:
    return abs(start_ns) <= MAX_START_NS and 0 <= dur_ns <= MAX_DUR_NS


def _incomplete(phase: Any, event: dict[str, Any]) -> str | None:
    """Say as what an event that is not complete is left out, null if it counts as used."""
    if not isinstance(phase, str) or not phase:
        return "events without a phase"
    if phase in ("s", "t", "f", "M"):
        return None
    if phase in ("i", "I"):
        name = str(event.get("name") or "")
        is_marker = name.startswith(("Iteration Start: ", "Record Window End"))
        return None if is_marker else "instant events"
    known = {"C": "counter events", "B": "begin/end events", "E": "begin/end events"}
    return known.get(phase, f"events of phase {phase!r}")


def _row(
    table: str, category: str, event: dict[str, Any], start_ns: int, dur_ns: int
) -> dict[str, Any]:
    args = event.get("args")
    if not isinstance(args, dict):
        args = {}
    name = event.get("name")
    row: dict[str, Any] = {
        "start_ns": start_ns,
        "dur_ns": dur_ns,
        "name": name if name is None or isinstance(name, str) else str(name),
    }
    for key, column in ARGS.get(table, {}).items():
        row[column] = to_int(args.get(key))
    for key, column in FRAGMENTS.get(table, {}).items():
        row[column] = args.get(key)
    if table == "activities":
        row["kind"] = KIND_OF[category]
        for column, instead in (("device", "pid"), ("stream", "tid")):
            number = to_int(args.get(column))
            row[column] = to_int(event.get(instead)) if number is None else number
    else:
        row["thread"] = (str(event.get("pid")), str(event.get("tid")))
    return row


def to_ns(value: Any) -> int | None:
    """Return ns of µs: a number, or a text that is one; null for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | Number | str):
        return None
    text = value.text if isinstance(value, Number) else str(value)
    try:
        exact = Decimal(text.strip(" \t\r\n"))
    except InvalidOperation:
        return None
    if not exact.is_finite() or exact.adjusted() > 18:
        return None
    value_ns = int((exact * 1000).to_integral_value(ROUND_HALF_EVEN))
    return value_ns if abs(value_ns) <= INT64_MAX else None


def to_int(value: Any) -> int | None:
    """Return an int64; integers may be texts or whole floats; null for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and abs(value) <= INT64_MAX else None
