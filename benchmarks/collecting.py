"""Measure what recording costs, and write it into the documentation.

``python -m benchmarks.collecting hooks|sleeps|passes -o FILE``, each with ``--tiny --device cpu``
to try it without a GPU; then ``python -m benchmarks.collecting document FILE …``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collecting_document import document
from benchmarks.measuring import run_document, run_measurement
from benchmarks.tools import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODELS: Final = ("stable-diffusion", "llama", "make-a-video")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write one JSON file, or write files into the documentation; return 0."""
    args = _parser().parse_args(argv)
    if args.what != "document":
        return run_measurement("benchmarks.collecting", lambda: _measured(args), args.output)
    return run_document("benchmarks.collecting", lambda: document(args.files, args.docs))


def _measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield all that was measured, after each part of it."""
    # torch is imported only where something is measured.
    from benchmarks.collecting_setup import dtype_of, surroundings
    from tracekit.collectors.environment import check_device

    check_device(args.device)
    parts: Iterator[dict[str, Any]]
    if args.what == "hooks":
        from benchmarks.collecting_hooks import measure_hooks

        parts = measure_hooks(args)
    elif args.what == "sleeps":
        from benchmarks.collecting_sleeps import measure_sleeps

        parts = measure_sleeps(args)
    else:
        from benchmarks.collecting_passes import measure_passes

        parts = measure_passes(args)
    about = {"what": args.what, **surroundings(), "dtype": dtype_of(args)}
    for found in parts:
        yield {**about, **found}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collecting", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    hooks = _measuring(commands, "hooks", "labels and stage markers in runs that nothing profiles")
    hooks.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="(all)")
    hooks.add_argument("--pairs", type=int, default=150, help="pairs of runs (%(default)s)")
    hooks.add_argument("--seconds", type=float, default=120, help="limit a model (%(default)s)")
    sleeps = _measuring(commands, "sleeps", "idle time where the host sleeps once a step")
    sleeps.add_argument("--rounds", type=int, default=40, help="runs a sleep (%(default)s)")
    sleeps.add_argument("--steps", type=int, default=12, help="denoising steps (%(default)s)")
    sleeps.add_argument(
        "--workloads", nargs="+", choices=("eager", "graph"), default=("eager", "graph"),
        help="eager, or a CUDA graph with a synchronization after each step (both)",
    )  # fmt: skip
    sleeps.add_argument(
        "--where", nargs="+", choices=("before", "scheduler"), default=("before",),
        help="before each step, or inside it, when the scheduler takes its step (before)",
    )  # fmt: skip
    sleeps.add_argument(
        "--stacks", action="store_true",
        help="record Python stacks, and tell what the function that slept is blamed for",
    )  # fmt: skip
    sleeps.add_argument("--folder", type=Path, help="keep the run folders below this one")
    passes = _measuring(commands, "passes", "what each pass costs")
    passes.add_argument("--only", nargs="+", type=int, help="numbers of the runs, from 0 (all)")
    passes.add_argument("--rounds", type=int, default=9, help="runs in turn (%(default)s)")
    passes.add_argument("--folder", type=Path, help="keep the run folders below this one")
    write = commands.add_parser("document", help="write measured files into the documentation")
    write.add_argument("files", nargs="+", type=Path, help="what the other commands wrote")
    write.add_argument("--docs", type=Path, default=CHECKOUT / "docs" / "collecting.md")
    return parser


def _measuring(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("-o", "--output", type=Path, help="file to write (standard output)")
    parser.add_argument("--device", default="cuda", help="(%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny models")
    return parser


if __name__ == "__main__":
    sys.exit(main())
