"""Measure tracekit, with HTA beside it: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.compare import CHECKOUT, MB, Case, Row, child_env, has_hta, json_bytes, run_case
from benchmarks.table import machine, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TRACES: Final = CHECKOUT / "examples" / "traces"
_SOURCE: Final = "sdxl_flash.json.gz"
_COLUMNS: Final = """
load, link and classify: seconds of each stage in a process whose imports are done; analyze: the
same from the file to the result. process: the whole command `tracekit analyze`, from start to exit;
peak: the largest sum of proportional set sizes over its process tree. HTA: import, load, temporal
and kernel breakdown, as a process as well. The tools take turns on every trace, so that drifts of
the machine meet both.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: traces as they are, and `source` scaled to each of `sizes_mb`."""

    traces: tuple[Path, ...]
    source: Path
    sizes_mb: tuple[float, ...]
    repeats: int
    hta_max_mb: float
    keep: Path | None


class UnusableError(Exception):
    """The benchmark cannot go on; `code` is the exit code of the command."""

    def __init__(self, message: str, code: int = 3) -> None:
        super().__init__(message)
        self.code = code


def cases(options: Options, folder: Path) -> Iterator[Case]:
    """Yield the traces one by one; a scaled one is written to `folder` when its turn comes.

    Raises
    ------
    UnusableError
        If a trace is not there or cannot be scaled.
    """
    for path in options.traces:
        yield Case(path.name.removesuffix(".gz").removesuffix(".json"), path, json_bytes(path))
    stem = options.source.name.removesuffix(".gz").removesuffix(".json")
    for size in options.sizes_mb:
        out = folder / f"{stem}.{size:g}mb.json"
        # In a process of its own: the caller of `measure` has to stay small.
        command = [sys.executable, "-m", "benchmarks.scale"]
        made = subprocess.run(
            [*command, str(options.source), str(out), "--mb", str(size), "--force"],
            env=child_env(),
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise UnusableError(made.stderr.strip(), made.returncode)
        scaled = json.loads(made.stdout)
        yield Case(f"{stem} x{scaled['copies']}", out, scaled["bytes"])
        if options.keep is None:
            out.unlink()


def run(options: Options) -> list[Row]:
    """Measure every trace in turn; what is scaled goes when it is measured, or stays in `keep`."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tracekit-benchmarks-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(cases(options, folder)):
            hta = case.json_bytes <= options.hta_max_mb * MB
            if sys.stderr.isatty():
                print(f"{case.name} ({case.json_bytes / MB:.0f} MB) ...", file=sys.stderr)
            if number == 0:
                # Not counted: brings the programs themselves into memory and compiles them once.
                run_case(case, 1, hta)
            rows.append(run_case(case, options.repeats, hta))
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0, or 1 where tracekit itself failed on a trace."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.output and args.output.exists() and not args.force:
        parser.error(f"{args.output} exists (overwrite it with --force)")
    wants_hta = not args.no_hta
    try:
        options = _options(args, hta=wants_hta and has_hta())
        rows = run(options)
    except UnusableError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130
    markdown = args.format == "markdown"
    lines = [render(rows, markdown).rstrip(), "", machine(options.repeats)]
    if wants_hta and not has_hta():
        lines.append("HTA is not installed, nothing is compared: pip install 'gpu-tracekit[hta]'")
    lines.extend(f"- {note}" for row in rows for note in row.notes)
    text = "\n".join(lines) + "\n"
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 1 if any({"stages", "tracekit"} & set(row.failed) for row in rows) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and memory of tracekit on real traces and scaled ones, HTA beside it.",
        epilog=_COLUMNS,
    )
    add = parser.add_argument
    add("--sizes", default="18,71,500", help="MB to scale the source to; '' for none (%(default)s)")
    add("--repeats", type=int, default=3, help="how often to measure each (%(default)s)")
    add("--no-hta", action="store_true", help="measure tracekit alone")
    add("--hta-max-mb", type=float, default=200, help="largest trace for HTA (%(default)s)")
    add("--format", choices=("text", "markdown"), default="text", help="(%(default)s)")
    add("-o", "--output", type=Path, help="where to write (standard output)")
    add("--force", action="store_true", help="overwrite the output")
    add("--keep", type=Path, metavar="DIR", help="write the scaled traces here and keep them")
    add("--traces", type=Path, nargs="*", default=[_TRACES], help="traces, or folders of them")
    add("--source", type=Path, default=_TRACES / _SOURCE, help="the trace to scale")
    return parser


def _options(args: argparse.Namespace, hta: bool) -> Options:
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
    for path in [*traces, *([args.source] if sizes else [])]:
        if not path.is_file():
            raise UnusableError(f"{path}: no such trace (name others with --traces and --source)")
    return Options(
        traces=tuple(traces),
        source=args.source,
        sizes_mb=sizes,
        repeats=args.repeats,
        hta_max_mb=args.hta_max_mb if hta else -1,
        keep=args.keep,
    )


if __name__ == "__main__":
    sys.exit(main())
