"""Loading: exact times, every form of file, damage, and agreement with the slow reference."""

from __future__ import annotations

import gzip
import itertools
import json
import random
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from builders import TraceBuilder
from reference import gpu_rows, read_events, to_ns
from tracekit.errors import InputError, TraceFormatError, UnsupportedInputError
from tracekit.loading.loader import LoadOptions, load_file
from tracekit.loading.numbers import ns_of_us_texts
from tracekit.trace import NULL, Trace

TRACES = sorted((Path(__file__).parent.parent / "examples" / "traces").glob("*.json.gz"))


def rows_of(trace: Trace) -> list[tuple[int, int, str | None, int, int]]:
    a = trace.activities
    return [
        (int(s), int(d), trace.text(int(n)), int(dev), int(stream))
        for s, d, n, dev, stream in zip(
            a.start_ns, a.dur_ns, a.name, a.device, a.stream, strict=True
        )
    ]


def small_trace() -> TraceBuilder:
    builder = TraceBuilder()
    for i in range(12):
        builder.op(f"aten::op{i % 3}", 1000 * i, 800, **{"Input Dims": [[2, i], []]})
        builder.launched(f"kernel_{i}", 1000 * i + 100, 1000 * i + 300, 250 + i)
    return builder


def test_there_are_real_traces() -> None:
    assert len(TRACES) >= 5


@pytest.mark.parametrize("path", TRACES, ids=lambda p: p.name)
def test_real_traces_agree_with_the_reference(path: Path) -> None:
    events = read_events(path)
    trace = load_file(str(path))
    assert trace.events == len(events)
    assert rows_of(trace) == gpu_rows(events)
    ops = [e for e in events if e.get("cat") == "cpu_op"]
    assert trace.ops.start_ns.tolist() == [to_ns(e["ts"]) for e in ops]
    assert [trace.text(c) for c in trace.ops.name.tolist()] == [e["name"] for e in ops]
    dims = [trace.text(c) for c in trace.ops.input_dims.tolist()]
    assert [None if d is None else json.loads(d) for d in dims] == [
        e["args"].get("Input Dims") for e in ops
    ]
    assert not trace.truncated
    assert trace.left_out == ()


@pytest.mark.parametrize("window", [64, 1000, 1 << 14, 1 << 19])
@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("suffix", [".json", ".json.gz", ".renamed"])
def test_every_form_of_file_gives_the_same_columns(
    tmp_path: Path, window: int, indent: int | None, bare: bool, suffix: str
) -> None:
    builder = small_trace()
    path = builder.write(tmp_path / f"t{suffix}", bare=bare, indent=indent)
    if suffix == ".renamed":
        path.write_bytes(gzip.compress(path.read_bytes()))
    trace = load_file(str(path), LoadOptions(window_bytes=window))
    expected = json.loads(builder.text())["traceEvents"]
    assert rows_of(trace) == gpu_rows(expected)
    assert trace.events == len(expected)
    assert not trace.truncated
    assert trace.left_out == ()
    if not bare:
        assert trace.metadata["schemaVersion"] == 1


def test_gzip_of_several_members(tmp_path: Path) -> None:
    data = small_trace().text()
    path = tmp_path / "t.gz"
    path.write_bytes(b"".join(gzip.compress(data[i : i + 900]) for i in range(0, len(data), 900)))
    trace = load_file(str(path))
    assert (trace.events, trace.truncated) == (36, False)


@pytest.mark.parametrize("window", [64, 700, 1 << 19])
@pytest.mark.parametrize("members", [1, 3])
def test_a_wrong_checksum_loses_no_event(tmp_path: Path, window: int, members: int) -> None:
    data = small_trace().text()
    cuts = [len(data) * i // members for i in range(members + 1)]
    stored = bytearray(b"".join(gzip.compress(data[a:b]) for a, b in itertools.pairwise(cuts)))
    stored[-8] ^= 255
    path = tmp_path / "t.json.gz"
    path.write_bytes(stored)
    trace = load_file(str(path), LoadOptions(window_bytes=window))
    assert (trace.events, len(trace.activities), trace.truncated) == (36, 12, True)
    assert "damaged" in trace.warnings[0]


def test_a_named_member_is_rescued_too(tmp_path: Path) -> None:
    path = tmp_path / "t.json.gz"
    with path.open("wb") as file, gzip.GzipFile("a name", "wb", fileobj=file) as stream:
        stream.write(small_trace().text())
    stored = bytearray(path.read_bytes())
    stored[-2] ^= 1
    path.write_bytes(stored)
    assert load_file(str(path)).events == 36


@given(st.integers(0, 2**63 - 1))
def test_digits_become_exact_ns(value_ns: int) -> None:
    text = f"{value_ns // 1000}.{value_ns % 1000:03}".encode()
    assert ns_of_us_texts([Raw(text)]).tolist() == [value_ns]
    assert ns_of_us_texts([Raw(text), Raw(b"1.0")]).tolist() == [value_ns, 1000]


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15))
def test_any_decimal_rounds_to_the_nearest_ns(value_us: Decimal) -> None:
    assert ns_of_us_texts([Raw(str(value_us).encode())]).tolist() == [to_ns(value_us)]


