"""Bytes of ops that take lists of tensors, and of inputs that are expanded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tracekit
from builders import TraceBuilder
from tracekit.costing.lists import list_bytes
from tracekit.costing.op_call import InputTexts
from tracekit.costing.op_costs import base_name, op_cost
from tracekit.trace import NULL

if TYPE_CHECKING:
    from collections.abc import Callable

NS = "at::native::(anonymous namespace)::"
APPLY = f"void {NS}multi_tensor_apply_kernel<{NS}TensorListMetadata<2>, {NS}"
COPY = "at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}::operator()() "
COPY += "const::{lambda()#12}::operator()() const::{lambda(c10::BFloat16)#1}"
CAT = f"void {NS}CatArrayBatchedCopy<{NS}OpaqueType<2u>, unsigned int, 4, 64, 64>({NS}OpaqueType)"
ADD = f"{APPLY}BinaryOpListAlphaFunctor<float, 2, 2, 0>, std::plus<float>, float>(…)"


@pytest.mark.parametrize(
    ("kernel", "sizes"),
    [
        (CAT, (2, 2)),
        (
            f"void {NS}CatArrayBatchedCopy_vectorized<{NS}OpaqueType<16u>, unsigned int, 3>",
            (16, 16),
        ),
        (f"void {NS}CatArrayBatchedCopy<c10::BFloat16, unsigned int, 2, 64, 64>", (2, 2)),
        (f"void {NS}CatArrayBatchedCopy<unsigned char, unsigned int, 2, 64, 64>", (1, 1)),
        (f"void {NS}CatArrayBatchedCopy<mine, unsigned int, 2, 64, 64>", None),
        (ADD, (4, 4)),
        (f"{APPLY}FusedAdamMathFunctor<c10::Half, 4, ({NS}ADAM_MODE)0, false>, float>", (2, 2)),
        (f"{APPLY}CopyFunctor<float, c10::BFloat16, 2, 1, 1>, at::native::Copy<float>>", (4, 2)),
        (f"{APPLY}CopyFunctor<float, mine, 2, 1, 1>, at::native::Copy<float>>", None),
        ("void at::native::lpnorm_cleanup<double, (at::native::NormType)1, double>", (8, 8)),
        (f"void elementwise_kernel<128, 4, at::native::gpu_kernel_impl_nocast<{COPY}>>", (2, 2)),
        (f"void elementwise_kernel<128, 4, at::native::gpu_kernel_impl<{COPY}>>", None),
        ("void vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", None),
        ("nvjet_tst_128x160", None),
    ],
)
def test_a_kernel_tells_the_type_of_lists(kernel: str, sizes: tuple[int, int] | None) -> None:
    assert list_bytes(kernel) == sizes


FOUR, SIX = [2, 2], [3, 2]
KNOWN: list[tuple[str, list[Any], list[str], int]] = [
    ("aten::cat", [[FOUR, SIX], []], ["", "0"], 2 * 10),
    ("aten::stack", [[FOUR, FOUR], []], ["", "0"], 2 * 8),
    ("aten::cat", [[[0], SIX], []], ["", "0"], 2 * 6),
    ("aten::_foreach_add_", [[FOUR, SIX], [FOUR, SIX], []], ["", "", "1"], 3 * 10),
    ("aten::_foreach_addcmul_", [[FOUR], [FOUR], [FOUR], []], ["", "", "", "1"], 4 * 4),
    ("aten::_foreach_sqrt", [[FOUR, []]], [""], 2 * 5),
    ("aten::_foreach_zero_", [[FOUR, SIX]], [""], 10),
    ("aten::_foreach_copy_", [[FOUR], [FOUR], []], ["", "", "False"], 2 * 4),
    ("aten::_foreach_norm", [[FOUR, SIX], [], []], ["", "2.", ""], 10),
    ("aten::_fused_sgd_", [[SIX]] * 3 + [[]] * 9, [""] * 9 + ["False"], 5 * 6),
    ("aten::_fused_sgd_", [[SIX]] * 3 + [[]] * 9, [""] * 9 + ["True"], 4 * 6),
]


def cost_of(
    name: str, dims: list[Any], concrete: list[str], sizes: tuple[int, int] | None
) -> int | None:
    types = ["TensorList" if any(isinstance(x, list) for x in d) else "Scalar" for d in dims]
    base = base_name(name)
    assert base is not None
    texts = InputTexts(json.dumps(dims), json.dumps(types), json.dumps(concrete))
    cost = op_cost(base, texts, sizes)
    return None if cost is None else cost.bytes_


@pytest.mark.parametrize(("name", "dims", "concrete", "elements"), KNOWN)
def test_lists_move_each_tensor_once(
    name: str, dims: list[Any], concrete: list[str], elements: int
) -> None:
    assert cost_of(name, dims, concrete, (2, 2)) == 2 * elements
    assert cost_of(name, dims, concrete, None) is None


def test_a_copy_may_cast() -> None:
    dims = [[FOUR, SIX], [FOUR, SIX], []]
    assert cost_of("aten::_foreach_copy_", dims, ["", "", "False"], (4, 2)) == 40 + 20


def columns(builder: TraceBuilder, path: Path) -> list[int | None]:
    table = tracekit.kernels(str(builder.write(path / "trace.json"))).to_arrow()
    found: list[int | None] = table["bytes"].to_pylist()
    return found


def listed(name: str, dims: list[Any], *kernels: str) -> TraceBuilder:
    builder = TraceBuilder()
    types = ["TensorList"] * len(dims)
    builder.op(name, 0, 900, **{"Input Dims": dims, "Input type": types})
    for at, kernel in enumerate(kernels):
        builder.launched(kernel, 100 + 100 * at, 1_000 + 100 * at, 50)
    return builder


def test_kernels_of_an_op_must_agree(tmp_path: Path) -> None:
    dims = [[FOUR, SIX], [FOUR, SIX]]
    assert columns(listed("aten::_foreach_add_", dims, ADD, ADD), tmp_path) == [120, None]
    other = ADD.replace("float", "double")
    assert columns(listed("aten::_foreach_add_", dims, ADD, other), tmp_path) == [None, None]
    assert columns(listed("aten::_foreach_add_", dims, ADD, "other"), tmp_path) == [None, None]


def test_lists_that_the_trace_leaves_out_are_counted_as_unknown(tmp_path: Path) -> None:
    """Kineto writes lists of more than 30 tensors as empty."""
    builder = listed("aten::_foreach_add_", [[], [], []], ADD)
    builder.op("aten::cat", 10_000, 900, **{"Input Dims": [[FOUR, FOUR], []]})
    builder.launched(CAT, 10_100, 20_000, 50)
    assert columns(builder, tmp_path) == [None, 32]
    roofline = tracekit.analyze(str(tmp_path / "trace.json")).roofline
    assert roofline is not None
    assert (roofline.total.operations, roofline.total.uncounted) == (1, 1)


def test_a_join_inside_another_counts_once(tmp_path: Path) -> None:
    builder = TraceBuilder()
    dims = {"Input Dims": [[FOUR, FOUR], []], "Input type": ["TensorList", "Scalar"]}
    builder.op("aten::stack", 0, 900, **dims)
    builder.op("aten::cat", 50, 800, **dims)
    builder.launched(CAT, 100, 1_000, 50)
    assert columns(builder, tmp_path) == [32]


def test_expanded_inputs_lie_in_memory_once() -> None:
    def bytes_of(name: str, dims: list[Any], strides: list[Any]) -> int | None:
        types = json.dumps(["float"] * len(dims))
        texts = InputTexts(json.dumps(dims), types, None, json.dumps(strides))
        cost = op_cost(name, texts)
        return None if cost is None else cost.bytes_

    assert bytes_of("add", [[8, 4], [8, 4]], [[4, 1], [0, 1]]) == 4 * (32 + 4 + 32)
    assert bytes_of("add", [[8, 4], [8, 4]], [[0, 0], [4, 1]]) == 4 * (1 + 32 + 32)
    # Windows of 4 that move by 1 over 11 elements.
    assert bytes_of("mul", [[8, 4], []], [[1, 1], []]) == 4 * (11 + 1 + 32)
    assert bytes_of("_softmax", [[8, 4]], [[0, 1]]) == 4 * (4 + 32)
    assert bytes_of("bmm", [[8, 3, 5], [8, 5, 7]], [[0, 5, 1], [35, 7, 1]]) == 4 * (15 + 280 + 168)
    # What is no stride of these is not looked at.
    for odd in ([[4], [4, 1]], [None, None], [], [["x", 1], [4, 1]], [[-4, 1], [4, 1]]):
        assert bytes_of("add", [[8, 4], [8, 4]], odd) == 4 * 96


torch: Any = pytest.importorskip("torch")


def profiled(work: Callable[[], object], path: Path) -> tracekit.KernelTable:
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profiler:
        work()
    profiler.export_chrome_trace(str(path))
    return tracekit.kernels(str(path), cache=False)


def in_memory(*tensors: Any) -> int:
    """Return the bytes of the distinct elements of tensors, each looked at by its address."""
    total = 0
    for tensor in tensors:
        places = torch.zeros((), dtype=torch.long)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
            places = places.unsqueeze(-1) + torch.arange(size) * stride
        total += len(places.unique()) * tensor.element_size()
    return total


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:1].expand(6, 8),
        lambda x: x[:, :1].expand(6, 8),
        lambda x: x[0, 0].expand(6, 8),
        lambda x: x.t().contiguous().t(),
        lambda x: x[::2],
        lambda x: x.flatten().unfold(0, 5, 1),
        lambda x: x,
    ],
)
def test_bytes_against_the_addresses_of_elements(
    view: Callable[[Any], Any], tmp_path: Path
) -> None:
    taken = view(torch.randn(6, 8))
    other = torch.randn(taken.shape)
    table = profiled(lambda: torch.add(taken, other), tmp_path / "t.json")
    moved = table.operations.bytes_
    assert int(moved[moved != NULL].sum()) == in_memory(taken, other, taken + other)


def test_fused_optimizers_against_their_tensors(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 3))
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    net(torch.randn(2, 8)).sum().backward()
    table = profiled(optimizer.step, tmp_path / "t.json")
    trace = table.linked.trace
    (op,) = [
        row
        for row in range(len(trace.ops))
        if trace.text(int(trace.ops.name[row])) == "aten::_fused_adamw_"
    ]
    columns = (trace.ops.input_dims, trace.ops.input_types, trace.ops.concrete_inputs)
    texts = InputTexts(*(trace.text(int(column[op])) for column in columns))
    # A CPU has no kernels whose names tell the type.
    assert op_cost("_fused_adamw_", texts) is None
    cost = op_cost("_fused_adamw_", texts, (4, 4))
    weights = list(net.parameters())
    states = [optimizer.state[weight][name] for weight in weights for name in STATES]
    assert cost is not None
    read = in_memory(*weights, *(weight.grad for weight in weights), *states)
    assert cost.bytes_ == read + in_memory(*weights, *states)


STATES = ("exp_avg", "exp_avg_sq")


def test_on_a_cpu_what_lists_are_made_of_counts(tmp_path: Path) -> None:
    """There `_foreach_add_` adds tensor by tensor, and `cat` says nothing of its type."""
    ours = [torch.randn(6, 8), torch.randn(5)]
    others = [torch.randn(6, 8), torch.randn(5)]
    table = profiled(lambda: torch._foreach_add_(ours, others), tmp_path / "t.json")
    moved = table.operations.bytes_
    assert int(moved[moved != NULL].sum()) == in_memory(*ours, *others, *ours)
    table = profiled(lambda: torch.cat(ours[:1] * 2), tmp_path / "c.json")
    assert not (table.operations.bytes_ != NULL).any()
