"""What the tests of annotated traces have in common."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from builders import TraceBuilder
from tracekit.annotating import AnnotateOptions, annotate

EXAMPLES = Path(__file__).parent.parent / "examples" / "traces"
HOSTILE = (
    'say "hi" \\ </script><img src=x onerror=alert(1)>',
    "nul \x00 bell \x07 newline \n",
    "emoji 🧨 \u202eright to left\u202c 核",
    "void k<" + "float, " * 1_400 + ">",
    '"cat":"tracekit"',
    "=cmd()",
    "",
)


def small() -> TraceBuilder:
    b = TraceBuilder()
    for step in range(3):
        at = step * 10_000
        b.annotation(f"unet {step}", at, 9_000)
        b.op("aten::linear", at + 5, 500)
        b.launched("nvjet", at + 10, at + 1_000, 700)
        b.launched("vectorized_elementwise_kernel", at + 2_000, at + 2_500, 300, stream=8)
        b.launched("other", at + 3_000, at + 2_600, 100, stream=8)
    return b


def annotated(path: Path, out: Path, **how: Any) -> dict[str, Any]:
    annotate(path, out, AnnotateOptions(force=True, **how))
    text = out.read_bytes()
    value = json.loads(gzip.decompress(text) if out.suffix == ".gz" else text)
    return value if isinstance(value, dict) else {"traceEvents": value}


def own_events(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in value["traceEvents"] if event.get("cat") == "tracekit"]


def ns(value: Any) -> int:
    exact = Decimal(str(value)) * 1000
    assert exact == int(exact)
    return int(exact)


def tracks_of(value: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The added slices by the names of process and thread."""
    own = own_events(value)
    named = {
        kind: {
            (event["pid"], event["tid"]): event["args"]["name"]
            for event in own
            if event["ph"] == "M" and event["name"] == kind
        }
        for kind in ("process_name", "thread_name")
    }
    tracks: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in own:
        if event["ph"] == "X":
            process = named["process_name"][event["pid"], event["pid"]]
            tracks[process, named["thread_name"][event["pid"], event["tid"]]].append(event)
    return tracks
