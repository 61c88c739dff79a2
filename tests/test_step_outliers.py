"""Steps that stand out, and how busy stages and steps are."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracekit
from builders import TraceBuilder
from tracekit.analysis.step_outliers import outlier_steps
from tracekit.results import OutlierStep, StageTime, StepTime


def steps(*times_ns: int, spans_ns: tuple[int, ...] = ()) -> list[StepTime]:
    spans = spans_ns or times_ns
    return [
        StepTime(at, 1, 0, span, time, time, {}, span, 1.0)
        for at, (time, span) in enumerate(zip(times_ns, spans, strict=True))
    ]


def test_a_slow_first_step_stands_out() -> None:
    found = outlier_steps(steps(900, 100, 101, 99, 100, 100))
    assert found == (OutlierStep(0, "time", 900, 100), OutlierStep(0, "span", 900, 100))


def test_a_late_step_stands_out_by_its_length_alone() -> None:
    found = outlier_steps(steps(100, 100, 100, 100, spans_ns=(200, 200, 900, 200)))
    assert found == (OutlierStep(2, "span", 900, 200),)


@pytest.mark.parametrize(
    "times",
    [
        (),
        (100,),
        (100, 900),
        (100, 100, 900),
        (100, 100, 100, 104),
        tuple(range(100, 200, 5)),
        (0, 0, 0, 0),
    ],
)
def test_few_steps_small_differences_and_growth_do_not_stand_out(times: tuple[int, ...]) -> None:
    assert outlier_steps(steps(*times)) == ()


def stages(folder: Path, b: TraceBuilder) -> tuple[StageTime, ...]:
    return tracekit.analyze(b.write(folder / "t.json")).stages


def test_busy_shares_of_stages_and_steps(tmp_path: Path) -> None:
    b = TraceBuilder()
    for step in range(4):
        at = 10_000 * step
        b.annotation(f"denoise {step}", at, 9_000)
        b.launched("k", at + 10, at + 100, 1_000)
        b.launched("k", at + 20, at + 3_100, 1_000 if step < 3 else 4_000)
    (stage,) = stages(tmp_path, b)
    assert [step.span_ns for step in stage.per_step] == [4_000, 4_000, 4_000, 7_000]
    assert [step.busy_share for step in stage.per_step] == [0.5, 0.5, 0.5, 5 / 7]
    assert stage.span_ns == 37_000
    assert stage.busy_share == pytest.approx(11_000 / 37_000)
    assert [(one.step, one.measure) for one in stage.outlier_steps] == [(3, "time"), (3, "span")]


def test_a_stage_that_comes_again_lasts_as_long_as_its_stretches(tmp_path: Path) -> None:
    b = TraceBuilder()
    for at, name in enumerate(["text", "denoise", "text", "denoise"]):
        b.annotation(name, 10_000 * at, 9_000)
        b.launched("k", 10_000 * at + 10, 10_000 * at + 100, 1_000)
        b.launched("k", 10_000 * at + 20, 10_000 * at + 2_100, 2_000)
    text, denoise = stages(tmp_path, b)
    assert text.end_ns - text.start_ns == 24_000
    assert text.span_ns == denoise.span_ns == 8_000
    assert text.busy_share == 0.75
