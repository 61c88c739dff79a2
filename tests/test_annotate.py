"""`tracekit annotate`, as JSON: what is added is right, and what was there stays as it was."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation_helpers import EXAMPLES, HOSTILE, annotated, ns, own_events, small, tracks_of
from builders import RunBuilder, TraceBuilder
from tracekit import analyze, kernels
from tracekit.analysis.track_counters import bin_length_ns
from tracekit.analysis.track_lanes import flat_lanes, nested_lanes
from tracekit.analysis.tracks import annotation_tracks
from tracekit.annotating import AnnotateOptions, annotate
from tracekit.categories import CATEGORIES
from tracekit.cli import run
from tracekit.errors import InputError, OutputExistsError, TraceFormatError, UsageError
from tracekit.loading.copying import FIRST_ID, LAST_ID, copy_trace
from tracekit.reports.palette import COLOR_OF, LABEL_OF
from tracekit.reports.track_names import slice_names
from tracekit.results import Analysis
from tracekit.trace import NULL
from tracekit.track_results import CATEGORY, SliceTrack, Texts

NAMES = ("pixart_compiled", "pixart_cudagraph", "sdxl_kernels_only", "zeroscope_flash")


def write(path: Path, trace: TraceBuilder, **how: Any) -> Path:
    return trace.write(path, **how)


def numbers(result: Analysis) -> dict[str, Any]:
    """Everything that an analysis says, but for how its events are counted and where it lies."""
    fields = msgspec.to_builtins(result)
    left_out = [row for row in fields["left_out"] if row["what"] != "tracks of tracekit"]
    added = sum(row["events"] for row in fields["left_out"]) - sum(
        row["events"] for row in left_out
    )
    trace = fields["trace"] | {"path": "", "events": fields["trace"]["events"] - added}
    return {**fields, "left_out": left_out, "trace": trace}


@pytest.mark.parametrize("name", NAMES)
def test_an_annotated_trace_gives_the_same_numbers(name: str, tmp_path: Path) -> None:
    source = EXAMPLES / f"{name}.json.gz"
    value = annotated(source, tmp_path / "out.json")
    before, after = analyze(source), analyze(tmp_path / "out.json")
    assert numbers(before) == numbers(after)
    assert after.trace.events == len(value["traceEvents"])
    assert after.trace.events - before.trace.events == len(own_events(value)) > 1_000
    (row,) = [row for row in after.left_out if row.what == "tracks of tracekit"]
    assert row.events == len(own_events(value))


@pytest.mark.parametrize("name", NAMES)
def test_the_file_stays_as_it_is_byte_for_byte(name: str, tmp_path: Path) -> None:
    source, out, again = EXAMPLES / f"{name}.json.gz", tmp_path / "a.json", tmp_path / "b.json"
    annotated(source, out)
    before, after = gzip.decompress(source.read_bytes()), out.read_bytes()
    at = before.rindex(b"}", 0, before.rindex(b"]")) + 1
    assert after.startswith(before[:at] + b',\n{"ph":"M","cat":"tracekit"')
    assert after.endswith(before[at:])
    annotated(out, again)
    assert again.read_bytes() == after


def test_tracks_say_what_the_analysis_says(tmp_path: Path) -> None:
    source = EXAMPLES / "zeroscope_flash.json.gz"
    tracks = tracks_of(annotated(source, tmp_path / "out.json.gz"))
    result, table = analyze(source, list_all=True), kernels(source)
    (process,) = {process for process, _ in tracks}
    assert process == "tracekit: GPU 0"
    for stage, event in zip(result.stages, tracks[process, "Stages"], strict=True):
        assert event["name"] == stage.stage
        assert ns(event["ts"]) == stage.start_ns
        assert ns(event["dur"]) == stage.end_ns - stage.start_ns
    calls = tracks[process, "Attention"]
    assert len(calls) == result.attention.calls_total
    assert [ns(event["ts"]) for event in calls] == [c.start_ns for c in result.attention.calls]
    for event, call in zip(calls, result.attention.calls, strict=True):
        assert event["args"]["query_length"] == call.query_length
        assert event["args"].get("axis") == call.axis
        assert event["args"]["flops"] == call.flops
        assert f"{call.query_length}×{call.key_length}" in event["name"]
    causes = {"Host late": 0, "Synchronization": 0, "Launch latency": 0, "Profiler": 0}
    for event in tracks[process, "Idle"]:
        causes[event["name"]] += ns(event["dur"])
    assert list(causes.values()) == [
        {row.cause: row.time_ns for row in result.idle.by_cause}[cause]
        for cause in ("host_late", "sync", "launch_latency", "profiler")
    ]
    work = [e for (_, name), events in tracks.items() if name.startswith("Cat") for e in events]
    assert len(work) == len(table)
    for row in result.categories:
        of = [event for event in work if event["args"]["category"] == row.category]
        assert {event["name"].rstrip() for event in of} <= {LABEL_OF[row.category]}
        assert len(of) == row.kernels
        assert sum(ns(event["dur"]) for event in of) == row.time_ns
        assert len({event["cname"] for event in of}) <= 1


def perfetto_hash(text: str, size: int) -> int:
    """`ui/src/base/hash.ts`: products lose digits as JavaScript's numbers do."""
    value = 0x811C9DC5 & 0xFFFFFFF
    for letter in text:
        value = int(float((value ^ ord(letter)) * 1.0) * 16777619.0) & 0xFFFFFFFF
        value -= (value & 0x80000000) << 1
    return abs(value) % size


