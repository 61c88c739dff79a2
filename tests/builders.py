"""Builds tiny traces: events in Kineto's form, and files around them."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def us(time_ns: int) -> float:
    """Microseconds of a small time in ns, as Kineto writes them."""
    return time_ns / 1000


@dataclass
class TraceBuilder:
    """Collects events; every method returns the event so that a test can bend it."""

    pid: int = 100
    events: list[Event] = field(default_factory=list)
    metadata: dict[str, Any] = field(
        default_factory=lambda: {
            "schemaVersion": 1,
            "deviceProperties": [{"id": 0, "name": "NVIDIA Test GPU"}],
            "baseTimeNanoseconds": 1_790_857_026_000_000_000,
        }
    )

    def add(self, **fields: Any) -> Event:
        self.events.append(fields)
        return fields

    def op(self, name: str, start: int, dur: int, *, tid: int = 1, **args: Any) -> Event:
        return self._host("cpu_op", name, start, dur, tid, args)

    def annotation(self, name: str, start: int, dur: int, *, tid: int = 1) -> Event:
        return self._host("user_annotation", name, start, dur, tid, {})

    def module(self, name: str, start: int, dur: int, *, tid: int = 1) -> Event:
        return self._host("python_function", f"nn.Module: {name}", start, dur, tid, {})

    def launch(
        self,
        start: int,
        correlation: int,
        *,
        dur: int = 5,
        tid: int = 1,
        name: str = "cudaLaunchKernel",
    ) -> Event:
        category = "cuda_driver" if name.startswith("cuLaunch") else "cuda_runtime"
        return self._host(category, name, start, dur, tid, {"correlation": correlation})

    def kernel(
        self,
        name: str,
        start: int,
        dur: int,
        correlation: int | None = None,
        *,
        device: int = 0,
        stream: int = 7,
        cat: str = "kernel",
        **args: Any,
    ) -> Event:
        args = {"device": device, "stream": stream, **args}
        if correlation is not None:
            args["correlation"] = correlation
        return self.add(
            ph="X", cat=cat, name=name, pid=device, tid=stream, ts=us(start), dur=us(dur), args=args
        )

    def launched(
        self, name: str, launch_at: int, start: int, dur: int, *, tid: int = 1, **fields: Any
    ) -> Event:
        """A kernel together with its launch."""
        correlation = len(self.events) + 1
        self.launch(launch_at, correlation, tid=tid)
        return self.kernel(name, start, dur, correlation, **fields)

    def text(self, *, bare: bool = False, indent: int | None = None) -> bytes:
        value: Any = self.events if bare else {**self.metadata, "traceEvents": self.events}
        return json.dumps(value, indent=indent, ensure_ascii=False).encode()

    def write(self, path: Path, *, bare: bool = False, indent: int | None = None) -> Path:
        data = self.text(bare=bare, indent=indent)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    def _host(
        self, cat: str, name: str, start: int, dur: int, tid: int, args: dict[str, Any]
    ) -> Event:
        return self.add(
            ph="X", cat=cat, name=name, pid=self.pid, tid=tid, ts=us(start), dur=us(dur), args=args
        )


@dataclass
class RunBuilder:
    """A run folder: one text stage and some denoising steps on a host that is slower than the GPU.

    The host takes `host_ns` for each kernel, `dilation` times as long under the profiler (in the
    stages of `dilations` that many times), and sleeps before each denoising step, under an
    annotation; a kernel takes 50 µs in every pass.
    `true_steps` are the steps of the whole run, of which `steps` are traced.
    """

    steps: int = 4
    true_steps: int | None = None
    sleep_ns: int = 0
    kernels: int = 6
    host_ns: int = 100_000
    kernel_ns: int = 50_000
    device: int = 0
    dilations: dict[str, float] = field(default_factory=dict)
    spans: dict[str, list[int]] = field(default_factory=dict)

    def trace(self, dilation: float = 1.0, *, labels: bool = True) -> TraceBuilder:
        """One pass; `spans` then holds how long each step of each stage took."""
        b = TraceBuilder()
        self.spans = {}
        now = free = 0
        for stage, step in [("text", None), *(("denoise", n) for n in range(self.steps))]:
            begin = now
            factor = dilation if dilation == 1.0 else self.dilations.get(stage, dilation)
            now += self.sleep_ns if stage == "denoise" else 0
            for index in range(self.kernels):
                launch = now + 10
                now += round(self.host_ns * factor)
                free = max(launch + 2_000, free) + self.kernel_ns
                b.op(f"aten::{KERNELS[index % len(KERNELS)][0]}", launch - 5, 1_000)
                name = KERNELS[index % len(KERNELS)][1]
                b.launched(name, launch, free - self.kernel_ns, self.kernel_ns, device=self.device)
            now = max(now, free)
            self.spans.setdefault(stage, []).append(now - begin)
            if labels:
                if stage == "denoise" and self.sleep_ns:
                    b.annotation(SLEEPER, begin, self.sleep_ns)
                number = "" if step is None else step
                b.annotation(f"tk1|stage|{stage}|{number}", begin, now - begin)
        return b

    def timing(self, factors: tuple[float, ...] = (1.0, 0.98, 1.05)) -> dict[str, Any]:
        """What `timing.json` holds of the traced steps: a repeat for each factor."""
        self.trace()
        wall_ms = sum(map(sum, self.spans.values())) / 1e6
        rows = [
            {"stage": stage, "step": None if stage == "text" else step, "wall_ms": ns / 1e6}
            for stage, spans in self.spans.items()
            for step, ns in enumerate(spans)
        ]
        walls = [wall_ms * factor for factor in factors]
        return {
            "schema": "tracekit.timing/1",
            "repeats": [
                {
                    "wall_ms": wall,
                    "gpu_ms": wall,
                    "stages": [row | {"gpu_ms": row["wall_ms"]} for row in rows],
                }
                for wall in walls
            ],
            "median_wall_ms": sorted(walls)[len(walls) // 2],
            "min_wall_ms": min(walls),
            "max_wall_ms": max(walls),
            "steps": "traced" if self.true_steps else "true",
        }

    def manifest(self) -> dict[str, Any]:
        true_steps = self.true_steps or self.steps
        return {
            "schema": "tracekit.run/1",
            "complete": True,
            "stages": [
                {"stage": "text", "steps": 1, "traced_steps": 1},
                {"stage": "denoise", "steps": true_steps, "traced_steps": self.steps},
            ],
            "passes": [{"pass": "timing", "file": "timing.json", "wall_ms": 1.0, "dilation": 1.0}],
        }

    def write(self, folder: Path) -> Path:
        """Write all files of the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        self.trace(1.7).write(folder / "trace.json.gz")
        light = self.trace(1.3, labels=False)
        light.events = [event for event in light.events if event["cat"] != "cpu_op"]
        light.write(folder / "kernels.json.gz")
        (folder / "run.json").write_text(json.dumps(self.manifest()))
        (folder / "timing.json").write_text(json.dumps(self.timing()))
        return folder


SLEEPER = "load the next batch"
"""The annotation of a function in which the host sleeps."""
KERNELS = (
    ("linear", "nvjet_sm90"),
    ("scaled_dot_product_attention", "flash_fwd_kernel"),
    ("mul", "vectorized_elementwise_kernel"),
)
