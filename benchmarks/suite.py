"""Measure every model by name on a GPU, and write the table of the documentation.

``python -m benchmarks.suite record -o FILE [--folder RUNS] [--models a b] [--attention eager …]``,
with ``--tiny --device cpu`` to try it without a GPU; then ``python -m benchmarks.suite document
FILE``. A model that fails, or does not fit, is a row that says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import tracekit
from benchmarks.collecting_document import machine
from benchmarks.document import write_measured
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.collectors.models import MODELS
from tracekit.errors import TracekitError
from tracekit.runfolder import LIGHT_PASS, MANIFEST, RICH_PASS, TIMING
from tracekit.units import MISSING, format_bytes, format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARKER: Final = "suite"
ATTENTION: Final = ("flash", "eager")
DOCS: Final = CHECKOUT / "docs" / "suite.md"


@dataclass(frozen=True, slots=True)
class Case:
    """How much of a model's work is measured: what differs from its published defaults.

    `why_not_eager` says why attention is not measured written out.
    """

    options: dict[str, Any] = field(default_factory=lambda: {"steps": 2})
    repeats: int = 3
    why_not_eager: str | None = None


_SCORES: Final = "the scores of one call would take {} GB"
CASES: Final[dict[str, Case]] = {
    "stable-diffusion": Case({"steps": 10}),
    "llama": Case({"new_tokens": 32}),
    "imagen": Case({"steps": 4}),
    "make-a-video": Case({"steps": 5}, repeats=1),
    "parti": Case({"trace_steps": 16}, repeats=1),
    "wan": Case({"steps": 1}, 1, _SCORES.format(26)),
    "cogvideox": Case({"steps": 1}, 1, _SCORES.format(38)),
    "stable-video-diffusion": Case({"steps": 1}, 1, _SCORES.format(42)),
    "hunyuan-video": Case({"steps": 1}, 1, _SCORES.format(670)),
}
"""Models whose work is measured in another part than two sampling steps."""
_HEADERS: Final = (
    "model", "attention", "parameters", "stages × steps", "unprofiled ms", "light", "rich",
    "kernels: rich / light", "kernels a step", "attention", "conv", "linear", "peak memory",
    "folder",
)  # fmt: skip
_RULES: Final = ("---", "---", "---:", "---", *["---:"] * (len(_HEADERS) - 4))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write one JSON file, or write it into the documentation; return 0."""
    args = _parser().parse_args(argv)
    try:
        if args.what == "document":
            write_measured(args.file, args.docs, MARKER, table)
            return 0
        _record(args)
    except (UnusableError, TracekitError) as error:
        print(f"benchmarks.suite: {error}", file=sys.stderr)
        return error.code if isinstance(error, UnusableError) else error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _record(args: argparse.Namespace) -> None:
    from benchmarks.collecting_setup import dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    body = {"what": MARKER, **surroundings(), "dtype": dtype_of(args), "rows": []}
    with tempfile.TemporaryDirectory() as temporary:
        for row in _rows(args, args.folder or Path(temporary)):
            body["rows"].append(row)
            # What was measured so far is in the file, whatever happens later.
            args.output.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
            print(json.dumps(row), flush=True)


def _rows(args: argparse.Namespace, place: Path) -> Iterator[dict[str, Any]]:
    from benchmarks.collecting_setup import free_memory

    until = time.monotonic() + args.seconds
    for attention in args.attention:
        for model in args.models:
            if time.monotonic() > until:
                yield {"model": model, "attention": attention, "error": "no time was left"}
                continue
            reason = CASES.get(model, Case()).why_not_eager
            if attention == "eager" and reason is not None and not args.tiny:
                yield {"model": model, "attention": attention, "error": f"not run: {reason}"}
                continue
            folder = place / f"{model}.{attention}"
            started = time.monotonic()
            try:
                row = _measured(model, attention, folder, args)
            except TracekitError as error:
                row = {"error": " ".join(str(error).split())}
                shutil.rmtree(folder, ignore_errors=True)
            took = {"took_s": round(time.monotonic() - started, 1)}
            yield {"model": model, "attention": attention, **row, **took}
            free_memory()


