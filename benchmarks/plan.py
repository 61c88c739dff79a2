"""What is measured on which trace, and the loop over all traces."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.compare import MB, Case, Row, json_bytes, run_case
from benchmarks.limits import Limit, measure_limits
from benchmarks.tools import (
    CHECKOUT,
    PEERS,
    Tool,
    UnusableError,
    analyze_options,
    child_env,
    installed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES_MB: Final = "18,71,500"
FULL_SIZES_MB: Final = "10,50,71,200,500,1000,2000"

_TRACES: Final = CHECKOUT / "examples" / "traces"
# The second one is small enough for 10 MB.
_SOURCES: Final = ("sdxl_flash.json.gz", "zeroscope_flash.json.gz")
# A source serves a size that whole copies of it meet this well.
_CLOSE: Final = 0.2
# The number of workers, and the limits, are compared on the largest trace below this.
_COMPARE_BELOW_MB: Final = 600


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: traces as they are, and a source scaled to each of `sizes_mb`.

    `max_mb` is the largest trace for each peer, which is missing where it is not to be run. `keep`
    is the folder in which scaled traces stay, null to delete each once it is measured.
    """

    traces: tuple[Path, ...]
    sources: tuple[Path, ...]
    sizes_mb: tuple[float, ...]
    repeats: int
    max_mb: dict[Tool, float]
    limits: bool
    keep: Path | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that was measured; `limits` is empty where they were not asked for."""

    rows: list[Row]
    limits: list[Limit]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what to measure."""
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--sizes", default=SIZES_MB, help="MB to scale a source to; '' for none (%(default)s)"
    )
    sizes.add_argument(
        "--full",
        action="store_const",
        dest="sizes",
        const=FULL_SIZES_MB,
        help=f"the sizes {FULL_SIZES_MB}",
    )
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="how often to measure each (%(default)s)")
    add("--no-hta", action="store_true", help="measure without HTA")
    add("--hta-max-mb", type=float, default=200, help="largest trace for HTA (%(default)s)")
    add("--no-tracelens", action="store_true", help="measure without TraceLens")
    add(
        "--tracelens-max-mb",
        type=float,
        default=100,
        help="largest trace for TraceLens (%(default)s)",
    )
    add("--keep", type=Path, metavar="DIR", help="write the scaled traces here and keep them")
    add("--traces", type=Path, nargs="*", default=[_TRACES], help="traces, or folders of them")
    add(
        "--source",
        type=Path,
        nargs="+",
        default=[_TRACES / name for name in _SOURCES],
        help="traces to scale; the first whose copies meet a size serves it",
    )


def options_of(args: argparse.Namespace, limits: bool) -> Options:
    """Return the options of a command line.

    Raises
    ------
    UnusableError
        If they contradict themselves or name a trace that is not there.
    """
    try:
        sizes = tuple(float(size) for size in args.sizes.split(",") if size.strip())
    except ValueError as error:
        raise UnusableError(
            f"--sizes takes numbers of MB with commas, not {args.sizes!r}", 2
        ) from error
    if args.repeats < 1 or any(size <= 0 for size in sizes):
        raise UnusableError("--repeats and --sizes must be positive", 2)
    traces = [
        found
        for path in args.traces
        for found in (sorted(path.glob("*.json*")) if path.is_dir() else [path])
    ]
    for path in [*traces, *(args.source if sizes else [])]:
        if not path.is_file():
            raise UnusableError(f"{path}: no such trace (name others with --traces and --source)")
    wanted: dict[Tool, float] = {}
    if not args.no_hta:
        wanted["hta"] = args.hta_max_mb
    if not args.no_tracelens:
        wanted["tracelens"] = args.tracelens_max_mb
    return Options(
        traces=tuple(traces),
        sources=tuple(args.source),
        sizes_mb=sizes,
        repeats=args.repeats,
        max_mb=wanted,
        limits=limits,
        keep=args.keep,
    )


def missing_peers(options: Options) -> list[Tool]:
    """Return the peers that were to be run and are not installed."""
    return [peer for peer in options.max_mb if not installed(peer)]


def cases(options: Options, folder: Path) -> Iterator[Case]:
    """Yield the traces one by one; a scaled one is written to `folder` when its turn comes.

    Raises
    ------
    UnusableError
        If a trace cannot be scaled.
    """
    for path in options.traces:
        yield Case(_stem(path), path, json_bytes(path))
    sources = {path: json_bytes(path) / MB for path in options.sources} if options.sizes_mb else {}
    for size in options.sizes_mb:
        source = source_for(size, sources)
        out = folder / f"{_stem(source)}.{size:g}mb.json"
        # In a process of its own: the caller of `measure` has to stay small.
        command = [sys.executable, "-m", "benchmarks.scale"]
        made = subprocess.run(
            [*command, str(source), str(out), "--mb", str(size), "--force"],
            env=child_env(),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise UnusableError(made.stderr.strip(), made.returncode)
        scaled = json.loads(made.stdout)
        yield Case(f"{_stem(source)} x{scaled['copies']}", out, scaled["bytes"], size)
        if options.keep is None:
            out.unlink()


def source_for(size_mb: float, sources_mb: dict[Path, float]) -> Path:
    """Return the first source whose whole copies come close to a size, else the closest one."""

    def miss(source: Path) -> float:
        one = sources_mb[source]
        return abs(max(1, round(size_mb / one)) * one - size_mb) / size_mb

    close = (source for source in sources_mb if miss(source) <= _CLOSE)
    return next(close, None) or min(sources_mb, key=miss)


def tools_for(case: Case, options: Options) -> list[Tool]:
    """Return the tools to run on a trace, in the order in which they take turns."""
    known = analyze_options()
    tools: list[Tool] = ["stages", "tracekit"]
    if "--no-cache" in known:
        tools.append("warm")
    if "--workers" in known and _is_compared(case, options):
        tools += ["one worker", "two workers"]
    absent = missing_peers(options)
    for peer in PEERS:
        most = options.max_mb.get(peer, -1)
        if peer not in absent and case.json_bytes <= most * MB:
            tools.append(peer)
    return tools


def run(options: Options) -> Outcome:
    """Measure every trace in turn; what is scaled goes when it is measured, or stays in `keep`."""
    rows: list[Row] = []
    limits: list[Limit] = []
    with tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(cases(options, folder)):
            if sys.stderr.isatty():
                print(f"{case.name} ({case.json_bytes / MB:.0f} MB) ...", file=sys.stderr)
            tools = tools_for(case, options)
            if number == 0:
                # Not counted: brings the programs themselves into memory and compiles them once.
                run_case(case, 1, tools)
            rows.append(run_case(case, options.repeats, tools))
            if options.limits and _is_compared(case, options):
                limits = measure_limits(case.path, options.repeats)
    return Outcome(rows, limits)


def _is_compared(case: Case, options: Options) -> bool:
    below = [size for size in options.sizes_mb if size < _COMPARE_BELOW_MB]
    return bool(below) and case.target_mb == max(below)


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".json")
