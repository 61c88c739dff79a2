"""The verdicts on the claims: numbers on both sides of each threshold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from study_builders import along_time, fit, gain, levels, like, shared, sweep

from tracekit.spread_results import Ratio
from tracekit.study import claims, rules
from tracekit.study_results import HOLDS, IN_PART, NOT_HERE, NOT_MEASURED, MemoryPoint, StudyMemory


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (0.219, NOT_HERE),
        (0.22, IN_PART),
        (0.395, IN_PART),
        (0.396, HOLDS),
        (0.484, HOLDS),
        (0.485, IN_PART),
    ],
)
def test_up_to_a_share(share: float, verdict: str) -> None:
    models = [shared("imagen", "diffusion", "conv", share), shared("x", "diffusion", "conv", 0.01)]
    found = claims.convolution_share(models)
    assert found.verdict == verdict
    assert f"imagen {share:.1%}" in found.measured


def test_a_share_counts_only_the_models_that_it_is_said_of() -> None:
    models = [
        shared("muse", "transformer", "conv", 0.44),
        shared("llama", "diffusion", "linear", 1),
    ]
    assert claims.convolution_share(models[:1]).verdict == NOT_MEASURED
    assert claims.linear_share(models[1:]).verdict == NOT_MEASURED
    assert claims.linear_share([shared("muse", "transformer", "linear", 0.49)]).verdict == HOLDS
    assert claims.linear_share([shared("muse", "transformer", "linear", 0.24)]).verdict == NOT_HERE


@pytest.mark.parametrize(
    ("diffusion", "transformer", "verdict"),
    [
        (1.1, 1.0, HOLDS),
        (2.75, 1.0, HOLDS),
        (2.76, 1.0, IN_PART),
        (1.09, 1.0, NOT_HERE),
        (2.0, 1.9, NOT_HERE),
    ],
)
def test_gains_of_flash_attention(diffusion: float, transformer: float, verdict: str) -> None:
    rows = [
        gain("imagen", "diffusion", diffusion, diffusion),
        gain("parti", "transformer", transformer, transformer),
    ]
    assert claims.diffusion_gain(rows).verdict == verdict


def test_wall_and_kernel_time_must_agree() -> None:
    rows = [gain("imagen", "diffusion", 1.0, 2.0), gain("parti", "transformer", 1.0, 1.0)]
    found = claims.diffusion_gain(rows)
    assert found.verdict == IN_PART
    assert "By wall time it does not hold here, by kernel time it holds" in found.why


def test_a_difference_within_the_spread_is_no_speedup() -> None:
    within = Ratio(1.5, 0.9, 2.0, is_difference=False)
    rows = [
        replace(gain("imagen", "diffusion", 1.5, 1.5), wall=within),
        gain("parti", "transformer", 1.0, 1.0),
    ]
    found = claims.diffusion_gain(rows)
    assert found.verdict == IN_PART
    assert "wall time: 1.00–1.00" in found.measured
    assert "No difference of wall time: imagen." in found.why


def test_some_gains_hold_in_part() -> None:
    rows = [
        gain("imagen", "diffusion", 1.0, 1.0),
        gain("stable-diffusion", "diffusion", 2.0, 2.0),
        gain("parti", "transformer", 1.0, 1.0),
    ]
    assert claims.diffusion_gain(rows).verdict == IN_PART
    assert claims.diffusion_gain(rows[:2]).verdict == NOT_MEASURED
    other = gain("parti", "transformer", 1, 1, base="math")
    assert claims.diffusion_gain([*rows[:2], other]).verdict == NOT_MEASURED


def test_phases() -> None:
    diffusion = like("imagen", "diffusion", "prefill")
    assert claims.phases([diffusion, like("parti", "transformer", "decode")]).verdict == HOLDS
    mixed = claims.phases([diffusion, like("muse", "transformer", "prefill")])
    assert (mixed.verdict, mixed.why) == (IN_PART, "Otherwise: muse.")
    assert claims.phases([like("imagen", "diffusion", None)]).verdict == NOT_HERE
    assert claims.phases([]).verdict == NOT_MEASURED


@pytest.mark.parametrize(
    ("whole", "neighbours", "verdict"),
    [
        (64.0, 4.0, HOLDS),
        (4.4, 1.0, HOLDS),
        (4.41, 2.0, IN_PART),
        (3.59, 1.9, IN_PART),
        (1.99, 1.5, NOT_HERE),
    ],
)
def test_lengths(whole: float, neighbours: float, verdict: str) -> None:
    rows = [levels("imagen", whole, neighbours), levels("imagen", 4.0, 4.0, axis="temporal")]
    assert claims.length_variation(rows, ["imagen"]).verdict == verdict
    assert claims.length_variation(rows, ["muse"]).verdict == NOT_MEASURED


def test_lengths_say_which_reading() -> None:
    why = claims.length_variation([levels("imagen", 64.0, 4.0)], ["imagen"]).why
    assert why == "It is so between neighbouring levels; it is 64.0 over the whole range."


def test_convolution_is_steeper_only_beyond_the_errors() -> None:
    def verdict(conv: float, error: float | None = 0.1) -> str:
        return claims.image_scaling(sweep(fit("conv", conv, error), fit("attention", 2.0))).verdict

    assert verdict(2.29) == HOLDS
    assert verdict(2.28) == NOT_HERE
    assert verdict(3.0, None) == NOT_MEASURED
    assert claims.image_scaling(None).verdict == NOT_MEASURED


def test_all_sizes_and_the_largest_are_asked() -> None:
    last = {"is_all": False, "first": 256}
    found = claims.image_scaling(
        sweep(
            fit("conv", 2.0),
            fit("attention", 1.0),
            fit("conv", 2.0, **last),
            fit("attention", 3.5, **last),
        )
    )
    assert found.verdict == IN_PART
    assert (
        "256–1,024 px: Convolution side^2.00 ± 0.10, Attention side^3.50 ± 0.10" in found.measured
    )


def grown(exponent: float, error: float | None = 0.1) -> object:
    return sweep(fit("temporal share of attention", exponent, error), name="frames")


@pytest.mark.parametrize(
    ("share", "time", "flops", "exponent", "verdict"),
    [
        (0.61, 1.8, 0.99, 0.21, HOLDS),
        (0.60, 1.8, 0.99, 0.21, IN_PART),
        (0.61, 1.79, 0.99, 0.21, IN_PART),
        (0.61, 1.8, 1.0, 0.21, IN_PART),
        (0.61, 1.8, 0.99, 0.20, IN_PART),
        (0.60, 1.79, 1.0, 0.20, NOT_HERE),
        (0.61, 1.8, None, 0.21, IN_PART),
    ],
)
def test_temporal(
    share: float, time: float, flops: float | None, exponent: float, verdict: str
) -> None:
    rows = [along_time(share, time, flops)]
    assert claims.temporal_attention(rows, grown(exponent)).verdict == verdict  # type: ignore[arg-type]


def test_attention_over_space_and_time_at_once_is_not_asked() -> None:
    row = along_time(0.1, 0.1, 2.0, is_factorized=False)
    assert claims.temporal_attention([row], None).verdict == NOT_MEASURED


def test_the_base_of_a_cascade_is_asked_and_what_enlarges_it_is_not() -> None:
    whole = along_time(0.61, 1.8, 0.9)
    base, larger = (along_time(0.1, 0.1, 2.0, stage=stage) for stage in ("denoise", "larger"))
    assert claims.temporal_attention([whole, larger], grown(1)).verdict == HOLDS  # type: ignore[arg-type]
    found = claims.temporal_attention([whole, base], grown(1))  # type: ignore[arg-type]
    assert found.verdict == IN_PART
    assert "make-a-video flash, denoise alone: 10% of attention time" in found.measured


def memory(exponent: float | None) -> StudyMemory:
    measured = None if exponent is None else fit("measured", exponent, attention="eager")
    points = (MemoryPoint(512, 100, 110, 10, 1.1), MemoryPoint(1024, 1600, None, 20, None))
    return StudyMemory("stable-diffusion", points, fit("model", 4.0, 0.0), measured)


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [(3.6, HOLDS), (4.4, HOLDS), (3.59, IN_PART), (2.0, IN_PART), (1.99, NOT_HERE)],
)
def test_memory(exponent: float, verdict: str) -> None:
    assert claims.memory_growth(memory(exponent)).verdict == verdict


def test_memory_without_peaks() -> None:
    assert claims.memory_growth(memory(None)).verdict == NOT_MEASURED
    assert claims.memory_growth(None).verdict == NOT_MEASURED


def test_parts() -> None:
    assert rules.judge_parts([True, True]) == HOLDS
    assert rules.judge_parts([True, None]) == IN_PART
    assert rules.judge_parts([False, None]) == NOT_HERE
    assert rules.judge_parts([None]) == NOT_MEASURED
    assert rules.judge_both(HOLDS, NOT_MEASURED) == HOLDS
    assert rules.judge_both(HOLDS, NOT_HERE) == IN_PART
