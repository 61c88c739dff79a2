"""Record the runs that estimates are held against: `python -m benchmarks.estimates record`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import tracekit
from benchmarks.estimates_job import WALLS
from benchmarks.kept_traces import join, pack, unpack
from benchmarks.turns import in_turn

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from tracekit.trace import Table, Trace

MARKER: Final = "estimates-medians"
_MAX_BYTES: Final = 15 << 20
_PERCENTILES: Final = (10, 25, 50, 75, 90)


def measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was measured so far: wall times of each model, then also its estimates."""
    from benchmarks.collecting_setup import dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    about = {"what": MARKER, **surroundings(), "dtype": dtype_of(args)}
    with tempfile.TemporaryDirectory(dir=args.scratch) as temporary:
        place = Path(temporary)
        rows: list[dict[str, Any]] = []
        options = ["--rounds", str(args.rounds), "--device", args.device]
        options += ["--tiny"] if args.tiny else []
        started = time.monotonic()
        turns = in_turn("benchmarks.estimates_job", args.models, place, options, args.seconds)
        for model, folder, error in turns:
            walls = folder / WALLS
            row = json.loads(walls.read_text()) if walls.is_file() else {}
            took = {"ended_s": round(time.monotonic() - started, 1), "error": error}
            rows.append({"model": model, **row, **took})
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
            yield {**about, "rows": rows}
        # Only now: what runs beside a measurement slows it down.
        _analyze_all(rows, place, args)
        yield {**about, "rows": rows}


def _analyze_all(rows: list[dict[str, Any]], place: Path, args: argparse.Namespace) -> None:
    found = [(row, trace) for row in rows for trace in _traces(place / row["model"])]
    # Every model's first trace comes before any second one, in case not all of them fit.
    found.sort(key=lambda each: int(each[1].stem))
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_analyzed, trace, row["model"]) for row, trace in found]
        for (row, _), job in zip(found, jobs, strict=True):
            row.setdefault("traces", []).append(job.result())
    if args.traces is not None:
        packed = [trace.with_suffix(".parquet") for _, trace in found]
        kept = join([path for path in packed if path.is_file()], args.traces, _MAX_BYTES)
        print(f"{kept} of {len(found)} traces kept", file=sys.stderr, flush=True)


def _traces(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.json") if path.stem.isdecimal())


def _analyzed(trace: Path, model: str) -> dict[str, Any]:
    """Return what tracekit estimates of a trace, and what the trace tells of its host."""
    try:
        pack(trace, trace.with_suffix(".parquet"), model, int(trace.stem))
        return {"estimate": estimate_of(trace), "host": host_facts(tracekit.load(trace))}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def estimate_anew(file: Path, traces: Path) -> None:
    """Replace the estimates of a recorded file by those of today, from the traces kept of it."""
    body = json.loads(file.read_text(encoding="utf-8"))
    rows = {row["model"]: row for row in body["rows"]}
    for row in rows.values():
        row["traces"] = []
    with tempfile.TemporaryDirectory() as place:
        for model, _, trace in unpack(traces, Path(place)):
            found = {"estimate": estimate_of(trace), "host": host_facts(tracekit.load(trace))}
            rows[model]["traces"].append(found)
            trace.unlink()
    file.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def estimate_of(trace: Path) -> dict[str, Any] | None:
    """Return wall, least, most and busy time in ns that a plain trace's estimate holds."""
    result = tracekit.analyze(trace)
    assert isinstance(result, tracekit.Analysis)
    found = result.corrected
    if found is None:
        return None
    names = ("wall_ns", "low_ns", "high_ns", "busy_ns", "idle_ns", "dilation")
    return {name: getattr(found, name) for name in names}


def host_facts(trace: Trace) -> dict[str, Any]:
    """Return how many events of each kind a trace holds, and how long what the host does takes.

    Durations and the time between the begins of consecutive ops are percentiles in ns.
    """
    calls = [trace.text(code) or "" for code in trace.calls.name]
    launches = np.array([name.startswith(("cudaLaunchKernel", "cuLaunch")) for name in calls], bool)
    ops = np.sort(trace.ops.start_ns)
    return {
        "ops": len(trace.ops),
        "calls": len(trace.calls),
        "activities": len(trace.activities),
        "op_ns": _percentiles(_leaves(trace.ops)),
        "launch_ns": _percentiles(trace.calls.dur_ns[launches]),
        "other_call_ns": _percentiles(trace.calls.dur_ns[~launches]),
        "between_ops_ns": _percentiles(np.diff(ops)),
    }


def _leaves(ops: Table) -> Sequence[int] | np.ndarray[Any, Any]:
    """Return the durations of ops that hold no other."""
    order = np.argsort(ops.start_ns, kind="stable")
    start, end = ops.start_ns[order], ops.end_ns[order]
    return ops.dur_ns[order][np.append(start[1:] >= end[:-1], True)] if len(order) else []


def _percentiles(values: Any) -> list[float] | None:
    if not len(values):
        return None
    return [round(float(value), 1) for value in np.percentile(values, _PERCENTILES)]
