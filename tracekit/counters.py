"""Hardware counters of kernels, as Nsight Compute writes them: `ncu --csv`, in either layout.

One row a metric (`--page details`, and what `--metrics` prints by itself), or one row a kernel with
a column a metric and a row of units below the header (`--page raw`). Names of metrics are those of
https://docs.nvidia.com/nsight-compute/.
"""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from tracekit.errors import InputError

L1_HIT_RATE: Final = "l1tex__t_sector_hit_rate.pct"
L2_HIT_RATE: Final = "lts__t_sector_hit_rate.pct"
DRAM_READ: Final = "dram__bytes_read.sum"
DRAM_WRITE: Final = "dram__bytes_write.sum"

METRICS: Final = (L1_HIT_RATE, L2_HIT_RATE, DRAM_READ, DRAM_WRITE)
"""The metrics that are read."""

_ALSO: Final = {"L1/TEX Hit Rate": L1_HIT_RATE, "L2 Hit Rate": L2_HIT_RATE}
"""What the sections of Nsight Compute call them."""
_SCALES: Final = {
    "byte": 1,
    "kbyte": 10**3,
    "mbyte": 10**6,
    "gbyte": 10**9,
    "tbyte": 10**12,
    "%": 0.01,
    "pct": 0.01,
}
_RATES: Final = frozenset({L1_HIT_RATE, L2_HIT_RATE})
_MOST_RATE: Final = 1.1
"""Rates up to here are taken for 1, what is beyond is none."""

_SEPARATORS: Final = re.compile(r"[,'\s]")
_NUMBER: Final = re.compile(r"\d+")
_UNNAMED: Final = re.compile(
    r"\(anonymous namespace\)|<unnamed>|\{anonymous\}|`anonymous namespace'"
)
_MOST_LAUNCHES: Final = 1_000_000
_MOST_HEADER_LINES: Final = 100_000
_HOW: Final = "give what ncu --csv --metrics … or ncu --csv --page raw writes"


@dataclass(slots=True)
class CountedLaunch:
    """One kernel launch; grid and block are null where the file does not have them.

    `values` holds hit rates as shares (0–1) and traffic in bytes by the name of the metric; what
    the file does not have, or has no number for, is missing.
    """

    name: str
    grid: tuple[int, ...] | None
    block: tuple[int, ...] | None
    values: dict[str, float] = field(default_factory=dict)


def read_counters(path: str) -> tuple[CountedLaunch, ...]:
    """Return the launches in a CSV file of Nsight Compute (plain or `.gz`), in order of launch.

    Lines before the header, such as `==PROF==`, count for nothing.

    Raises
    ------
    InputError
        The file cannot be read, is no such CSV, or has none of the metrics in `METRICS`.
    """
    try:
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as source:
            found = _read(path, source)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: cannot be read ({reason.lower()})") from error
    except csv.Error as error:
        raise InputError(f"{path}: is a broken CSV file ({error}); {_HOW}") from error
    if found and not any(launch.values for launch in found):
        raise InputError(f"{path}: has none of the metrics {', '.join(METRICS)}; {_HOW}")
    return found


def function_name(name: str) -> str:
    """Return a kernel's name without return type, namespaces, template arguments and parameters.

    Demanglers differ in all of these. What `ncu --kernel-name` compares is this name.
    """
    depth, kept = 0, []
    for char in _UNNAMED.sub("unnamed", name):
        if char == "<":
            depth += 1
        elif char == ">":
            depth = max(0, depth - 1)
        elif depth == 0:
            if char == "(":
                break
            kept.append(char)
    words = "".join(kept).split()
    return (words[-1].rpartition("::")[2] if words else "") or name


def _read(path: str, source: Iterable[str]) -> tuple[CountedLaunch, ...]:
    lines = iter(source)
    for number, line in enumerate(lines):
        if number >= _MOST_HEADER_LINES:
            break
        if not line.startswith("==") and "Kernel Name" in line:
            header = next(csv.reader([line]))
            rows = (row for row in csv.reader(chain(lines)) if not row[:1] or row[0][:2] != "==")
            return tuple(_launches(path, header, rows))
    raise InputError(f'{path}: has no header with "Kernel Name"; {_HOW}')


def _launches(
    path: str, header: Sequence[str], rows: Iterator[list[str]]
) -> Iterable[CountedLaunch]:
    place = {name: at for at, name in enumerate(header)}
    if "ID" not in place:
        raise InputError(f'{path}: has no column "ID"; {_HOW}')
    is_long = {"Metric Name", "Metric Value"} <= set(place)
    units = {} if is_long else _units(header, rows)
    found: dict[tuple[str, str], CountedLaunch] = {}
    for row in rows:
        if len(row) != len(header) or not row[place["ID"]].strip():
            continue
        key = (row[place["Process ID"]] if "Process ID" in place else "", row[place["ID"]])
        launch = found.get(key)
        if launch is None:
            if len(found) == _MOST_LAUNCHES:
                raise InputError(f"{path}: has more than {_MOST_LAUNCHES:,} launches")
            grid, block = (_size(row, place.get(name)) for name in ("Grid Size", "Block Size"))
            launch = found[key] = CountedLaunch(row[place["Kernel Name"]], grid, block)
        if is_long:
            unit = row[place["Metric Unit"]] if "Metric Unit" in place else ""
            _take(launch, row[place["Metric Name"]], unit, row[place["Metric Value"]])
        else:
            for name, unit in units.items():
                _take(launch, name, unit, row[place[name]])
    return found.values()


def _units(header: Sequence[str], rows: Iterator[list[str]]) -> Mapping[str, str]:
    """Return the unit of each metric that is a column, from the row below the header."""
    below = next(rows, [])
    return {
        name: below[at] if at < len(below) else ""
        for at, name in enumerate(header)
        if _ALSO.get(name, name) in METRICS
    }


def _take(launch: CountedLaunch, name: str, unit: str, text: str) -> None:
    metric = _ALSO.get(name, name)
    scale = _SCALES.get(unit.strip().lower())
    if metric not in METRICS or scale is None:
        return
    try:
        value = float(_SEPARATORS.sub("", text))
    except ValueError:
        return
    value *= scale
    if metric in _RATES:
        # The two counts of a rate come from two runs of a kernel, and may differ in a short one.
        value = min(value, 1.0) if value <= _MOST_RATE else math.nan
    if math.isfinite(value) and value >= 0:
        launch.values[metric] = value


def _size(row: Sequence[str], at: int | None) -> tuple[int, ...] | None:
    numbers = () if at is None else tuple(int(text) for text in _NUMBER.findall(row[at]))
    return numbers if len(numbers) == 3 else None
