"""Replayed CUDA graphs: each node is what its partner in the eager work is."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from graph_builders import (
    ADD,
    CATEGORY_OF,
    FLASH,
    FPROP,
    GELU,
    NORM,
    GraphTrace,
    Node,
    block,
    gemm,
    model,
    renamed,
    text_encoder,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import tracekit
from builders import TraceBuilder
from tracekit.api import kernel_tables
from tracekit.categories import CATEGORIES, EVIDENCES
from tracekit.classifying import donors
from tracekit.classifying.classify import classify
from tracekit.classifying.graphs import attribute_graphs
from tracekit.classifying.kernel_kinds import kernel_kind
from tracekit.classifying.table import KernelTable
from tracekit.linking import pairing
from tracekit.linking.link import link

TRACES = Path(__file__).parent.parent / "examples" / "traces"


@cache
def eager_pass() -> KernelTable:
    """An eager pass: text encoder, then two steps of the model."""
    trace = GraphTrace().eager(text_encoder()).eager(model()).eager(model())
    with TemporaryDirectory() as folder:
        return trace.table(Path(folder))


@pytest.fixture
def eager() -> KernelTable:
    return eager_pass()


def modules(table: KernelTable) -> list[str]:
    return [table.module_paths[at] if at >= 0 else "" for at in table.module.tolist()]


def categories(table: KernelTable) -> list[str]:
    return [CATEGORIES[code] for code in table.category.tolist()]


def evidences(table: KernelTable) -> list[str]:
    return [EVIDENCES[code] for code in table.evidence.tolist()]


def reasons(table: KernelTable) -> list[str]:
    return [table.reasons[code] for code in table.reason.tolist()]


def check(table: KernelTable, nodes: Sequence[Node]) -> None:
    """Every row is what the node is that the builder wrote."""
    assert categories(table) == [node.category for node in nodes]
    assert modules(table) == [node.module for node in nodes]


def test_an_exact_replay(tmp_path: Path, eager: KernelTable) -> None:
    trace = GraphTrace().replay(model())
    table = trace.table(tmp_path, [eager])
    check(table, trace.nodes)
    assert set(evidences(table)) == {"graph"}
    assert np.isnan(table.confidence).all()
    assert reasons(table)[6] == (
        f"node 7 of the graph is kernel {len(text_encoder()) + 7} of the eager pass: "
        "aten::addmm inside aten::linear"
    )
    ops = table.to_arrow().column("op").to_pylist()
    assert ops == [node.ops[-1] for node in trace.nodes]
    launches = table.to_arrow().column("launch_start_ns").to_pylist()
    assert set(launches) == {1_000}


def test_without_donor_nothing_changes(tmp_path: Path) -> None:
    table = GraphTrace().replay(model()).table(tmp_path)
    assert set(evidences(table)) <= {"name", "sequence"}
    assert table.from_donors is None
    assert attribute_graphs(table) is table
    assert set(modules(table)) == {""}


def test_eager_work_alone_needs_no_donor(tmp_path: Path, eager: KernelTable) -> None:
    table = GraphTrace().eager(model()).table(tmp_path)
    assert attribute_graphs(table, [eager]) is table


def test_other_algorithms_are_of_the_same_kind(tmp_path: Path, eager: KernelTable) -> None:
    nodes = renamed(model(), gemm(144), "void cutlass::Kernel2<cutlass_80_gemm_64x64_tn_align8>")
    nodes = renamed(nodes, FPROP, "sm80_xmma_fprop_implicit_gemm_other_tile_cudnn")
    trace = GraphTrace().replay(nodes)
    table = trace.table(tmp_path, [eager])
    check(table, trace.nodes)
    other = np.array(["cutlass" in node.name for node in nodes])
    assert set(evidences(table)) == {"graph"}
    assert (table.confidence[other] >= 0.7).all()
    assert (table.confidence[other] < 1).all()
    assert "is of the kind of kernel" in reasons(table)[int(np.flatnonzero(other)[0])]


def test_other_grids(tmp_path: Path, eager: KernelTable) -> None:
    trace = GraphTrace().replay([replace(node, grid=(7, 7, 7)) for node in model()])
    check(trace.table(tmp_path, [eager]), trace.nodes)


def test_grids_tell_equal_names_apart(tmp_path: Path) -> None:
    layers = [node for at in range(12) for node in block(at, 1 << at)]
    donor = GraphTrace().eager(layers).table(tmp_path)
    trace = GraphTrace().replay(layers[5 * 16 : 8 * 16 - 1])
    check(trace.table(tmp_path, [donor]), trace.nodes)


def test_dropped_memsets(tmp_path: Path, eager: KernelTable) -> None:
    trace = GraphTrace().replay([node for node in model() if node.cat == "kernel"])
    table = trace.table(tmp_path, [eager])
    check(table, trace.nodes)
    assert np.isnan(table.confidence).all()


def test_added_memsets_keep_their_own_verdict(tmp_path: Path, eager: KernelTable) -> None:
    nodes = []
    for number, node in enumerate(model()):
        nodes += [node] if number % 9 else [replace(node, name="Memset (Device)", cat="gpu_memset")]
        nodes += [] if number % 9 else [node]
    trace = GraphTrace().replay(nodes)
    table = trace.table(tmp_path, [eager])
    own = trace.table(tmp_path)
    added = np.zeros(len(nodes), np.bool_)
    added[np.cumsum([1 + (number % 9 == 0) for number in range(len(model()))])[::9] - 2] = True
    assert set(np.array(evidences(table))[~added]) == {"graph"}
    kept = np.flatnonzero(~added)
    assert [categories(table)[at] for at in kept] == [nodes[at].category for at in kept]
    alone = [at for at in np.flatnonzero(added) if evidences(table)[at] != "graph"]
    assert [reasons(table)[at] for at in alone] == [reasons(own)[at] for at in alone]
    assert len(alone) >= added.sum() - 1


def test_two_graphs_between_eager_work(tmp_path: Path, eager: KernelTable) -> None:
    trace = (
        GraphTrace()
        .eager(block(50, 5)[:4])
        .replay(text_encoder())
        .eager(block(51, 5)[4:9])
        .replay(model())
        .replay(text_encoder())
        .replay(model())
    )
    table = trace.table(tmp_path, [eager])
    check(table, trace.nodes)
    assert evidences(table)[:4] == ["op"] * 4
    assert evidences(table).count("graph") == 2 * len(model()) + 2 * len(text_encoder())


def test_eager_work_of_the_same_file(tmp_path: Path) -> None:
    trace = GraphTrace().eager(model()).replay(model()).replay(model())
    table = trace.table(tmp_path)
    check(table, trace.nodes)
    assert evidences(table)[len(model())] == "graph"
    assert "kernel 1 of this trace" in reasons(table)[len(model())]
    assert "is kernel 1 of this trace" not in reasons(table)[0]


def test_replays_of_one_sequence_are_aligned_once(
    tmp_path: Path, eager: KernelTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def counted(query: donors.Elements, target: donors.Elements) -> object:
        calls.append(len(query))
        return pairing.aligned(query, target)

    monkeypatch.setattr(donors, "aligned", counted)
    nodes = [node for node in model() if node.cat == "kernel"]
    trace = GraphTrace().replay(nodes).replay(nodes).replay(nodes)
    table = trace.table(tmp_path, [eager])
    assert calls == [len(nodes)]
    check(table, trace.nodes)
    thirds = np.array_split(table.reason, 3)
    assert (thirds[0] == thirds[1]).all()
    assert (thirds[0] == thirds[2]).all()


@pytest.mark.parametrize("launch", ["hipGraphLaunch", "cuGraphLaunch", "cudaGraphLaunch_v10000"])
def test_other_calls_that_launch_graphs(tmp_path: Path, eager: KernelTable, launch: str) -> None:
    trace = GraphTrace().replay(model(), launch=launch)
    check(trace.table(tmp_path, [eager]), trace.nodes)


def test_a_replay_whose_launch_is_before_the_file(tmp_path: Path, eager: KernelTable) -> None:
    trace = GraphTrace().replay(model()[40:], launch=None).replay(model())
    table = trace.table(tmp_path, [eager])
    check(table, trace.nodes)
    assert reasons(table)[0].startswith("node 41 of the graph")


def test_a_replay_cut_off_by_the_end_of_the_file(tmp_path: Path, eager: KernelTable) -> None:
    trace = GraphTrace().replay(model()).replay(model()[:50])
    check(trace.table(tmp_path, [eager]), trace.nodes)


def test_a_graph_that_repeats_the_model(tmp_path: Path, eager: KernelTable) -> None:
    """A whole denoising loop captured at once, or a body that a conditional node repeats."""
    nodes = [node for node in model() if node.cat == "kernel"]
    trace = GraphTrace().replay(nodes * 9)
    check(trace.table(tmp_path, [eager]), trace.nodes)


def test_branches_on_other_streams(tmp_path: Path, eager: KernelTable) -> None:
    branch = {"Attention/K": 20, "Attention/V": 21}
    nodes = [replace(node, stream=branch.get(node.module.partition("/")[2], 7)) for node in model()]
    for numbered in (True, False):
        trace = GraphTrace().replay(nodes, numbered=numbered)
        table = trace.table(tmp_path, [eager])
        assert categories(table) == [node.category for node in nodes]
        # Nothing but node numbers tells three equal projections on three streams apart.
        found = [module.partition("/Attention/")[0] for module in modules(table)]
        wanted = [node.module.partition("/Attention/")[0] for node in nodes]
        assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.95
        assert not numbered or modules(table) == [node.module for node in nodes]


def test_what_is_far_from_the_branches_before_leaves_no_rest(eager: KernelTable) -> None:
    """A later branch may be found where the first ones have nothing near."""
    rows = np.arange(len(eager))
    donor = donors.Donor.of(0, "the eager pass", eager, rows, donors.Numbers())

    def found(at: int) -> donors.Found:
        here = donors.Found.nothing(4)
        here.donor[:], here.row[:] = 0, rows[at : at + 4]
        return here

    around = donor.rest(found(len(rows) - 4))
    assert around is not None
    assert set(around.rows) < set(rows[-30:-4])
    assert around.rest(found(0)) is None
    assert donor.rest(donors.Found.nothing(4)) is None


def test_a_compiled_graph_takes_what_is_left_of_the_eager_model(
    tmp_path: Path, eager: KernelTable
) -> None:
    """Triton kernels have fused most; products and attention are found, Triton kernels are not."""
    fused = "triton_poi_fused_add_native_layer_norm_3"
    kept = [node for node in model() if node.name not in (ADD, GELU, NORM) and node.cat == "kernel"]
    nodes = [node if at % 4 else replace(node, name=fused) for at, node in enumerate(kept)]
    trace = GraphTrace().replay(nodes)
    table = trace.table(tmp_path, [eager])
    real = [at for at, node in enumerate(nodes) if node.name != fused]
    right = [categories(table)[at] == nodes[at].category for at in real]
    assert np.mean(right) == 1
    assert np.mean([evidences(table)[at] == "graph" for at in real]) > 0.95
    triton = [at for at, node in enumerate(nodes) if node.name == fused]
    assert {categories(table)[at] for at in triton} == {"norm"}


def test_small_graphs_that_stand_in_many_places(tmp_path: Path) -> None:
    """Where the places mean different things, a node is not sure; its module is not known."""
    first = [Node(gemm(1), ("aten::linear", "aten::mm"), f"M{at}/Q") for at in range(3)]
    second = [Node(gemm(1), ("aten::scaled_dot_product_attention", "aten::bmm"), "M9/SDPA")]
    gap = block(1, 4)
    eager = GraphTrace()
    for node in (*first, *second):
        eager.eager(gap).eager([node])
    donor = eager.table(tmp_path)
    table = GraphTrace().replay(first[:1]).table(tmp_path, [donor])
    assert (categories(table), modules(table)) == (["linear"], [""])
    # Three of the four places say so; what the kernel says by itself may be surer.
    assert 0.75 <= table.confidence[0] < 1
    table = GraphTrace().replay([first[0], first[0]]).table(tmp_path, [donor])
    assert set(evidences(table)) <= {"name", "sequence"}
    trace = GraphTrace().replay(gap[-3:] + first[:1])
    table = trace.table(tmp_path, [donor])
    assert categories(table) == [node.category for node in trace.nodes]
    assert np.isnan(table.confidence).tolist() == [True, True, True, False]
    assert 0.75 <= table.confidence[3] < 1
    assert modules(table)[3] == ""


def test_the_stage_decides_between_equal_places(tmp_path: Path) -> None:
    """The same kernels serve another module in each stage."""
    text = [replace(node, module=f"Text/{node.module}") for node in block(1, 4)]
    unet = [replace(node, module=f"UNet/{node.module}") for node in block(1, 4)]
    donor = GraphTrace()
    for stage, nodes in (("text", text), ("denoise", unet)):
        begin = donor.now - 50
        donor.eager(nodes).step(stage, 0, begin)
    trace = GraphTrace()
    for stage, nodes in (("denoise", unet), ("text", text)):
        begin = trace.now - 50
        trace.replay(nodes).step(stage, 0, begin)
    table = trace.table(tmp_path, [donor.table(tmp_path)])
    check(table, trace.nodes)
    assert [table.stage_at(0), table.stage_at(len(table) - 1)] == ["denoise", "text"]


def test_attention_columns_and_phase_are_taken_over(tmp_path: Path) -> None:
    b = TraceBuilder()
    donor = GraphTrace(builder=b)
    begin = donor.now - 50
    donor.eager(block(0, 4))
    b.annotation("tk1|attn|unet.temporal|self|temporal|16|16|8", begin, donor.now - begin)
    eager = donor.table(tmp_path)
    trace = GraphTrace().replay(block(0, 4))
    table = trace.table(tmp_path, [eager])
    rows = table.to_arrow().to_pylist()
    assert {row["attention_axis"] for row in rows} == {"temporal"}
    assert {row["attention_kind"] for row in rows} == {"self"}
    assert {row["module"] for row in rows} == {"unet.temporal"}
    assert {row["phase"] for row in rows} == {"forward"}
    flash = [row for row in rows if row["name"] == FLASH]
    assert [row["category"] for row in flash] == ["temporal_attention"]


def noisy(nodes: Sequence[Node], rng: random.Random, share: float) -> tuple[list[Node], list[bool]]:
    """Drop, rename and insert kernels; say which are untouched."""
    kept: list[Node] = []
    is_untouched: list[bool] = []
    for node in nodes:
        change, strange = rng.random() / share, rng.choice([ADD, GELU, NORM, gemm(99), "unknown"])
        other = replace(node, name=strange, cat="kernel")
        if change < 1 / 3:
            continue
        if change < 1:
            kept.append(other)
            is_untouched.append(False)
        if change >= 2 / 3:
            kept.append(node)
            is_untouched.append(True)
    return kept, is_untouched


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1 << 30), st.floats(0.005, 0.1))
def test_random_changes(seed: int, share: float) -> None:
    eager = eager_pass()
    nodes, untouched = noisy(model(), random.Random(seed), share)
    with TemporaryDirectory() as folder:
        table = GraphTrace().replay(nodes).table(Path(folder), [eager])
    given_to = categories(table)
    kept = np.flatnonzero(untouched)
    assert np.mean([given_to[at] == nodes[at].category for at in kept]) >= 0.95
    # The two layers in the middle are alike, so that changes there may move one into the other.
    assert np.mean([modules(table)[at] == nodes[at].module for at in kept]) >= 0.8
    for reason, row in zip(reasons(table), range(len(table)), strict=True):
        found = reason.partition(" of the eager pass")[0].rpartition("kernel ")
        if evidences(table)[row] != "graph" or "in place of" in reason:
            continue
        partner = int(found[2].replace(",", "")) - 1
        mine, theirs = table.name_at(row) or "", eager.name_at(partner) or ""
        kinds = [kernel_kind(name, "kernel") for name in (mine, theirs)]
        assert kinds[0] == kinds[1]


def test_many_replays_take_no_time(tmp_path: Path) -> None:
    """All the work goes into the first of them."""
    nodes = model(60)
    donor = GraphTrace().eager(text_encoder()).eager(nodes).table(tmp_path)
    trace = GraphTrace()
    while len(trace.nodes) < 20_000:
        trace.replay(nodes)
    table = trace.table(tmp_path)
    begin = time.process_time()
    found = attribute_graphs(table, [donor])
    assert time.process_time() - begin < 0.5
    assert set(evidences(found)) == {"graph"}


def test_a_real_graph_and_the_same_model_eagerly() -> None:
    eager = tracekit.kernels(TRACES / "pixart_flash.json.gz")
    graph = tracekit.kernels(TRACES / "pixart_cudagraph.json.gz")
    found = attribute_graphs(graph, [eager])
    assert len(found) == len(eager) == 849
    assert (found.category == eager.category).all()
    assert modules(found) == modules(eager)
    assert set(evidences(found)) == {"graph"}
    assert set(CATEGORY_OF.values()) <= set(categories(found))


def test_another_model_is_no_donor() -> None:
    """Any two models have names in common, and stretches of them in order."""
    other = tracekit.kernels(TRACES / "sdxl_flash.json.gz")
    graph = tracekit.kernels(TRACES / "pixart_cudagraph.json.gz")
    found = attribute_graphs(graph, [other])
    assert "graph" not in evidences(found)
    assert (found.category == graph.category).all()


def test_matrix_products_of_a_compiled_model_are_found_in_the_eager_one() -> None:
    """Triton kernels have replaced half of the others between them."""
    eager = tracekit.kernels(TRACES / "pixart_flash.json.gz")
    compiled = tracekit.load(TRACES / "pixart_compiled.json.gz")
    truth = classify(link(compiled))
    calls, nothing = compiled.calls, np.arange(0)
    strings = (*compiled.strings, "cudaGraphLaunch")
    launch = replace(
        calls.take(np.arange(1)),
        name=np.array([len(strings) - 1], np.int32),
        correlation=np.array([77]),
        start_ns=compiled.activities.start_ns[:1] - 1_000,
    )
    replayed = replace(compiled.activities, correlation=np.full(len(truth), 77))
    bare = replace(
        compiled,
        strings=strings,
        calls=launch,
        activities=replayed,
        ops=compiled.ops.take(nothing),
        annotations=compiled.annotations.take(nothing),
    )
    found = classify(link(bare), [eager])
    library = [at for at in range(len(found)) if "triton" not in (found.name_at(at) or "")]
    told = [at for at in library if evidences(found)[at] == "graph"]
    assert len(told) > 0.95 * len(library)
    assert (found.category[told] == truth.category[told]).all()
    assert (found.module[told] >= 0).all()


def run_folder(folder: Path, *, eager: bool = True) -> Path:
    """Write a run whose rich and light pass replay the model, with its eager pass."""
    folder.mkdir()
    rich = GraphTrace()
    for step in range(3):
        begin = rich.now - 50
        rich.replay(model()).step("denoise", step, begin)
    rich.builder.write(folder / "trace.json.gz")
    light = GraphTrace().replay(model()).replay(model()).replay(model())
    light.builder.write(folder / "kernels.json.gz")
    if eager:
        donor = GraphTrace().eager(text_encoder())
        for step in range(2):
            begin = donor.now - 50
            donor.eager(model()).step("denoise", step, begin)
        donor.builder.write(folder / "eager.json.gz")
    (folder / "run.json").write_text(json.dumps({"schema": "tracekit.run/1", "complete": True}))
    return folder


def test_a_run_folder_brings_its_donor(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    table = tracekit.kernels(folder)
    check(table, model() * 3)
    assert set(evidences(table)) == {"graph"}
    steps = table.to_arrow().column("step").to_pylist()
    assert steps == [step for step in range(3) for _ in model()]
    result = tracekit.analyze(folder)
    assert [row.evidence for row in result.evidence if row.time_ns] == ["graph"]
    assert not any("eager" in warning for warning in result.trace.warnings)
    tables, unreadable = kernel_tables(folder)
    assert (set(evidences(tables[0])), unreadable) == ({"graph"}, [])
    (folder / "trace.json.gz").unlink()
    assert set(evidences(tracekit.kernels(folder))) == {"graph"}


def test_a_run_folder_without_a_donor_says_so(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", eager=False)
    result = tracekit.analyze(folder)
    assert any("no eager.json.gz" in warning for warning in result.trace.warnings)
    assert {row.evidence for row in result.evidence if row.time_ns} <= {"name", "sequence"}
    (folder / "eager.json.gz").write_bytes(b"no trace")
    result = tracekit.analyze(folder)
    assert any("eager.json.gz cannot be used" in warning for warning in result.trace.warnings)
    assert {row.evidence for row in result.evidence if row.time_ns} <= {"name", "sequence"}


def test_the_eager_pass_is_not_read_without_graphs(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    GraphTrace().eager(model()).builder.write(folder / "trace.json.gz")
    (folder / "eager.json.gz").write_bytes(b"no trace")
    result = tracekit.analyze(folder)
    assert not any("eager" in warning for warning in result.trace.warnings)


@pytest.mark.parametrize(
    ("name", "other", "alike"),
    [
        (gemm(1), "void cutlass::Kernel2<cutlass_80_tensorop_gemm>", True),
        (gemm(1), "Cijk_Ailk_Bljk_HHS_BH_MT64x64", True),
        (gemm(1), "splitKreduce_kernel", False),
        (gemm(1), FPROP, False),
        (FPROP, "sm80_xmma_fprop_implicit_gemm_x", True),
        (FPROP, "nchwToNhwcKernel", False),
        ("nchwToNhwcKernel", "nhwcToNchwKernel", True),
        (FLASH, "fmha_cutlassF_bf16_aligned_64x64_rf_sm80", True),
        (ADD, GELU, True),
        (ADD, "softmax_warp_forward", False),
        (ADD, "reduce_kernel<512, 1, at::native::ReduceOp>", False),
        ("unknown_a", "unknown_b", False),
        ("triton_poi_fused_add_0", ADD, False),
    ],
)
def test_kinds(name: str, other: str, alike: bool) -> None:
    assert (kernel_kind(name, "kernel") == kernel_kind(other, "kernel")) == alike


def test_copies_and_memsets_are_kinds_of_their_own() -> None:
    kinds = {kernel_kind("Memset (Device)", kind) for kind in ("gpu_memset", "gpu_memcpy")}
    assert kinds == {"gpu_memset", "gpu_memcpy"}
