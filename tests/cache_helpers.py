"""What the tests of the cache share."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from builders import TraceBuilder
from tracekit.caching import entries
from tracekit.caching.cache import cached_load
from tracekit.loading.loader import load_file
from tracekit.trace import Table, Trace

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples" / "traces").glob("*.json.gz"))
BIG = ROOT / "examples" / "traces" / "sdxl_flash.json.gz"


def assert_equal(left: Trace, right: Trace) -> None:
    for field in dataclasses.fields(Trace):
        one, other = getattr(left, field.name), getattr(right, field.name)
        if not isinstance(one, Table):
            assert one == other, field.name
            assert type(one) is type(other)
            continue
        assert type(one) is type(other)
        for column in dataclasses.fields(one):
            a, b = getattr(one, column.name), getattr(other, column.name)
            assert a.dtype == b.dtype, (field.name, column.name)
            assert np.array_equal(a, b), (field.name, column.name)
            assert a.flags.writeable == b.flags.writeable


def never() -> Trace:
    raise AssertionError("the file was loaded again")


def small(path: Path, name: str = "nvjet", kernels: int = 3) -> Path:
    b = TraceBuilder()
    b.annotation("unet", 0, 5000)
    for number in range(kernels):
        b.op("aten::linear", 100 * number, 50, **{"Input Dims": [[number, 2], []]})
        b.launched(name, 100 * number + 10, 1000 + 100 * number, 50)
    return b.write(path)


def settle(path: Path) -> Path:
    """Make a file look as if it had been at rest for long."""
    old = time.time_ns() - 10**12
    os.utime(path, ns=(old, old))
    return path


def load(path: Path, loader: Callable[[], Trace] | None = None) -> Trace:
    return cached_load(str(path), "", loader or (lambda: load_file(str(path))))


def entry_of(cache: Path) -> Path:
    (entry,) = entries.list_folders(cache)
    return entry.folder


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
