"""Chains of one kernel with another one among them: what changes the pauses of a whole graph."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from benchmarks.graph_modules import replay_all

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from benchmarks.graph_pauses_job import Job

    Op = Callable[[], object]

_AROUND: Final = 100
_ALONE: Final = 40
_LENGTHS: Final = (10, 100, 1000, 3000)
_MEMSETS: Final = (4, 8, 16, 64, 256, 1024, 4096, 16384, 65536)
"""Bytes."""


def find(job: Job) -> None:
    """Find out which operations change the pauses of the graph that they are in."""
    job.part("chains", lambda: _chains(job))
    job.part("again", lambda: _chains(job, "again"))
    job.part("nodes", lambda: _nodes(job))


def _chains(job: Job, name: str = "chains") -> list[dict[str, Any]]:
    import torch

    device = job.args.device
    small = torch.zeros(8, device=device)
    big = torch.zeros(1 << (24 if job.cuda else 12), device=device, dtype=torch.bfloat16)
    works: dict[str, Op] = {
        f"small x {n}": _repeated(lambda: small.add_(1), n if job.cuda else 3) for n in _LENGTHS
    }
    works["big x 100"] = _repeated(lambda: big.add_(1), _AROUND)
    for what, op in _operations(job).items():
        works[f"{what} among small"] = _among(lambda: small.add_(1), op)
        works[f"{what} x {_ALONE}"] = _repeated(op, _ALONE)
    found: list[dict[str, Any]] = []
    graphs: list[Any] = []
    for what, work in works.items():
        row: dict[str, Any] = {"chain": what}
        found.append(row)
        try:
            work()
            graph = job.graph(work)
            row["ms"] = round(job.timed(graph.replay, 5, queued=True)[0], 5)
            row["eager_queued_ms"] = round(job.timed(work, 1, queued=True)[0], 5)
        except Exception as error:
            job.wait()
            row["error"] = f"{type(error).__name__}: {error}"[:120]
            continue
        row["graph"] = len(graphs)
        graphs.append(graph)
    replay_all(job, name, graphs)
    return found


def _repeated(op: Op, times: int) -> Op:
    def work() -> None:
        for _ in range(times):
            op()

    return work


def _among(op: Op, other: Op) -> Op:
    around = _repeated(op, _AROUND)

    def work() -> None:
        around()
        other()
        around()

    return work


def _operations(job: Job) -> dict[str, Op]:
    import torch
    from torch.nn import functional

    def tensor(*size: int, dtype: Any = torch.bfloat16) -> Any:
        return torch.ones(size, device=job.args.device, dtype=dtype)

    half, full, double = (
        tensor(1 << 16),
        tensor(1 << 16, dtype=torch.float32),
        tensor(1 << 12, dtype=torch.float64),
    )
    whole = tensor(1 << 12, dtype=torch.int64)
    many, few = tensor(1024, 1024), tensor(8, 4096)
    wide, one = tensor(4096, 4096), tensor(1, 4096)
    image, filters = tensor(2, 64, 64, 64), tensor(64, 64, 3, 3)
    last = image.to(memory_format=torch.channels_last)
    heads, padded = tensor(2, 8, 256, 64), tensor(2, 8, 256, 40)
    bias, fp16 = tensor(1024), tensor(1 << 16, dtype=torch.float16)
    table, rows = tensor(1000, 64), torch.zeros(64, dtype=torch.int64, device=job.args.device)
    side: Any = torch.cuda.Stream() if job.cuda else None

    def forked() -> None:
        if side is None:
            return
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            full.add_(1)
        half.add_(1)
        torch.cuda.current_stream().wait_stream(side)

    return {
        **_memsets(job, half),
        "fill": lambda: half.zero_(),
        "memcpy": lambda: half.copy_(bias.expand(64, 1024).reshape(-1)),
        "copy": lambda: fp16.clone(),
        "cast": lambda: half.float(),
        "mixed add": lambda: full + half,
        "double sin": lambda: double.sin(),
        "float sin": lambda: full.sin(),
        "double mul": lambda: double * 2.5,
        "float16 add": lambda: fp16 + 1,
        "integer add": lambda: whole + 1,
        "arange": lambda: torch.arange(1 << 12, device=job.args.device),
        "linear": lambda: many @ many,
        "linear with bias": lambda: functional.linear(many, many, bias),
        "skinny linear": lambda: functional.linear(few, wide),
        "vector linear": lambda: functional.linear(one, wide),
        "float linear": lambda: many.float() @ many.float(),
        "batched": lambda: heads @ heads.transpose(-1, -2),
        "convolution": lambda: functional.conv2d(image, filters, padding=1),
        "convolution, channels last": lambda: functional.conv2d(last, filters, padding=1),
        "attention": lambda: functional.scaled_dot_product_attention(heads, heads, heads),
        "attention of 40": lambda: functional.scaled_dot_product_attention(padded, padded, padded),
        "softmax": lambda: many.softmax(-1),
        "layer norm": lambda: functional.layer_norm(many, (1024,)),
        "group norm": lambda: functional.group_norm(image, 8),
        "sort": lambda: full.sort(),
        "cumsum": lambda: whole.cumsum(0),
        "top-k": lambda: full.topk(8),
        "argmax": lambda: full.argmax(),
        "any": lambda: (half > 0).any(),
        "mean": lambda: many.mean(-1),
        "embedding": lambda: functional.embedding(rows, table),
        "index": lambda: table[rows],
        "cat": lambda: torch.cat([many, many]),
        "triu": lambda: many.triu(),
        "random": lambda: torch.rand_like(full),
        "upsample": lambda: functional.interpolate(image, scale_factor=2.0),
        "fork": forked,
    }


def _memsets(job: Job, target: torch.Tensor) -> dict[str, Op]:
    """Return memsets of several sizes, which PyTorch itself makes only inside of operations."""
    if not job.cuda:
        return {}
    import torch

    cuda = ctypes.CDLL("libcuda.so.1")
    pointer, zero = ctypes.c_uint64(target.data_ptr()), ctypes.c_uint(0)

    def memset(size: int) -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        code = cuda.cuMemsetD32Async(pointer, zero, ctypes.c_size_t(size // 4), stream)
        if code:
            raise OSError(f"CUDA error {code}")

    return {f"memset of {size}": lambda size=size: memset(size) for size in _MEMSETS}  # type: ignore[misc]


def _nodes(job: Job) -> dict[str, Any] | None:
    """Ask the driver what each operation's graph consists of."""
    if not job.cuda:
        return None
    import torch

    from benchmarks.graph_nodes import nodes_of

    found: dict[str, Any] = {}
    for what, op in _operations(job).items():
        graph = torch.cuda.CUDAGraph(keep_graph=True)
        try:
            op()
            with torch.cuda.graph(graph):
                op()
            found[what] = nodes_of(graph.raw_cuda_graph())
        except Exception as error:
            job.wait()
            found[what] = {"error": str(error)[:120]}
        # The next one may end the process.
        job.found["nodes"] = found
        job.save()
    return found
