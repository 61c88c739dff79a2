"""CSV files as Nsight Compute writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

LONG: Final = (
    "ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream",
    "Block Size", "Grid Size", "Device", "CC", "Section Name", "Metric Name", "Metric Unit",
    "Metric Value",
)  # fmt: skip
UNITS: Final = {
    "dram__bytes_read.sum": "byte",
    "dram__bytes_write.sum": "Kbyte",
    "l1tex__t_sector_hit_rate.pct": "%",
    "lts__t_sector_hit_rate.pct": "%",
}
PROFILER_LINES: Final = (
    "==PROF== Connected to process 773 (/usr/bin/python3.12)\n"
    '==PROF== Profiling "kernel": 0%....50%....100% - 2 passes\n'
    "==PROF== Disconnected from process 773\n"
)

Launch = tuple[str, str, Mapping[str, str]]
"""Name, grid and values by metric, all as text."""


def values(l1: float, l2: float = 50, read: str = "1,024", write: str = "2") -> dict[str, str]:
    return dict(zip(UNITS, (read, write, str(l1), str(l2)), strict=True))


def _line(cells: Iterable[str]) -> str:
    return ",".join(f'"{cell}"' for cell in cells) + "\n"


def _start(number: int, name: str, grid: str) -> list[str]:
    return [
        str(number), "773", "python3.12", "127.0.0.1", name, "1", "7", "(128, 1, 1)", grid, "0",
        "9.0",
    ]  # fmt: skip


def long_csv(launches: Iterable[Launch]) -> str:
    """One row a metric."""
    text = PROFILER_LINES + _line(LONG)
    for number, (name, grid, metrics) in enumerate(launches):
        for metric, value in metrics.items():
            rest = ["Command line profiler metrics", metric, UNITS.get(metric, ""), value]
            text += _line([*_start(number, name, grid), *rest])
    return text


def wide_csv(launches: Iterable[Launch]) -> str:
    """One row a kernel, units below the header."""
    text = _line([*LONG[:11], *UNITS]) + _line([*[""] * 11, *UNITS.values()])
    for number, (name, grid, metrics) in enumerate(launches):
        text += _line([*_start(number, name, grid), *(metrics[metric] for metric in UNITS)])
    return text
