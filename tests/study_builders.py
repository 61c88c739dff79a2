"""Small builders for the study: results by hand, and a recorder that only pretends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tracekit.collectors.progress import Listener, Silent
from tracekit.spread_results import Ratio
from tracekit.study.plan import Case
from tracekit.study_results import (
    PowerFit,
    Speedup,
    StudyLengths,
    StudyLikeness,
    StudyRun,
    SweepResult,
    TemporalAttention,
)

MS = 1_000_000


def run(model: str, architecture: str, times: dict[str, int], **changes: Any) -> StudyRun:
    made = StudyRun(
        name=f"{model}.flash",
        model=model,
        attention="flash",
        task="image",
        architecture=architecture,
        preset=None,
        refused=None,
        parameters=1_000_000_000,
        sampled=(),
        backends={"flash": 3},
        wall_ns=None,
        kernel_ns=sum(times.values()),
        kernel_spread=None,
        categories=times,
        attention_axes={},
        peak_memory_bytes=None,
    )
    return replace(made, **changes)


def shared(model: str, architecture: str, category: str, share: float) -> StudyRun:
    """A run in which one category has this share, in thousandths of a thousand."""
    part = round(share * 1_000_000)
    return run(model, architecture, {category: part, "other": 1_000_000 - part})


def gain(model: str, architecture: str, wall: float, kernels: float, **changes: Any) -> Speedup:
    ratio = Ratio(wall, wall * 0.99, wall * 1.01, is_difference=True)
    return replace(
        Speedup(model, "image", architecture, "eager", ratio, kernels, kernels), **changes
    )


def like(model: str, architecture: str, what: str | None) -> StudyLikeness:
    return StudyLikeness(
        model, "image", architecture, "denoise", what, 4096, 4096, 300.0, 295.0, None, None
    )


def levels(model: str, ratio: float, neighbours: float, axis: str = "spatial") -> StudyLengths:
    return StudyLengths(model, "denoise", axis, 4096, 64, ratio, neighbours, (4096, 64), ())


def fit(what: str, exponent: float, error: float | None = 0.1, **changes: Any) -> PowerFit:
    return replace(PowerFit(what, "flash", exponent, error, 5, 64, 1024, is_all=True), **changes)


def sweep(*fits: PowerFit, name: str = "image-size") -> SweepResult:
    return SweepResult(name, "image side", "stable-diffusion", "denoise", (), fits)


def along_time(share: float, time: float, flops: float | None, **changes: Any) -> TemporalAttention:
    made = TemporalAttention("make-a-video", "flash", None, share, time, flops, is_factorized=True)
    return replace(made, **changes)


class FakeRecorder:
    """Records nothing: writes a file into the folder, and fails where it is told to.

    `errors` are raised by the name of the case, once each unless `always`.
    """

    def __init__(
        self,
        errors: dict[str, BaseException] | None = None,
        gpu: str = "H100",
        memory_bytes: int | None = None,
    ) -> None:
        self.errors = dict(errors or {})
        self.seen: list[str] = []
        self.timed: list[tuple[str, int]] = []
        self.memory_bytes = memory_bytes
        self.gpu = gpu
        self.released = 0

    def environment(self) -> dict[str, Any]:
        return {
            "devices": [{"name": self.gpu, "memory_bytes": self.memory_bytes}],
            "versions": {"torch": "2.13.0"},
        }

    def __call__(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        self.seen.append(case.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.json").write_text("{}")
        if case.name in self.errors:
            raise self.errors.pop(case.name)
        return {"preset": "1.5", "sampled": {}, "instead_of": []}

    def time_again(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        self.timed.append((case.name, case.repeats))
        if case.name in self.errors:
            raise self.errors.pop(case.name)
        return {"created": "now"}

    def release(self) -> None:
        self.released += 1


class Told:
    """A listener of a study that remembers."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []
        self.ended: list[tuple[str, str]] = []

    def begin_case(self, name: str, number: int, total: int) -> Listener:
        self.begun.append((name, number, total))
        return Silent()

    def end_case(self, entry: dict[str, Any]) -> None:
        self.ended.append((entry["name"], entry["status"]))
