"""Kernels without an op, told by the same kernels that an op issued elsewhere."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder

GEMM = "nvjet_sm90_tst_128x64_64x8_1x2_h_bz_TNT"
POINT = "void at::native::vectorized_elementwise_kernel<4, at::native::BinaryFunctor<float>>"
NORM = "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>"
LAYER = (
    ("aten::layer_norm", NORM, 8),
    ("aten::conv2d", GEMM, 64),
    ("aten::add", POINT, 32),
    ("aten::linear", GEMM, 128),
    ("aten::gelu", POINT, 128),
)


class Cut:
    """Layers one after the other; of the first, nothing of the host is in the file."""

    def __init__(self) -> None:
        self.b = TraceBuilder()
        self.at = 0

    def kernel(self, name: str, grid: int, *, stream: int = 7) -> None:
        self.at += 1_000
        self.b.kernel(name, self.at, 400, stream=stream, grid=[grid, 1, 1], block=[128, 1, 1])

    def issued(self, op: str, name: str, grid: int) -> None:
        self.at += 1_000
        self.b.op(op, self.at, 900)
        self.b.launched(
            name, self.at + 10, self.at + 500, 400, grid=[grid, 1, 1], block=[128, 1, 1]
        )

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            tracekit.kernels(self.b.write(folder / "t.json")).to_arrow().to_pylist()
        )
        return rows


def test_what_was_queued_before_the_profiler_began(tmp_path: Path) -> None:
    cut = Cut()
    for _ in range(3):
        for _, name, grid in LAYER:
            cut.kernel(name, grid)
    for _ in range(2):
        for op, name, grid in LAYER:
            cut.issued(op, name, grid)
    rows = cut.rows(tmp_path)
    assert [row["category"] for row in rows] == [
        "norm",
        "conv",
        "elementwise",
        "linear",
        "elementwise",
    ] * 5
    convolution = rows[6]
    assert (convolution["evidence"], convolution["confidence"]) == ("sequence", 0.99)
    assert (
        convolution["reason"] == "the same kernel with the same grid is conv where an op issued it"
    )
    # A name that is certain by itself stands.
    assert rows[5]["evidence"] == "name"


@pytest.mark.parametrize("neighbour", ["other grid", "other name"])
def test_between_other_kernels_a_kernel_is_no_twin(neighbour: str, tmp_path: Path) -> None:
    cut = Cut()
    for _ in range(4):
        cut.kernel(NORM if neighbour == "other grid" else POINT, 9)
        cut.kernel(GEMM, 64)
    for _ in range(2):
        for op, name, grid in LAYER:
            cut.issued(op, name, grid)
    rows = cut.rows(tmp_path)
    assert not any("same kernel" in row["reason"] for row in rows)


def test_twins_of_two_categories_decide_nothing(tmp_path: Path) -> None:
    cut = Cut()
    for _ in range(2):
        cut.kernel(POINT, 8)
        cut.kernel(GEMM, 64)
    for op in ("aten::conv2d", "aten::linear") * 3:
        cut.issued("aten::add", POINT, 8)
        cut.issued(op, GEMM, 64)
    assert not any("conv where" in row["reason"] for row in cut.rows(tmp_path))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=40))
def test_twins_agree_with_the_definition(issued: list[tuple[bool, int]]) -> None:
    cut = Cut()
    for has_op, which in issued:
        op, name, grid = LAYER[which]
        if has_op:
            cut.issued(op, name, grid)
        else:
            cut.kernel(name, grid)
    with TemporaryDirectory() as name:
        folder = Path(name)
        table = tracekit.kernels(cut.b.write(folder / "t.json"))
        rows = table.to_arrow().to_pylist()
    around = [None, *(which for _, which in issued), None]
    key = [tuple(around[at : at + 3]) for at in range(len(issued))]
    for at, (has_op, _) in enumerate(issued):
        if not has_op and "same kernel" in rows[at]["reason"]:
            twins = {
                rows[one]["category"]
                for one, (is_op, _) in enumerate(issued)
                if is_op and key[one] == key[at]
            }
            assert twins == {rows[at]["category"]}
        elif not has_op and rows[at]["evidence"] == "sequence":
            assert not any(is_op and key[one] == key[at] for one, (is_op, _) in enumerate(issued))
