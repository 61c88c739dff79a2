"""A toy model with self- and cross-attention, for tests of collectors on a CPU; needs torch."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import torch

from tracekit.collectors.passes import RecordOptions
from tracekit.collectors.workload import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from tracekit.collectors.workload import StageMarker

WIDTH, HEADS, TOKENS, TEXT = 32, 4, 16, 7


class ToyAttention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_q = torch.nn.Linear(WIDTH, WIDTH)
        self.to_k = torch.nn.Linear(WIDTH, WIDTH)
        self.to_v = torch.nn.Linear(WIDTH, WIDTH)

    def forward(
        self, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor | None = None
    ) -> torch.Tensor:
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in (self.to_q(hidden_states), self.to_k(source), self.to_v(source))
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        return out.transpose(1, 2).flatten(2)


class ToyBlock(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.attn1 = ToyAttention()
        self.attn2 = ToyAttention()

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        x = x + self.attn1(self.norm(x))
        return x + self.attn2(x, encoder_hidden_states=text)


class ToyModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([ToyBlock(), ToyBlock()])

    def forward(self, x: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, text)
        return x


MODEL = ToyModel().eval()


def denoise(stage: StageMarker, steps: int = 3) -> torch.Tensor:
    with torch.no_grad():
        with stage("text_encoder"):
            text = torch.randn(1, TEXT, WIDTH)
            x = torch.randn(1, TOKENS, WIDTH)
        for step in range(steps):
            with stage("denoise", step=step):
                x = MODEL(x, text)
    return x


def toy(**changes: Any) -> Workload:
    fields: dict[str, Any] = {
        "name": "toy",
        "run": denoise,
        "modules": {"net": MODEL},
        "stages": {"text_encoder": 1, "denoise": 3},
        "config": {"width": WIDTH},
    }
    return Workload(**(fields | changes))


def build() -> Workload:
    """For `collect_helpers:build` on the command line."""
    return toy()


def plain() -> None:
    """For `collect_helpers:plain`: work without stages that uses `MODEL`."""
    with torch.no_grad():
        MODEL(torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH))


def failing() -> None:
    raise ValueError("the weights\nare missing")


def options(**changes: Any) -> RecordOptions:
    fields: dict[str, Any] = {"device": "cpu", "repeats": 2, "warm_up": 1}
    return RecordOptions(**(fields | changes))


def manifest_of(folder: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return body


def names_in(folder: Path, file: str = "trace.json.gz") -> list[str]:
    with gzip.open(folder / file) as source:
        events = json.load(source)["traceEvents"]
    return [event["name"] for event in events if event.get("ph") == "X"]


def with_device(folder: Path) -> None:
    """Give the rich pass of a CPU run a device: each addmm launches a kernel of 10 µs."""
    path = folder / "trace.json.gz"
    with gzip.open(path) as source:
        body = json.load(source)
    launching = [e for e in body["traceEvents"] if e.get("name") == "aten::addmm"]
    assert launching
    free = 0.0
    for number, op in enumerate(sorted(launching, key=lambda e: e["ts"]), 1):
        called = op["ts"] + op["dur"] / 2
        common = {"ph": "X", "pid": op["pid"], "tid": op["tid"]}
        call = {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": called, "dur": 1.0}
        free = max(free, called + 4)
        kernel = {"cat": "kernel", "name": "gemm", "ts": free, "dur": 10.0, "pid": 0, "tid": 7}
        on = {"device": 0, "stream": 7, "correlation": number}
        body["traceEvents"] += [
            common | call | {"args": {"correlation": number}},
            common | kernel | {"args": on},
        ]
        free += 10
    with gzip.open(path, "wt") as sink:
        json.dump(body, sink)
    (folder / "kernels.json.gz").unlink()
