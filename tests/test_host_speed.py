"""How fast a host was, told by the ops of a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tracekit
from builders import TraceBuilder
from tracekit.analysis.host_speed import nesting_times, slowness

ROOT = Path(__file__).parent.parent
THREAD = np.array([0])


US = 1_000


def nested(count: int, nesting_us: int, *, shapes: bool = True) -> TraceBuilder:
    """Ops that call two ops each, the first one `nesting_us` after they began."""
    b = TraceBuilder()
    dims = {"Input Dims": [[2, 2]]} if shapes else {}
    for number in range(count):
        start = 100 * number * US
        b.op("aten::linear", start, 90 * US, **dims)
        b.op("aten::addmm", start + nesting_us * US, 10 * US, **dims)
        b.op("aten::add", start + (nesting_us + 40) * US, 10 * US, **dims)
    return b


def slow(b: TraceBuilder, path: Path) -> float | None:
    return slowness(tracekit.load(b.write(path / "t.json")), THREAD)


def test_only_the_first_op_inside_another_counts(tmp_path: Path) -> None:
    trace = tracekit.load(nested(3, 2).write(tmp_path / "t.json"))
    assert nesting_times(trace, THREAD).tolist() == [2_000] * 3
    assert nesting_times(trace, np.array([7])).tolist() == []


def test_a_host_that_takes_longer_from_op_to_op_is_slow(tmp_path: Path) -> None:
    usual = slow(nested(60, 1), tmp_path)
    assert usual is not None
    assert slow(nested(60, 2), tmp_path) == pytest.approx(2 * usual)
    # What shapes add is part of what is usual with them.
    assert slow(nested(60, 1, shapes=False), tmp_path) == pytest.approx(2 * usual, rel=0.02)


def test_of_a_few_ops_nothing_is_concluded(tmp_path: Path) -> None:
    assert slow(nested(49, 20), tmp_path) is None
    assert slow(nested(50, 20), tmp_path) == 8.0


def test_a_clock_too_coarse_for_the_host_tells_nothing(tmp_path: Path) -> None:
    assert slow(nested(60, 0), tmp_path) is None


def test_an_estimate_at_usual_costs_claims_no_speed_of_the_host(tmp_path: Path) -> None:
    for count, is_told in ((49, False), (60, True)):
        b = nested(count, 2)
        for number in range(count):
            b.launched("kernel", 100 * number * US + 50 * US, 100 * number * US + 60 * US, 5 * US)
        corrected = tracekit.analyze(b.write(tmp_path / "t.json")).corrected
        assert corrected is not None
        assert ("as the usual host" in corrected.method) is is_told


def test_no_host_is_taken_to_be_a_hundred_times_as_slow(tmp_path: Path) -> None:
    assert slow(nested(60, 39), tmp_path) == 8.0


@pytest.mark.parametrize("run", ["make-a-video-h200", "stable-diffusion-h200"])
def test_the_recorded_hosts_are_about_as_fast_as_usual(run: str) -> None:
    table = tracekit.kernels(ROOT / "examples" / "runs" / run / "trace.json.gz")
    threads = np.unique(table.linked.thread).astype(np.int64)
    found = slowness(table.linked.trace, threads[threads >= 0])
    assert found is not None
    assert 0.8 < found < 1.1