@pytest.mark.parametrize(
    "text", [b"", b"null", b"NaN", b"1e400", b'"x"', b"{}", b"9223372036854776"]
)
def test_what_is_no_time_is_null(text: bytes) -> None:
    assert ns_of_us_texts([Raw(text), Raw(b"1.500")]).tolist() == [NULL, 1500]


def test_times_of_the_size_of_unix_time_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(
        '{"traceEvents": [{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,'
        '"ts": 1790857026123456.789,"dur":0.001,"args":{"device":0,"stream":7}}]}'
    )
    trace = load_file(str(path))
    assert trace.activities.start_ns.tolist() == [1790857026123456789]
    assert trace.activities.dur_ns.tolist() == [1]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_anywhere_keeps_every_whole_event(
    tmp_path: Path, indent: int | None, compressed: bool
) -> None:
    builder = small_trace()
    data = builder.text(indent=indent)
    ends = _event_ends(data)
    first = data.index(b"[", data.index(b"traceEvents"))
    path = tmp_path / "cut.json"
    for cut in random.Random(5).sample(range(first + 2, len(data) - 1), 60):
        path.write_bytes(_gzip_flushed(data[:cut]) if compressed else data[:cut])
        trace = load_file(str(path), LoadOptions(window_bytes=512))
        whole = sum(end <= cut for end in ends)
        assert trace.events == whole, cut
        assert trace.truncated, cut
        assert "ends early" in trace.warnings[0]
        assert trace.left_out == ()


def _event_ends(data: bytes) -> list[int]:
    text = data.decode()
    position = text.index("[", text.index("traceEvents")) + 1
    decoder, ends = json.JSONDecoder(), []
    while True:
        while text[position] in ", \n":
            position += 1
        if text[position] == "]":
            return ends
        position = decoder.raw_decode(text, position)[1]
        ends.append(len(text[:position].encode()))


def _gzip_flushed(data: bytes) -> bytes:
    """Gzip without its end, as a killed writer leaves it."""
    import zlib

    deflate = zlib.compressobj(wbits=31)
    return deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    ("broken", "counted"),
    [
        (b'{"ph":"X","cat":"kernel","name":"bad","ts": 1.0.0,"dur":1,"args":{}}', 1),
        (b'{"ph":"X","cat":"kernel","name":"bad","ts": ,"dur":1}', 1),
        (b'{"ph":"X","cat":"kernel" "name":"bad"}', 1),
        (b'{"ph":"X","cat":"kernel","name":"bad","args":{"a":[{"b":1},{"c":2]}}', 1),
    ],
)
@pytest.mark.parametrize("window", [300, 1 << 19])
def test_a_broken_event_is_counted_and_the_others_kept(
    tmp_path: Path, broken: bytes, counted: int, window: int
) -> None:
    builder = small_trace()
    parts = [json.dumps(event).encode() for event in builder.events]
    parts.insert(17, broken)
    path = tmp_path / "t.json"
    path.write_bytes(b'{"traceEvents": [' + b",".join(parts) + b"]}")
    trace = load_file(str(path), LoadOptions(window_bytes=window))
    assert len(trace.activities) == 12
    assert len(trace.ops) == 12
    damaged = [count.events for count in trace.left_out if count.what == "damaged events"]
    assert sum(damaged) >= counted
    assert not trace.truncated
    assert trace.events == 36 + sum(count.events for count in trace.left_out)


def test_not_quite_json_is_mended(tmp_path: Path) -> None:
    events = [
        b'{"ph":"X","cat":"kernel","name":"a","ts":1.5,"dur":1.250,"args":{"bw":inf,"device":0}}',
        b'{"ph":"X","cat":"kernel","name":"b\x01","ts":3.5,"dur":1.0,"args":{"bw":NaN}}',
        b'{"ph":"X","cat":"kernel","name":"c\xff\xfe","ts":6.5,"dur":1.0,"args":{}}',
        b'{"ph":"X","cat":"kernel","name":"d","ts":1790857026123456.789,"dur":NaN,"args":{}}',
    ]
    path = tmp_path / "t.json"
    path.write_bytes(b'{"traceEvents": [' + b",\n".join(events) + b"]}")
    trace = load_file(str(path))
    assert [row[:3] for row in rows_of(trace)] == [
        (1500, 1250, "a"),
        (3500, 1000, "b "),
        (6500, 1000, "c\ufffd\ufffd"),
    ]
    assert [(count.what, count.events) for count in trace.left_out] == [("'kernel' events", 1)]


