"""What a report shows of one trace beyond its analysis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tracekit.analysis.analyze import Parts
from tracekit.analysis.kernel_sums import kernel_kinds, kind_times, module_times
from tracekit.analysis.roofline_points import roofline_points
from tracekit.analysis.timeline import timeline
from tracekit.classifying.table import KernelTable
from tracekit.report_results import RunReport
from tracekit.results import Analysis

MOST_KERNELS: Final = 2_000
MOST_MODULES: Final = 500
MOST_POINTS: Final = 500


def run_report(
    table: KernelTable,
    analysis: Analysis,
    parts: Parts,
    peaks: Mapping[str, float] | None = None,
) -> RunReport:
    """Return what a report shows of one trace; what it is called depends on the others.

    `analysis` and `parts` are those of the table; `peaks` stand for those of the device, as there.
    """
    kinds = kernel_kinds(table)
    modules, modules_total = module_times(table, MOST_MODULES)
    points, points_total = roofline_points(
        table, analysis.trace.device_name, peaks or {}, MOST_POINTS
    )
    return RunReport(
        analysis=analysis,
        kernels=kind_times(table, kinds, MOST_KERNELS),
        kernels_total=len(kinds.kinds),
        modules=modules,
        modules_total=modules_total,
        roofline_points=points,
        roofline_points_total=points_total,
        timeline=timeline(table, kinds, parts.idle, parts.calls),
    )
