"""Measure tracekit, with its peers beside it: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.limits import render_limits
from benchmarks.plan import Outcome, add_options, missing_peers, options_of, run
from benchmarks.table import machine, render, titled
from benchmarks.tools import OURS, UnusableError, how_to_install

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS: Final = """
load, link and classify: seconds of each stage in a process whose imports are done; analyze: the
same from the file to the result. process: the whole command `tracekit analyze` without a cache,
from start to exit; warm: the same where the cache knows the trace; peak: the largest sum of
proportional set sizes over the process tree. HTA (import, load, temporal and kernel breakdown) and
TraceLens (performance report as CSV) as processes as well. The tools take turns on every trace, so
that drifts of the machine meet all.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0, or 1 where tracekit itself failed on a trace."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.output and args.output.exists() and not args.force:
        parser.error(f"{args.output} exists (overwrite it with --force)")
    try:
        options = options_of(args, args.limits)
        outcome = run(options)
    except UnusableError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130
    lines = [tables(outcome, args.format == "markdown"), machine(options.repeats)]
    lines.extend(how_to_install(peer) for peer in missing_peers(options))
    lines.extend(notes(outcome))
    text = "\n".join(lines) + "\n"
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 1 if ours_failed(outcome) else 0


def tables(outcome: Outcome, markdown: bool) -> str:
    """Return all tables of a run, ending in a newline."""
    text = render(outcome.rows, markdown)
    if outcome.limits:
        limits = render_limits(outcome.limits, markdown)
        text += "\n" + titled("limits of this machine", limits, markdown)
    return text


def notes(outcome: Outcome) -> list[str]:
    """Return what a reader should know before trusting a row, as the lines of a list."""
    return [f"- {note}" for row in outcome.rows for note in row.notes]


def ours_failed(outcome: Outcome) -> bool:
    """Say whether tracekit itself failed on a trace."""
    return any(OURS & set(row.failed) for row in outcome.rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed and memory of tracekit on real traces and scaled ones, and of others.",
        epilog=_COLUMNS,
    )
    add_options(parser)
    add = parser.add_argument
    add("--limits", action="store_true", help="benchmarks.limits on the largest size below 600 MB")
    add("--format", choices=("text", "markdown"), default="text", help="(%(default)s)")
    add("-o", "--output", type=Path, help="where to write (standard output)")
    add("--force", action="store_true", help="overwrite the output")
    return parser


if __name__ == "__main__":
    sys.exit(main())
