"""The eight claims of Golden et al. (arXiv 2312.14385), each with what was measured of it.

`rules` says how each is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tracekit.cause_results import GraphSpeedup, Projection, StudyCache, StudyVariant
from tracekit.spread_results import Ratio
from tracekit.study.explaining import cache_rates, graph_causes, layout_causes, share_causes
from tracekit.study.plan import BASELINE, FLASH
from tracekit.study.rules import (
    CLOSE,
    LENGTH_CLAIM,
    SIGMAS,
    is_close,
    is_steeper,
    judge_both,
    judge_exponent,
    judge_gains,
    judge_lengths,
    judge_parts,
    judge_up_to,
)
from tracekit.study_results import (
    PowerFit,
    Speedup,
    StudyLengths,
    StudyLikeness,
    StudyMemory,
    StudyRun,
    SweepResult,
    TemporalAttention,
    Verdict,
)

CONV_CLAIM, LINEAR_CLAIM = 0.44, 0.49
SHARE_CLAIM, TIME_CLAIM = 0.6, 2.0
MEMORY_CLAIM: Final = 4.0
BASE_STAGE: Final = "denoise"
"""The stage of a cascade that makes the video; those that follow make more frames and pixels."""


def _flash_runs(runs: Iterable[StudyRun], task: str, architecture: str) -> list[StudyRun]:
    return [
        run
        for run in runs
        if (run.attention, run.task, run.architecture) == (FLASH, task, architecture)
    ]


def _largest_share(
    runs: Sequence[StudyRun], architecture: str, category: str
) -> tuple[dict[str, float], float | None]:
    shares = {
        run.model: run.categories.get(category, 0) / run.kernel_ns
        for run in _flash_runs(runs, "image", architecture)
        if run.kernel_ns
    }
    return shares, max(shares.values(), default=None)


def _listed(values: Mapping[str, float], form: str) -> str:
    ordered = sorted(values.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {format(value, form)}" for name, value in ordered) or "not measured"


def _up_to_why(largest: float | None, claimed: float) -> str:
    if largest is None:
        return "No model of this kind was measured with Flash Attention."
    if is_close(largest, claimed):
        return f"The largest share is within a tenth of {claimed:.0%}."
    side = "above" if largest > claimed else "below"
    return f"The largest share is {abs(largest - claimed) * 100:.0f} points {side} the claimed one."


def convolution_share(
    runs: Sequence[StudyRun],
    variants: Sequence[StudyVariant] = (),
    projections: Sequence[Projection] = (),
) -> Verdict:
    """Claim 1: with Flash Attention, convolution is up to 44% of diffusion models of images."""
    shares, largest = _largest_share(runs, "diffusion", "conv")
    return Verdict(
        1,
        "With Flash Attention, Convolution is up to 44% of the time of diffusion text-to-image "
        "models",
        f"Convolution's share of kernel time: {_listed(shares, '.1%')}",
        judge_up_to(largest, CONV_CLAIM),
        _up_to_why(largest, CONV_CLAIM)
        + layout_causes(projections)
        + share_causes("conv", shares, CONV_CLAIM, variants, projections),
        "largest share within a tenth of 44%: holds; at least half of it: in part",
    )


def linear_share(
    runs: Sequence[StudyRun],
    variants: Sequence[StudyVariant] = (),
    projections: Sequence[Projection] = (),
) -> Verdict:
    """Claim 2: with Flash Attention, linear layers are up to 49% of transformer models."""
    shares, largest = _largest_share(runs, "transformer", "linear")
    return Verdict(
        2,
        "Linear layers are up to 49% of the time of transformer text-to-image models",
        f"Linear layers' share of kernel time: {_listed(shares, '.1%')}",
        judge_up_to(largest, LINEAR_CLAIM),
        _up_to_why(largest, LINEAR_CLAIM)
        + share_causes("linear", shares, LINEAR_CLAIM, variants, projections),
        "largest share within a tenth of 49%: holds; at least half of it: in part",
    )


def diffusion_gain(
    speedups: Sequence[Speedup], without_host: Sequence[GraphSpeedup] = ()
) -> Verdict:
    """Claim 3: Flash Attention speeds diffusion models up 1.1 to 2.5 times more."""
    ours = [one for one in speedups if one.base == BASELINE and one.task == "image"]
    walls = {one.model: one.wall for one in ours if one.wall is not None}
    kernels = {one.model: one.kernels for one in ours if one.kernels is not None}
    kinds = {one.model: one.architecture for one in ours}
    # What is no difference is no speedup.
    counted = {name: wall.value if wall.is_difference else 1.0 for name, wall in walls.items()}
    by_wall = judge_gains(_gains(counted, kinds))
    by_kernels = judge_gains(_gains(kernels, kinds))
    same = [name for name, wall in walls.items() if not wall.is_difference]
    return Verdict(
        3,
        "Flash Attention speeds diffusion models up 1.1–2.5x more than transformer models",
        f"Speedup of wall time: {_walls(walls)}; of kernel time: {_listed(kernels, '.2f')}; "
        f"diffusion over transformer, kernel time: {_range(_gains(kernels, kinds))}, wall time: "
        f"{_range(_gains(counted, kinds))}",
        judge_both(by_wall, by_kernels),
        f"By wall time it {by_wall}, by kernel time it {by_kernels}."
        + (f" No difference of wall time: {', '.join(same)}." if same else "")
        + (
            graph_causes(without_host)
            or " Where the host sets the pace, faster kernels do not shorten the run."
        ),
        "speedup of every diffusion model over that of every transformer model within 1.1–2.5: "
        "holds; some 1.1 or more: in part; wall and kernel time must agree; a difference of wall "
        "time within the spread counts as 1",
    )


def _gains(speedups: Mapping[str, float], kinds: Mapping[str, str]) -> list[float]:
    diffusion = [value for name, value in speedups.items() if kinds[name] == "diffusion"]
    others = [value for name, value in speedups.items() if kinds[name] == "transformer"]
    return [one / other for one in diffusion for other in others]


def _walls(walls: Mapping[str, Ratio]) -> str:
    texts = [
        f"{name} {one.value:.2f} ({one.low:.2f}–{one.high:.2f})" for name, one in walls.items()
    ]
    return ", ".join(texts) or "not measured"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}–{max(values):.2f}" if values else "not measured"


def phases(rows: Sequence[StudyLikeness]) -> Verdict:
    """Claim 4: diffusion behaves like prefill, transformer models of images like decoding."""
    images = [row for row in rows if row.task == "image"]
    wanted = {"diffusion": "prefill", "transformer": "decode"}
    parts = [row.like == wanted[row.architecture] for row in images]
    told = [
        f"{row.model} {row.stage}: like {row.like or 'neither'} ({row.query_length:,} queries"
        + ("" if row.intensity is None else f", {row.intensity:,.0f} FLOPs a byte")
        + ")"
        for row in images
    ]
    against = [row.model for row, part in zip(images, parts, strict=True) if not part]
    return Verdict(
        4,
        "Diffusion behaves like LLM prefill, transformer text-to-image like decode",
        "; ".join(told) or "not measured",
        judge_parts(parts),
        _phases_why(against, measured=bool(images)),
        "the main stage of each model, by queries at once and FLOPs a byte, is like what is "
        "claimed: all hold, some in part",
    )


def _phases_why(against: Sequence[str], *, measured: bool) -> str:
    if not measured:
        return "No model of images was measured."
    return f"Otherwise: {', '.join(against)}." if against else "So do all that were measured."


def length_variation(rows: Sequence[StudyLengths], diffusion: Iterable[str]) -> Verdict:
    """Claim 5: sequence length varies up to four times within one diffusion inference."""
    models = set(diffusion)
    ours = [row for row in rows if row.model in models and row.axis != "temporal"]
    whole: dict[str, float] = {}
    near: dict[str, float] = {}
    for row in ours:
        whole[row.model] = max(whole.get(row.model, 0), row.ratio)
        near[row.model] = max(near.get(row.model, 0), row.neighbour_ratio)
    ends = (max(whole.values(), default=None), max(near.values(), default=None))
    return Verdict(
        5,
        "Sequence length varies up to 4x within one diffusion inference",
        f"Longest over shortest: {_listed(whole, '.1f')}; neighbouring levels: "
        f"{_listed(near, '.1f')}",
        judge_lengths(*ends),
        _lengths_why(*ends),
        "largest ratio within a tenth of 4, over the whole range or between neighbouring levels: "
        "holds; another ratio of 2 or more: in part",
    )


def _lengths_why(whole: float | None, near: float | None) -> str:
    if whole is None or near is None:
        return "No diffusion model of images was measured."
    readings = {"over the whole range": whole, "between neighbouring levels": near}
    true = [name for name, value in readings.items() if is_close(value, LENGTH_CLAIM)]
    others = [f"{value:.1f} {name}" for name, value in readings.items() if name not in true]
    told = f"It is so {' and '.join(true)}" if true else "It is so in no reading"
    return told + (f"; it is {', '.join(others)}." if others else ".")


def image_scaling(sweep: SweepResult | None) -> Verdict:
    """Claim 6: after Flash Attention, convolution scales worse with image size than attention."""
    fits = () if sweep is None else sweep.fits
    parts: list[bool | None] = []
    told = []
    for is_all in (True, False):
        pair = [
            next(
                (f for f in fits if (f.what, f.attention, f.is_all) == (what, FLASH, is_all)), None
            )
            for what in ("conv", "attention")
        ]
        conv, attention = pair
        if conv is None or attention is None:
            continue
        parts.append(is_steeper(conv, attention))
        told.append(
            f"{conv.first:,}–{conv.last:,} px: Convolution {_exponent(conv)}, Attention "
            f"{_exponent(attention)}"
        )
    steeper = [part for part in parts if part is not None]
    return Verdict(
        6,
        "After Flash Attention, Convolution scales worse with image size than Attention",
        "; ".join(told) or "not measured",
        judge_parts(parts),
        _scaling_why(steeper),
        "exponent of Convolution above that of Attention by two standard errors, over all sizes "
        "and over the largest: both hold, one in part",
    )


def _fit(fits: Iterable[PowerFit], what: str, is_all: bool) -> PowerFit | None:
    """Return the fit of a part with Flash Attention."""
    keys = (what, FLASH, is_all)
    return next((one for one in fits if (one.what, one.attention, one.is_all) == keys), None)


def _exponent(fit: PowerFit) -> str:
    error = "" if fit.error is None else f" ± {fit.error:.2f}"
    return f"side^{fit.exponent:.2f}{error}"


def _scaling_why(parts: Sequence[bool]) -> str:
    if not parts:
        return "Too few sizes were measured to tell exponents apart."
    if all(parts):
        return "Convolution's exponent is larger, by more than its error."
    return (
        "Scores of attention are as many as the fourth power of the side, convolution's work as "
        "the second: where attention takes more than its launches, it must grow faster."
    )


def temporal_attention(
    rows: Sequence[TemporalAttention],
    sweep: SweepResult | None,
    caches: Sequence[StudyCache] = (),
) -> Verdict:
    """Claim 7: temporal attention is over 60% of attention time, and twice spatial attention's."""
    parts: list[bool | None] = []
    rows = [row for row in rows if row.is_factorized and row.stage in (None, BASE_STAGE)]
    for row in rows:
        parts.append(row.share > SHARE_CLAIM)
        parts.append(row.time_ratio >= TIME_CLAIM * (1 - CLOSE))
        parts.append(None if row.flops_ratio is None else row.flops_ratio < 1)
    grows = [_grows(sweep, attention) for attention in (FLASH, BASELINE)]
    parts += [one for one in grows if one is not None]
    told = [
        f"{row.model} {row.attention}{_of(row)}: {row.share:.0%} of attention time, "
        f"{row.time_ratio:.2f}x spatial's time"
        + ("" if row.flops_ratio is None else f" with {row.flops_ratio:.2f}x its FLOPs")
        for row in rows
    ]
    if sweep is not None:
        told += [
            f"share grows as frames^{fit.exponent:.2f}"
            + ("" if fit.error is None else f" ± {fit.error:.2f}")
            + f" ({fit.attention}, {fit.first}–{fit.last})"
            for fit in sweep.fits
            if fit.what.startswith("temporal share") and fit.is_all
        ]
    told += cache_rates(caches)
    return Verdict(
        7,
        "Temporal attention is over 60% of attention time in text-to-video, 2x spatial attention's "
        "time with fewer FLOPs, and grows with the number of frames",
        "; ".join(told) or "not measured",
        judge_parts(parts),
        _temporal_why(rows, grows),
        "with each attention, of the whole and of its base: share above 60%, time at least 1.8 "
        "times spatial's, fewer FLOPs, share growing with frames by two standard errors: all hold, "
        "some in part; models whose attention is mostly over space and time at once are not asked",
    )


