"""What single ops cost by their shapes, and on which rows of the kernel table that stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tracekit
from builders import TraceBuilder
from tracekit.costing.op_call import Cost, InputTexts
from tracekit.costing.op_costs import base_name, op_cost

BF16, FLOAT, BOOL, LONG = "c10::BFloat16", "float", "bool", "long int"


def cost(name: str, *inputs: tuple[list[Any], str] | str) -> Cost | None:
    """Return the cost of an op; an input is a shape with its type, or the text of an argument."""
    dims = [[] if isinstance(value, str) else value[0] for value in inputs]
    types = ["Scalar" if isinstance(value, str) else value[1] for value in inputs]
    concrete = [value if isinstance(value, str) else "" for value in inputs]
    base = base_name(name)
    assert base is not None
    return op_cost(base, InputTexts(json.dumps(dims), json.dumps(types), json.dumps(concrete)))


def b(*shape: int) -> tuple[list[int], str]:
    return list(shape), BF16


def f(*shape: int) -> tuple[list[int], str]:
    return list(shape), FLOAT


KNOWN: list[tuple[str, list[Any], int | None, int | None]] = [
    ("aten::mm", [b(3, 5), b(5, 7)], 2 * 105, 2 * (15 + 35 + 21)),
    ("aten::addmm", [b(7), b(3, 5), b(5, 7), "1", "1"], 210, 2 * (7 + 15 + 35 + 21)),
    ("aten::baddbmm", [b(4, 3, 7), b(4, 3, 5), b(4, 5, 7), "0", "1"], 840, 2 * 4 * (15 + 35 + 21)),
    ("aten::addmv_", [f(8), f(8, 6), f(6), "0", "1"], 96, 4 * (48 + 6 + 8)),
    ("aten::_int_mm", [([3, 5], "signed char"), ([5, 7], "signed char")], 210, 15 + 35 + 84),
    (
        "aten::_scaled_mm",
        [([3, 5], "c10::Float8_e4m3fn"), ([5, 7], "c10::Float8_e4m3fn"), f(), f(), "", "", "15"],
        210,
        15 + 35 + 4 + 4 + 42,
    ),
    ("aten::_grouped_mm", [b(9, 5), b(3, 5, 7)], 2 * 9 * 35, 2 * (45 + 105 + 63)),
    ("aten::mm", [b(3, 5), b(6, 7)], None, None),
    ("aten::add", [b(4, 1, 3), b(2, 3), "1"], None, 2 * (12 + 6 + 24)),
    ("aten::add", [b(4), f(4), "1"], None, 8 + 16 + 16),
    ("aten::mul", [b(4), ([], "double")], None, 8 + 8 + 8),
    ("aten::mul_", [b(4), f(4)], None, 8 + 16 + 8),
    ("aten::eq.Tensor", [f(4), f(4)], None, 16 + 16 + 4),
    ("aten::where", [([4], BOOL), b(4), b(4)], None, 4 + 8 + 8 + 8),
    ("aten::add", [b(4), b(3), "1"], None, None),
    ("aten::native_layer_norm", [b(2, 8), "[8]", b(8), b(8), "1e-5"], None, 2 * (16 + 8 + 8 + 16)),
    ("aten::_softmax", [b(2, 8), "-1", "False"], None, 64),
    ("aten::copy_", [f(4), b(4), "False"], None, 24),
    ("aten::fill_", [b(4), "0"], None, 8),
    ("aten::sum", [f(4, 6), "[0]", "True", ""], None, 4 * (24 + 6)),
    ("aten::mean", [f(4, 6), ""], None, 4 * 25),
    ("aten::max", [f(4, 6), "1", "False"], None, 4 * (24 + 4)),
    ("aten::embedding", [b(100, 8), ([2, 3], LONG), "-1"], None, 48 + 2 * 96),
    ("aten::index_select", [b(100, 8), "0", ([5], LONG)], None, 40 + 2 * 80),
    ("aten::gather", [b(9, 8), "0", ([5, 8], LONG)], None, 320 + 2 * 80),
    ("aten::upsample_nearest2d", [b(1, 2, 4, 4), "[8, 8]", ""], None, 2 * (32 + 128)),
    ("aten::upsample_nearest2d", [b(1, 2, 4, 4), "", "[2.0, 2.0]"], None, None),
    ("aten::constant_pad_nd", [b(2, 4), "[1, 1]", "0"], None, 2 * (8 + 12)),
    ("aten::native_dropout", [b(4), "0.1", "True"], None, 8 + 8 + 4),
    ("triton_poi_fused_add_0", [b(4), b(4), "4"], None, 16),
    ("triton_per_fused_embedding_norm_0", [([6], LONG), b(99, 8), b(6, 8), "6", "8"], None, 240),
]


@pytest.mark.parametrize(("name", "inputs", "flops", "size"), KNOWN)
def test_costs_by_shape(name: str, inputs: list[Any], flops: int | None, size: int | None) -> None:
    found = cost(name, *inputs)
    if flops is None and size is None:
        assert found is None
        return
    assert found is not None
    assert (found.flops, found.bytes_) == (flops, size)


def test_convolutions_move_each_tensor_once() -> None:
    arguments = ("[2, 2]", "[1, 1]", "[1, 1]", "False", "[0, 0]", "1")
    found = cost("aten::convolution", b(2, 4, 9, 9), b(6, 4, 3, 3), b(6), *arguments)
    assert found == Cost(2 * 2 * 25 * 216, 2 * (648 + 216 + 6 + 300), "bfloat16")
    library = cost(
        "aten::cudnn_convolution", b(2, 4, 9, 9), b(6, 4, 3, 3), "[1, 1]", "[2, 2]", "[1, 1]", "1"
    )
    assert library == Cost(2 * 2 * 25 * 216, 2 * (648 + 216 + 300), "bfloat16")


def test_attention_moves_each_tensor_once_and_knows_its_mask() -> None:
    q, k, v = b(2, 8, 10, 16), b(2, 8, 12, 16), b(2, 8, 12, 24)
    name = "aten::_scaled_dot_product_efficient_attention"
    flops = 2 * 16 * 10 * 12 * (16 + 24)
    size = 2 * 16 * (160 + 192 + 288 + 240)
    assert cost(name, q, k, v) == Cost(flops, size, "bfloat16")
    assert cost(name, q, k, v, b(2, 8, 10, 12)) == Cost(flops, size + 2 * 16 * 120, "bfloat16")


def test_sequences_behind_one_another_are_not_guessed() -> None:
    assert cost("aten::_flash_attention_forward", b(90, 8, 64), b(90, 8, 64), b(90, 8, 64)) is None


@pytest.mark.parametrize("name", ["aten::view", "my::mm", "apex::_foreach_add_", "AddBackward0"])
def test_other_ops_have_no_cost(name: str) -> None:
    assert base_name(name) is None


@pytest.mark.parametrize(
    "dims", [None, "", "x", "{}", "[[-1, 5], [5, 7]]", f"[[{2**40}, {2**40}], [{2**40}, 7]]"]
)
def test_impossible_shapes_have_no_cost(dims: str | None) -> None:
    assert op_cost("mm", InputTexts(dims, '["float", "float"]', None)) is None


MM = {"Input Dims": [[3, 5], [5, 7]], "Input type": [FLOAT, FLOAT], "Concrete Inputs": ["", ""]}
LINEAR = {"Input Dims": [[3, 5], [7, 5]], "Input type": [FLOAT, FLOAT]}
ADD = {"Input Dims": [[3, 7], [3, 7]], "Input type": [FLOAT, FLOAT]}


def columns(builder: TraceBuilder, tmp_path: Path) -> list[tuple[Any, Any]]:
    table = tracekit.kernels(str(builder.write(tmp_path / "trace.json"))).to_arrow()
    return list(zip(table["flops"].to_pylist(), table["bytes"].to_pylist(), strict=True))


def test_costs_stand_on_the_longest_kernel_of_an_operation(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.op("aten::linear", 0, 900, **LINEAR)
    builder.op("aten::mm", 100, 700, **MM)
    for at, dur in ((200, 50), (300, 80), (400, 80)):
        builder.launched("gemm", at, 1_000 + at, dur)
    builder.op("aten::add", 1_000, 500, **ADD)
    builder.launched("add_kernel", 1_100, 2_000, 10)
    assert columns(builder, tmp_path) == [
        (None, None),
        (210, 4 * 71),
        (None, None),
        (None, 4 * 63),
    ]


def test_a_wrapper_counts_where_nothing_below_it_does(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.op("aten::linear", 0, 900, **LINEAR)
    builder.op("custom::gemm", 100, 700)
    builder.launched("gemm", 200, 1_000, 50)
    assert columns(builder, tmp_path) == [(210, 4 * 71)]


def test_copies_keep_their_own_size(tmp_path: Path) -> None:
    builder = TraceBuilder()
    copied = {"Input Dims": [[8], [8]], "Input type": [FLOAT, FLOAT]}
    builder.op("aten::copy_", 0, 900, **copied)
    event = builder.launched("Memcpy DtoD (Device -> Device)", 200, 1_000, 50)
    event["cat"] = "gpu_memcpy"
    event["args"]["bytes"] = 32
    assert columns(builder, tmp_path) == [(None, 32)]


def test_without_shapes_nothing_is_known(tmp_path: Path) -> None:
    builder = TraceBuilder()
    builder.op("aten::mm", 0, 900)
    builder.launched("gemm", 200, 1_000, 50)
    path = builder.write(tmp_path / "trace.json")
    assert columns(builder, tmp_path) == [(None, None)]
    assert tracekit.analyze(str(path)).roofline is None
