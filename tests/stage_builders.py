"""Traces of kernels alone that look like runs: encoders, loops of passes, decoders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from builders import TraceBuilder
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.linking.link import link
from tracekit.loading.loader import load_file
from tracekit.trace import NULL

_FUNCTOR = "void at::native::vectorized_elementwise_kernel<4, at::native::{}>"
KERNELS = {
    "gemm": "nvjet_sm90_tst_128x128_64x4_h_bz_TNT",
    "flash": "void flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, 128, 4, false>, false>",
    "conv": "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64",
    "norm": "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>",
    "groupnorm": "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<float, float>",
    "add": _FUNCTOR.format("CUDAFunctor_add<float>"),
    "mul": _FUNCTOR.format("MulFunctor<float>"),
    "gelu": _FUNCTOR.format("GeluCUDAKernelImpl_kernel_impl"),
    "silu": _FUNCTOR.format("silu_kernel_impl"),
    "sin": _FUNCTOR.format("sin_kernel_cuda"),
    "cos": _FUNCTOR.format("cos_kernel_cuda"),
    "cat": "void at::native::(anonymous namespace)::CatArrayBatchedCopy<float, unsigned int, 2>",
    "embed": "void at::native::(anonymous namespace)::indexSelectSmallIndex<float, long, 2, 2, -2>",
    "argmax": "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, ArgMaxOps<float>>>",  # noqa: E501
    "arange": "void (anonymous namespace)::elementwise_kernel_with_index<int, arange_cuda_out>",
    "upsample": "void at::native::upsample_nearest2d_out_frame<float>",
    "adam": "void at::native::multi_tensor_apply_kernel<FusedAdamMathFunctor<float, 4>>",
}

ATTENTION = ("norm", "gemm", "gemm", "gemm", "flash", "gemm", "add")
LAYER = (*ATTENTION, "norm", "gemm", "gelu", "gemm", "add")
RESNET = ("groupnorm", "silu", "conv", "add", "groupnorm", "silu", "conv", "add")


def text_encoder(layers: int = 4) -> list[str]:
    return ["embed", "add", *LAYER * layers, "norm"]


def unet(blocks: int = 4) -> list[str]:
    block = (*RESNET, *ATTENTION, *ATTENTION, "gemm", "gelu", "gemm", "add")
    return ["mul", "sin", "cos", "cat", "gemm", "silu", "gemm", "conv", *block * blocks, "conv"]


def scheduler() -> list[str]:
    return ["mul", "mul", "add", "mul", "add"]


def vae() -> list[str]:
    return ["conv", *RESNET * 3, "upsample", "conv", *RESNET * 3, "groupnorm", "silu", "conv"]


def decoder() -> list[str]:
    """One with an attention block between its convolutions."""
    block = ["norm", "gemm", "gemm", "gemm", "flash", "gemm", "add"]
    return ["conv", *RESNET, *block, *RESNET * 6, "upsample", "conv", *RESNET * 3, "conv"]


def token_pass(layers: int = 6) -> list[str]:
    return ["embed", "cos", "sin", *LAYER * layers, "norm", "gemm", "argmax"]


@dataclass
class Run:
    """Kernels in order, and the stage and step that each is of in truth."""

    words: list[str] = field(default_factory=list)
    truth: list[tuple[str | None, int | None]] = field(default_factory=list)
    grids: list[int] = field(default_factory=list)

    def add(
        self,
        words: Iterable[str],
        stage: str | None = None,
        step: int | None = None,
        *,
        grid: int = 64,
    ) -> Run:
        for word in words:
            self.words.append(word)
            self.truth.append((stage, step))
            self.grids.append(grid)
        return self

    def builder(self) -> TraceBuilder:
        b = TraceBuilder()
        for at, (word, grid) in enumerate(zip(self.words, self.grids, strict=True)):
            name = KERNELS.get(word, word)
            b.launched(name, 1_000 * at, 1_000 * at + 500, 400, grid=[grid, 1, 1])
        return b

    def table(self, folder: Path) -> KernelTable:
        return classify(link(load_file(str(self.builder().write(folder / "t.json")))))


def found(table: KernelTable) -> list[tuple[str | None, int | None]]:
    """The stage and step of each row."""
    stages = table.stages
    return [
        (None if s < 0 else stages.names[s], None if n == NULL else n)
        for s, n in zip(stages.stage.tolist(), stages.step.tolist(), strict=True)
    ]


def summary(table: KernelTable) -> list[tuple[str, int]]:
    """The stages in order of their start, each with the number of its steps (0 for none)."""
    stages = table.stages
    order = [int(np.flatnonzero(stages.stage == at)[0]) for at in range(len(stages.names))]
    steps = [
        len({n for n in stages.step[stages.stage == at].tolist() if n != NULL})
        for at in range(len(stages.names))
    ]
    ranked: Sequence[int] = sorted(range(len(order)), key=lambda at: order[at])
    return [(stages.names[at], steps[at]) for at in ranked]
