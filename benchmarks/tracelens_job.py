"""The job of tracekit done by TraceLens: ``python -m benchmarks.tracelens_job TRACE``.

Makes its performance report of a PyTorch trace as CSV files, which are thrown away; prints the
seconds of the import and of the report and TraceLens's busy time as JSON. A process of its own, so
that TraceLens's imports count as tracekit's do.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any


def main(path: str) -> int:
    """Analyze one trace with TraceLens and print what it took."""
    started = time.perf_counter()
    warnings.simplefilter("ignore")
    # It tells its progress on stdout, which here is for the result alone.
    with (
        tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as folder,
        contextlib.redirect_stdout(sys.stderr),
    ):
        # Untyped, and not installed everywhere: imported by name.
        report: Any = import_module("TraceLens.Reporting.generate_perf_report_pytorch")
        imported = time.perf_counter()
        tables = report.generate_perf_report_pytorch(
            profile_json_path=str(Path(path).resolve()), output_csvs_dir=folder
        )
        done = time.perf_counter()
    timeline = tables["gpu_timeline"].set_index("type")["time ms"]
    seconds = {"import": imported - started, "report": done - imported}
    print(json.dumps({"seconds": seconds, "busy_us": float(timeline["busy_time"]) * 1000}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
