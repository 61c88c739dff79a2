"""The sections of a study's report on its sweeps and on memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracekit.reports.study_cells import Section, Table, exponent, fitted_range, part_label, spread
from tracekit.units import MISSING, format_bytes, format_count, format_ns

if TYPE_CHECKING:
    from tracekit.study_results import StudyReport, SweepResult


def sweep_section(sweep: SweepResult) -> Section:
    """Return the section on one sweep: its points, how each part grows, and crossovers."""
    names = list(dict.fromkeys(name for point in sweep.points for name in point.times))
    rows = [
        (
            format_count(point.value),
            point.attention,
            spread(point.wall_ns),
            format_ns(point.kernel_ns),
            *(format_ns(point.times.get(name)) for name in names),
            format_bytes(point.peak_bytes),
        )
        for point in sweep.points
    ]
    fits = [
        (
            part_label(one.what),
            one.attention,
            exponent(one),
            format_count(one.points),
            fitted_range(one),
        )
        for one in sweep.fits
    ]
    crossed = [
        (
            f"{one.what}: {'reaches' if one.is_upward else 'falls below'} spatial",
            one.attention,
            f"{one.value:,.0f}"
            + (" (beyond what was measured, by the fit)" if one.is_beyond else ""),
        )
        for one in sweep.crossovers
    ]
    headers = (
        sweep.title.capitalize(),
        "Attention",
        "Wall time",
        "Kernels",
        *map(part_label, names),
        "Peak",
    )
    return Section(
        f"Over the {sweep.title}: {sweep.model}",
        f"Time of all steps of {sweep.stage}. Exponents are of least squares on logarithms, with "
        "their standard error.",
        (
            Table(headers, "rlrr" + "r" * len(names) + "r", rows),
            Table(("Grows", "Attention", "Exponent", "Points", "From–to"), "llrrr", fits),
            Table(("Temporal attention", "Attention", "At"), "llr", crossed),
        ),
        f"sweep:{sweep.name}",
    )


def memory_section(report: StudyReport) -> Section:
    """Return the section on the memory of scores over the image side."""
    found = report.memory
    points = () if found is None else found.points
    rows = [
        (
            format_count(one.value),
            format_bytes(one.model_bytes),
            format_bytes(one.eager_bytes),
            format_bytes(one.flash_bytes),
            MISSING if one.ratio is None else f"{one.ratio:.3f}",
        )
        for one in points
    ]
    fits = [
        (name, exponent(fit), fitted_range(fit))
        for name, fit in (
            ("model", None if found is None else found.model_fit),
            ("measured", None if found is None else found.measured_fit),
        )
        if fit is not None
    ]
    return Section(
        "Memory of the scores",
        "What the scores of the largest call hold by the model of tracekit study memory, and the "
        "most that a step of the denoiser allocated.",
        (
            Table(
                ("Image side", "Model", "Written out", "Flash", "Written out / model"),
                "rrrrr",
                rows,
            ),
            Table(("Written out", "Exponent", "From–to"), "lrr", fits),
        ),
        "memory",
    )