def test_loosely_typed_fields(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.kernel("as text", 1000, 10, correlation=None)["args"].update(
        {"correlation": "12", "device": "0", "stream": 7.0}
    )
    builder.kernel("numbers", 2000, 10)["name"] = 12
    builder.kernel("no args", 3000, 10)["args"] = None
    builder.kernel("list args", 4000, 10)["args"] = [1, 2]
    builder.kernel("huge", 5000, 10)["args"]["correlation"] = 10**30
    builder.kernel("tid text", 6000, 10).update({"pid": "0", "tid": "stream 7"})
    builder.events.append(12)  # type: ignore[arg-type]
    builder.events.append({"cat": "kernel", "name": "no phase", "ts": 1, "dur": 1})
    trace = load_file(str(builder.write(tmp_path / "t.json")))
    assert trace.activities.correlation.tolist() == [12, NULL, NULL, NULL, NULL, NULL]
    assert trace.activities.device.tolist() == [0] * 6
    assert [row[2] for row in rows_of(trace)] == [
        "as text", "12", "no args", "list args", "huge", "tid text"
    ]  # fmt: skip
    assert trace.events == 8
    assert sum(count.events for count in trace.left_out) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dur": -1.0}, "negative"),
        ({"dur": None}, "`dur`"),
        ({"ts": None}, "`ts`"),
        ({"ts": "soon"}, "`ts`"),
        ({"ts": 9.3e18}, "`ts`"),
        ({"ts": 2**63}, "`ts`"),
        ({"dur": 1e300}, "`dur`"),
        ({"ts": 9223372036854000.0}, "146 years"),
        ({"ts": -9223372036854000.0}, "146 years"),
        ({"dur": 9223372036854000.0}, "104 days"),
    ],
)
def test_unusable_times_are_left_out_with_the_reason(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    builder = small_trace()
    builder.kernel("bad", 5, 5).update(change)
    trace = load_file(str(builder.write(tmp_path / "t.json")))
    assert len(trace.activities) == 12
    (count,) = trace.left_out
    assert count.events == 1
    assert why in count.why


def test_durations_of_zero_are_kept(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.kernel("zero", 10, 0)
    trace = load_file(str(builder.write(tmp_path / "t.json")))
    assert rows_of(trace) == [(10, 0, "zero", 0, 7)]


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    builder = small_trace()
    builder.add(ph="C", name="GPU 0 Utilization", pid=0, ts=1.0, args={"v": 1})
    builder.add(ph="i", cat="cpu_instant_event", name="[memory]", ts=1.0, s="t")
    builder.add(ph="B", name="b", ts=1.0)
    builder.add(ph="X", cat="my_category", name="m", ts=1.0, dur=2.5)
    builder.add(ph="M", name="process_name", pid=0, args={"name": "python"})
    builder.add(ph="s", cat="ac2g", id=1, name="ac2g", ts=1.0)
    builder.add(ph="i", name="Record Window End", ts=1.0, s="g")
    trace = load_file(str(builder.write(tmp_path / "t.json")))
    assert trace.events == 43
    assert {(count.what, count.events, count.time_ns) for count in trace.left_out} == {
        ("counter events", 1, None),
        ("instant events", 1, None),
        ("begin/end events", 1, None),
        ("'my_category' events", 1, 2500),
    }


def test_nested_lists_of_objects_never_cut_an_event(tmp_path: Path) -> None:
    builder = TraceBuilder()
    for i in range(40):
        builder.kernel(f"k{i}", 100 * i, 10, things=[{"a": 1}, {"ph": "X", "b": [{"c": 1}]}] * 5)
    builder.metadata["later"] = [{"id": 1}, {"id": 2}]
    for indent in (None, 2):
        path = builder.write(tmp_path / "t.json", indent=indent)
        for window in (100, 333, 1 << 16):
            trace = load_file(str(path), LoadOptions(window_bytes=window))
            assert (trace.events, len(trace.activities)) == (40, 40)
            assert trace.left_out == ()


def test_metadata_after_the_events_is_read(tmp_path: Path) -> None:
    events = ",".join(json.dumps(e) for e in small_trace().events)
    devices = json.dumps([{"id": i, "name": f"GPU {i}", "x": "y" * 100} for i in range(40)])
    path = tmp_path / "t.json"
    path.write_text(f'{{"a": 1, "traceEvents": [{events}], "deviceProperties": {devices}, "z": 2}}')
    for window in (128, 1000, 1 << 19):
        trace = load_file(str(path), LoadOptions(window_bytes=window))
        assert (trace.events, trace.truncated, trace.left_out) == (36, False, ())
        assert len(trace.metadata["deviceProperties"]) == 40
        assert trace.metadata["z"] == 2


@pytest.mark.parametrize(
    "text", ['{"traceEvents": []}', "[]", '{"a": {"traceEvents": 1}, "traceEvents" : [ ] , "b": 2}']
)
def test_an_empty_list_is_an_empty_trace(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    trace = load_file(str(path))
    assert (trace.events, len(trace.activities), trace.truncated) == (0, 0, False)


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", InputError, "empty (0 bytes)"),
        (b"hello", TraceFormatError, "not JSON"),
        (b'{"a": 1}', TraceFormatError, "no trace"),
        (b"[1, 2, 3]", TraceFormatError, "does not hold objects"),
        (b'[{"ph": "X"}, 2]', TraceFormatError, "none that torch.profiler writes"),
        (b'"text"', TraceFormatError, "no trace"),
        (b'{"schemaVersion": 1, "traceEv', TraceFormatError, "no complete JSON object"),
        (b'{"traceEvents": {"a": 1}}', TraceFormatError, "no trace"),
        (b"\x7fELF\0\0\0\1" * 50, InputError, "binary file"),
        (b"SQLite format 3\0" + b"\0" * 84, UnsupportedInputError, "SQLite"),
        (b"PK\x03\x04aaaa", UnsupportedInputError, "zip"),
        (b"PAR1aaaa", UnsupportedInputError, "Parquet"),
        (b"\x28\xb5\x2f\xfdaaaa", UnsupportedInputError, "zstd"),
        (
            b'\x18\0\0\0\0\0\0\0\xa3\x7fK"\t\0\0\xc0\xb7\x0f\xd9A\x1a\rbrain.Event:2',
            UnsupportedInputError,
            "event file",
        ),
        (
            b'{"traceEvents":[{"ph":"M","pid":1,"name":"process_name",'
            b'"args":{"name":"/device:GPU:0"}},{"ph":"X","pid":1,"tid":1,"ts":1,"dur":1,'
            b'"name":"fusion","args":{"hlo_op":"fusion"}}]}',
            UnsupportedInputError,
            "JAX/XLA",
        ),
        (
            b'{"traceEvents":[{"ph":"X","cat":"xpu_runtime","ts":1,"dur":1,"name":"l"},'
            b'{"ph":"X","cat":"kernel","ts":1,"dur":1,"name":"k","args":{"device":0}}]}',
            UnsupportedInputError,
            "XPU",
        ),
        (b"\x1f\x8b", TraceFormatError, "cut short"),
        (gzip.compress(b'{"traceEvents": [')[:25], TraceFormatError, ""),
        (gzip.compress(b"SQLite format 3\0" + b"\0" * 84), UnsupportedInputError, "SQLite"),
    ],
)
@pytest.mark.parametrize("window", [1 << 19, 16])
def test_unusable_inputs_are_refused_in_one_line(
    tmp_path: Path, data: bytes, error: type[InputError], words: str, window: int
) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    if window == 16 and error is not TraceFormatError:
        pytest.skip("signatures are looked for in the first window")
    with pytest.raises(error) as caught:
        load_file(str(path), LoadOptions(window_bytes=window))
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_file(str(tmp_path / "missing.json"))
    with pytest.raises(InputError, match="is a folder"):
        load_file(str(tmp_path))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise_anything_but_input_errors(data: st.DataObject) -> None:
    import tempfile

    text = bytearray(small_trace().text(indent=data.draw(st.sampled_from([None, 1]))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "repeat"]))
        if kind == "flip":
            text[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del text[at : at + data.draw(st.integers(1, 40))]
        elif kind == "insert":
            text[at:at] = data.draw(st.binary(max_size=8))
        else:
            text[at:at] = text[at : at + 50]
        if len(text) < 2:
            return
    with tempfile.NamedTemporaryFile() as file:
        file.write(text)
        file.flush()
        try:
            trace = load_file(file.name, LoadOptions(window_bytes=700))
        except InputError:
            return
    held = len(trace.activities) + len(trace.calls) + len(trace.ops)
    assert held + sum(count.events for count in trace.left_out) <= trace.events
    assert np.all(trace.activities.dur_ns >= 0)
