"""The CSV report: the categories table, for spreadsheets and scripts."""

from __future__ import annotations

import csv
from io import StringIO

from tracekit.results import Analysis, AnalysisSet
from tracekit.tabular import csv_row


def render(result: Analysis | AnalysisSet) -> str:
    """Return the categories as RFC 4180 CSV: `category,kernels,time_ns,time_share`.

    Several inputs get a leading `path` column and ten rows each, texts as in
    `tracekit.tabular.csv_cell`. Null is an empty field. Lines end in CR LF, so write it to a file
    that is opened with `newline=""`.
    """
    several = isinstance(result, AnalysisSet)
    runs = result.runs if isinstance(result, AnalysisSet) else (result,)
    buffer = StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(
        [*(["path"] if several else []), "category", "kernels", "time_ns", "time_share"]
    )
    for run in runs:
        path = [run.trace.path] if several else []
        for row in run.categories:
            cells = (*path, row.category, row.kernels, row.time_ns, row.time_share)
            writer.writerow(csv_row(cells))
    return buffer.getvalue()
