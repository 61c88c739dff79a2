"""Measure and write the figures of the documentation: ``python -m benchmarks.document [--full]``.

Replaces what stands between the markers of ``docs/performance.md`` and of ``README.md``, so that no
figure there is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.__main__ import notes, ours_failed, tables
from benchmarks.compare import MB
from benchmarks.plan import Options, Outcome, add_options, missing_peers, options_of, run
from benchmarks.table import machine, processor
from benchmarks.tools import CHECKOUT, UnusableError, how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.compare import Measured, Row

TABLES: Final = "benchmark"
SPEED: Final = "speed"

# The sizes in MB of which the sentence in the README speaks.
_BESIDE_MB: Final = 71.0
_LARGE_MB: Final = 500.0


def replace_between(text: str, name: str, body: str) -> str:
    """Return a text with `body` between its markers `<!-- name:begin -->` and `<!-- name:end -->`.

    Raises
    ------
    UnusableError
        If either marker is not there exactly once, or the end stands before the beginning.
    """
    begin, end = (f"<!-- {name}:{which} -->" for which in ("begin", "end"))
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UnusableError(f"the markers {begin} and {end} must stand there once, in this order")
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f"{before}{begin}\n{body.strip()}\n{end}{after}"


def write_measured(
    file: Path, docs: Path, name: str, table: Callable[[dict[str, Any]], str]
) -> None:
    """Write the table of a measured file between the markers of its kind.

    Raises
    ------
    UnusableError
        The file or the documentation cannot be read, has no such markers, or holds something else.
    """
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
        text = docs.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UnusableError(f"cannot be read: {error}") from error
    if not isinstance(body, dict) or body.get("what") != name:
        raise UnusableError(f"{file}: holds no measurement of the kind {name}")
    docs.write_text(replace_between(text, name, table(body)), encoding="utf-8")


def speed_lines(rows: Sequence[Row]) -> str:
    """Return the two lines of the README.

    Raises
    ------
    UnusableError
        If what they tell was not measured.
    """
    beside, large = (
        next((row for row in rows if row.case.target_mb == size), None)
        for size in (_BESIDE_MB, _LARGE_MB)
    )
    ours = beside.tools.get("tracekit") if beside else None
    hta = beside.tools.get("hta") if beside else None
    speed = large.mb_per_s if large else None
    if beside is None or ours is None or hta is None or large is None or speed is None:
        raise UnusableError(
            f"the README tells of HTA at {_BESIDE_MB:g} MB and of tracekit at {_LARGE_MB:g} MB, "
            "and one of them was not measured"
        )
    faster, less = beside.time_ratio("hta") or 0, 1 / (beside.memory_ratio("hta") or 1)
    return (
        f"On a trace of {beside.case.json_bytes / MB:.0f} MB `tracekit analyze` is {faster:.1f} "
        f"times faster than HTA's load and breakdowns ({_cost(ours)} against {_cost(hta)}), in "
        f"{less:.0%} of the memory.\n"
        f"It reads {speed:.0f} MB of JSON a second at {large.case.json_bytes / MB:.0f} MB, from "
        f"start to exit of the command, on {processor()}."
    )


def tables_text(outcome: Outcome, options: Options) -> str:
    """Return what stands in `docs/performance.md`: date, machine, tables, notes."""
    date = datetime.now(UTC).date().isoformat()
    absent = [how_to_install(peer) for peer in missing_peers(options)]
    parts = [f"{date}: {machine(options.repeats)}", tables(outcome, markdown=True).rstrip()]
    if lines := [*(f"- {line}" for line in absent), *notes(outcome)]:
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write both files, or neither where something failed."""
    args = _parser().parse_args(argv)
    try:
        options = options_of(args, limits=True)
        _refuse(options, args.docs, args.readme)
        outcome = run(options)
        if ours_failed(outcome):
            print("\n".join(notes(outcome)), file=sys.stderr)
            return 1
        bodies = {
            args.docs: (TABLES, tables_text(outcome, options)),
            args.readme: (SPEED, speed_lines(outcome.rows)),
        }
        # Read again: somebody may have worked on them while the machine measured.
        texts = {path: replace_between(_read(path), *body) for path, body in bodies.items()}
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except UnusableError as error:
        print(f"benchmarks.document: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        print(f"benchmarks.document: {error}", file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130
    return 0


def _refuse(options: Options, docs: Path, readme: Path) -> None:
    """Refuse before the long run what could not be written after it."""
    for path, name in ((docs, TABLES), (readme, SPEED)):
        replace_between(_read(path), name, "")
    if options.max_mb.get("hta", 0) < _BESIDE_MB + 1 or not {_BESIDE_MB, _LARGE_MB} <= set(
        options.sizes_mb
    ):
        raise UnusableError(
            f"the README needs HTA at {_BESIDE_MB:g} MB, and the size {_LARGE_MB:g} MB", 2
        )
    if "hta" in missing_peers(options):
        raise UnusableError(how_to_install("hta"), 4)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UnusableError(f"{path}: cannot be read ({error.strerror})") from error


def _cost(measured: Measured) -> str:
    return f"{measured.wall_s.median:.2f} s and {measured.peak_bytes.median / MB:.0f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__)
    add_options(parser)
    add = parser.add_argument
    add(
        "--docs", type=Path, default=CHECKOUT / "docs" / "performance.md", help="file of the tables"
    )
    add("--readme", type=Path, default=CHECKOUT / "README.md", help="file of the sentence")
    return parser


if __name__ == "__main__":
    sys.exit(main())
