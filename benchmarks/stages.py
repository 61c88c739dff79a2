"""How stages found without labels agree with the labels: ``python -m benchmarks.stages RUN…``.

Each labelled trace is analyzed again with its labels withheld, and with modules, shapes or ops
withheld as well. The adjusted Rand index compares the two partitions of its activities into
(stage, step) pairs; what no label encloses is a part of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tracekit.analysis.withholding import (
    has_shapes,
    kernels_alone,
    without_labels,
    without_modules,
    without_shapes,
)
from tracekit.classifying.classify import classify
from tracekit.linking.link import link
from tracekit.linking.stages import Stages
from tracekit.loading.loader import load_file
from tracekit.trace import IntArray, Trace

GOAL: Final = 0.95
"""Least adjusted Rand index that counts as agreement."""

WITHHELD: Final[dict[str, tuple[Callable[[Trace], Trace], Callable[[Trace], bool]]]] = {
    "labels": (lambda trace: trace, lambda _: True),
    "modules": (without_modules, lambda trace: bool(len(trace.frames))),
    "shapes": (lambda trace: without_shapes(without_modules(trace)), has_shapes),
    "ops": (kernels_alone, lambda trace: bool(len(trace.activities))),
}
"""What is withheld beside the labels, and whether a trace has it to withhold."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one trace's stages agree with its labels: an index for each thing withheld, or null."""

    trace: str
    index: dict[str, float | None]
    names: tuple[str, ...]


def adjusted_rand_index(one: IntArray, other: IntArray) -> float:
    """Return how well two partitions of the same things agree: 1 for equal, about 0 for chance.

    L. Hubert and P. Arabie, Comparing partitions, Journal of Classification 2 (1985), p. 198.
    """
    _, a = np.unique(one, return_inverse=True)
    _, b = np.unique(other, return_inverse=True)
    both = np.unique(a * (int(b.max(initial=0)) + 1) + b, return_counts=True)[1]
    pairs = _pairs(both)
    of_a, of_b = _pairs(np.bincount(a)), _pairs(np.bincount(b))
    total = _pairs(np.array([len(a)]))
    expected = of_a * of_b / total if total else 0.0
    most = (of_a + of_b) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def agreement(path: Path) -> Agreement | None:
    """Return how the stages of one trace agree with its labels, null if it has none."""
    trace = load_file(str(path))
    truth = classify(link(trace)).stages
    if "label" not in truth.sources:
        return None
    bare = without_labels(trace)
    index: dict[str, float | None] = {}
    names: tuple[str, ...] = ()
    for what, (withheld, applies) in WITHHELD.items():
        index[what] = None
        if applies(bare):
            found = classify(link(withheld(bare))).stages
            names = names or tuple(map("{} ({})".format, found.names, found.sources))
            index[what] = adjusted_rand_index(_pair_of(truth), _pair_of(found))
    return Agreement(str(path), index, names)


def traces_of(paths: Sequence[Path]) -> list[Path]:
    """Return the labelled traces of run folders, and files as they are."""
    found: list[Path] = []
    for path in paths:
        inside = [path / "trace.json.gz"] if (path / "trace.json.gz").exists() else []
        found += inside or ([path] if path.is_file() else sorted(path.rglob("trace.json.gz")))
    return found


def main(arguments: Sequence[str]) -> int:
    """Print a table of agreements; 1 if there is none or any is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path, metavar="RUN")
    rows = [agreement(path) for path in traces_of(parser.parse_args(arguments).paths)]
    known = [row for row in rows if row is not None]
    print(f"{'':<40}" + "".join(f"{what:>9}" for what in WITHHELD))
    for row in known:
        cells = (row.index[what] for what in WITHHELD)
        name = "/".join(Path(row.trace).parts[-2:])[-40:]
        print(f"{name:<40}" + "".join(f"{'-' if c is None else f'{c:.4f}':>9}" for c in cells))
        print(f"    {', '.join(row.names)}")
    values = [value for row in known for value in row.index.values() if value is not None]
    return int(not values or min(values) < GOAL)


def _pair_of(stages: Stages) -> IntArray:
    _, pair = np.unique(np.stack([stages.stage, stages.step]), axis=1, return_inverse=True)
    return pair.ravel()


def _pairs(sizes: IntArray) -> float:
    return float((sizes * (sizes - 1.0) / 2).sum())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
