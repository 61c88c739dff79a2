"""Short runs of the fuzzers; `docs/fuzzing.md` tells how to run the long ones."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import run_cli, run_inprocess
from fuzz.json_text import LAYOUTS, parse, write
from fuzz.mutate import SAMPLE, make
from fuzz.shrink import shrink

ROOT = Path(__file__).parent.parent
SEED = 20260


def test_mutations_repeat() -> None:
    assert [make(5, number) for number in range(20)] == [make(5, number) for number in range(20)]
    assert len({make(5, number) for number in range(20)}) == 20


def test_writing_keeps_what_was_read() -> None:
    from random import Random

    value = parse(SAMPLE.read_bytes())
    for layout in LAYOUTS:
        assert parse(write(value, layout, Random(1))) == value


def test_shrinking() -> None:
    assert shrink(b"aaaaaaXbbbbbbYcccc", lambda data: b"X" in data and b"Y" in data) == b"XY"


def test_mutated_traces_in_process() -> None:
    kinds, signatures = run_inprocess.run(count=300, seed=SEED)
    assert dict(signatures) == {}
    assert kinds["slow"] == 0
    assert kinds["read"] > 150
    assert kinds["refused"] > 5


def test_mutated_traces_through_the_command_line() -> None:
    kinds = run_cli.run(count=12, seed=SEED)
    assert kinds["failed"] == 0
    assert kinds["exit 0"] > 5


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris not installed")
def test_coverage_guided_fuzzing_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.fuzz_loader", "-runs=300", "-seed=1", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 300 runs" in done.stderr
