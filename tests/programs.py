"""Traces of ops that were issued one after the other, each with one kernel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tracekit
from builders import TraceBuilder

GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT"
FLASH = "flash_fwd_kernel"
COPY = "void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>"
POINT = "void at::native::vectorized_elementwise_kernel<4, at::native::MulFunctor<float>>"
SOFTMAX = "softmax_warp_forward"


@dataclass
class Program:
    """Issues ops one after the other, each with one kernel."""

    b: TraceBuilder = field(default_factory=TraceBuilder)
    count: int = 0

    def op(self, name: str, kernel: str, dims: list[Any] | None = None, *arguments: str) -> int:
        """Issue an op and return its number, by which `backward` knows it."""
        number = self.view(name, dims, *arguments)
        self._launch(kernel, number, tid=1)
        return number

    def view(self, name: str, dims: list[Any] | None = None, *arguments: str) -> int:
        """Issue an op that launches nothing."""
        number, self.count = self.count, self.count + 1
        args: dict[str, Any] = {"Sequence number": number, "Fwd thread id": 0}
        if dims is not None:
            args["Input Dims"] = dims
            args["Concrete Inputs"] = [*arguments, *[""] * (len(dims) - len(arguments))]
        self.b.op(name, 100 * number, 90, **args)
        return number

    def backward(self, of: int, node: str, kernel: str, *inside: str) -> None:
        """Issue the backward node of an op, with ops inside one another, on another thread."""
        number, self.count = self.count, self.count + 1
        args = {"Sequence number": of, "Fwd thread id": 1}
        for depth, name in enumerate((node, *inside)):
            self.b.op(name, 100 * number + depth, 90 - 2 * depth, tid=9, **({} if depth else args))
        self._launch(kernel, number, tid=9)

    def _launch(self, kernel: str, number: int, *, tid: int) -> None:
        at = 100 * number
        self.b.launched(kernel, at + 10, 1_000_000 + at, 50, tid=tid)

    def linear(self) -> None:
        self.op("aten::linear", GEMM, [[2, 64, 320], [320, 320], [320]])

    def table(self, path: Path) -> Any:
        return tracekit.kernels(self.b.write(path / "t.json"))

    def columns(self, path: Path, *names: str) -> list[list[Any]]:
        columns = self.table(path).to_arrow().to_pydict()
        return [columns[name] for name in names]

    def sdpa(self, queries: list[int], keys: list[int], causal: str = "False") -> None:
        self.op(
            "aten::scaled_dot_product_attention", FLASH,
            [queries, keys, keys, [], [], [], [], []], "", "", "", "", "0.", causal, "", "False",
        )  # fmt: skip

    def written(self, batch: int, heads: int, length: int, keys: int, size: int = 40) -> None:
        count = batch * heads
        self.op("aten::bmm", GEMM, [[count, length, size], [count, size, keys]])
        self.op("aten::mul", POINT, [[batch, heads, length, keys], []])
        self.op("aten::softmax", SOFTMAX, [[batch, heads, length, keys], [], []])
        self.op("aten::bmm", GEMM, [[count, length, keys], [count, keys, size]])
