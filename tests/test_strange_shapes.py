"""Shapes that no model has, or hardly one: empty tensors, and what is no shape at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from programs import COPY, FLASH, GEMM, POINT, SOFTMAX, Program
from test_attention_traits import convolve

import tracekit
from builders import TraceBuilder
from tracekit.classifying.op_index import OpIndex
from tracekit.linking.link import link

CAT = "triton_poi_fused_cat_view_3"


def test_what_holds_more_than_whole_numbers_is_no_shape(tmp_path: Path) -> None:
    dims = [[2, 3], [[2, 3], [4]], [], [2, [3]], [[2, "b"]], [True, 2], [8, "a"], "x", None, 3]
    b = TraceBuilder()
    b.op("aten::cat", 0, 90, **{"Input Dims": dims})
    b.launched(COPY, 10, 1_000, 50)
    index = OpIndex(link(tracekit.load(b.write(tmp_path / "t.json"))))
    assert index.shapes(0) == ((2, 3), ((2, 3), (4,)), (), (), ((),), (), (), (), (), ())
    assert index.tensors(0) == ((2, 3),)


def empty_images(p: Program) -> None:
    convolve(p, [0, 320, 8, 8], 1, 1, 3)
    p.sdpa([2, 8, 16, 40], [2, 8, 16, 40])


def no_heads(p: Program) -> None:
    convolve(p, [2, 320, 8, 8], 1, 1, 3)
    p.sdpa([2, 0, 16, 40], [2, 0, 16, 40])


def nothing_put_together(p: Program) -> None:
    p.op(CAT, CAT, [[0, 16, 320], [0, 77, 320], [0, 93, 320], [], []])
    p.sdpa([0, 8, 16, 40], [0, 8, 93, 40])


def an_empty_mask(p: Program) -> None:
    p.op("aten::mul", POINT, [[0, 8, 16, 77], []])
    p.op("aten::bmm", GEMM, [[16, 16, 40], [16, 40, 77]])
    p.op("aten::softmax", SOFTMAX, [[2, 8, 16, 77], [], []])
    p.op("aten::bmm", GEMM, [[16, 16, 77], [16, 77, 40]])


@pytest.mark.parametrize("issue", [empty_images, no_heads, nothing_put_together, an_empty_mask])
def test_empty_tensors_are_classified(tmp_path: Path, issue: Callable[[Program], None]) -> None:
    program = Program()
    issue(program)
    [categories] = program.columns(tmp_path, "category")
    assert None not in categories
    assert {"attention"} <= set(categories)


def strange(random: Random) -> Any:
    """Return what may stand in the place of a shape."""
    if random.random() < 0.1:
        return random.choice([None, "x", 3, [None], ["a", 2], [2, [3]], [[2, "b"]], [10**30, 4]])
    if random.random() < 0.2:
        return [[random.choice([0, 2, 64, -1]) for _ in range(3)] for _ in range(2)]
    return [random.choice([0, 1, 2, 8, 40, 64, 320]) for _ in range(random.randint(0, 5))]


@pytest.mark.parametrize("seed", range(8))
def test_any_shapes_are_analyzed(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    names = (
        "aten::linear aten::bmm aten::softmax aten::scaled_dot_product_attention aten::slice "
        "aten::cat aten::convolution aten::add aten::mul aten::clone aten::reshape aten::to "
        f"aten::_foreach_add_ aten::_fused_adamw_ aten::embedding aten::meshgrid {CAT} "
        "triton_per_fused__softmax_4 triton_poi_fused_convolution_permute_view_9 "
        "aten::linalg_vector_norm flash_attn::mha_fwd_kvcache aten::native_layer_norm aten::einsum"
    ).split()
    arguments = ("", "0", "1", "-1", str(2**63 - 1), "[1, 1]", "[2, 64, 8, 40]", "True", "6", "x")
    program = Program()
    count = 300
    for _ in range(count):
        dims = [strange(random) for _ in range(random.randint(0, 6))]
        given = random.choices(arguments, k=len(dims))
        program.op(random.choice(names), random.choice([GEMM, FLASH, COPY]), dims, *given)
        program.b.events[-1]["args"]["Input Strides"] = [strange(random) for _ in dims]
    analysis = tracekit.analyze(program.b.write(tmp_path / "t.json"))
    assert sum(row.kernels for row in analysis.categories) == count
