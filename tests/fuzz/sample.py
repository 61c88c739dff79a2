"""A small sample of the example traces, as the seed of mutations."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from fuzz.json_text import Layout, Pairs, parse, write

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "traces"
SAMPLE_BYTES = 48_000
_LAYOUT = Layout()
_HOST = ("cpu_op", "user_annotation", "python_function")
_CALLS = ("cuda_runtime", "cuda_driver")
_ACTIVITIES = ("kernel", "gpu_memcpy", "gpu_memset")


def real_sample() -> str:
    """Return real events: of each example some activities, and what surrounds their launches."""
    paths = sorted(EXAMPLES.glob("*.json.gz"))
    chosen: list[str] = []
    metadata = Pairs()
    for path in paths:
        trace = parse(gzip.decompress(path.read_bytes()))
        metadata = Pairs((k, v) for k, v in trace if k not in ("traceEvents", "traceName"))
        room = (SAMPLE_BYTES - 1500) // len(paths)
        for group in _groups(trace.get("traceEvents")):
            texts = [write(event, _LAYOUT, Random(0)) for event in group]
            room -= sum(len(text.encode()) + 2 for text in texts)
            if room < 0:
                break
            chosen += texts
    body = ",\n".join(chosen)
    return f'{write(metadata, _LAYOUT, Random(0))[:-1]},"traceEvents":[\n{body}\n]}}\n'


def _groups(events: list[Any]) -> Iterator[list[Any]]:
    """Yield an activity, its launch, and what was open then, for some activities of a trace."""
    complete = [e for e in events if e.get("ph") == "X"]
    launches = {_correlation(e): e for e in complete if e.get("cat") in _CALLS}
    activities = [e for e in complete if e.get("cat") in _ACTIVITIES]
    seen: set[int] = set()
    for activity in activities[len(activities) // 3 :: 5]:
        call = launches.get(_correlation(activity))
        around = [] if call is None else [e for e in complete if _encloses(e, call)]
        group = [e for e in (*around, call, activity) if e is not None and id(e) not in seen]
        seen.update(map(id, group))
        yield group
    flows = [e for e in events if e.get("ph") in ("s", "f", "M", "i")]
    yield from ([event] for event in flows[:: max(1, len(flows) // 8)])


def _correlation(event: Pairs) -> Any:
    return event.get("args").get("correlation")


def _encloses(event: Pairs, call: Pairs) -> bool:
    start, at = float(event.get("ts")), float(call.get("ts"))
    same = event.get("cat") in _HOST and event.get("tid") == call.get("tid")
    return same and start <= at < start + float(event.get("dur"))