def hue(color: str) -> float:
    """The hue of a colour in CIELUV, which HSLuv's is, in degrees."""
    linear = np.array([int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    x, y, z = SRGB @ linear
    white_x, white_y, white_z = SRGB @ np.ones(3)
    whole, white = x + 15 * y + 3 * z, white_x + 15 * white_y + 3 * white_z
    u, v = 4 * x / whole - 4 * white_x / white, 9 * y / whole - 9 * white_y / white
    return float(np.degrees(np.arctan2(v, u)) % 360)


SRGB = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def test_perfetto_shows_categories_in_their_colours() -> None:
    codes = np.arange(len(CATEGORIES))
    track = SliceTrack("", CATEGORY, codes, codes, Texts(codes, CATEGORIES))
    for slug, name in zip(CATEGORIES, slice_names(track), strict=True):
        assert not re.search(r"\d", name)
        shown = perfetto_hash(name, 360)
        off = abs((shown - hue(COLOR_OF[slug]) + 180) % 360 - 180)
        assert off < 15 or slug in ("memory", "other"), (slug, shown)


def test_counters_add_up(tmp_path: Path) -> None:
    source = EXAMPLES / "zeroscope_flash.json.gz"
    table = kernels(source)
    (group,) = annotation_tracks(table)
    time = analyze(source).time
    by_name = {counter.name: counter for counter in group.counters}
    busy, rate = by_name["GPU busy"], by_name["achieved rate"]
    assert (busy.value >= 0).all()
    assert (busy.value <= 100).all()
    width_ns = bin_length_ns(time.span_ns)
    assert ((busy.time_ns - busy.time_ns[0]) % width_ns == 0).all()
    lasted = np.diff(busy.time_ns)
    assert (busy.value[:-1] / 100 * lasted).sum() == pytest.approx(time.busy_ns, rel=1e-9)
    flops = table.operations.flops
    total = (rate.value[:-1] * np.diff(rate.time_ns)).sum() / 1e9
    assert total == pytest.approx(flops[flops != NULL].sum(), rel=1e-9)
    assert set(by_name["spatial sequence length"].value) == {0, 25, 100, 400, 1600}
    assert set(by_name["temporal sequence length"].value) == {0, 24}


@pytest.mark.parametrize("name", NAMES)
def test_no_slice_crosses_another(name: str, tmp_path: Path) -> None:
    tracks = tracks_of(annotated(EXAMPLES / f"{name}.json.gz", tmp_path / "out.json"))
    assert len(tracks) >= 3
    for events in tracks.values():
        reach = None
        for event in events:
            assert reach is None or ns(event["ts"]) >= reach
            reach = ns(event["ts"]) + ns(event["dur"])


def test_activities_that_overlap_on_a_stream_get_tracks_of_their_own(tmp_path: Path) -> None:
    tracks = tracks_of(annotated(write(tmp_path / "t.json", small()), tmp_path / "out.json"))
    kept = {name: len(events) for (_, name), events in tracks.items() if name.startswith("Cat")}
    assert kept == {
        "Categories, stream 7": 3,
        "Categories, stream 8": 3,
        "Categories, stream 8 (2)": 3,
    }


def test_times_are_exact_where_floats_are_not(tmp_path: Path) -> None:
    b = TraceBuilder()
    text = b.text().decode().replace('"traceEvents": []', '"traceEvents": [EVENTS]')
    starts = [1_790_857_026_123_456_789 + 1_001 * index for index in range(50)]
    kernels_ = ",".join(
        f'{{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":{start // 1000}.'
        f'{start % 1000:03d},"dur":0.999,"args":{{"device":0,"stream":7}}}}'
        for start in starts
    )
    (tmp_path / "t.json").write_text(text.replace("EVENTS", kernels_))
    annotate(tmp_path / "t.json", tmp_path / "out.json")
    value = json.loads((tmp_path / "out.json").read_text(), parse_float=str)
    events = tracks_of(value)["tracekit: GPU 0", "Categories, stream 7"]
    assert [ns(event["ts"]) for event in events] == starts
    assert {event["dur"] for event in events} == {"0.999"}
    assert all(event["ts"][-4] == "." for event in events)


def test_ids_of_the_file_are_not_taken(tmp_path: Path) -> None:
    b = small()
    taken = [FIRST_ID, str(FIRST_ID + 1), FIRST_ID + 3]
    for number in taken:
        b.add(ph="i", s="t", name="mark", pid=number, tid=1, ts=0.0)
        b.add(ph="s", cat="ac2g", name="ac2g", id=FIRST_ID + 5, pid=1, tid=number, ts=0.0)
    value = annotated(write(tmp_path / "t.json", b), tmp_path / "out.json")
    used = {event[key] for event in own_events(value) for key in ("pid", "tid")}
    assert not used & set(map(int, taken))
    assert used <= set(range(FIRST_ID, LAST_ID + 1))
    named = [e["tid"] for e in own_events(value) if e["name"] == "thread_name"]
    assert len(named) == len(set(named)) > 3


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_break_nothing(hostile: str, tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(hostile, 0, 5_000)
    b.op(hostile, 0, 900)
    b.module(hostile, 0, 4_000)
    b.launched(hostile, 10, 1_000, 50)
    b.launched(hostile, 500, 1_100, 50)
    source = write(tmp_path / "t.json", b)
    value = annotated(source, tmp_path / "out.json")
    assert value["traceEvents"][: len(b.events)] == b.events
    (work,) = [e for (_, n), e in tracks_of(value).items() if n.startswith("Categories")]
    assert {event["args"]["name"] for event in work} == {hostile}
    assert numbers(analyze(source)) == numbers(analyze(tmp_path / "out.json"))
    annotated(tmp_path / "out.json", tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "out.json").read_bytes()


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_shape_of_a_trace(bare: bool, indent: int | None, tmp_path: Path) -> None:
    b = small()
    source = write(tmp_path / "t.json.gz", b, bare=bare, indent=indent)
    value = annotated(source, tmp_path / "out.json")
    assert value["traceEvents"][: len(b.events)] == b.events
    assert len(own_events(value)) > 20
    assert {key: value[key] for key in value if key != "traceEvents"} == (
        {} if bare else b.metadata
    )
    assert numbers(analyze(source)) == numbers(analyze(tmp_path / "out.json"))


@pytest.mark.parametrize(
    "after",
    [
        ', "traceName": "t.json", "displayTimeUnit": "ms"}',
        ', "more": [{"a": [1, 2]}, {"b": "]}"}], "x": 1}',
        ', "big": [' + ",".join(["[1]"] * 300) + "]}",
        ' , "long": "' + "x" * 1_000_000 + '" }\n\n',
    ],
)
def test_what_follows_the_events_stays(after: str, tmp_path: Path) -> None:
    text = small().text().decode()
    assert text.endswith("]}")
    (tmp_path / "t.json").write_text(text[:-1] + after)
    value = annotated(tmp_path / "t.json", tmp_path / "out.json")
    assert len(own_events(value)) > 20
    assert (tmp_path / "out.json").read_text().endswith("]" + after)


def test_a_comma_behind_the_last_event_goes(tmp_path: Path) -> None:
    text = small().text()
    (tmp_path / "t.json").write_bytes(text[:-2] + b",\n]}")
    value = annotated(tmp_path / "t.json", tmp_path / "out.json")
    assert value["traceEvents"][: len(small().events)] == small().events
    assert numbers(analyze(tmp_path / "t.json")) == numbers(analyze(tmp_path / "out.json"))


@pytest.mark.parametrize(
    "text", ['{"traceEvents": []}', "[]", '{"a": 1, "traceEvents": [ ], "b": 2}']
)
def test_a_trace_without_events_stays_as_it_is(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(text)
    annotate(tmp_path / "t.json", tmp_path / "out.json")
    assert (tmp_path / "out.json").read_text() == text


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_trace_cut_anywhere_is_closed_behind_its_last_event(
    data: st.DataObject, tmp_path: Path
) -> None:
    text = small().text(bare=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 1])))
    cut = data.draw(st.integers(text.index(b'"ph"') + 120, len(text)))
    (tmp_path / "t.json").write_bytes(text[:cut])
    check_salvaged(tmp_path)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_trace_gives_whole_json(data: st.DataObject, tmp_path: Path) -> None:
    text = bytearray(small().text(indent=data.draw(st.sampled_from([None, 1]))))
    first = text.index(b'"ph"')
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(first + 200, len(text) - 20))
        text[at : at + data.draw(st.integers(1, 40))] = data.draw(
            st.sampled_from([b"", b"\xff\xfe", b"}", b'"', b"\x00", b"NaN", b"{{", b"],"])
        )
    (tmp_path / "t.json").write_bytes(bytes(text))
    check_salvaged(tmp_path)


