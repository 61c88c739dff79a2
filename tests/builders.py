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
