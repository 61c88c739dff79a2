"""Coverage-guided fuzzing of the loader with atheris (libFuzzer); not part of the test command.

    pip install atheris
    python -m tests.fuzz.fuzz_loader -runs=100000 -max_len=8192 CORPUS_COPY

libFuzzer writes what it finds into the first folder, so give it a copy of `tests/data/corpus`.
`-runs=`, `-max_total_time=` and all its other options pass through.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tracekit"]):
    import tracekit.loading.loader

from invariants import check_message, check_trace

from tracekit.errors import InputError

WINDOWS = (64, 700, 1 << 18)
_FILE = Path(tempfile.mkdtemp(prefix="fuzz_loader")) / "input.json"


def test_one_input(data: bytes) -> None:
    """Load one input; libFuzzer reports whatever is raised."""
    if not data:
        return
    _FILE.write_bytes(data)
    # The length chooses the window, so that the corpus can be used as it is.
    options = tracekit.loading.loader.LoadOptions(window_bytes=WINDOWS[len(data) % len(WINDOWS)])
    try:
        trace = tracekit.loading.loader.load_file(str(_FILE), options)
    except InputError as error:
        check_message(str(error), str(_FILE))
        return
    check_trace(trace)


def main() -> None:
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
