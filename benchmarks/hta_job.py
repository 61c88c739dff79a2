"""The job that tracekit is compared with, done by HTA: ``python -m benchmarks.hta_job TRACE``.

Loads one trace and computes the temporal and the kernel breakdown; prints the seconds of each part
and HTA's busy time as JSON. A process of its own, so that HTA's imports count as tracekit's do.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path


def main(path: str) -> int:
    """Analyze one trace with HTA and print what it took."""
    started = time.perf_counter()
    # Without this HTA rounds events to whole microseconds, and then fails on many real traces.
    os.environ["HTA_DISABLE_NS_ROUNDING"] = "1"
    warnings.simplefilter("ignore")
    from hta.trace_analysis import TraceAnalysis

    logging.disable(logging.CRITICAL)
    imported = time.perf_counter()
    # A rank given by hand: HTA then needs neither a folder nor distributedInfo in the file. A
    # relative path it would look for elsewhere.
    analysis = TraceAnalysis(trace_files={0: str(Path(path).resolve())})
    loaded = time.perf_counter()
    temporal = analysis.get_temporal_breakdown(visualize=False)
    split = time.perf_counter()
    analysis.get_gpu_kernel_breakdown(visualize=False)
    done = time.perf_counter()
    seconds = {
        "import": imported - started,
        "load": loaded - imported,
        "temporal": split - loaded,
        "kernels": done - split,
    }
    whole, idle = (float(temporal[name].iloc[0]) for name in ("kernel_time(us)", "idle_time(us)"))
    print(json.dumps({"seconds": seconds, "busy_us": whole - idle}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
