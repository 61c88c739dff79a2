"""Mutated real traces that are valid JSON: the loader must agree with a slow, obvious one."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from random import Random
from typing import Any

import pytest
from fuzz.json_text import LAYOUTS, Layout, Pairs, parse
from fuzz.mutate import mutate_events, mutate_metadata, real_events, real_metadata, trace_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_loader import SlowTrace, slow_load

from tracekit.errors import TraceFormatError
from tracekit.loading.loader import LoadOptions, load_file
from tracekit.loading.numbers import MAX_TOTAL_NS
from tracekit.trace import NULL, Table, Trace

# A file without one event that torch.profiler writes is refused, so there is always one.
ANCHOR: Pairs = parse(
    '{"ph":"X","cat":"kernel","name":"anchor","pid":0,"tid":7,"ts":4593887672770.598,'
    '"dur":2.125,"args":{"device":0,"stream":7,"correlation":77,"grid":[1,2,3]}}'
)
TEXT_COLUMNS = {
    "name",
    "grid",
    "block",
    "input_dims",
    "input_types",
    "input_strides",
    "concrete_inputs",
}


def load_text(text: str, window_bytes: int, **options: Any) -> Trace:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(text.encode())
        file.flush()
        return load_file(file.name, LoadOptions(window_bytes=window_bytes, **options))


def rows_of(trace: Trace, name: str, columns: list[str]) -> list[dict[str, Any]]:
    table: Table = getattr(trace, name)
    values = {column: _values(trace, column, getattr(table, column).tolist()) for column in columns}
    return [{c: values[c][row] for c in columns} for row in range(len(table))]


def _values(trace: Trace, column: str, codes: list[int]) -> list[Any]:
    if column == "thread":
        return [trace.threads[code] for code in codes]
    if column == "name":
        return [trace.text(code) for code in codes]
    if column in TEXT_COLUMNS:
        return [None if (text := trace.text(code)) is None else json.loads(text) for code in codes]
    return [None if code == NULL else code for code in codes]


def assert_agree(trace: Trace, slow: SlowTrace) -> None:
    assert trace.events == slow.events
    assert not trace.truncated
    left_out: Counter[str] = Counter()
    left_out_ns: dict[str, int] = {}
    for count in trace.left_out:
        left_out[count.what] += count.events
        if count.time_ns is not None:
            left_out_ns[count.what] = left_out_ns.get(count.what, 0) + count.time_ns
    assert left_out == slow.left_out
    assert left_out_ns == slow.left_out_ns
    for name, expected in slow.rows.items():
        columns = list(expected[0]) if expected else ["start_ns"]
        assert rows_of(trace, name, columns) == expected, name


def _without_booleans(event: Any) -> None:
    """Drop true and false where a number belongs: whether they count is not decided."""
    args = event.get("args") if isinstance(event, Pairs) else None
    for where in (event, args):
        if isinstance(where, Pairs):
            where[:] = [(key, value) for key, value in where if not isinstance(value, bool)]


@st.composite
def traces(draw: st.DrawFn) -> str:
    rng: Random = draw(st.randoms(use_true_random=False))
    layout: Layout = draw(st.sampled_from(LAYOUTS))
    events = mutate_events(rng, real_events(rng, 30), most=draw(st.integers(0, 12)))
    for event in events:
        _without_booleans(event)
    # Where a list starts or ends with what is no object, it is taken for something else or for cut.
    events = [ANCHOR, *events, ANCHOR]
    metadata = mutate_metadata(rng, real_metadata())
    return trace_text(rng, metadata, events, layout, bare=draw(st.booleans()))


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(traces(), st.sampled_from([64, 700, 1 << 14, 1 << 19]))
def test_mutated_real_traces_load_as_the_slow_loader_says(text: str, window: int) -> None:
    slow = slow_load(text)
    if slow.span_ns() > MAX_TOTAL_NS:
        with pytest.raises(TraceFormatError, match="146 years apart"):
            load_text(text, window)
    else:
        assert_agree(load_text(text, window), slow)


@pytest.mark.parametrize("layout", LAYOUTS, ids=range(len(LAYOUTS)))
@pytest.mark.parametrize("window", [64, 1000, 1 << 19])
def test_real_events_in_every_layout(layout: Layout, window: int) -> None:
    rng = Random(3)
    text = trace_text(rng, real_metadata(), real_events(rng, 100), layout)
    slow = slow_load(text)
    trace = load_text(text, window)
    assert len(slow.rows["activities"]) > 5
    assert len(slow.rows["ops"]) > 5
    assert_agree(trace, slow)
    assert trace.metadata == slow.metadata


@pytest.mark.parametrize("segment", [150, 700, 5000])
@pytest.mark.parametrize("seed", [1, 2])
def test_several_processes_read_the_same(segment: int, seed: int) -> None:
    rng = Random(seed)
    events = [ANCHOR, *mutate_events(rng, real_events(rng, 60)), ANCHOR]
    for event in events:
        _without_booleans(event)
    # Events that start with another key than the first one cannot start a segment.
    for event in events[10:20]:
        if isinstance(event, Pairs):
            event.reverse()
    text = trace_text(rng, real_metadata(), events, LAYOUTS[2 * seed])
    trace = load_text(text, 1 << 14, workers=2, parallel_bytes=1, segment_bytes=segment)
    assert_agree(trace, slow_load(text))
