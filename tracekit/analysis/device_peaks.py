"""What devices can do at most: dense FLOP/s by type, and memory bandwidth.

Sources are the vendors' data sheets; `docs/roofline.md` names them. Peaks with sparsity are not
used. Products of 16-bit types are those that add up in float32, as PyTorch's do.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tracekit.errors import InputError, UsageError

TYPES: Final = ("float64", "float32", "tf32", "float16", "bfloat16", "float8", "int8")
"""Types of arithmetic with a peak of their own. `tf32` is float32 done on tensor cores."""

_T: Final = 1e12
_G: Final = 1e9


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peaks of one device: FLOP/s by type, bytes/s of its memory, bytes of its last cache.

    `source` says where the numbers are from; a type that is missing in `flops` is not known.
    """

    name: str | None
    flops: Mapping[str, float]
    bandwidth: float | None
    cache_bytes: float | None
    source: str


def _device(
    name: str, tera: Sequence[float | None], gb_per_s: float, cache_mib: float, source: str
) -> Peaks:
    """Return a row of the table; `tera` are TFLOP/s (int8: TOP/s) in the order of `TYPES`."""
    flops = {kind: value * _T for kind, value in zip(TYPES, tera, strict=True) if value}
    return Peaks(name, flops, gb_per_s * _G, cache_mib * 2**20, source)


_A100: Final = (19.5, 19.5, 156, 312, 312, None, 624)
_H100: Final = (67, 67, 494.7, 989.4, 989.4, 1978.9, 1978.9)
_H100_SHEET: Final = "NVIDIA H100 Tensor Core GPU data sheet and architecture white paper"
_A100_SHEET: Final = "NVIDIA A100 Tensor Core GPU data sheet"
_V100_SHEET: Final = "NVIDIA V100 Tensor Core GPU data sheet"

DEVICES: Final[tuple[tuple[str, Peaks], ...]] = (
    (r"A100.*80GB PCIe|A100-PCIE-80GB",
     _device("A100 80GB PCIe", _A100, 1935, 40, _A100_SHEET)),
    (r"A100.*80GB", _device("A100 80GB SXM", _A100, 2039, 40, _A100_SHEET)),
    (r"A100.*40GB", _device("A100 40GB", _A100, 1555, 40, _A100_SHEET)),
    (r"H100 PCIe", _device(
        "H100 PCIe", (51, 51, 378, 756, 756, 1513, 1513), 2000, 50, _H100_SHEET)),
    (r"H100 NVL", _device(
        "H100 NVL", (60, 60, 417.5, 835.5, 835.5, 1671, 1671), 3900, 50,
        "NVIDIA H100 NVL data sheet")),
    (r"H100.*HBM3|H100 SXM", _device("H100 SXM", _H100, 3350, 50, _H100_SHEET)),
    (r"H200 NVL", _device(
        "H200 NVL", (60, 60, 417.5, 835.5, 835.5, 1671, 1671), 4800, 50,
        "NVIDIA H200 Tensor Core GPU data sheet")),
    (r"H200", _device("H200 SXM", _H100, 4800, 50, "NVIDIA H200 Tensor Core GPU data sheet")),
    (r"B200", _device(
        "B200", (37, 75, 1125, 2250, 2250, 4500, 4500), 8000, 126, "NVIDIA HGX B200 data sheet")),
    (r"L40S", _device(
        "L40S", (None, 91.6, 183, 362.05, 362.05, 733, 733), 864, 96, "NVIDIA L40S data sheet")),
    (r"L4", _device(
        "L4", (None, 30.3, 60, 121, 121, 242.5, 242.5), 300, 48, "NVIDIA L4 data sheet")),
    (r"RTX 4090$", _device(
        "RTX 4090", (1.29, 82.6, 82.6, 165.2, 165.2, 330.3, 660.6), 1008, 72,
        "NVIDIA Ada GPU architecture white paper")),
    (r"RTX 3090$", _device(
        "RTX 3090", (0.56, 35.6, 35.6, 71, 71, None, 284), 936, 6,
        "NVIDIA Ampere GA102 GPU architecture white paper")),
    (r"A10G", _device("A10G", (None, 35, 35, 70, 70, None, 140), 600, 6, "NVIDIA A10G data sheet")),
    (r"V100-SXM\d", _device(
        "V100 SXM2", (7.8, 15.7, None, 125, None, None, None), 900, 6, _V100_SHEET)),
    (r"V100-PCIE", _device(
        "V100 PCIe", (7, 14, None, 112, None, None, None), 900, 6, _V100_SHEET)),
    (r"MI300X", _device(
        "MI300X", (163.4, 163.4, 653.7, 1307.4, 1307.4, 2614.9, 2614.9), 5300, 256,
        "AMD Instinct MI300X accelerator data sheet")),
    (r"MI250X", _device(
        "MI250X (one of two dies)", (47.85, 47.85, None, 191.5, 191.5, None, 191.5), 1638.4, 8,
        "AMD Instinct MI250X accelerator data sheet")),
)  # fmt: skip
"""Patterns of the names that drivers report, more special ones first."""

_BANDWIDTH: Final = "bandwidth"
_CACHE: Final = "cache_bytes"


def peaks_of(device_name: str | None) -> Peaks | None:
    """Return the peaks of a device by the name that its driver reports, null if it is unknown.

    A slice of a device (MIG) is unknown.
    """
    if device_name is None or "MIG" in device_name:
        return None
    for pattern, peaks in DEVICES:
        if re.search(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z0-9])", device_name):
            return peaks
    return None


def parse_peaks(texts: Sequence[str]) -> dict[str, float]:
    """Return what `--peaks` gives: `KEY=VALUE`, or a JSON file of such pairs.

    Keys are those of `TYPES` (FLOP/s), `bandwidth` (bytes/s) and `cache_bytes`; later ones win.

    Raises
    ------
    UsageError
        A key or a value is none.
    InputError
        A file cannot be read.
    """
    found: dict[str, float] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        pairs = {key: value} if equals else _pairs_of_file(text)
        for name, number in pairs.items():
            found[name] = _number(name, number)
    return found


def with_override(known: Peaks | None, override: Mapping[str, float]) -> Peaks | None:
    """Return peaks in which the numbers of the user stand for those of the table."""
    if not override:
        return known
    base = known or Peaks(None, {}, None, None, "")
    flops = dict(base.flops) | {key: override[key] for key in TYPES if key in override}
    source = f"{base.source}, and the user" if base.source else "the user"
    return replace(
        base,
        flops=flops,
        bandwidth=override.get(_BANDWIDTH, base.bandwidth),
        cache_bytes=override.get(_CACHE, base.cache_bytes),
        source=source,
    )


def _pairs_of_file(path: str) -> dict[str, object]:
    try:
        pairs = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); give KEY=VALUE") from error
    if not isinstance(pairs, dict):
        raise InputError(f'{path}: holds no object of peaks; give one, as {{"bfloat16": 1e15}}')
    return pairs


def _number(key: str, value: object) -> float:
    keys = (*TYPES, _BANDWIDTH, _CACHE)
    if key not in keys:
        raise UsageError(f"--peaks {key}: is none of {', '.join(keys)}")
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"--peaks {key}={value}: is no number above 0 (as 989e12)")
    return number
