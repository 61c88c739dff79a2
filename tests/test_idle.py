"""Idle time by cause and culprit, against a brute-force reference and on traces built by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder
from tracekit.analysis.blocking_calls import blocking_calls
from tracekit.analysis.causes import CAUSES
from tracekit.analysis.python_frames import is_users_own
from tracekit.results import Analysis, Blame

ROOT = Path(__file__).parent.parent
RECORDED = [
    *sorted((ROOT / "examples" / "traces").glob("*.json.gz")),
    *sorted((ROOT / "examples" / "runs").glob("*-h200")),
]


def analyzed(builder: TraceBuilder, folder: Path) -> Analysis:
    result = tracekit.analyze(builder.write(folder / "trace.json"), list_all=True)
    assert isinstance(result, Analysis)
    return result


def times(result: Analysis) -> dict[str, int]:
    return {row.cause: row.time_ns for row in result.idle.by_cause if row.time_ns}


# By hand: two kernels, 100 ns apart from 1,100 to 1,200


def two_kernels(launch: int, dur: int = 10, *, name: str = "cudaLaunchKernel") -> TraceBuilder:
    b = TraceBuilder()
    b.launch(900, 1)
    b.kernel("first", 1_000, 100, 1)
    b.launch(launch, 2, dur=dur, name=name)
    b.kernel("second", 1_200, 50, 2)
    return b


@pytest.mark.parametrize(
    ("launch", "dur", "expected"),
    [
        (1_000, 100, {"launch_latency": 100}),
        (1_000, 101, {"launch_latency": 100}),
        (1_090, 10, {"launch_latency": 100}),
        (1_100, 10, {"launch_latency": 100}),
        (1_140, 10, {"host_late": 40, "launch_latency": 60}),
        (1_195, 50, {"host_late": 95, "launch_latency": 5}),
        (1_200, 10, {"host_late": 100}),
        (1_300, 10, {"host_late": 100}),
    ],
)
def test_the_launch_divides_the_gap(
    launch: int, dur: int, expected: dict[str, int], tmp_path: Path
) -> None:
    result = analyzed(two_kernels(launch, dur), tmp_path)
    assert times(result) == expected
    (gap,) = result.idle.gaps
    assert gap.causes == expected
    assert gap.cause == max(expected, key=lambda cause: expected[cause])


def test_without_a_launch_nothing_is_known(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.kernel("first", 1_000, 100)
    b.kernel("second", 1_200, 50)
    assert times(analyzed(b, tmp_path)) == {"unknown": 100}


def test_nodes_of_one_graph_launch_wait_for_the_device_only(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launch(900, 1, dur=400, name="cudaGraphLaunch")
    b.kernel("first", 1_000, 100, 1)
    b.kernel("second", 1_200, 50, 1)
    assert times(analyzed(b, tmp_path)) == {"launch_latency": 100}


def test_what_the_host_did_is_told_apart(tmp_path: Path) -> None:
    b = two_kernels(1_160)
    b.launch(1_050, 9, dur=70, name="cudaStreamSynchronize")
    b.add(
        ph="X", cat="overhead", name="Buffer Flush", pid=-1, tid=0, ts=1.11, dur=0.03, args={}
    )  # 1,110 to 1,140
    b.op("aten::mm", 1_145, 10)
    result = analyzed(b, tmp_path)
    assert times(result) == {"profiler": 30, "sync": 10, "host_late": 20, "launch_latency": 40}
    late = {(row.op, row.time_ns) for row in result.idle.blame if row.cause == "host_late"}
    assert late == {("aten::mm", 10), (None, 10)}


def test_what_other_threads_do_is_no_cause(tmp_path: Path) -> None:
    b = two_kernels(1_160)
    b.launch(1_000, 9, dur=300, tid=2, name="cudaDeviceSynchronize")
    b.add(ph="X", cat="overhead", name="Buffer Flush", pid=b.pid, tid=2, ts=1.0, dur=0.3, args={})
    assert times(analyzed(b, tmp_path)) == {"host_late": 60, "launch_latency": 40}


@pytest.mark.parametrize(
    ("name", "copied", "blocks"),
    [
        ("cudaStreamSynchronize", None, True),
        ("cudaEventSynchronize", None, True),
        ("hipDeviceSynchronize", None, True),
        ("cuCtxSynchronize", None, True),
        ("cudaMemcpy", None, True),
        ("cuMemcpyDtoH_v2", None, True),
        ("hipMemcpyWithStream", None, True),
        ("cudaFree", None, True),
        ("cudaMemcpyAsync", "Memcpy DtoH (Device -> Pageable)", True),
        ("cudaMemcpyAsync", "Memcpy DtoH (Device -> Pinned)", False),
        ("cudaMemcpyAsync", "Memcpy DtoD (Device -> Device)", False),
        ("cudaLaunchKernel", "Memcpy HtoD (Pageable -> Device)", False),
        ("cudaStreamWaitEvent", None, False),
        ("cudaEventRecord", None, False),
        ("cudaStreamIsCapturing", None, False),
    ],
)
def test_calls_that_wait(name: str, copied: str | None, blocks: bool, tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launch(10, 1, name=name)
    b.kernel(copied or "kernel", 100, 10, 1, cat="gpu_memcpy" if copied else "kernel")
    trace = tracekit.load(b.write(tmp_path / "t.json"))
    assert blocking_calls(trace).tolist() == [blocks]


# Blame


def culprits(result: Analysis, cause: str = "host_late") -> list[Blame]:
    return [row for row in result.idle.blame if row.cause == cause]


def test_a_function_of_the_users_own_is_blamed(tmp_path: Path) -> None:
    b = two_kernels(1_160)
    for name, start, dur in (
        ("train.py(3): main", 0, 2_000),
        ("torch/nn/modules/module.py(1): _call_impl", 1_120, 30),
        ("my/data.py(7): load_batch", 1_125, 20),
        ("<built-in function sleep>", 1_126, 10),
    ):
        b.add(
            ph="X", cat="python_function", name=name, pid=b.pid, tid=1, ts=start / 1e3,
            dur=dur / 1e3, args={"Python id": start, "Python parent id": 0},
        )  # fmt: skip
    found = {
        (row.python, row.caller, row.is_own): row.time_ns for row in culprits(analyzed(b, tmp_path))
    }
    assert found == {
        ("my/data.py(7): load_batch", "my/data.py(7): load_batch", True): 20,
        ("torch/nn/modules/module.py(1): _call_impl", "train.py(3): main", False): 10,
        ("train.py(3): main", "train.py(3): main", True): 30,
    }


@pytest.mark.parametrize(
    ("frame", "own"),
    [
        ("train.py(3): main", True),
        ("/home/me/project/model.py(3): forward", True),
        ("src/torch_model.py(3): forward", True),
        ("torch/nn/modules/linear.py(3): forward", False),
        ("diffusers/pipelines/flux/pipeline_flux.py(3): __call__", False),
        ("/usr/lib/python3.12/threading.py(3): run", False),
        ("/venv/lib/python3.11/site-packages/pkg/a.py(3): f", False),
        ("inspect.py(3): signature", False),
        ("contextlib.py(81): inner", False),
        ("<built-in function sleep>", False),
        ("nn.Module: Linear_3", False),
        ("<frozen importlib._bootstrap>(241): _call", False),
    ],
)
def test_whose_code_a_frame_is(frame: str, own: bool) -> None:
    assert is_users_own(frame) is own


def test_repeated_modules_are_one_culprit(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launch(900, 1)
    b.kernel("first", 1_000, 100, 1)
    for at in range(3):
        start = 1_000 + 200 * at
        b.annotation(f"tk1|attn|unet.blocks.{at}.attn1|self|spatial|4|4|1", start, 200)
        b.launch(start + 190, 2 + at)
        b.kernel("next", start + 200, 50, 2 + at)
    rows = culprits(analyzed(b, tmp_path))
    assert [(row.module, row.gaps) for row in rows] == [("unet.blocks.*.attn1", 3)]


def test_an_annotation_of_the_users_is_blamed_unless_it_is_a_stage(tmp_path: Path) -> None:
    b = two_kernels(1_160)
    b.annotation("tk1|stage|denoise|0", 0, 3_000)
    b.annotation("load prompt", 1_110, 40)
    rows = culprits(analyzed(b, tmp_path))
    assert [(row.stage, row.annotation, row.time_ns) for row in rows] == [
        ("denoise", "load prompt", 40),
        ("denoise", None, 20),
    ]


def test_latency_is_blamed_on_the_launching_op(tmp_path: Path) -> None:
    b = two_kernels(1_000, 20)
    b.op("aten::addmm", 990, 60)
    (row,) = culprits(analyzed(b, tmp_path), "launch_latency")
    assert (row.op, row.time_ns, row.gaps) == ("aten::addmm", 100, 1)


# Against brute force: every nanosecond by itself


def reference(b: TraceBuilder) -> dict[str, int]:
    """Idle time by cause, one nanosecond after the other."""
    found = dict.fromkeys(CAUSES, 0)
    events = [(e, round(e["ts"] * 1000), round(e["dur"] * 1000)) for e in b.events]
    gpu = [(start, start + dur, e) for e, start, dur in events if e["cat"] == "kernel"]
    calls = {
        e["args"]["correlation"]: (start, start + dur, e)
        for e, start, dur in events
        if e["cat"] == "cuda_runtime"
    }
    for device in {e["args"]["device"] for _, _, e in gpu}:
        rows = [row for row in gpu if row[2]["args"]["device"] == device]
        for now in range(min(r[0] for r in rows), max(r[1] for r in rows)):
            if not any(start <= now < end for start, end, _ in rows):
                found[_cause(now, rows, calls, events)] += 1
    return found


def _cause(now: int, rows: list[Any], calls: dict[int, Any], events: list[Any]) -> str:
    begin = max(end for start, end, _ in rows if end <= now)
    after = min((row for row in rows if row[0] > now), key=lambda row: row[0])[2]
    # Of several that end there, the one that started last in the file's order by end.
    before = [row for row in rows if row[1] == begin]
    call = calls.get(after["args"].get("correlation"))
    if call is None:
        return "unknown"
    start, end, launching = call
    same = {row[2]["args"].get("correlation") for row in before}
    if end <= begin or (len(same) == 1 and after["args"]["correlation"] in same) or now >= start:
        return "launch_latency"
    for cause in ("profiler", "sync"):
        for event, first, dur in events:
            is_kind = (
                event["cat"] == "overhead"
                if cause == "profiler"
                else event["cat"] == "cuda_runtime" and "Synchronize" in event["name"]
            )
            here = event["pid"] == -1 or event["tid"] == launching["tid"]
            if is_kind and here and first <= now < first + dur:
                return cause
    return "host_late"


TIME = st.integers(0, 60)
LENGTH = st.integers(0, 12)


@st.composite
def traces(draw: st.DrawFn) -> TraceBuilder:
    """Random activities on some devices and streams, their launches, waits and overheads."""
    b = TraceBuilder()
    starts: set[tuple[int, int]] = set()
    for number in range(draw(st.integers(1, 12))):
        start, device = draw(TIME), draw(st.integers(0, 1))
        # Which of two that start together ends a gap is the file's order; no cause hangs on it.
        if (start, device) in starts:
            continue
        starts.add((start, device))
        has_launch = draw(st.integers(0, 5)) > 0
        stream = draw(st.integers(7, 9))
        where = {"device": device, "stream": stream}
        b.kernel("k", start, draw(LENGTH), number + 1 if has_launch else None, **where)
        if has_launch:
            b.launch(draw(TIME), number + 1, dur=draw(LENGTH), tid=draw(st.integers(1, 2)))
    for number in range(draw(st.integers(0, 6))):
        tid = draw(st.integers(1, 2))
        b.launch(draw(TIME), 100 + number, dur=draw(LENGTH), tid=tid, name="cudaStreamSynchronize")
    for _ in range(draw(st.integers(0, 4))):
        whole = draw(st.booleans())
        b.add(
            ph="X", cat="overhead", name="Buffer Flush", pid=-1 if whole else b.pid,
            tid=0 if whole else draw(st.integers(1, 2)), ts=draw(TIME) / 1e3,
            dur=draw(LENGTH) / 1e3, args={},
        )  # fmt: skip
    for _ in range(draw(st.integers(0, 6))):
        b.op("aten::mm", draw(TIME), draw(LENGTH), tid=draw(st.integers(1, 2)))
    return b


@settings(max_examples=300, deadline=None)
@given(traces())
def test_causes_are_right_to_the_nanosecond(b: TraceBuilder) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        result = analyzed(b, Path(folder))
    assert {row.cause: row.time_ns for row in result.idle.by_cause} == reference(b)
    check_sums(result)


def check_sums(result: Analysis) -> None:
    idle = result.idle
    assert [row.cause for row in idle.by_cause] == list(CAUSES)
    assert sum(row.time_ns for row in idle.by_cause) == result.time.idle_ns
    assert sum(row.time_ns for row in idle.blame) == result.time.idle_ns
    for row in idle.by_cause:
        assert row.time_ns == sum(b.time_ns for b in idle.blame if b.cause == row.cause)
        assert row.time_ns == sum(gap.causes.get(row.cause, 0) for gap in idle.gaps)
        assert row.gaps == sum(row.cause in gap.causes for gap in idle.gaps)
    for gap in idle.gaps:
        assert sum(gap.causes.values()) == gap.time_ns > 0
        assert gap.causes[gap.cause or ""] == max(gap.causes.values())
    if result.time.idle_ns:
        assert sum(row.time_share or 0 for row in idle.by_cause) == pytest.approx(1)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.name)
def test_recorded_traces_add_up(path: Path) -> None:
    result = tracekit.analyze(path, list_all=True)
    assert isinstance(result, Analysis)
    check_sums(result)
    assert not times(result).get("unknown")
    limited = tracekit.analyze(path)
    assert isinstance(limited, Analysis)
    assert limited.idle.by_cause == result.idle.by_cause
    assert limited.idle.blame == result.idle.blame[:1000]


@pytest.mark.parametrize("path", RECORDED[:7], ids=lambda path: path.name)
def test_totals_are_those_of_hta(path: Path) -> None:
    """HTA takes each start from the end of the activity before it on the same stream.

    Where kernels of a stream overlap (programmatic dependent launch) that is negative, and it
    counts so; here it is no idle time.
    """
    import numpy as np

    activities = tracekit.load(path).activities
    order = np.argsort(activities.start_ns, kind="stable")
    assert len(np.unique(activities.stream)) == 1
    start_ns, end_ns = activities.start_ns[order], activities.end_ns[order]
    between_ns = start_ns[1:] - end_ns[:-1]
    result = tracekit.analyze(path)
    assert isinstance(result, Analysis)
    overlap_ns = int(between_ns[between_ns < 0].sum())
    assert result.time.idle_ns == int(between_ns.sum()) - overlap_ns
