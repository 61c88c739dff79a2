"""Hold the model of attention memory against peaks that are measured on a GPU.

``python -m benchmarks.study_memory record -o FILE [--models …]`` runs one step of a denoiser with
fused and with written-out attention at several sizes, with ``--tiny --device cpu`` to try it
without a GPU; then ``python -m benchmarks.study_memory document FILE``.

Of every call it reads what is allocated when it begins and how much more there is at a time until
it ends. The peak of the step with written-out attention is predicted from the step with fused
attention: the most that was allocated when a call began, and the scores and the output that the
model says it holds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collecting_document import machine
from benchmarks.document import write_measured
from benchmarks.measuring import run_document, run_measurement
from benchmarks.tools import CHECKOUT, UnusableError
from tracekit.errors import TracekitError
from tracekit.study.geometry import Call, Layers, Size
from tracekit.study.memory import call_memory
from tracekit.study.models import find_model
from tracekit.units import format_bytes, format_count

if TYPE_CHECKING:
    from benchmarks.allocations import Meter
    from tracekit.collectors.workload import Workload
    from tracekit.memory_results import AttentionMemory

PROGRAM: Final = "benchmarks.study_memory"
MARKER: Final = "study-memory"
DOCS: Final = CHECKOUT / "docs" / "memory.md"
FUSED: Final = "flash"
WRITTEN: Final = "eager"
STEPS: Final = 2
"""Sampling steps asked for, of which one is measured; some samplers take no fewer."""


@dataclass(frozen=True, slots=True)
class Case:
    """One model at one size: what differs from its published defaults."""

    model: str
    options: dict[str, Any]


CASES: Final = (
    *(Case("stable-diffusion", {"size": side}) for side in (256, 512, 768, 1024)),
    *(Case("make-a-video", {"preset": "base", "frames": count}) for count in (8, 16, 32)),
    *(Case("pixart", {"size": side}) for side in (512, 1024, 2048)),
    *(Case("wan", {"frames": count}) for count in (17, 33, 49)),
    *(Case("sd3", {"size": side}) for side in (512, 1024)),
)
_HEADERS: Final = (
    "model", "size", "frames", "calls", "largest call", "call, written out: model", "measured",
    "call, flash: model", "measured", "step, flash: measured", "step, written out: model",
    "measured", "measured / model",
)  # fmt: skip
_RULES: Final = ("---", *["---:"] * (len(_HEADERS) - 1))


@dataclass(slots=True)
class Recorded:
    """What one step took: its peak above what was allocated before, and that of every call.

    Of each call of attention: what it was given, the bytes of the step that were allocated when
    it began, and how many more there were at a time until it ended.
    """

    peak_bytes: int = 0
    calls: list[tuple[Call, int, int]] = field(default_factory=list)


class _StepIsDone(Exception):  # noqa: N818 - it stops a run, and is no error
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write one JSON file, or write it into the documentation; return an exit code."""
    args = _parser().parse_args(argv)
    if args.what == "record":
        return run_measurement(PROGRAM, lambda: measure(args), args.output)
    return run_document(PROGRAM, lambda: write_measured(args.file, args.docs, MARKER, table))