def _measured(model: str, attention: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.collecting_setup import build, is_cuda
    from tracekit.collectors.passes import RecordOptions, record_workload

    case = CASES.get(model, Case())
    changes = {} if args.tiny else case.options
    # PyTorch's choice of backends does not concern attention that is written out.
    cuda = is_cuda(args)
    workload = build(model, args, attention=attention, **changes)
    options = RecordOptions(
        device=args.device,
        attention="auto" if attention == "eager" or not cuda else attention,
        warm_up=1,
        repeats=min(args.repeats, case.repeats),
        force=True,
    )
    record_workload(workload, folder, options)
    return _row(folder)


def _row(folder: Path) -> dict[str, Any]:
    """Return what a run folder says of its run."""
    manifest = json.loads((folder / MANIFEST).read_text())
    timing = json.loads((folder / TIMING).read_text())
    analysis = tracekit.analyze(str(folder))
    assert isinstance(analysis, tracekit.Analysis)
    light = tracekit.analyze(str(folder / LIGHT_PASS))
    assert isinstance(light, tracekit.Analysis)
    time_ns = {row.category: row.time_ns for row in analysis.categories}
    rich_ns = analysis.time.kernel_ns
    config = manifest["model"]["config"]
    return {
        "preset": config["inputs"].get("preset"),
        "parameters": config["parameters"]["total"],
        "stages": {one["stage"]: one["steps"] for one in manifest["stages"]},
        "kernels_per_step": {
            row.stage: round(row.kernels / max(1, row.traced_steps or 1))
            for row in analysis.stages
            if row.stage is not None
        },
        "unprofiled_ms": timing["median_wall_ms"],
        "min_ms": timing["min_wall_ms"],
        "max_ms": timing["max_wall_ms"],
        "repeats": len(timing["repeats"]),
        "dilation": {
            entry["pass"]: entry["dilation"]
            for entry in manifest["passes"]
            if entry["dilation"] is not None
        },
        "kernel_ms": light.time.kernel_ns / 1e6,
        "kernels_rich_over_light": rich_ns / light.time.kernel_ns if rich_ns else None,
        "shares": {slug: ns / rich_ns if rich_ns else None for slug, ns in time_ns.items()},
        "peak_memory_bytes": manifest.get("peak_memory_bytes"),
        "bytes": sum(file["size_bytes"] for file in manifest["files"]),
        "files": {RICH_PASS: (folder / RICH_PASS).stat().st_size},
    }


def table(body: dict[str, Any]) -> str:
    """Return the table of the suite, in Markdown."""
    lines = [
        f"{machine(body)}; one warm-up; unprofiled wall time as median (least–greatest) of "
        f"{max((row.get('repeats', 0) for row in body['rows']), default=0)} runs; light and rich: "
        "wall time of the recorded run over that; kernels: time of the rich pass over that of the "
        "light one; kernels a step of the longest stage.",
        "",
        f"| {' | '.join(_HEADERS)} |",
        f"| {' | '.join(_RULES)} |",
    ]
    for row in body["rows"]:
        name = f"{row['model']} {row['preset']}" if row.get("preset") else row["model"]
        if "error" in row:
            lines.append(
                f"| {name} | {row['attention']} | {row['error']} |{' |' * (len(_HEADERS) - 3)}"
            )
            continue
        lines.append(f"| {' | '.join([name, row['attention'], *_cells(row)])} |")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    stages = ", ".join(f"{stage} {steps}" for stage, steps in row["stages"].items())
    wall = f"{_ms(row['unprofiled_ms'])} ({_ms(row['min_ms'])}–{_ms(row['max_ms'])})"
    shares = row["shares"]
    attention = (shares["attention"] or 0) + (shares["temporal_attention"] or 0)
    longest = max(row["stages"], key=lambda stage: row["stages"][stage] or 0)
    ratio = row["kernels_rich_over_light"]
    return [
        f"{row['parameters'] / 1e9:.2f} B",
        stages,
        wall,
        _multiple(row["dilation"].get("light")),
        _multiple(row["dilation"].get("rich")),
        MISSING if ratio is None else f"{ratio:.4f}",
        format_count(row["kernels_per_step"].get(longest)),
        f"{attention:.1%}",
        f"{shares['conv'] or 0:.1%}",
        f"{shares['linear'] or 0:.1%}",
        format_bytes(row["peak_memory_bytes"]),
        format_bytes(row["bytes"]),
    ]


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _multiple(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}x"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    record = commands.add_parser("record", help="measure every model")
    record.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    record.add_argument("--folder", type=Path, help="keep the run folders below this one")
    record.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="(all)")
    record.add_argument(
        "--attention", nargs="+", choices=ATTENTION, default=ATTENTION, help="(all)"
    )
    record.add_argument("--repeats", type=int, default=3, help="unprofiled runs (%(default)s)")
    record.add_argument("--seconds", type=float, default=1e9, help="begin no model after this")
    record.add_argument("--device", default="cuda", help="(%(default)s)")
    record.add_argument("--tiny", action="store_true", help="tiny models")
    write = commands.add_parser("document", help="write a measured file into the documentation")
    write.add_argument("file", type=Path, help="what record wrote")
    write.add_argument("--docs", type=Path, default=DOCS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
