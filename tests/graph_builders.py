"""Builds traces of one model that runs eagerly, and of the same from CUDA graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from builders import TraceBuilder
from tracekit.api import kernels
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.linking.link import link
from tracekit.loading.loader import load_file

FLASH = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>"
ADD = "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>"
GELU = "void at::native::vectorized_elementwise_kernel<4, at::native::GeluCUDAKernelImpl>"
NORM = "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float>"
FPROP = "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc"
NHWC = "void cudnn::engines_precompiled::nchwToNhwcKernel<__nv_bfloat16>"


def gemm(tile: int) -> str:
    return f"nvjet_sm90_tst_{tile}x128_64x6_1x2_h_bz_TNN"


@dataclass(frozen=True)
class Node:
    """One kernel of the model, with the ops and the module that issue it."""

    name: str
    ops: tuple[str, ...]
    module: str = ""
    grid: tuple[int, int, int] = (1, 1, 1)
    cat: str = "kernel"
    stream: int = 7

    @property
    def category(self) -> str:
        return CATEGORY_OF[self.ops[0]]


CATEGORY_OF = {
    "aten::conv2d": "conv",
    "aten::linear": "linear",
    "aten::scaled_dot_product_attention": "attention",
    "aten::layer_norm": "norm",
    "aten::add": "elementwise",
    "aten::gelu": "elementwise",
}


def block(layer: int, size: int) -> list[Node]:
    """One layer: convolution, attention and a feed-forward network, at one size."""

    def node(name: str, *ops: str, module: str, wide: int = 1, cat: str = "kernel") -> Node:
        return Node(name, ops, f"Block_{layer}/{module}", (size * wide, 1, 1), cat)

    def linear(tile: int, module: str, wide: int = 1) -> Node:
        return node(gemm(tile), "aten::linear", "aten::addmm", module=module, wide=wide)

    return [
        node("Memset (Device)", "aten::conv2d", module="Conv", cat="gpu_memset"),
        node(NHWC, "aten::conv2d", "aten::cudnn_convolution", module="Conv"),
        node(FPROP, "aten::conv2d", "aten::cudnn_convolution", module="Conv"),
        node(ADD, "aten::conv2d", "aten::add_", module="Conv"),
        node(NORM, "aten::layer_norm", "aten::native_layer_norm", module="Norm_1"),
        linear(144, "Attention/Q"),
        linear(144, "Attention/K"),
        linear(144, "Attention/V"),
        node(
            FLASH,
            "aten::scaled_dot_product_attention",
            "aten::_flash_attention_forward",
            module="Attention",
        ),
        linear(144, "Attention/Out"),
        node(ADD, "aten::add", module=""),
        node(NORM, "aten::layer_norm", "aten::native_layer_norm", module="Norm_2"),
        linear(192, "FF/In", wide=4),
        node(GELU, "aten::gelu", module="FF/Act", wide=4),
        linear(144, "FF/Out"),
        node(ADD, "aten::add", module=""),
    ]


def model(layers: int = 6) -> list[Node]:
    """An U-Net of sorts: sizes go down and up again."""
    sizes = [64 >> min(at, layers - 1 - at) for at in range(layers)]
    first = Node(FPROP, ("aten::conv2d", "aten::cudnn_convolution"), "ConvIn", (64, 9, 1))
    last = Node(gemm(64), ("aten::linear", "aten::addmm"), "ProjOut", (64, 9, 1))
    return [first, *(n for at, size in enumerate(sizes) for n in block(at, size)), last]


def text_encoder() -> list[Node]:
    """Work that stands before the model, in the same trace."""
    return [replace(node, module=f"Text/{node.module}") for node in block(90, 3) + block(91, 3)]


def renamed(nodes: Sequence[Node], old: str, new: str) -> list[Node]:
    return [replace(node, name=node.name.replace(old, new)) for node in nodes]


@dataclass
class GraphTrace:
    """Writes eager work and replays one after the other; `nodes` are those of all rows."""

    builder: TraceBuilder = field(default_factory=TraceBuilder)
    nodes: list[Node] = field(default_factory=list)
    now: int = 1_000

    def eager(self, nodes: Sequence[Node]) -> GraphTrace:
        for node in nodes:
            b, at = self.builder, self.now
            parts = node.module.split("/") if node.module else []
            for depth, part in enumerate(parts):
                b.module(part, at - 20 + depth, 60 - 2 * depth)
            for depth, op in enumerate(node.ops):
                b.op(op, at - 5 + depth, 30 - 2 * depth)
            launch = {"gpu_memset": "cudaMemsetAsync"}.get(node.cat, "cudaLaunchKernel")
            b.launch(at + 3, at, name=launch)
            self._kernel(node, at + 40, at)
            self.now += 100
        return self

    def replay(
        self,
        nodes: Sequence[Node],
        *,
        launch: str | None = "cudaGraphLaunch",
        numbered: bool = False,
    ) -> GraphTrace:
        correlation = self.now
        if launch is not None:
            self.builder.launch(self.now, correlation, name=launch)
        for number, node in enumerate(nodes):
            self.now += 10
            fields = {"graph node id": 1_000 + number} if numbered else {}
            self._kernel(node, self.now, correlation, **fields)
        self.now += 100
        return self

    def step(self, stage: str, number: int, begin: int) -> GraphTrace:
        self.builder.annotation(f"tk1|stage|{stage}|{number}", begin, self.now - begin)
        return self

    def table(self, folder: Path, donors: Sequence[KernelTable] = ()) -> KernelTable:
        path = self.builder.write(folder / "trace.json")
        return classify(link(load_file(str(path))), donors) if donors else kernels(path)

    def _kernel(self, node: Node, start: int, correlation: int, **fields: object) -> None:
        grid = {} if node.cat != "kernel" else {"grid": [*node.grid], "block": [128, 1, 1]}
        self.builder.kernel(
            node.name,
            start,
            8,
            correlation,
            cat=node.cat,
            stream=node.stream,
            **{**grid, **fields},
        )
        self.nodes.append(node)