def check_salvaged(folder: Path) -> None:
    source, out = folder / "t.json", folder / "out.json"
    try:
        before = analyze(source)
    except InputError:
        return
    annotate(source, out, AnnotateOptions(force=True))
    value = json.loads(out.read_bytes().decode("utf-8", "replace"), strict=False)
    assert isinstance(value, (list, dict))
    after = analyze(out)
    assert not after.trace.truncated
    for part in ("time", "categories", "stages", "idle", "attention", "overlap"):
        assert getattr(before, part) == getattr(after, part), part
    assert before.trace.gpu_events == after.trace.gpu_events


def test_damage_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = small().text().replace(b'"ph": "X"', b'"ph": X"', 2)
    (tmp_path / "t.json").write_bytes(text[:-90])
    assert run(["annotate", str(tmp_path / "t.json"), "-o", str(tmp_path / "o.json")]) == 0
    told = capsys.readouterr().err
    assert "2 damaged events are not in the annotated trace" in told
    assert "closed behind it" in told


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    b = small()
    text = b.text()
    events = json.dumps(b.events).encode()[1:-1]
    (tmp_path / "t.json").write_bytes(text[:-2] + b", " + b", ".join([events] * 3_000) + b"]}")
    written = 0

    def write_(piece: bytes) -> None:
        nonlocal written
        written += len(piece)

    tracemalloc.start()
    copied = copy_trace(str(tmp_path / "t.json"), write_, lambda _: [b'{"ph":"M"}'])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written == (tmp_path / "t.json").stat().st_size + len(b',\n{"ph":"M"}') > 9_000_000
    assert (copied.replaced, copied.broken, copied.truncated) == (0, 0, False)
    assert peak < 5_000_000


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    source = write(tmp_path / "t.json", small())
    for name in ("a.json.gz", "b.json.gz"):
        annotate(source, tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_only_tracks(tmp_path: Path) -> None:
    source = write(tmp_path / "t.json", small())
    value = annotated(source, tmp_path / "only.json", only_tracks=True)
    assert value["traceEvents"] == own_events(annotated(source, tmp_path / "all.json"))
    with pytest.raises(TraceFormatError, match="holds only tracks that `tracekit annotate"):
        analyze(tmp_path / "only.json")


def test_a_run_folder_gives_its_rich_pass(tmp_path: Path) -> None:
    run_folder = RunBuilder().write(tmp_path / "run")
    value = annotated(run_folder, tmp_path / "out.json")
    steps = tracks_of(value)["tracekit: GPU 0", "Steps"]
    assert [event["name"] for event in steps] == [f"denoise {step}" for step in range(4)]
    assert [event["args"]["step"] for event in steps] == [0, 1, 2, 3]


def test_a_trace_of_cpu_ops_has_tracks_too(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::linear", 0, 500)
    b.op("aten::mul", 600, 100, tid=2)
    value = annotated(write(tmp_path / "t.json", b), tmp_path / "out.json")
    assert ("tracekit: CPU", "Categories, thread 2") in tracks_of(value)


def test_ranks_do_not_go_into_one_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for rank in range(2):
        (tmp_path / "ranks" / f"rank{rank}").mkdir(parents=True)
        write(tmp_path / "ranks" / f"rank{rank}" / "t.json", small())
    assert run(["annotate", str(tmp_path / "ranks"), "-o", str(tmp_path / "o.json")]) == 3
    told = capsys.readouterr().err
    assert "holds 2 traces" in told
    assert "rank1/t.json" in told
    assert "--format perfetto" in told
    assert not (tmp_path / "o.json").exists()


def test_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "t.json", small())
    (tmp_path / "kept.json").write_text("mine")
    with pytest.raises(OutputExistsError):
        annotate(source, tmp_path / "kept.json")
    assert (tmp_path / "kept.json").read_text() == "mine"
    with pytest.raises(UsageError, match=r"\.pftrace"):
        annotate(source, tmp_path / "out.txt")
    assert run(["annotate", str(source), "-o", str(tmp_path / "a.txt"), "--format", "json"]) == 0
    assert json.loads((tmp_path / "a.txt").read_text())
    assert run(["annotate", str(tmp_path / "none.json"), "-o", str(tmp_path / "b.json")]) == 3
    assert "no such file" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"t.json", "kept.json", "a.txt"}
    before = source.read_bytes()
    assert run(["annotate", str(source), "-o", str(source), "--force"]) == 0
    assert source.read_bytes().startswith(before[:-2])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), max_size=30))
def test_lanes(intervals: list[tuple[int, int]]) -> None:
    ordered = sorted(intervals, key=lambda one: (one[0], -one[1]))
    start = np.array([one for one, _ in ordered], np.int64)
    end = start + np.array([dur for _, dur in ordered], np.int64)
    flat, nested = flat_lanes(start, end), nested_lanes(start, end)
    for low in range(len(start)):
        for high in range(low + 1, len(start)):
            overlaps = start[high] < end[low]
            assert not (overlaps and flat[low] == flat[high])
            assert not (overlaps and end[high] > end[low] and nested[low] == nested[high])
    takes = [(start <= at) & ((end > at) | (start == end) & (start == at)) for at in range(75)]
    at_once = max(int(one.sum()) for one in takes)
    assert flat.max(initial=-1) + 1 <= max(at_once, 1)