def _of(row: TemporalAttention) -> str:
    return "" if row.stage is None else f", {row.stage} alone"


def _grows(sweep: SweepResult | None, attention: str) -> bool | None:
    """Say whether the temporal share grows with frames, by two standard errors."""
    for fit in () if sweep is None else sweep.fits:
        if fit.what.startswith("temporal share") and fit.attention == attention and fit.is_all:
            return None if fit.error is None else fit.exponent > SIGMAS * fit.error
    return None


def _temporal_why(rows: Sequence[TemporalAttention], grows: Sequence[bool | None]) -> str:
    if not rows:
        return "No model with temporal and spatial attention was measured."
    told = []
    for name, holds in (
        ("the share", [row.share > SHARE_CLAIM for row in rows]),
        ("twice the time", [row.time_ratio >= TIME_CLAIM * (1 - CLOSE) for row in rows]),
        ("fewer FLOPs", [row.flops_ratio < 1 for row in rows if row.flops_ratio is not None]),
        ("growth with frames", [one for one in grows if one is not None]),
    ):
        count = sum(holds)
        told.append(f"{name}: {count} of {len(holds)}" if holds else f"{name}: not measured")
    return f"Measured so: {'; '.join(told)}."


def memory_growth(memory: StudyMemory | None) -> Verdict:
    """Claim 8: attention memory grows with the fourth power of the side without flash attention."""
    fit = None if memory is None else memory.measured_fit
    ratios = [] if memory is None else [one.ratio for one in memory.points if one.ratio is not None]
    model = None if memory is None else memory.model_fit
    verdict = judge_exponent(None if fit is None else fit.exponent, MEMORY_CLAIM)
    told = []
    if fit is not None:
        told.append(f"measured {_exponent(fit)} over {fit.first:,}–{fit.last:,} px")
    if model is not None:
        told.append(f"model {_exponent(model)} over {model.first:,}–{model.last:,} px")
    if ratios:
        told.append(f"measured peak over the model at the largest size: {ratios[-1]:.2f}")
    why = "Peaks are measured on a GPU only."
    if fit is not None:
        why = "Scores are the most that a step holds where the image is large; else, convolutions."
    return Verdict(
        8,
        "Attention memory grows with the fourth power of the image side without Flash Attention",
        "; ".join(told) or "not measured",
        verdict,
        why,
        "exponent of the measured peaks of the largest sizes within a tenth of 4: holds; 2 or "
        "more: in part",
    )
