"""Records the corpus: `python -m corpus.record -o OUT [--models a,b] [--modes m,n] [--tiny]`.

With `--holdout` it records models that nobody looks at while classification is being built,
with `--holdout 2` and `3` those that were chosen after the hold-out before had been measured.
Each case, a model in a mode, becomes a folder `OUT/MODEL.MODE/`. A case that fails is reported and
the others go on; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from corpus.pack import pack
from corpus.pool import Job, run_jobs
from corpus.recording import MODES, Setting
from corpus.spec import HOLDOUTS, find_model, load_models
from tracekit.errors import HostError, TracekitError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Record what the command line asks for and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.list:
            models = load_models(holdout=options.holdout).values()
            print("\n".join(f"{one.name}: {' '.join(one.modes)}" for one in models))
            return 0
        return _record(options)
    except TracekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _record(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    jobs = sorted(_jobs(options), key=lambda job: "compile" in job.mode)
    if not jobs:
        raise UsageError("there is nothing to record: no model has the modes asked for")
    out = Path(options.output)
    if out.exists() and any(out.iterdir()) and not options.force:
        raise UsageError(f"{out}: is not empty; give another folder, or --force")
    out.mkdir(parents=True, exist_ok=True)
    results = []
    setting = Setting(out, options.device, options.tiny)
    for result in run_jobs(jobs, setting, workers=options.jobs, seconds=options.seconds):
        results.append(result)
        print(_line(result), flush=True)
    failed = [one for one in results if "error" in one]
    cases = sorted(results, key=lambda one: str(one["case"]))
    lines = [json.dumps(one) for one in (_environment(options.device), *cases)]
    # Not .json, which would pass for a trace in a folder of them.
    (out / "cases.jsonl").write_text("\n".join(lines) + "\n")
    if options.pack:
        pack(out, Path(options.pack))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    took = time.perf_counter() - started
    print(
        f"{len(results) - len(failed)} of {len(results)} cases, {size / 1e6:.1f} MB, {took:.0f} s"
    )
    for one in failed:
        print(f"failed: {one['case']}: {one['error']}")
    return 1 if failed else 0


def _line(result: dict[str, Any]) -> str:
    if "error" in result:
        return f"FAILED {result['case']}: {result['error']}"
    return (
        f"{result['case']}: {result['kernels']} kernels, {result['bytes'] / 1e3:.0f} kB, "
        f"{result['took_s']:.1f} s ({result['built_s']:.1f} to build)"
    )


def _jobs(options: argparse.Namespace) -> Iterator[Job]:
    every = load_models(holdout=options.holdout)
    names = options.models.split(",") if options.models else list(every)
    wanted = options.modes.split(",") if options.modes else None
    unknown = set(wanted or ()) - set(MODES)
    if unknown:
        raise UsageError(
            f"{', '.join(sorted(unknown))}: no such mode; there are {', '.join(MODES)}"
        )
    skipped: Counter[str] = Counter()
    for name in names:
        model = find_model(name)
        missing = [one for one in model.needs if importlib.util.find_spec(one) is None]
        if missing:
            skipped[", ".join(missing)] += 1
            continue
        for mode in model.modes:
            if wanted is None or mode in wanted:
                yield Job(name, mode)
    for packages, count in skipped.items():
        print(f"left out {count} models: not installed: {packages}", file=sys.stderr)


def _environment(device: str) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"torch": torch.__version__, "device": device}
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise HostError(f"--device {device}: PyTorch finds no GPU here")
        found["gpu"] = torch.cuda.get_device_name()
    for package in ("diffusers", "transformers"):
        found[package] = importlib.import_module(package).__version__
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m corpus.record", description=__doc__)
    parser.add_argument("-o", "--output", default="corpus-traces", help="folder for the cases")
    parser.add_argument("--models", help="names with commas between; all without")
    parser.add_argument("--modes", help="modes with commas between; all of each model without")
    parser.add_argument(
        "--holdout",
        type=int,
        nargs="?",
        const=1,
        default=0,
        choices=HOLDOUTS,
        metavar="NUMBER",
        help="the models of a hold-out instead of the corpus: 1, also without a number, 2 or 3",
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    parser.add_argument("--tiny", action="store_true", help="sizes for tests")
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the device")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin no case after this time")
    parser.add_argument("--pack", help="folder for tar files of at most 16 MiB with all cases")
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that holds something"
    )
    parser.add_argument("--list", action="store_true", help="print all models and their modes")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
