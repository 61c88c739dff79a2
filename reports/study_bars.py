"""The figures of a study that are bars from the left: times, speedups, intensities, shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tracekit.reports.study_svg import Axis, Bar, Key, Part, bars, stacked
from tracekit.units import format_intensity, format_ns, format_share

if TYPE_CHECKING:
    from tracekit.cause_results import GraphSpeedup
    from tracekit.spread_results import Ratio
    from tracekit.study_results import (
        Speedup,
        StudyIdle,
        StudyLikeness,
        StudyRun,
        TemporalAttention,
    )

_NS_IN_S: Final = 1e9
_WALL, _KERNELS, _ATTENTION = "wall time", "kernels", "attention"
_COLORS: Final = {_WALL: "#6E6E6E", _KERNELS: "#0072B2", _ATTENTION: "#D55E00"}
_GRAPH, _LAUNCHED = "as CUDA graphs", "launched by the host"
_GRAPH_COLORS: Final = {
    _LAUNCHED: "#6E6E6E",
    _GRAPH: "#009E73",
    _KERNELS: "#0072B2",
}
_LIKE_COLORS: Final = {"prefill": "#0072B2", "decode": "#E69F00", "neither": "#6E6E6E"}
_AXIS_COLORS: Final = {"flash": "#0072B2", "eager": "#E69F00"}
_CLAIMED_SHARE: Final = 0.6


def model_times(runs: Sequence[StudyRun]) -> str:
    """Return wall and kernel time of each run, on a logarithmic axis."""
    rows = []
    for run in runs:
        group = []
        if run.wall_ns is not None:
            low, high = run.wall_ns.low / _NS_IN_S, run.wall_ns.high / _NS_IN_S
            told = format_ns(round(run.wall_ns.median))
            group.append(Bar(_WALL, run.wall_ns.median / _NS_IN_S, told, low, high))
        group.append(Bar(_KERNELS, run.kernel_ns / _NS_IN_S, format_ns(run.kernel_ns)))
        rows.append((f"{run.model} {run.attention}", group))
    return bars(rows, _COLORS, Axis("seconds", is_log=True))


def flash_speedups(rows: Sequence[Speedup]) -> str:
    """Return what Flash Attention gives each model: in wall time, kernels, attention."""
    drawn = []
    for one in rows:
        group = [] if one.wall is None else [_ratio(_WALL, one.wall)]
        for series, value in ((_KERNELS, one.kernels), (_ATTENTION, one.attention)):
            if value is not None:
                group.append(Bar(series, value, f"{value:.2f}x"))
        drawn.append((f"{one.model}, over {one.base}", group))
    axis = Axis("times as fast with Flash Attention", is_log=True, mark=1.0)
    return bars(drawn, _COLORS, axis)


def _ratio(series: str, ratio: Ratio) -> Bar:
    told = f"{ratio.value:.2f}x" + ("" if ratio.is_difference else " (no difference)")
    return Bar(series, ratio.value, told, ratio.low, ratio.high)


def graph_speedups(rows: Sequence[GraphSpeedup]) -> str:
    """Return what Flash Attention gives the same calls with the host, without it, in kernels."""
    drawn = []
    for one in rows:
        group = [_ratio(_LAUNCHED, one.launched)]
        if one.graph is not None:
            group.append(_ratio(_GRAPH, one.graph))
        if one.kernels is not None:
            group.append(Bar(_KERNELS, one.kernels, f"{one.kernels:.2f}x"))
        drawn.append((one.model, group))
    axis = Axis("times as fast with Flash Attention", mark=1.0)
    return bars(drawn, _GRAPH_COLORS, axis)


def intensities(rows: Sequence[StudyLikeness]) -> str:
    """Return the FLOPs a byte of each model's main stage, with what balances the device."""
    known = [one for one in rows if one.intensity]
    ridge = next((one.ridge for one in known if one.ridge is not None), None)
    drawn = [
        (
            f"{one.model} {one.stage or ''}",
            [Bar(one.like or "neither", one.intensity or 0.0, format_intensity(one.intensity))],
        )
        for one in known
    ]
    axis = Axis("FLOPs a byte", is_log=True, mark=ridge, mark_label="balance of the device")
    return bars(drawn, _LIKE_COLORS, axis)


def temporal_shares(rows: Sequence[TemporalAttention]) -> str:
    """Return temporal attention's share of attention time, beside what is claimed of it."""
    groups: dict[str, list[Bar]] = {}
    for one in rows:
        bar = Bar(one.attention, 100 * one.share, format_share(one.share))
        groups.setdefault(f"{one.model}, {one.stage or 'all'}", []).append(bar)
    axis = Axis("% of attention time", mark=100 * _CLAIMED_SHARE, mark_label="claimed")
    return bars(list(groups.items()), _AXIS_COLORS, axis)


def idle_shares(rows: Sequence[StudyIdle]) -> str:
    """Return how long the device is busy, and idle, in the unprofiled time of each run."""
    parts = [
        (
            f"{one.model} {one.attention}",
            [
                Part("busy", 1 - one.idle_share, "#0072B2"),
                Part("idle", one.idle_share, "#C8C8C8"),
            ],
        )
        for one in rows
        if one.idle_share is not None
    ]
    keys = [Key("busy", "#0072B2"), Key("idle", "#C8C8C8")]
    return stacked(parts, keys) if parts else ""
