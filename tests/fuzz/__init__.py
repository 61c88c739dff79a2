"""Fuzzing: mutators of real traces, and the programs that feed them to tracekit."""

from __future__ import annotations

import sys
from pathlib import Path

# `python -m tests.fuzz.run_cli` from the repository root does not know the helpers beside the
# tests; pytest does, through its `pythonpath`.
_TESTS = str(Path(__file__).resolve().parent.parent)
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
