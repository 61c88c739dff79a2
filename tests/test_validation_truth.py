"""What the labels of a trace decide: which label counts, where attention begins and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

import tracekit
from builders import TraceBuilder
from tracekit.analysis.graph_truth import with_replays
from tracekit.analysis.truth import Truth, has_labels, truth_of
from tracekit.analysis.truth_classes import category_of_class
from tracekit.categories import CATEGORIES
from tracekit.labels import AXES, KINDS
from tracekit.linking.link import Linked, link

SPATIAL = "tk1|attn|unet.attn|self|spatial|64|64|8"
TEMPORAL = "tk1|attn|unet.attn|cross|temporal|16|77|8"


def linked(b: TraceBuilder, path: Path) -> Linked:
    return link(tracekit.load(b.write(path / f"{len(b.events)}.json")))


def slugs(truth: Truth) -> list[str | None]:
    return [None if code < 0 else CATEGORIES[code] for code in truth.category.tolist()]


def nested(labels: list[str], path: Path, *, op: str = "aten::mul", cat: str = "kernel") -> Truth:
    """The truth of one activity under labels, outermost first."""
    b = TraceBuilder()
    for depth, label in enumerate(labels):
        b.annotation(label, depth, 1000 - 2 * depth)
    b.op(op, 400, 100)
    b.launched("some_kernel", 420, 5000, 100, cat=cat)
    return truth_of(linked(b, path))


CONV = "tk1|mod|unet.conv|Conv2d"
LINEAR = "tk1|mod|unet.proj|Linear"
NORM = "tk1|mod|unet.norm|GroupNorm"
SILU = "tk1|mod|unet.act|SiLU"
UNKNOWN = "tk1|mod|unet.odd|Something"


@pytest.mark.parametrize(
    ("labels", "truth"),
    [
        ([], None),
        (["user"], None),
        (["tk1|stage|denoise|0"], None),
        ([CONV], "conv"),
        ([LINEAR], "linear"),
        ([NORM], "norm"),
        ([SILU], "elementwise"),
        (["tk1|mod|embed|Embedding"], "embedding"),
        ([UNKNOWN], None),
        ([SPATIAL], None),
        ([SPATIAL, LINEAR], "linear"),
        (["tk1|cat|norm"], "norm"),
        (["tk1|cat|norm|function"], "norm"),
        (["tk1|cat|nothing"], None),
        # The innermost counts.
        ([UNKNOWN, "tk1|cat|memory"], "memory"),
        ([SILU, "tk1|cat|memory"], "memory"),
        (["tk1|cat|elementwise", "tk1|cat|memory"], "memory"),
        (["tk1|cat|norm", UNKNOWN], "norm"),
        # Whole modules keep their helpers, but not what is something by itself.
        ([CONV, "tk1|cat|memory"], "conv"),
        ([NORM, "tk1|cat|elementwise"], "norm"),
        ([NORM, "tk1|cat|linear"], "linear"),
        (["tk1|cat|elementwise", LINEAR], "linear"),
        (["tk1|cat|norm", SILU], "norm"),
        # Attention keeps everything.
        (["tk1|cat|attention", LINEAR], "attention"),
        (["tk1|cat|attention", "tk1|cat|memory"], "attention"),
        (["tk1|cat|temporal_attention", NORM], "temporal_attention"),
        ([SPATIAL, "tk1|cat|attention"], "attention"),
        ([TEMPORAL, "tk1|cat|temporal_attention"], "temporal_attention"),
        ([LINEAR, SPATIAL], None),
    ],
)
def test_the_label_that_counts(labels: list[str], truth: str | None, tmp_path: Path) -> None:
    assert slugs(nested(labels, tmp_path)) == [truth]


def test_copies_between_host_and_device_are_not_elementwise(tmp_path: Path) -> None:
    assert slugs(nested([SILU], tmp_path, cat="gpu_memcpy")) == [None]
    assert slugs(nested([CONV], tmp_path, cat="gpu_memset")) == ["conv"]


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("Conv2d", "conv"), ("ConvTranspose1d", "conv"), ("Conv2dSame", "conv"),
        ("WanCausalConv3d", "conv"), ("LoRACompatibleConv", "conv"), ("Conv1D", "linear"),
        ("Linear", "linear"), ("LoRACompatibleLinear", "linear"), ("Linear4bit", "linear"),
        ("NonDynamicallyQuantizableLinear", "linear"), ("LayerNorm", "norm"),
        ("BatchNorm2d", "norm"), ("LlamaRMSNorm", "norm"), ("FP32LayerNorm", "norm"),
        ("MambaRMSNormGated", "norm"), ("_WeightNorm", None),
        ("Embedding", "embedding"), ("RotaryEmbedding", None),
        ("SiLU", "elementwise"), ("NewGELUActivation", "elementwise"), ("Dropout", "elementwise"),
        ("Upsample", "elementwise"), ("AdaptiveAvgPool2d", "elementwise"), ("Identity", None),
        ("LinearAttention", None), ("Attend", None), ("", None),
    ],
)  # fmt: skip
def test_classes_of_leaf_modules(name: str, category: str | None) -> None:
    assert category_of_class(name) == category


def calls(b: TraceBuilder, label: str, ops: list[str], at: int = 0) -> None:
    """Ops one after the other, each with a kernel of 10 ns, under one label."""
    b.annotation(label, at, 100 * len(ops) + 50)
    for index, name in enumerate(ops):
        for depth, part in enumerate(name.split("/")):
            if part.startswith("tk1|"):
                b.annotation(part, at + 100 * index + 5 + depth, 90 - 2 * depth)
            else:
                b.op(f"aten::{part}", at + 100 * index + 5 + depth, 90 - 2 * depth)
        b.launched(f"k{index}", at + 100 * index + 40, 100_000 + at + 100 * index, 10)


@pytest.mark.parametrize(
    ("ops", "core"),
    [
        ("layer_norm linear scaled_dot_product_attention clone linear", (2, 2)),
        ("linear copy_ bmm mul softmax copy_ bmm clone linear", (2, 6)),
        ("linear matmul/bmm add softmax matmul/bmm clone", (1, 4)),
        ("einsum/bmm copy_ bmm softmax bmm copy_ einsum/bmm", (2, 4)),
        ("bmm softmax bmm copy_ bmm softmax bmm", (0, 6)),
        ("softmax softmax bmm mul bmm clone", (2, 4)),
        ("bmm add", None),
        ("linear/bmm softmax linear/bmm", None),
        ("linear mul linear", None),
    ],
)
def test_where_attention_begins_and_ends(
    ops: str, core: tuple[int, int] | None, tmp_path: Path
) -> None:
    b = TraceBuilder()
    names = ops.split()
    calls(b, TEMPORAL, names)
    inside = range(core[0], core[1] + 1) if core else ()
    expected = ["temporal_attention" if at in inside else None for at in range(len(names))]
    truth = truth_of(linked(b, tmp_path))
    assert slugs(truth) == expected
    axis, kind = AXES.index("temporal"), KINDS.index("cross")
    assert truth.axis.tolist() == [axis if at in inside else -1 for at in range(len(names))]
    assert truth.kind.tolist() == [kind if at in inside else -1 for at in range(len(names))]


def test_the_copies_that_products_make_of_their_inputs_are_attention(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(SPATIAL, 0, 900)
    steps = [("clone", 0), ("matmul", 100), ("softmax", 400), ("matmul", 500), ("clone", 800)]
    for op, at in steps:
        b.op(f"aten::{op}", at, 290 if op == "matmul" else 90)
    for at, op in ((110, "expand"), (150, "clone"), (250, "bmm"), (510, "clone"), (600, "bmm")):
        b.op(f"aten::{op}", at, 40)
    for index, at in enumerate((10, 160, 260, 410, 520, 610, 810)):
        b.launched("kernel", at, 10_000 + 100 * index, 10)
    assert slugs(truth_of(linked(b, tmp_path))) == [None, *["attention"] * 5, None]


def test_truth_names_the_label_that_decided(tmp_path: Path) -> None:
    def said(labels: list[str]) -> str | None:
        truth = nested(labels, tmp_path)
        (label,) = truth.label.tolist()
        return None if label < 0 else truth.labels[label]

    assert said([CONV, "tk1|cat|memory"]) == CONV
    assert said([UNKNOWN, "tk1|cat|memory|function"]) == "tk1|cat|memory|function"
    assert said(["tk1|cat|attention", LINEAR]) == "tk1|cat|attention"
    assert said([SPATIAL]) is None
    b = TraceBuilder()
    calls(b, SPATIAL, ["linear", "scaled_dot_product_attention"])
    truth = truth_of(linked(b, tmp_path))
    assert [at if at < 0 else truth.labels[at] for at in truth.label.tolist()] == [-1, SPATIAL]


def test_modules_inside_of_attention_that_is_written_out(tmp_path: Path) -> None:
    b = TraceBuilder()
    soft, proj = "tk1|mod|a.soft|Softmax", "tk1|mod|a.talking|Linear"
    calls(b, SPATIAL, ["bmm", f"{proj}/linear", "linear/addmm", f"{soft}/softmax", "bmm"])
    assert slugs(truth_of(linked(b, tmp_path))) == [
        "attention", "linear", None, "attention", "attention",
    ]  # fmt: skip


def test_labels_of_categories_say_by_themselves_where_attention_is(tmp_path: Path) -> None:
    b = TraceBuilder()
    calls(b, SPATIAL, ["tk1|cat|attention|core:causal/bmm", "softmax", "bmm"])
    truth = truth_of(linked(b, tmp_path))
    assert slugs(truth) == ["attention", None, None]
    assert truth.causal.tolist() == [1, -1, -1]


@pytest.mark.parametrize(
    ("source", "causal"), [("core:full", 0), ("core:causal", 1), ("core:masked", -1), ("core", -1)]
)
def test_causality(source: str, causal: int, tmp_path: Path) -> None:
    truth = nested([SPATIAL, f"tk1|cat|attention|{source}"], tmp_path)
    assert truth.causal.tolist() == [causal]


def test_an_axis_that_two_labels_tell_differently_is_not_known(tmp_path: Path) -> None:
    assert nested([TEMPORAL, "tk1|cat|attention"], tmp_path).axis.tolist() == [-1]
    other = nested([SPATIAL, "tk1|cat|temporal_attention"], tmp_path)
    assert other.axis.tolist() == [AXES.index("temporal")]


def test_attention_without_an_axis_is_undecidable(tmp_path: Path) -> None:
    b = TraceBuilder()
    calls(b, "tk1|attn|a|self||16|16|8", ["scaled_dot_product_attention"])
    assert slugs(truth_of(linked(b, tmp_path))) == [None]


def test_backward_work_has_the_truth_of_its_forward_op(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(LINEAR, 0, 100)
    b.op("aten::addmm", 10, 50, **{"Sequence number": 7, "Fwd thread id": 0})
    b.launched("forward", 20, 1000, 5)
    b.op("AddmmBackward0", 500, 50, tid=9, **{"Sequence number": 7, "Fwd thread id": 1})
    b.launched("backward", 510, 2000, 5, tid=9)
    b.launched("unrelated", 600, 3000, 5, tid=9)
    assert slugs(truth_of(linked(b, tmp_path))) == ["linear", "linear", None]


def test_optimizer_updates_are_elementwise(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(SILU, 0, 10)
    b.annotation("Optimizer.step#AdamW.step", 100, 100)
    b.launched("fused_adam", 120, 1000, 5)
    b.launched("HtoD", 140, 2000, 5, cat="gpu_memcpy")
    assert slugs(truth_of(linked(b, tmp_path))) == ["elementwise", None]


def test_collectives_inside_a_module_are_undecidable(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation(LINEAR, 0, 100)
    b.launched("ncclDevKernel_AllGather", 20, 1000, 5)
    assert slugs(truth_of(linked(b, tmp_path))) == [None]


def test_traces_without_labels(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("user", 0, 100)
    b.annotation("tk1|stage|denoise|0", 0, 100)
    b.annotation(UNKNOWN, 0, 100)
    b.launched("kernel", 20, 1000, 5)
    assert not has_labels(linked(b, tmp_path).trace)
    b.annotation(SILU, 0, 100)
    assert has_labels(linked(b, tmp_path).trace)


def eager(names: list[str], truth: list[str], at: int = 0) -> TraceBuilder:
    b = TraceBuilder()
    for index, (name, label) in enumerate(zip(names, truth, strict=True)):
        start = at + 100 * index
        if label:
            b.annotation(label, start, 90)
        b.launched(name, start + 10, 100_000 + start, 50)
    return b


def replay(*sequences: list[str]) -> TraceBuilder:
    b = TraceBuilder()
    for number, names in enumerate(sequences):
        b.launch(1000 * number, number + 1, name="cudaGraphLaunch")
        for index, name in enumerate(names):
            b.kernel(name, 500_000 + 10_000 * number + 100 * index, 50, number + 1)
    return b


def replay_truth(b: TraceBuilder, donor: TraceBuilder, path: Path) -> list[str | None]:
    of_replay, of_eager = linked(b, path), linked(donor, path)
    return slugs(with_replays(truth_of(of_replay), of_replay, of_eager, truth_of(of_eager)))


def test_replays_have_the_truth_of_the_same_sequence(tmp_path: Path) -> None:
    donor = eager(["x", "gemm", "mul", "gemm"], [SILU, LINEAR, "", CONV])
    assert replay_truth(replay(["gemm", "mul", "gemm"]), donor, tmp_path) == [
        "linear", None, "conv",
    ]  # fmt: skip
    of_replay, of_eager = (linked(b, tmp_path) for b in (replay(["gemm", "mul", "gemm"]), donor))
    truth = with_replays(truth_of(of_replay), of_replay, of_eager, truth_of(of_eager))
    assert [at if at < 0 else truth.labels[at] for at in truth.label.tolist()] == [LINEAR, -1, CONV]
    twice = replay(["gemm", "mul", "gemm"], ["mul", "gemm"])
    assert replay_truth(twice, donor, tmp_path) == ["linear", None, "conv", None, "conv"]


def test_sequences_that_are_there_twice_must_agree(tmp_path: Path) -> None:
    donor = eager(["gemm", "mul", "gemm", "mul"], [LINEAR, SILU, CONV, SILU])
    assert replay_truth(replay(["gemm", "mul"]), donor, tmp_path) == [None, "elementwise"]


def test_only_long_stretches_count_where_sequences_differ(tmp_path: Path) -> None:
    names = [f"k{index}" for index in range(40)]
    donor = eager(names, [LINEAR] * 40)
    changed = [*names[:10], "other", *names[11:40]]
    expected = [None] * 11 + ["linear"] * 29
    assert replay_truth(replay(changed), donor, tmp_path) == expected


def test_work_beside_graphs_keeps_its_own_truth(tmp_path: Path) -> None:
    b = replay(["gemm"])
    b.launched("gemm", 5000, 900_000, 50)
    assert replay_truth(b, eager(["gemm"], [LINEAR]), tmp_path) == ["linear", None]
