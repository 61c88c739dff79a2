"""Feeds mutated traces to the real command line, one process each.

    python -m tests.fuzz.run_cli --count 500 --seed 1

Exit codes are 0 or 3; with 3 there is one line on stderr and nothing on stdout; never a
traceback, over 10 s or over 1 GiB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from fuzz.check import LIMIT_S, MEMORY_BYTES
from fuzz.mutate import make

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = (
    ("analyze",),
    ("analyze", "--format", "json"),
    ("analyze", "--format", "csv"),
    ("analyze", "--format", "markdown", "--all"),
    ("kernels",),
)

# The limit is set inside the child: pyarrow's and numpy's threads count as its memory too.
_LIMITED = (
    "import resource, runpy, sys;"
    f"resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY_BYTES}, resource.RLIM_INFINITY));"
    "runpy.run_module('tracekit', run_name='__main__', alter_sys=True)"
)


def fault_of(path: Path, command: tuple[str, ...]) -> tuple[int, str]:
    """Run one command on a file; return its exit code and what is wrong, empty if nothing is."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OPENBLAS_NUM_THREADS": "1",
        "TRACEKIT_CACHE": str(path.parent / "cache"),
    }
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _LIMITED, *command, str(path)],
            capture_output=True,
            check=False,
            env=environment,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return -1, f"over {LIMIT_S:g} s"
    error = done.stderr.decode("utf-8", "replace")
    if "Traceback" in error:
        return done.returncode, error[-1500:]
    if done.returncode not in (0, 3):
        return done.returncode, f"exit code {done.returncode}: {error[-500:]}"
    if done.returncode == 3:
        if len(error.splitlines()) != 1 or not error.startswith("tracekit: "):
            return 3, f"not one line on stderr: {error[:500]!r}"
        if done.stdout:
            return 3, "stdout is not empty although the input was refused"
    elif any(not line.startswith("tracekit: ") for line in error.splitlines()):
        return 0, f"strange words on stderr: {error[:500]!r}"
    return done.returncode, ""


def run(count: int, seed: int, first: int = 0) -> Counter[str]:
    """Run inputs `first` to `first + count`; return how many of each kind, and print findings."""
    kinds: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.json"
        for number in range(first, first + count):
            path.write_bytes(make(seed, number))
            command = Random(number).choice(COMMANDS)
            started = time.perf_counter()
            code, fault = fault_of(path, command)
            slowest = max(slowest, time.perf_counter() - started)
            kinds["failed" if fault else f"exit {code}"] += 1
            if fault:
                print(
                    f"failed: seed {seed} input {number} {' '.join(command)}\n{fault}", flush=True
                )
    print(f"seed {seed}: {dict(kinds)}, slowest {slowest:.2f} s")
    return kinds


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Feed mutated traces to the command line.")
    parser.add_argument("--count", type=int, default=500, help="inputs to run")
    parser.add_argument("--seed", type=int, default=1, help="what all inputs are made from")
    parser.add_argument("--only", type=int, help="run this input alone")
    options = parser.parse_args(args)
    if options.only is None:
        kinds = run(options.count, options.seed)
    else:
        kinds = run(1, options.seed, first=options.only)
    return 1 if kinds["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
