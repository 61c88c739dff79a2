"""Runs paced anew: as they were, without the profiler, without waiting."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import SLEEPER, RunBuilder, TraceBuilder
from tracekit.analysis.pacing import EventCosts, Pace, pace_of
from tracekit.analysis.undilated import scale_for
from tracekit.results import Analysis, Corrected

ROOT = Path(__file__).parent.parent
TRACES = [
    *sorted((ROOT / "examples" / "traces").glob("*.json.gz")),
    *sorted((ROOT / "examples" / "runs").glob("*-h200/*.json.gz")),
]
COSTS = EventCosts(op=1_000, shapes=0, call=1_000, frame=100, annotation=500)
US = 1_000
MS = 1_000_000


def pace(path: Path, device: int = 0) -> tuple[Pace, np.ndarray, int]:
    """A trace's pace, its starts, and when its run begins."""
    table = tracekit.classify(tracekit.link(tracekit.load(path)))
    found = pace_of(table, device, COSTS)
    return found, table.start_ns[found.device.rows], int(found.host.time_ns[0])


@pytest.mark.parametrize("path", TRACES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_with_nothing_changed_a_trace_is_as_it_was(path: Path) -> None:
    found, start, begin = pace(path)
    assert (found.run().start_ns + begin == start).all()


TIME = st.integers(0, 80)


@st.composite
def traces(draw: st.DrawFn) -> TraceBuilder:
    b = TraceBuilder()
    for number in range(draw(st.integers(1, 14))):
        has_launch = draw(st.integers(0, 6)) > 0
        b.kernel(
            "k",
            draw(TIME),
            draw(st.integers(0, 15)),
            number + 1 if has_launch else None,
            stream=draw(st.integers(7, 8)),
        )
        if has_launch:
            b.launch(draw(TIME), number + 1, dur=draw(st.integers(0, 9)))
    for number in range(draw(st.integers(0, 5))):
        start, dur = draw(TIME), draw(st.integers(0, 20))
        b.launch(start, 100 + number, dur=dur, name="cudaStreamSynchronize")
    for _ in range(draw(st.integers(0, 8))):
        b.op("aten::mm", draw(TIME), draw(st.integers(0, 10)))
    return b


@settings(max_examples=300, deadline=None)
@given(traces())
def test_any_trace_is_as_it_was_and_never_longer_without_the_profiler(b: TraceBuilder) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found, start, begin = pace(b.write(Path(folder) / "t.json"))
    run = found.run()
    assert (run.start_ns + begin == start).all()
    ends = [run.end_ns, *(found.run(scale).end_ns for scale in (0.5, 1, 4, 100))]
    assert ends == sorted(ends, reverse=True)
    assert found.without_waits().end_ns <= run.end_ns


def test_the_host_sets_the_pace_or_the_device_does(tmp_path: Path) -> None:
    b = TraceBuilder()
    for number in range(10):
        b.launch(100 * US * number, number + 1, dur=2 * US)
        b.kernel("k", (100 * number + 5) * US, 20 * US, number + 1)
    found, _, _ = pace(b.write(tmp_path / "t.json"))
    assert found.run().end_ns == 925 * US
    # A call costs 1 µs, and there are nine between the first launch and the last.
    assert found.run(40).end_ns == (925 - 9 * 40) * US
    # Nothing is left of the host's time: each kernel follows the last after a pause of 1 µs.
    assert found.run(100).end_ns == (5 + 10 * 20 + 9) * US
    assert found.run(0.0, np.full(10, 90 * US)).end_ns == (905 + 90) * US


def test_a_wait_returns_as_long_after_its_work_as_before(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launch(0, 1, dur=2 * US)
    b.kernel("k", 5 * US, 100 * US, 1)
    b.launch(3 * US, 9, dur=112 * US, name="cudaDeviceSynchronize")
    b.launch(120 * US, 2, dur=2 * US)
    b.kernel("k", 126 * US, 100 * US, 2)
    found, _, _ = pace(b.write(tmp_path / "t.json"))
    half = found.run(0.0, np.array([50, 100]) * US)
    # The wait ends 10 µs after its work, 5 µs later the host launches, 6 µs later the work starts.
    assert half.start_ns.tolist() == [5 * US, (5 + 50 + 10 + 5 + 6) * US]
    # Without it the second is issued 8 µs after the first, and has to wait for the device.
    assert found.without_waits().start_ns.tolist() == [5 * US, 106 * US]


def test_the_scale_is_the_one_at_which_the_run_takes_that_long(tmp_path: Path) -> None:
    path = RunBuilder().write(tmp_path / "run") / "trace.json.gz"
    found, _, _ = pace(path)
    whole = found.run().end_ns
    for share in (0.95, 0.8, 0.7):
        scale = scale_for(found, round(share * whole))
        assert found.run(scale).end_ns == pytest.approx(share * whole, rel=1e-4)
    assert scale_for(found, 2 * whole) == 0


def corrected(run: RunBuilder, folder: Path) -> Corrected:
    result = tracekit.analyze(run.write(folder), list_all=True)
    assert isinstance(result, Analysis)
    assert result.corrected is not None
    assert result.corrected.by_cause is not None
    return result.corrected


@pytest.mark.parametrize("sleep_ms", [1, 2, 5])
def test_a_sleep_is_blamed_on_the_function_that_slept(tmp_path: Path, sleep_ms: int) -> None:
    without = corrected(RunBuilder(), tmp_path / "without")
    asleep = corrected(RunBuilder(sleep_ns=sleep_ms * MS), tmp_path / "with")
    put_in = 4 * sleep_ms * MS
    assert asleep.idle_ns - without.idle_ns == pytest.approx(put_in, rel=0.01)
    blamed = sum(row.time_ns for row in asleep.blame if row.annotation == SLEEPER)
    assert blamed == pytest.approx(put_in, rel=0.1)
    late = {row.cause: row.time_ns for row in asleep.by_cause or ()}["host_late"]
    before = {row.cause: row.time_ns for row in without.by_cause or ()}["host_late"]
    assert late - before == pytest.approx(put_in, rel=0.1)


def test_what_idle_time_consists_of_adds_up_to_it(tmp_path: Path) -> None:
    for folder in sorted((ROOT / "examples" / "runs").glob("*-h200")):
        result = tracekit.analyze(folder, list_all=True)
        assert isinstance(result, Analysis)
        found = result.corrected
        assert found is not None
        assert found.by_cause is not None
        assert sum(row.time_ns for row in found.by_cause) == found.idle_ns
        unknown = {row.cause: row.time_ns for row in found.by_cause}["unknown"]
        assert unknown <= 0.02 * found.idle_ns
        assert sum(row.time_ns for row in found.blame) == found.idle_ns - unknown


def test_each_stage_has_a_dilation_of_its_own(tmp_path: Path) -> None:
    run = RunBuilder(kernels=12, dilations={"text": 4.0, "denoise": 1.2}, sleep_ns=2 * MS)
    found = corrected(run, tmp_path)
    alone = tracekit.analyze(run.trace(1.0).write(tmp_path / "alone.json"), list_all=True)
    assert [row.stage for row in found.stages] == ["text", "denoise"]
    for row, factor, steps in zip(found.stages, (4.0, 1.2), (1, 4), strict=True):
        assert row.by_cause is not None
        assert row.dilation is not None
        assert sum(cause.time_ns for cause in row.by_cause) == row.idle_ns
        host_ns = 12 * steps * run.host_ns
        slept_ns = 4 * 2 * MS if row.stage == "denoise" else 0
        dilated = (factor * host_ns + slept_ns) / (host_ns + slept_ns)
        assert row.dilation == pytest.approx(dilated, rel=0.1)
        causes = {cause.cause: cause.time_ns for cause in row.by_cause}
        true_ns = sum(
            one.time_ns
            for one in alone.idle.blame
            if (one.stage, one.cause) == (row.stage, "host_late")
        )
        # The trace of the run alone has no lead: its first kernel begins it.
        assert causes["host_late"] == pytest.approx(true_ns, rel=0.05, abs=2 * run.kernel_ns)
        assert causes["unknown"] <= 0.05 * row.idle_ns
    whole = {row.cause: row.time_ns for row in found.by_cause or ()}
    parts = sum(one.time_ns for row in found.stages for one in row.by_cause or ())
    assert sum(whole.values()) == found.idle_ns == pytest.approx(parts, rel=0.02)


def test_stages_that_do_not_add_up_are_no_parts(tmp_path: Path) -> None:
    run = RunBuilder()
    folder = run.write(tmp_path)
    timing = run.timing()
    for repeat in timing["repeats"]:
        for row in repeat["stages"]:
            row["gpu_ms"] = None
            row["wall_ms"] /= 100
    (folder / "timing.json").write_text(json.dumps(timing))
    result = tracekit.analyze(folder)
    assert isinstance(result, Analysis)
    assert result.corrected is not None
    assert result.corrected.by_cause is not None
    assert {row.by_cause for row in result.corrected.stages} == {None}
    unknown = {row.cause: row.time_ns for row in result.corrected.by_cause}["unknown"]
    assert unknown <= 0.05 * result.corrected.idle_ns
