"""`tracekit annotate` in Perfetto's own format, read back by an independent reader."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from annotation_helpers import EXAMPLES, HOSTILE, annotated, ns, small, tracks_of
from builders import TraceBuilder
from perfetto_reader import ReadTrack, flows, paths, read_perfetto
from tracekit import load
from tracekit.annotating import AnnotateOptions, annotate
from tracekit.cli import run
from tracekit.trace import Trace


def native(source: Path, out: Path, **how: bool) -> dict[tuple[str, str], ReadTrack]:
    annotate(source, out, AnnotateOptions(force=True, **how))
    return paths(read_perfetto(out))


def host_events(trace: Trace) -> int:
    tables = (trace.ops, trace.calls, trace.frames, trace.annotations, trace.overheads)
    return sum(map(len, (*tables, trace.synchronizations)))


def originals(tracks: dict[tuple[str, str], ReadTrack], group: str) -> list[ReadTrack]:
    return [track for (parent, _), track in tracks.items() if parent.startswith(group)]


@pytest.mark.parametrize("name", ["pixart_compiled", "pixart_cudagraph", "zeroscope_flash"])
def test_added_tracks_are_those_of_the_json(name: str, tmp_path: Path) -> None:
    source = EXAMPLES / f"{name}.json.gz"
    tracks = native(source, tmp_path / "out.pftrace")
    base_ns = load(source).metadata["baseTimeNanoseconds"]
    expected = tracks_of(annotated(source, tmp_path / "out.json"))
    for key, events in expected.items():
        slices = tracks[key].slices
        assert [one.name for one in slices] == [event["name"] for event in events]
        assert [one.start_ns - base_ns for one in slices] == [ns(e["ts"]) for e in events]
        assert [one.end_ns - one.start_ns for one in slices] == [ns(e["dur"]) for e in events]
        assert [one.args for one in slices] == [event["args"] for event in events]
        assert {one.category for one in slices} == {"tracekit"}
        assert {one.depth for one in slices} == {0}
    units = {track.name: track.unit for track in tracks.values() if track.unit}
    assert units["GPU busy"] == "%"
    assert all(track.values for track in tracks.values() if track.unit)


@pytest.mark.parametrize("name", ["pixart_compiled", "sdxl_flash", "sdxl_kernels_only"])
def test_the_file_s_own_events_are_all_there(name: str, tmp_path: Path) -> None:
    source = EXAMPLES / f"{name}.json.gz"
    tracks = native(source, tmp_path / "out.pftrace")
    trace = load(source)
    base_ns = trace.metadata["baseTimeNanoseconds"]
    work = [one for track in originals(tracks, "GPU 0") for one in track.slices]
    assert sorted(
        (one.start_ns - base_ns, one.end_ns - one.start_ns, one.name) for one in work
    ) == sorted(
        zip(
            trace.activities.start_ns.tolist(),
            trace.activities.dur_ns.tolist(),
            (trace.strings[code] for code in trace.activities.name.tolist()),
            strict=True,
        )
    )
    host = [one for track in originals(tracks, "process") for one in track.slices]
    assert len(host) == host_events(trace) > 1_000
    assert max(one.depth for one in host) >= (3 if len(trace.ops) else 0)


def test_launches_point_at_their_kernels(tmp_path: Path) -> None:
    source = EXAMPLES / "sdxl_flash.json.gz"
    annotate(source, tmp_path / "out.pftrace")
    ends = flows(read_perfetto(tmp_path / "out.pftrace"))
    assert len(ends) == len(load(source).activities)
    for launch, work in ends.values():
        assert launch.category == "runtime"
        assert work.category in ("kernel", "gpu_memcpy", "gpu_memset")
        assert launch.args["correlation"] == work.args["correlation"]


def test_ops_point_at_their_backward_work(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.op("aten::mul", 0, 100, **{"Sequence number": 5})
    b.launched("k", 10, 500, 50)
    node = "autograd::engine::evaluate_function: MulBackward0"
    b.op(node, 1_000, 100, tid=2, **{"Sequence number": 5, "Fwd thread id": 1})
    b.launched("k2", 1_010, 1_500, 50, tid=2)
    annotate(b.write(tmp_path / "t.json"), tmp_path / "out.pftrace")
    ends = flows(read_perfetto(tmp_path / "out.pftrace"))
    names = sorted(tuple(one.name for one in slices) for slices in ends.values())
    assert names == [("aten::mul", node), ("cudaLaunchKernel", "k"), ("cudaLaunchKernel", "k2")]


def test_host_slices_that_cross_get_tracks_of_their_own(tmp_path: Path) -> None:
    b = small()
    b.annotation("crosses", 8_500, 1_000)
    tracks = native(b.write(tmp_path / "t.json"), tmp_path / "out.pftrace")
    assert [one.name for one in tracks["process 100", "thread 1 (2)"].slices] == ["crosses"]


def test_it_is_about_ten_times_smaller(tmp_path: Path) -> None:
    source = EXAMPLES / "sdxl_flash.json.gz"
    for name in ("out.json", "out.pftrace", "out.pftrace.gz"):
        annotate(source, tmp_path / name)
    sizes = {path.suffixes[0]: path.stat().st_size for path in tmp_path.glob("out.*e")}
    sizes[".json"] = (tmp_path / "out.json").stat().st_size
    assert sizes[".json"] > 7 * sizes[".pftrace"]
    packed = (tmp_path / "out.pftrace.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "out.pftrace").read_bytes()


def test_ranks_share_a_file_and_an_axis(tmp_path: Path) -> None:
    for rank, later_ns in ((0, 0), (1, 5_000)):
        folder = tmp_path / "ranks" / f"rank{rank}"
        folder.mkdir(parents=True)
        b = small()
        b.metadata["baseTimeNanoseconds"] += later_ns
        b.write(folder / "t.json")
    tracks = native(tmp_path / "ranks", tmp_path / "out.pftrace")
    starts = [
        tracks[f"tracekit: rank {rank}, GPU 0", "Stages"].slices[0].start_ns for rank in range(2)
    ]
    assert starts[1] - starts[0] == 5_000
    assert ("rank 1, process 100", "thread 1") in tracks
    assert ("rank 1, GPU 0, activities", "stream 7") in tracks
    ends = flows(read_perfetto(tmp_path / "out.pftrace"))
    assert {len(slices) for slices in ends.values()} == {2}
    assert len(ends) == 18


def test_only_tracks(tmp_path: Path) -> None:
    source = small().write(tmp_path / "t.json")
    tracks = native(source, tmp_path / "out.pftrace", only_tracks=True)
    assert {group for group, _ in tracks} == {"tracekit: GPU 0"}


def test_times_before_zero(tmp_path: Path) -> None:
    b = small()
    b.metadata.pop("baseTimeNanoseconds")
    b.op("early", -5_000, 100)
    tracks = native(b.write(tmp_path / "t.json"), tmp_path / "out.pftrace")
    assert tracks["process 100", "thread 1"].slices[0].start_ns == 0


def test_an_empty_trace(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"traceEvents": []}')
    assert native(tmp_path / "t.json", tmp_path / "out.perfetto-trace") == {}


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(hostile: str, tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(hostile, 0, 5_000)
    b.op(hostile, 0, 900)
    b.launched(hostile, 10, 1_000, 50)
    b.add(ph="X", cat="cpu_op", name="op", pid=hostile, tid=hostile, ts=0.0, dur=1.0)
    tracks = native(b.write(tmp_path / "t.json"), tmp_path / "out.pftrace")
    assert tracks[f"process {hostile}", f"thread {hostile}"].slices[0].name == "op"
    assert [one.name for one in tracks["GPU 0, activities", "stream 7"].slices] == [hostile]


def test_without_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "perfetto"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "perfetto", None)
    source = small().write(tmp_path / "t.json")
    assert run(["annotate", str(source), "-o", str(tmp_path / "o.pftrace")]) == 4
    assert "pip install 'gpu-tracekit[perfetto]'" in capsys.readouterr().err
    assert not (tmp_path / "o.pftrace").exists()
