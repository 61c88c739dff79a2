"""Feeds mutated traces to tracekit within this process.

    python -m tests.fuzz.run_inprocess --count 20000 --seed 1

Every input is made from the seed and its number, so `--only 1234` repeats one. Exit code 1 when
any input fails; the first failing input of each kind is kept, made smaller, in `--keep`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random

from fuzz.check import SLOW_S, Outcome, limit_memory, run_one
from fuzz.mutate import make
from fuzz.shrink import shrink

WINDOWS = (64, 700, 1 << 14, 1 << 19)


def run(
    count: int, seed: int, keep: Path | None = None, first: int = 0
) -> tuple[Counter[str], Counter[str]]:
    """Run inputs `first` to `first + count`, and print findings.

    Returns how many inputs were of each kind, and how many failed in each way.
    """
    kinds: Counter[str] = Counter()
    signatures: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated.json"
        for number in range(first, first + count):
            path.write_bytes(make(seed, number))
            window = Random(number).choice(WINDOWS)
            outcome = run_one(path, window)
            kinds[outcome.kind] += 1
            slowest = max(slowest, outcome.seconds)
            if outcome.seconds > SLOW_S:
                kinds["slow"] += 1
                print(f"slow: seed {seed} input {number}: {outcome.seconds:.1f} s")
            if outcome.kind == "failed":
                signatures[outcome.signature] += 1
                if signatures[outcome.signature] == 1:
                    _tell(seed, number, window, outcome, path, keep)
    for signature, times in signatures.most_common():
        print(f"{times:6} x {signature}")
    print(f"seed {seed}: {dict(kinds)}, slowest {slowest:.2f} s")
    return kinds, signatures


def _tell(
    seed: int, number: int, window: int, outcome: Outcome, path: Path, keep: Path | None
) -> None:
    print(f"failed: seed {seed} input {number} window {window}\n{outcome.detail}", flush=True)
    if keep is None:
        return
    keep.mkdir(parents=True, exist_ok=True)
    data = path.read_bytes()

    def fails(smaller: bytes) -> bool:
        path.write_bytes(smaller)
        return run_one(path, window).signature == outcome.signature

    (keep / f"seed{seed}_{number}.json").write_bytes(shrink(data, fails))


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Feed mutated traces to tracekit, in process.")
    parser.add_argument("--count", type=int, default=20_000, help="inputs to run")
    parser.add_argument("--seed", type=int, default=1, help="what all inputs are made from")
    parser.add_argument("--only", type=int, help="run this input alone")
    parser.add_argument("--keep", type=Path, help="folder for failing inputs, made smaller")
    options = parser.parse_args(args)
    limit_memory()
    started = time.perf_counter()
    if options.only is None:
        kinds, _ = run(options.count, options.seed, options.keep)
    else:
        kinds, _ = run(1, options.seed, options.keep, first=options.only)
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if kinds["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
