"""Sweeps put together: parts of one stage, crossovers of attention, memory beside its model."""

from __future__ import annotations

from typing import Any

import pytest
from study_builders import MS

from tracekit.study import measures, sweeping
from tracekit.study.reading import Row
from tracekit.study_results import SweepPoint, SweepResult


class Case:
    """A measured case by hand: rows of its kernel table, one step of fifty recorded."""

    def __init__(self, rows: list[Row], **entry: Any) -> None:
        self.rows = tuple(rows)
        self.entry = {"is_whole": False, "sweep": None, **entry}

    def scale(self, stage: str | None, *, timed: bool = False) -> float:
        return 50 if stage == "denoise" else 1

    def stage_ns(self, stage: str) -> None:
        return None

    def times(self, rows: Any = None) -> dict[str, int]:
        from tracekit.study.reading import MeasuredCase

        return MeasuredCase.times(self, rows)  # type: ignore[arg-type]

    def by_axis(self, stage: str | None = None) -> dict[str, tuple[int, int]]:
        from tracekit.study.reading import MeasuredCase

        return MeasuredCase.by_axis(self, stage)  # type: ignore[arg-type]


def frames(count: int, attention: str = "flash") -> Any:
    rows = [
        Row("text_encoder", "attention", "sequence", 7 * MS, 1),
        Row("denoise", "conv", None, 10 * MS, 0),
        Row("denoise", "attention", "spatial", 4 * MS * count, 64 * count),
        Row("denoise", "temporal_attention", "temporal", MS * count**2, count**2),
    ]
    return Case(rows, sweep="frames", attention=attention, value=count, peak_bytes={"denoise": 9})


def test_a_sweep_looks_at_one_stage() -> None:
    (found,) = sweeping.sweeps([frames(8), frames(2)])
    assert [point.value for point in found.points] == [2, 8]
    first = found.points[0]
    assert first.times == {
        "conv": 500 * MS,
        "attention": 600 * MS,
        "temporal": 200 * MS,
        "spatial": 400 * MS,
    }
    assert first.flops == {"attention": 6600, "temporal": 200, "spatial": 6400}
    assert (first.kernel_ns, first.peak_bytes) == (1100 * MS, 9)


def test_parts_grow_and_cross() -> None:
    (found,) = sweeping.sweeps([frames(count) for count in (2, 8, 16)])
    exponents = {fit.what: fit.exponent for fit in found.fits if fit.is_all}
    assert exponents["temporal"] == pytest.approx(2)
    assert exponents["spatial"] == pytest.approx(1)
    assert exponents["conv"] == pytest.approx(0)
    assert 0 < exponents["temporal share of attention"] < 1
    crossed = {one.what: one for one in found.crossovers}
    assert (crossed["time"].value, crossed["time"].is_beyond) == (pytest.approx(4), False)
    assert (crossed["FLOPs"].value, crossed["FLOPs"].is_beyond) == (pytest.approx(64), True)


def test_temporal_attention_is_over_the_whole_work() -> None:
    case = frames(8)
    case.entry |= {"sweep": None, "model": "make-a-video"}
    case.analysis = type("A", (), {"attention": type("B", (), {"cache": None})()})()
    # Only one stage has both, so it is not told apart.
    (found,) = measures.temporal([case])
    temporal, spatial = 50 * 64, 50 * 32
    assert found.time_ratio == pytest.approx(2)
    assert found.share == pytest.approx(temporal / (temporal + spatial + 7))
    assert found.flops_ratio == pytest.approx(64 / 512)
    assert found.is_factorized


def point(value: int, attention: str, peak: int | None) -> SweepPoint:
    return SweepPoint(value, attention, None, 1, {}, {}, peak)


def test_memory_is_held_against_the_model() -> None:
    # Of 512 pixels: 16 sequences of 4,096 x 4,096 scores, twice, in two bytes.
    held = 2 * 2 * 16 * 4096**2
    points = [
        point(256, "eager", held // 16),
        point(512, "eager", round(1.5 * held)),
        point(512, "flash", 7),
        point(1024, "flash", 28),
    ]
    sweep = SweepResult(
        "image-size", "image side", "stable-diffusion", "denoise", tuple(points), ()
    )
    found = sweeping.memory([sweep], "bfloat16", tiny=False)
    assert found is not None
    rows = {row.value: row for row in found.points}
    assert (rows[512].model_bytes, rows[512].flash_bytes) == (held, 7)
    assert (rows[256].ratio, rows[512].ratio) == (pytest.approx(1), pytest.approx(1.5))
    assert (rows[1024].eager_bytes, rows[1024].ratio) == (None, None)
    assert found.model_fit is not None
    assert found.model_fit.exponent == pytest.approx(4)
    assert found.measured_fit is not None
    assert found.measured_fit.exponent == pytest.approx(4.585, abs=1e-3)
    assert sweeping.memory([sweep], "bfloat16", tiny=True) is None
    assert sweeping.memory([], "bfloat16", tiny=False) is None
