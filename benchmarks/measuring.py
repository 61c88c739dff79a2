"""How a measurement is run from the command line, and written while it goes on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.tools import UnusableError
from tracekit.errors import TracekitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path


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
