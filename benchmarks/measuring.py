"""How a measurement is run from the command line, and written while it goes on."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.document import replace_between
from benchmarks.tools import UnusableError
from tracekit.errors import TracekitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def run_comparison(
    module: str,
    about: str | None,
    target: tuple[str, Path],
    argv: Sequence[str] | None,
    text_of: Callable[[Sequence[Path]], str],
) -> int:
    """Write what `text_of` says of recorded runs into a document; return a code.

    The runs are what the command line names, `target` the markers and the document, unless the
    command line names another.
    """
    marker, docs = target
    program = f"benchmarks.{module}"
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders or traces")
    parser.add_argument("--docs", type=Path, default=docs)
    args = parser.parse_args(argv)
    try:
        text = text_of(args.runs)
        before = args.docs.read_text(encoding="utf-8")
        args.docs.write_text(replace_between(before, marker, text), encoding="utf-8")
    except (OSError, UnusableError, TracekitError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    return 0


def run_measurement(
    program: str, parts: Callable[[], Iterable[dict[str, Any]]], output: Path | None
) -> int:
    """Write what `parts` yields as JSON to a file, or the last of it to stdout; return a code.

    Each part holds what was measured so far, and is in the file whatever happens later.
    """
    text = ""
    try:
        for found in parts():
            text = json.dumps(found, indent=1) + "\n"
            if output is not None:
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(text, encoding="utf-8")
    except (UnusableError, TracekitError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.code if isinstance(error, UnusableError) else error.exit_code
    except KeyboardInterrupt:
        return 130
    if output is None:
        sys.stdout.write(text)
    return 0


def run_document(program: str, write: Callable[[], None]) -> int:
    """Write a measured file's table into the documentation; return a code."""
    try:
        write()
    except UnusableError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.code
    return 0
