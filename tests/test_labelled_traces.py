"""Labels of collectors: attention kind and axis, module paths, and what they decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tracekit
from builders import TraceBuilder

GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT"
FLASH = "flash_fwd_kernel"
NORM = "vectorized_layer_norm_kernel"


def attention_module(b: TraceBuilder, label: str, at: int = 0) -> None:
    """A norm, a projection, attention, a copy and a projection under one label."""
    b.annotation(label, at, 1000)
    steps = [
        ("aten::layer_norm", NORM),
        ("aten::linear", GEMM),
        ("aten::scaled_dot_product_attention", FLASH),
        ("aten::clone", "direct_copy_kernel_cuda"),
        ("aten::linear", GEMM),
    ]
    for index, (op, kernel) in enumerate(steps):
        b.op(op, at + 100 * index + 10, 80)
        b.launched(kernel, at + 100 * index + 20, 100_000 + at + 100 * index, 50)


def table(b: TraceBuilder, path: Path) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = tracekit.kernels(b.write(path)).to_arrow().to_pydict()
    return columns


@pytest.mark.parametrize(
    ("axis", "category", "evidence"),
    [
        ("temporal", "temporal_attention", "annotation"),
        ("spatial", "attention", "op"),
        ("spatio-temporal", "attention", "op"),
        ("", "attention", "op"),
    ],
)
def test_the_axis_of_the_label_counts_for_attention_alone(
    tmp_path: Path, axis: str, category: str, evidence: str
) -> None:
    b = TraceBuilder()
    attention_module(b, f"tk1|attn|unet.down.0%7Cx.attn1|self|{axis}|16|16|8")
    rows = table(b, tmp_path / "t.json")
    # The copy lays out what the operator gives.
    assert rows["category"] == ["norm", "linear", category, category, "linear"]
    assert rows["evidence"] == ["op", "op", evidence, evidence, "op"]
    assert rows["confidence"] == [None] * 5
    assert rows["attention_kind"] == ["self"] * 5
    assert rows["attention_axis"] == [axis or None] * 5
    assert rows["module"] == ["unet.down.0|x.attn1"] * 5
    assert rows["stage"] == [None] * 5


def test_kinds_and_axes_have_their_shares(tmp_path: Path) -> None:
    b = TraceBuilder()
    attention_module(b, "tk1|attn|a|self|temporal|16|16|8")
    attention_module(b, "tk1|attn|b|cross|spatial|64|77|8", at=2000)
    attention_module(b, "tk1|attn|c|cross||64|77|8", at=4000)
    attention_module(b, "user", at=6000)
    result = tracekit.analyze(b.write(tmp_path / "t.json")).attention
    assert {(row.key, row.kernels, row.time_share) for row in result.by_axis} == {
        ("temporal", 2, 0.25), ("spatial", 2, 0.25), (None, 4, 0.5),
    }  # fmt: skip
    assert {(row.key, row.kernels, row.time_ns) for row in result.by_kind} == {
        ("self", 2, 100), ("cross", 4, 200), (None, 2, 100),
    }  # fmt: skip


def test_the_label_counts_before_the_class_of_a_module(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.module("TransformerTemporalModel_0", 0, 3000)
    attention_module(b, "tk1|attn|x|self|spatial|16|16|8")
    attention_module(b, "tk1|attn|y|self||16|16|8", at=2000)
    rows = table(b, tmp_path / "t.json")
    assert [rows["category"][at] for at in (2, 7)] == ["attention", "temporal_attention"]
    assert [rows["evidence"][at] for at in (2, 7)] == ["op", "module"]
    assert [rows["attention_axis"][at] for at in (2, 7)] == ["spatial", "temporal"]
    assert [rows["module"][at] for at in (2, 7)] == ["x", "y"]


def test_backward_work_takes_the_label_of_its_forward_op(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("tk1|attn|unet.attn|cross|temporal|16|77|8", 0, 100)
    b.op("aten::scaled_dot_product_attention", 10, 50, **{"Sequence number": 7, "Fwd thread id": 0})
    b.launched(FLASH, 20, 1000, 5)
    b.op("SdpaBackward0", 500, 50, tid=9, **{"Sequence number": 7, "Fwd thread id": 1})
    b.launched("flash_bwd_kernel", 510, 2000, 5, tid=9)
    b.launched("later", 600, 3000, 5, tid=9)
    rows = table(b, tmp_path / "t.json")
    assert rows["phase"] == ["forward", "backward", "forward"]
    assert rows["category"][:2] == ["temporal_attention"] * 2
    assert rows["attention_kind"] == ["cross", "cross", None]
    assert rows["module"] == ["unet.attn", "unet.attn", None]


def test_recomputed_work_is_labelled_where_it_is_issued(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("tk1|attn|first|self|spatial|16|16|8", 0, 100)
    b.op("Checkpoint", 10, 50, **{"Sequence number": 7, "Fwd thread id": 0})
    b.op("CheckpointBackward", 500, 100, tid=9, **{"Sequence number": 7, "Fwd thread id": 1})
    b.annotation("tk1|attn|again|self|temporal|16|16|8", 510, 80, tid=9)
    b.launched(FLASH, 520, 2000, 5, tid=9)
    assert table(b, tmp_path / "t.json")["module"] == ["again"]


def test_module_labels_name_paths_and_classes(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("tk1|mod|unet.norm|LlamaRMSNorm", 0, 100)
    b.op("aten::mul", 10, 50)
    b.launched("MulFunctor", 20, 1000, 5)
    attention_module(b, "tk1|attn|unet.attn|self|spatial|16|16|8", at=200)
    b.annotation("tk1|mod|unet.attn.to_q|Linear", 305, 90)
    b.module("Chain_0", 2000, 100)
    b.launched("plain", 2050, 200_000, 5)
    rows = table(b, tmp_path / "t.json")
    assert rows["module"] == [
        "unet.norm", "unet.attn", "unet.attn.to_q", *["unet.attn"] * 3, "Chain_0",
    ]  # fmt: skip
    assert (rows["category"][0], rows["evidence"][0]) == ("norm", "annotation")
    assert rows["attention_kind"] == [None, *["self"] * 5, None]


def test_labels_are_never_stages(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("user", 0, 900)
    attention_module(b, "tk1|attn|unet.attn|self|spatial|16|16|8")
    b.annotation("tk1|later|scheme", 0, 300)
    b.launched("outside", 2000, 300_000, 5)
    assert table(b, tmp_path / "t.json")["stage"] == ["user"] * 5 + [None]
    alone = TraceBuilder()
    attention_module(alone, "tk1|mod|unet|UNet")
    assert set(table(alone, tmp_path / "t.json")["stage"]) == {None}


@pytest.mark.parametrize(
    "label", ["tk1|attn|", "tk1|attn||||||", "tk1|attn", "tk1|mod|", "tk1|attn|a|b|c|d|e|f|g|h"]
)
def test_odd_labels_say_what_they_can(tmp_path: Path, label: str) -> None:
    b = TraceBuilder()
    attention_module(b, label)
    rows = table(b, tmp_path / "t.json")
    assert rows["category"][2] == "attention"
    assert rows["attention_kind"] == [None] * 5


def test_labels_of_cpu_only_traces(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("tk1|attn|unet.attn|self|temporal|16|16|8", 0, 100)
    b.op("aten::scaled_dot_product_attention", 0, 50)
    rows = table(b, tmp_path / "t.json")
    assert (rows["category"], rows["module"]) == (["temporal_attention"], ["unet.attn"])


@pytest.mark.parametrize(
    ("label", "category"),
    [("tk1|attn|vae.mid.attn|self|spatial|24|24|1", "memory"), ("user", "attention")],
)
def test_what_stands_before_the_labelled_module_lays_out_no_heads(
    tmp_path: Path, label: str, category: str
) -> None:
    """A feature map has the numbers of the queries where there is one head as wide as it."""
    b = TraceBuilder()
    frame, heads = [1, 16, 1, 4, 6], [1, 1, 24, 16]
    steps: list[tuple[str, str, Any]] = [
        ("aten::clone", "direct_copy_kernel_cuda", [frame, []]),
        ("aten::conv3d", GEMM, [[1, 16, 3, 6, 8], [16, 16, 3, 3, 3], [16]]),
        ("aten::conv2d", GEMM, [[1, 16, 4, 6], [32, 16, 1, 1], [32]]),
        ("aten::clone", "direct_copy_kernel_cuda", [heads, []]),
        ("aten::scaled_dot_product_attention", FLASH, [heads, heads, heads]),
    ]
    b.annotation(label, 200, 300)
    for index, (op, kernel, dims) in enumerate(steps):
        b.op(op, 100 * index + 10, 80, **{"Input Dims": dims})
        b.launched(kernel, 100 * index + 20, 100_000 + 100 * index, 50)
    rows = table(b, tmp_path / "t.json")
    assert rows["category"] == [category, "conv", "conv", "attention", "attention"]
