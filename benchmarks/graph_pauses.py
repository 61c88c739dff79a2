"""Find out what the time of a CUDA graph depends on: ``python -m benchmarks.graph_pauses``.

Steps of several models, and chains of single kernels, are replayed in a row, with pauses, and in
the rhythm of the eager step, while the device's clock is read, and with a profiler; the modules of
each step are captured one by one: ``record -o FILE`` on a GPU (``--tiny --device cpu`` tries what
can be tried without); ``--traces`` keeps the recorded kernels of all of it. ``document FILE``
writes the table of ``docs/idle.md``, with ``--traces`` after bounding each step anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.collecting_document import machine
from benchmarks.document import write_measured
from benchmarks.graph_pauses_job import EAGER, FOUND, RECORDED, STEPS, TRACE
from benchmarks.kept_traces import join, pack, unpack
from benchmarks.measuring import run_document, run_measurement
from benchmarks.tools import CHECKOUT
from benchmarks.turns import in_turn
from tracekit.analysis.what_if import NO_LAUNCH_GAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER: Final = "graph-pauses"
_DOCS: Final = CHECKOUT / "docs" / "idle.md"
_MAX_BYTES: Final = 15 << 20
_MS: Final = 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write one JSON file, or write the table of one; return 0."""
    args = _parser().parse_args(argv)
    if args.what == "record":
        return run_measurement("benchmarks.graph_pauses", lambda: _measured(args), args.output)
    return run_document("benchmarks.graph_pauses", lambda: _write(args))


def _write(args: argparse.Namespace) -> None:
    if args.traces is not None:
        _bound_anew(args.file, args.traces)
    write_measured(args.file, args.docs, MARKER, table)


def _measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was found so far, after each step."""
    from benchmarks.collecting_setup import dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    about = {"what": MARKER, **surroundings(), "dtype": dtype_of(args)}
    options = ["--device", args.device, *(["--tiny"] if args.tiny else [])]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        started = time.monotonic()
        turns = in_turn("benchmarks.graph_pauses_job", args.steps, place, options, args.seconds)
        for step, folder, error in turns:
            found = folder / FOUND
            row = json.loads(found.read_text()) if found.is_file() else {}
            took = {"ended_s": round(time.monotonic() - started, 1), "error": error}
            rows.append({"step": step, **row, **took})
            shown = {key: rows[-1].get(key) for key in ("step", "took_s", "ended_s", "error")}
            print(json.dumps(shown), file=sys.stderr, flush=True)
            yield {**about, "rows": rows}
        _finish(rows, place, args)
        yield {**about, "rows": rows}


def _finish(rows: list[dict[str, Any]], place: Path, args: argparse.Namespace) -> None:
    """Bound each step from its eager trace, and keep what is needed of all traces."""
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        eager = {row["step"]: place / row["step"] / f"{EAGER}{TRACE}" for row in rows}
        bounds = {step: pool.submit(_bound, path) for step, path in eager.items() if path.is_file()}
        packing = [pool.submit(_packed, path) for path in sorted(place.glob(f"*/*{TRACE}"))]
        for row in rows:
            if row["step"] in bounds:
                row["bound"] = bounds[row["step"]].result()
        packed = [path for job in packing if (path := job.result()) is not None]
    if args.traces is not None:
        # The traces of steps first, in case not all of them fit.
        packed.sort(key=lambda path: (not path.name.startswith((EAGER, "replays")), path))
        kept = join(packed, args.traces, _MAX_BYTES)
        print(f"{kept} of {len(packed)} traces kept", file=sys.stderr, flush=True)


def _packed(trace: Path) -> Path | None:
    target = trace.with_suffix(".parquet")
    try:
        pack(trace, target, f"{trace.parent.name}.{trace.name.removesuffix(TRACE)}", 0)
    except Exception as error:
        print(f"{trace.parent.name}/{trace.name}: {error}", file=sys.stderr)
        return None
    return target


def _bound(trace: Path) -> dict[str, Any]:
    """Return what a step is bounded to, and its kernels' time, in ms, mean of several."""
    try:
        result = tracekit.analyze(trace)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    assert isinstance(result, tracekit.Analysis)
    walls = [
        row.wall_ns for row in result.what_if if row.name == NO_LAUNCH_GAPS and row.scope == "run"
    ]
    return {
        "bound_ms": walls[0] / _MS / RECORDED if walls else None,
        "kernel_ms": result.time.kernel_ns / _MS / RECORDED,
        "activities": result.trace.gpu_events / RECORDED,
    }


def _bound_anew(file: Path, traces: Path) -> None:
    """Replace the bounds of a recorded file by those of today, from the traces kept of it."""
    body = json.loads(file.read_text(encoding="utf-8"))
    rows = {f"{row['step']}.{EAGER}": row for row in body["rows"]}
    with tempfile.TemporaryDirectory() as place:
        for name, _, trace in unpack(traces, Path(place)):
            if name in rows:
                rows[name]["bound"] = _bound(trace)
            trace.unlink()
    file.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


def table(body: dict[str, Any]) -> str:
    """Return bounds beside replays, in Markdown."""
    lines = [
        f"{machine(body)}; a step recorded eagerly, the mean of {RECORDED}; its graph, captured "
        "before a profiler had run in the process: ten replays in a row, and replays as often as "
        "the recorded steps came; medians, and the mean SM clock meanwhile, read on the device.",
        "",
        "| step | nodes | eager trace ms (MHz) | bound ms | in a row ms (MHz) | bound / that | "
        "in the eager rhythm ms (MHz) | bound / that |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in body["rows"]:
        bound_ms = (row.get("bound") or {}).get("bound_ms")
        if bound_ms is None or "rhythm" not in row:
            continue
        cells = [row["step"], f"{row['bound']['activities']:,.0f}"]
        cells += [f"{row['traced']['step_ms']:.1f} ({row['traced']['mhz']:.0f})", f"{bound_ms:.2f}"]
        for kind in ("row", "rhythm"):
            cells.append(f"{row[kind]['ms']:.2f} ({row[kind]['mhz']:.0f})")
            cells.append(f"{bound_ms / row[kind]['ms']:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.graph_pauses", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    write = commands.add_parser("document", help="write the table of a measured file")
    write.add_argument("file", type=Path, help="what record wrote")
    write.add_argument("--traces", type=Path, help="bound the steps of these traces anew before")
    write.add_argument("--docs", type=Path, default=_DOCS)
    add = commands.add_parser("record", help="measure on a GPU").add_argument
    add("-o", "--output", type=Path, required=True, help="file to write")
    add("--traces", type=Path, help="file for the recorded kernels")
    add("--steps", nargs="+", choices=list(STEPS), default=list(STEPS), help="(all)")
    add("--seconds", type=float, default=160, help="time of all steps (%(default)s)")
    add("--jobs", type=int, default=12, help="traces read at a time (%(default)s)")
    add("--device", default="cuda", help="(%(default)s)")
    add("--tiny", action="store_true", help="tiny models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