def measure(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what was measured so far, after every model at every size."""
    from benchmarks.collecting_setup import dtype_of, free_memory, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    rows: list[dict[str, Any]] = []
    body = {"what": MARKER, **surroundings(), "dtype": dtype_of(args), "rows": rows}
    yield body
    until = time.monotonic() + args.seconds
    for case in CASES:
        if case.model not in args.models:
            continue
        started = time.monotonic()
        found = {"error": "no time was left"} if started > until else _measured(case, args)
        took = {"took_s": round(time.monotonic() - started, 1)}
        rows.append({"model": case.model, "options": case.options, **found, **took})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        free_memory()
        yield body


def _measured(case: Case, args: argparse.Namespace) -> dict[str, Any]:
    import torch

    from benchmarks.collecting_setup import build, dtype_of

    tiny = {key: value for key, value in case.options.items() if key == "preset"}
    options = {"steps": STEPS, **(tiny if args.tiny else case.options)}
    try:
        workload = build(case.model, args, attention="auto", **options)
        # Libraries keep what they allocate for themselves when they are first called.
        record_step(workload, FUSED, args.device)
        found = {name: record_step(workload, name, args.device) for name in (FUSED, WRITTEN)}
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}
    except TracekitError as error:
        return {"error": " ".join(str(error).split())}
    inputs = workload.config["inputs"]
    return {
        "preset": inputs["preset"],
        "size": [inputs.get("height", inputs.get("size")), inputs.get("width", inputs.get("size"))],
        "frames": inputs.get("num_frames", inputs.get("frames")),
        **compared(found[FUSED], found[WRITTEN], dtype_of(args)),
        "calls_differ": None if args.tiny else _difference(case, found[FUSED]),
    }


def record_step(workload: Workload, attention: str, device: str) -> Recorded:
    """Run a workload until its first step of denoising ends, and return what that step took."""
    import torch

    from benchmarks.allocations import GpuMeter, OpMeter
    from tracekit.collectors.speedups import attention_backend
    from tracekit.collectors.written_attention import written_out

    is_gpu = device.startswith("cuda")
    meter: Meter = GpuMeter() if is_gpu else OpMeter()
    found = Recorded()
    backend: AbstractContextManager[object] = nullcontext()
    if attention == WRITTEN:
        backend = written_out()
    elif is_gpu:
        backend = attention_backend("flash", device)
    with torch.no_grad(), backend, _metered(meter, found) as marker, meter.counting():
        try:
            workload.run(marker)
        except _StepIsDone:
            return found
    raise UnusableError(f"{workload.name}: has no step of denoising")


@contextmanager
def _metered(meter: Meter, found: Recorded) -> Iterator[Any]:
    """Measure every call of PyTorch's attention inside of the stage `denoise`; give its marker."""
    import torch.nn.functional as functional

    before: Any = functional.scaled_dot_product_attention
    start: int | None = None

    def attention(*args: Any, **kwargs: Any) -> Any:
        if start is None:
            return before(*args, **kwargs)
        query, key = (args[at] if len(args) > at else kwargs[n] for at, n in enumerate(_OPERANDS))
        # What was highest so far would hide what is highest inside.
        found.peak_bytes = max(found.peak_bytes, meter.peak() - start)
        meter.forget()
        entered = meter.now()
        result = before(*args, **kwargs)
        call = Call(query.shape[0], query.shape[1], query.shape[2], key.shape[2], query.shape[3])
        found.calls.append((call, entered - start, meter.peak() - entered))
        return result

    @contextmanager
    def marker(name: str, step: int | None = None) -> Iterator[None]:  # noqa: ARG001
        nonlocal start
        if name != "denoise":
            yield
            return
        meter.forget()
        start = meter.now()
        yield
        found.peak_bytes = max(found.peak_bytes, meter.peak() - start)
        raise _StepIsDone

    functional.scaled_dot_product_attention = attention
    try:
        yield marker
    finally:
        functional.scaled_dot_product_attention = before


_OPERANDS: Final = ("query", "key")


def compared(fused: Recorded, written: Recorded, dtype: str) -> dict[str, Any]:
    """Return what was measured beside what the model says, in bytes."""
    of = {call: call_memory(_ANY, 1, call, dtype) for call, *_ in fused.calls}
    largest = max(of.values(), key=lambda row: row.held_bytes)
    peak = max(
        fused.peak_bytes, *(entered + _written_bytes(of[call]) for call, entered, _ in fused.calls)
    )
    return {
        "calls": len(fused.calls),
        "same_calls": Counter(call for call, *_ in fused.calls)
        == Counter(call for call, *_ in written.calls),
        "largest": Call(*(getattr(largest, name) for name in Call._fields))._asdict(),
        "scores_bytes": largest.scores_bytes,
        "attention": {
            WRITTEN: {
                "model_bytes": _written_bytes(largest),
                "measured_bytes": max(grown for *_, grown in written.calls),
            },
            FUSED: {
                "model_bytes": max(map(_fused_bytes, of.values())),
                "measured_bytes": max(grown for *_, grown in fused.calls),
            },
        },
        "peak": {
            FUSED: {"measured_bytes": fused.peak_bytes},
            WRITTEN: {"model_bytes": peak, "measured_bytes": written.peak_bytes},
        },
    }


_ANY: Final = Layers(1, 1, 1, 1)


def _written_bytes(row: AttentionMemory) -> int:
    return row.held_bytes + row.output_bytes


def _fused_bytes(row: AttentionMemory) -> int:
    return row.log_sum_exp_bytes + row.output_bytes


def _difference(case: Case, found: Recorded) -> int:
    """Return how many calls of the step are not those of the model of `tracekit study memory`."""
    *_, denoiser = find_model(":".join([case.model, *_preset(case)]))
    size = case.options.get("size")
    asked = Size(
        size or denoiser.height,
        size or denoiser.width,
        case.options.get("frames") or denoiser.frames or 1,
        denoiser.prompt_tokens,
    )
    known: Counter[Call] = Counter()
    for _, calls, call in denoiser.calls(asked, 1):
        known[call] += calls
    ran = Counter(call for call, *_ in found.calls)
    return sum(((ran - known) + (known - ran)).values())


def _preset(case: Case) -> list[str]:
    return [case.options["preset"]] if "preset" in case.options else []


def table(body: dict[str, Any]) -> str:
    """Return the table of what was measured, in Markdown."""
    lines = [
        f"{machine(body)}; {body['dtype']}; one step of the denoiser, batch 1.",
        "",
        f"| {' | '.join(_HEADERS)} |",
        f"| {' | '.join(_RULES)} |",
    ]
    for row in body["rows"]:
        name = f"{row['model']} {row['preset']}" if row.get("preset") else row["model"]
        if "error" in row:
            given = ", ".join(f"{key} {value}" for key, value in row["options"].items())
            lines.append(f"| {name} | {given}: {row['error']} |{' |' * (len(_HEADERS) - 2)}")
        else:
            lines.append(f"| {' | '.join([name, *_cells(row)])} |")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> list[str]:
    height, width = row["size"]
    attention, peak = row["attention"], row["peak"]
    largest = row["largest"]
    lengths = f"{format_count(largest['query_length'])} x {format_count(largest['key_length'])}"
    differ = row["calls_differ"]
    ratio = peak[WRITTEN]["measured_bytes"] / peak[WRITTEN]["model_bytes"]
    return [
        format_count(height) if height == width else f"{height}x{width}",
        format_count(row["frames"]),
        f"{row['calls']}{f' ({differ} differ)' if differ else ''}",
        f"{format_count(largest['batch'] * largest['heads'])} of {lengths}",
        *(
            format_bytes(attention[name][which])
            for name in (WRITTEN, FUSED)
            for which in ("model_bytes", "measured_bytes")
        ),
        format_bytes(peak[FUSED]["measured_bytes"]),
        format_bytes(peak[WRITTEN]["model_bytes"]),
        format_bytes(peak[WRITTEN]["measured_bytes"]),
        f"{ratio:.3f}",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {PROGRAM}", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    record = commands.add_parser("record", help="measure models at several sizes")
    record.add_argument("-o", "--output", type=Path, help="file to write (stdout)")
    models = list(dict.fromkeys(case.model for case in CASES))
    record.add_argument("--models", nargs="+", choices=models, default=models, help="(all)")
    record.add_argument("--seconds", type=float, default=1e9, help="begin no size after this")
    record.add_argument("--device", default="cuda", help="(%(default)s)")
    record.add_argument("--tiny", action="store_true", help="tiny models, each at its own size")
    write = commands.add_parser("document", help="write a measured file into the documentation")
    write.add_argument("file", type=Path, help="what record wrote")
    write.add_argument("--docs", type=Path, default=DOCS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
