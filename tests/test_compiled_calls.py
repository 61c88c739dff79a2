"""Attention calls of compiled models and of serving engines: which are calls, and of what kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from programs import COPY, FLASH, GEMM, Program
from test_attention_traits import told

from tracekit.classifying.triton_names import is_triton_template
from tracekit.trace import NULL

PREPARES = "triton_poi_fused__scaled_dot_product_cudnn_attention_permute_slice_view_9"
JOINS = "triton_poi_fused__scaled_dot_product_flash_attention_cat_transpose_view_10"
ROTATES = "triton_poi_fused__to_copy_cat_mul_neg_slice_7"


def addmm(program: Program, rows: int, width: int, makes: int | None = None) -> None:
    made = makes or width
    dims = [[made], [rows, width], [width, made], [], [], [rows, made]]
    program.op("aten::addmm", GEMM, dims)


def flash(program: Program, queries: list[int], keys: list[int]) -> None:
    """Issue the op that Inductor calls, without its wrapper."""
    dims = [queries, keys, keys, [], [], [], []]
    program.op("aten::_scaled_dot_product_flash_attention", FLASH, dims, "", "", "", "0.", "False")


def test_what_is_fused_around_an_operator_is_no_call(tmp_path: Path) -> None:
    program = Program()
    for _ in range(2):
        program.op(PREPARES, PREPARES, [[1, 1950, 12, 64], [1, 12, 1950, 128], []])
    flash(program, [1, 12, 1950, 128], [1, 12, 1950, 128])
    addmm(program, 1950, 1536)
    table = program.table(tmp_path)
    calls = table.calls
    assert len(calls) == 1
    assert (int(calls.heads[0]), int(calls.query_length[0])) == (12, 1950)
    assert table.call.tolist() == [0, 0, 0, -1]
    assert told(program, tmp_path, "attention_kind") == ["self"] * 3


def test_what_quantizes_queries_and_keys_is_no_call(tmp_path: Path) -> None:
    program = Program()
    heads = [1, 24, 768, 128]
    program.op("sage_quant_kernel_0", "sage_quant_kernel", [heads, heads, heads])
    program.op("sageattention::quant_per_block_int8", "quant_kernel", [heads, heads])
    program.op("sage_fwd_1", "sage_fwd", [heads, heads, heads])
    addmm(program, 768, 3072)
    table = program.table(tmp_path)
    assert len(table.calls) == 1
    assert table.call.tolist() == [0, 0, 0, -1]


@pytest.mark.parametrize(
    ("name", "is_template"),
    [
        ("triton_tem_fused_flex_attention_2", True),
        ("triton_flex_attention_0", True),
        (PREPARES, False),
        ("triton_poi_fused_flex_attention_mul_1", False),
    ],
)
def test_templates(name: str, is_template: bool) -> None:
    assert is_triton_template(name) is is_template


def test_projections_of_a_text_that_were_moved(tmp_path: Path) -> None:
    """Inductor puts those of the text last, after a projection of its caption."""
    program = Program()
    for tokens in (2048, 2048, 2048):
        addmm(program, tokens, 1152)
    flash(program, [2, 16, 1024, 72], [2, 16, 1024, 72])
    for tokens in (2048, 2048, 240, 240, 240):
        addmm(program, tokens, 1152)
    flash(program, [2, 16, 1024, 72], [2, 16, 120, 72])
    addmm(program, 2048, 1152)
    assert told(program, tmp_path, "attention_kind") == ["self", "cross"]


def test_a_projection_with_a_bias_takes_the_tokens_behind_it(tmp_path: Path) -> None:
    """Windows with the ones before them, of one projection that makes queries, keys and values."""
    program = Program()
    addmm(program, 2048, 512, 1536)
    program.sdpa([16, 8, 128, 64], [16, 8, 256, 64])
    assert told(program, tmp_path, "attention_kind") == ["self"]


@pytest.mark.parametrize(
    ("parts", "kernels"),
    [
        ([[2048, 1536], [308, 1536]], 1),
        ([[2, 24, 1024, 64], [2, 24, 154, 64]], 2),
        ([[2, 1024, 24, 32, 2], [2, 154, 24, 32, 2]], 2),
    ],
)
def test_a_fused_kernel_puts_text_and_image_together(
    parts: list[list[int]], kernels: int, tmp_path: Path
) -> None:
    """In SD3 values alone are joined by a kernel of their own; queries and keys in their norms."""
    program = Program()
    for tokens in (308, 2048, 308, 2048, 308, 2048):
        addmm(program, tokens, 1536)
    for _ in range(kernels):
        program.op(JOINS, JOINS, [*parts, [2, 24, 1178, 64], []])
    flash(program, [2, 24, 1178, 64], [2, 24, 1178, 64])
    addmm(program, 2048, 1536)
    flash(program, [2, 24, 1178, 64], [2, 24, 1178, 64])
    kinds = told(program, tmp_path, "attention_kind")
    assert kinds == ["joint"] * (kernels + 2)
    assert set(told(program, tmp_path, "attention_axis")) == {"spatial"}


def test_halves_of_a_rotation_are_no_sequences(tmp_path: Path) -> None:
    program = Program()
    for _ in range(3):
        addmm(program, 2048, 1536)
    for _ in range(2):
        program.op(ROTATES, COPY, [[2048, 1536], [2048, 1536], [2, 1024, 24, 64], []])
    flash(program, [2, 24, 1024, 64], [2, 24, 1024, 64])
    assert told(program, tmp_path, "attention_kind") == ["self"]


def test_pages_of_a_cache_are_no_length(tmp_path: Path) -> None:
    program = Program()
    pool = [835_874, 8, 128]
    program.op(
        "aiter::mha_batch_prefill", FLASH, [[15_360, 32, 128], pool, pool, [16], [16], [15_616]]
    )
    program.op(
        "flash_attn::_flash_attn_with_kvcache", FLASH,
        [[4, 1, 32, 128], [9000, 16, 8, 128], [9000, 16, 8, 128]],
    )  # fmt: skip
    program.op(
        "flash_attn::_flash_attn_with_kvcache", FLASH,
        [[4, 1, 32, 128], [4, 512, 8, 128], [4, 512, 8, 128]],
    )  # fmt: skip
    table = program.table(tmp_path)
    calls = table.calls
    assert calls.query_length.tolist() == [1024, 1, 1]
    assert calls.key_length.tolist() == [NULL, NULL, 512]
    assert calls.key_heads.tolist() == [8, 8, 8]
    assert told(program, tmp_path, "attention_kind")[:2] == [None, None]
    flops = table.operations.flops
    assert (flops[:2] == NULL).all()


def test_a_fused_copy_cuts_patches(tmp_path: Path) -> None:
    """Cosmos cuts (clips, frames, rows, columns, channels, …) for a linear layer."""
    name = "triton_poi_fused_clone_permute_view_4"
    program = Program()
    program.op(name, COPY, [[1, 17, 4, 32, 48], [1, 4, 16, 24, 17, 1, 2, 2], []])
    addmm(program, 1536, 68, 2048)
    flash(program, [1, 16, 1536, 128], [1, 16, 1536, 128])
    assert told(program, tmp_path, "attention_axis") == ["spatio-temporal"]
