"""How fast a GPU's clock runs, and why not faster.

`ClockReader` reads the cycle counter and the clock of every multiprocessor on the device itself, in
the stream, so that the mean clock between two readings is exact. `Poller` asks NVML meanwhile, from
a process of its own: ``python -m benchmarks.gpu_clock FILE`` writes lines of monotonic ns, SM MHz,
mW and the bits of the reasons until it is ended.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_SOURCE: Final = """
extern "C" __global__ void read_clocks(unsigned long long* out) {
  unsigned int sm;
  unsigned long long cycles, ns;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(sm));
  asm volatile("mov.u64 %0, %%clock64;" : "=l"(cycles));
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(ns));
  out[2 * sm] = cycles;
  out[2 * sm + 1] = ns;
}
"""
_BLOCKS: Final = 4
"""Blocks a multiprocessor: each takes some, wherever they are put."""
_POLL_S: Final = 0.01
_SM_CLOCK: Final = 1
REASONS: Final = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "thermal, software",
    0x40: "thermal, hardware",
    0x80: "power brake",
    0x100: "display",
}
"""Bits of NVML's clock event reasons."""


class ClockReader:
    """Reads the clocks of all multiprocessors; without a compiler for it, of none."""

    def __init__(self) -> None:
        import torch

        self._count = torch.cuda.get_device_properties(0).multi_processor_count
        try:
            self._kernel = torch.cuda._compile_kernel(_SOURCE, "read_clocks")
        except Exception as error:
            self._kernel = None
            print(f"no clocks are read: {error}", file=sys.stderr)

    def read(self) -> torch.Tensor | None:
        """Launch a reading in the current stream and return where it will stand."""
        import torch

        if self._kernel is None:
            return None
        # Twice as many places: numbers of multiprocessors may have holes.
        out = torch.zeros(4 * self._count, dtype=torch.int64, device="cuda")
        self._kernel(grid=(_BLOCKS * self._count, 1, 1), block=(32, 1, 1), args=[out], shared_mem=0)
        return out


def mean_mhz(before: torch.Tensor | None, after: torch.Tensor | None) -> float | None:
    """Return the mean clock between two readings in MHz, the median over multiprocessors."""
    if before is None or after is None:
        return None
    first, last = before.view(-1, 2).cpu().tolist(), after.view(-1, 2).cpu().tolist()
    found = [
        1e3 * (cycles - earlier) / (ns - since)
        for (earlier, since), (cycles, ns) in zip(first, last, strict=True)
        if since and ns > since
    ]
    return round(median(found), 2) if found else None


class Poller:
    """Has NVML polled in the background, and tells what it said in an interval of time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        command = [sys.executable, "-m", "benchmarks.gpu_clock", str(file)]
        self._process = subprocess.Popen(command)

    def stop(self) -> None:
        """End the polling."""
        self._process.kill()
        self._process.wait()

    def between(self, begin_ns: int, end_ns: int) -> dict[str, Any] | None:
        """Return the clock in MHz, the power in W and the reasons between two monotonic times."""
        rows = [row for row in self._rows() if begin_ns <= row[0] <= end_ns]
        if not rows:
            return None
        clocks = [row[1] for row in rows]
        bits = 0
        for row in rows:
            bits |= row[3]
        return {
            "samples": len(rows),
            "mhz": [min(clocks), median(clocks), max(clocks)],
            "watt": [round(pick(row[2] for row in rows) / 1e3) for pick in (min, max)],
            "reasons": [text for bit, text in REASONS.items() if bits & bit],
        }

    def _rows(self) -> list[list[int]]:
        if not self._file.is_file():
            return []
        lines = self._file.read_text().splitlines()
        return [[int(word) for word in line.split()] for line in lines if line.count(" ") == 3]


def poll(file: Path) -> None:
    """Write what NVML says of the first GPU, until this process is ended."""
    with file.open("w", encoding="utf-8", buffering=1) as out:
        for clock, power, reasons in _polled():
            out.write(f"{time.monotonic_ns()} {clock} {power} {reasons}\n")


def _polled() -> Iterator[tuple[int, int, int]]:
    """Yield MHz, mW and bits again and again."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        yield from _asked()
        return
    device = ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)):
        raise OSError("NVML tells nothing of the first GPU")
    clock, power, reasons = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_ulonglong()
    while True:
        library.nvmlDeviceGetClockInfo(device, _SM_CLOCK, ctypes.byref(clock))
        library.nvmlDeviceGetPowerUsage(device, ctypes.byref(power))
        library.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(reasons))
        yield clock.value, power.value, reasons.value
        time.sleep(_POLL_S)


def _asked() -> Iterator[tuple[int, int, int]]:
    """Yield the same from `nvidia-smi`, where NVML cannot be loaded."""
    query = "--query-gpu=clocks.sm,power.draw,clocks_event_reasons.active"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits", "-lms", "20"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            clock, power, reasons = line.split(",")
            yield int(clock), round(1e3 * float(power)), int(reasons, 0)


if __name__ == "__main__":
    poll(Path(sys.argv[1]))
