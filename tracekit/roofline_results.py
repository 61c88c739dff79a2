"""What the roofline analysis returns; fields are those of the JSON contract, as in `results`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RooflineRow:
    """What one category or stage achieved, over its operations of known cost.

    `operations` counts them and `covered_ns` is the time of their kernels, of `time_ns` in all;
    `uncounted` counts the kernels whose cost nothing tells. `flops` are those of products (null
    where there are none), `bytes` what must move at least. `flops_per_s` and `bytes_per_s` are
    over `covered_ns`, `intensity` is FLOPs a byte. Of the device's peaks: `flops_share`, the
    model-FLOPs utilisation, is how much of `covered_ns` the FLOPs take at the peak of their types,
    `roofline_share` how much of it all operations take at their roofs. Recomputed work is no part
    of `flops_share`. Shares can exceed 1 and are null where a peak is unknown.
    """

    key: str | None
    operations: int
    uncounted: int
    time_ns: int
    covered_ns: int
    flops: int | None
    bytes: int | None
    flops_per_s: float | None
    bytes_per_s: float | None
    intensity: float | None
    flops_share: float | None
    roofline_share: float | None


@dataclass(frozen=True, slots=True)
class AboveRoof:
    """Operations that were faster than their roof, and why that can be."""

    why: str
    operations: int
    time_ns: int
    largest_share: float


@dataclass(frozen=True, slots=True)
class DevicePeaks:
    """FLOP/s by type, bytes/s and cache of a device, and where these numbers are from."""

    flops_per_s: dict[str, float]
    bytes_per_s: float | None
    cache_bytes: float | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Roofline:
    """How close to the limits of its device the work came; `device` is null if it is unknown."""

    device: str | None
    peaks: DevicePeaks
    total: RooflineRow
    by_category: tuple[RooflineRow, ...]
    by_stage: tuple[RooflineRow, ...]
    above_roof: tuple[AboveRoof, ...] = ()
