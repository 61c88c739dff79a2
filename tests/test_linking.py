"""Linking: launches, ops, backward, modules and stages of tiny traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import TraceBuilder
from tracekit.linking.link import PHASES, Linked, link
from tracekit.linking.stages import Stages, assign_stages
from tracekit.loading.loader import load_file
from tracekit.trace import NULL


@pytest.fixture
def linked(tmp_path: Path) -> Linker:
    return Linker(tmp_path / "t.json")


class Linker:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, builder: TraceBuilder) -> Linked:
        return link(load_file(str(builder.write(self._path))))

    def stages(self, builder: TraceBuilder) -> list[tuple[str | None, int | None]]:
        linked = self(builder)
        return named(assign_stages(linked))


def named(stages: Stages) -> list[tuple[str | None, int | None]]:
    return [
        (stages.names[s] if s >= 0 else None, None if n == NULL else n)
        for s, n in zip(stages.stage.tolist(), stages.step.tolist(), strict=True)
    ]


def op_names(linked: Linked) -> list[str | None]:
    ops = linked.trace.ops
    return [linked.trace.text(int(ops.name[op])) if op >= 0 else None for op in linked.op]


def test_launches_of_runtime_driver_and_graph(linked: Linker) -> None:
    b = TraceBuilder()
    b.launch(10, 1)
    b.launch(20, 2, name="cuLaunchKernelEx")
    b.launch(30, 3, name="cudaGraphLaunch")
    b.kernel("a", 100, 5, 1)
    b.kernel("b", 110, 5, 2)
    b.kernel("c", 120, 5, 3)
    b.kernel("d", 130, 5, 3)
    b.kernel("launched before", 140, 5, 77)
    b.kernel("no correlation", 150, 5, None)
    result = linked(b)
    assert result.launch.tolist() == [0, 1, 2, 2, -1, -1]
    assert result.time_ns.tolist() == [10, 20, 30, 30, NULL, NULL]


def test_a_shared_correlation_goes_to_the_last_launch_before(linked: Linker) -> None:
    b = TraceBuilder()
    b.launch(10, 5)
    b.launch(1010, 5)
    b.launch(20, 6)
    b.kernel("early", 100, 5, 5)
    b.kernel("late", 1100, 5, 5)
    b.kernel("before all", 5, 1, 5)
    b.kernel("unique", 200, 5, 6)
    result = linked(b)
    assert result.launch.tolist() == [0, 0, 2, 1]
    assert "correlation number that several calls share" in result.warnings[0]


def test_innermost_op_on_the_launching_thread(linked: Linker) -> None:
    b = TraceBuilder()
    b.op("aten::linear", 0, 100)
    b.op("aten::addmm", 10, 50)
    b.op("aten::other_thread", 0, 1000, tid=2)
    b.launched("in addmm", 20, 200, 5)
    b.launched("in linear", 70, 210, 5)
    b.launched("after", 100, 220, 5)
    b.launched("elsewhere", 20, 230, 5, tid=2)
    b.launched("no op there", 20, 240, 5, tid=3)
    assert op_names(linked(b)) == ["aten::addmm", "aten::linear", None, "aten::other_thread", None]


def test_ops_with_a_stream_are_no_gpu_work(linked: Linker) -> None:
    b = TraceBuilder()
    b.op("triton_poi_fused_gelu_0", 0, 50, stream=0)
    b.launched("triton_poi_fused_gelu_0", 10, 100, 5)
    assert len(linked(b)) == 1


def test_backward_serves_the_forward_op_of_its_sequence_number(linked: Linker) -> None:
    b = TraceBuilder()
    b.module("Net_0", 0, 100)
    b.module("Linear_0", 5, 50)
    b.op("aten::linear", 10, 40, **{"Sequence number": 7, "Fwd thread id": 0})
    b.op("aten::t", 12, 3, **{"Sequence number": 7, "Fwd thread id": 0})
    b.op("aten::addmm", 20, 20, **{"Sequence number": 8, "Fwd thread id": 0})
    b.launched("gemm", 25, 200, 5)
    node = {"Sequence number": 8, "Fwd thread id": 1}
    b.op("autograd::engine::evaluate_function: AddmmBackward0", 500, 50, tid=9, **node)
    b.op("AddmmBackward0", 505, 40, tid=9, **node)
    b.op("aten::mm", 510, 20, tid=9)
    b.launched("gemm grad", 515, 600, 5, tid=9)
    b.op("autograd::engine::evaluate_function: torch::autograd::AccumulateGrad", 700, 9, tid=9)
    b.launched("accumulate", 702, 800, 5, tid=9)
    result = linked(b)
    ops = result.trace.ops
    assert op_names(result) == [
        "aten::addmm",
        "aten::mm",
        "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad",
    ]
    assert [result.trace.text(int(ops.name[op])) for op in result.forward_op][:2] == [
        "aten::addmm",
        "aten::addmm",
    ]
    assert [PHASES[phase] for phase in result.phase] == ["forward", "backward", "backward"]
    paths = [result.modules.paths[m] if m >= 0 else None for m in result.module]
    assert paths == ["Net_0/Linear_0", "Net_0/Linear_0", None]


def test_repeated_sequence_numbers_take_the_last_forward_before(linked: Linker) -> None:
    b = TraceBuilder()
    for start in (0, 1000):
        b.op("aten::mul", start, 40, **{"Sequence number": 3})
        b.op("MulBackward0", start + 500, 40, tid=2, **{"Sequence number": 3, "Fwd thread id": 1})
        b.launched("g", start + 510, start + 600, 5, tid=2)
    assert linked(b).forward_op.tolist() == [0, 2]


def test_the_optimizer_is_a_phase(linked: Linker) -> None:
    b = TraceBuilder()
    b.annotation("Optimizer.step#Adam.step", 0, 100)
    b.launched("adam", 10, 200, 5)
    b.launched("next", 110, 300, 5)
    assert [PHASES[phase] for phase in linked(b).phase] == ["optimizer", "forward"]


def test_cpu_only_traces_take_the_ops_that_do_the_work(linked: Linker) -> None:
    b = TraceBuilder()
    b.op("aten::linear", 0, 100)
    b.op("aten::addmm", 10, 80)
    b.op("aten::expand", 12, 4)
    b.op("aten::relu", 200, 30)
    result = linked(b)
    assert result.basis == "cpu"
    rows = [
        (result.trace.text(int(n)), int(s), int(d))
        for n, s, d in zip(result.name, result.start_ns, result.dur_ns, strict=True)
    ]
    assert rows == [("aten::addmm", 10, 76), ("aten::expand", 12, 4), ("aten::relu", 200, 30)]
    assert (result.unused_ops, result.unused_op_ns) == (1, 20)


def staged(
    *annotations: tuple[str, int, int], launches: int = 10, every: int = 100
) -> TraceBuilder:
    b = TraceBuilder()
    for name, start, dur in annotations:
        b.annotation(name, start, dur)
    for i in range(launches):
        b.launched("k", i * every + 1, 100_000 + i * every, 10)
    return b


def test_numbered_names_are_one_stage(linked: Linker) -> None:
    b = staged(("unet step 0", 0, 200), ("unet step 1", 200, 200), ("vae", 500, 100))
    assert linked.stages(b)[:6] == [
        ("unet step", 0),
        ("unet step", 0),
        ("unet step", 1),
        ("unet step", 1),
        (None, None),
        ("vae", None),
    ]


@pytest.mark.parametrize(
    ("first", "second", "stage"),
    [
        ("step#3", "step#4", "step"),
        ("denoise_3", "denoise_4", "denoise"),
        ("block[3]", "block[4]", "block"),
        ("iteration3", "iteration4", "iteration"),
    ],
)
def test_the_trailing_integer_is_the_step(
    linked: Linker, first: str, second: str, stage: str
) -> None:
    stages = linked.stages(staged((first, 0, 100), (second, 100, 100)))
    assert stages[:3] == [(stage, 3), (stage, 4), (None, None)]


def test_one_numbered_name_keeps_its_number(linked: Linker) -> None:
    assert linked.stages(staged(("resnet50", 0, 100)))[0] == ("resnet50", None)


def test_repetitions_of_one_name_are_steps(linked: Linker) -> None:
    b = staged(("denoise", 0, 100), ("denoise", 100, 100), ("vae", 200, 100))
    assert linked.stages(b)[:3] == [("denoise", 0), ("denoise", 1), ("vae", None)]


def test_the_annotation_around_all_launches_is_the_run(linked: Linker) -> None:
    b = staged(("inference", 0, 1000), ("text_encoder", 0, 300), ("unet", 300, 600))
    stages = [stage for stage, _ in linked.stages(b)]
    assert stages == ["text_encoder"] * 3 + ["unet"] * 6 + [None]


def test_the_run_is_the_stage_when_it_has_no_parts(linked: Linker) -> None:
    assert {stage for stage, _ in linked.stages(staged(("inference", 0, 1000)))} == {"inference"}


def test_an_annotation_of_most_launches_is_a_stage(linked: Linker) -> None:
    b = staged(("unet", 0, 900), ("attention", 0, 300))
    assert [stage for stage, _ in linked.stages(b)] == ["unet"] * 9 + [None]


@pytest.mark.parametrize(
    "name",
    [
        "Optimizer.step#AdamW.step",
        "Optimizer.zero_grad#AdamW.zero_grad",
        "enumerate(DataLoader)#_MultiProcessingDataLoaderIter.__next__",
        "nccl:all_reduce",
        "DistributedDataParallel.forward",
        "FullyShardedDataParallel.forward",
        "FSDP::all_gather",
        "## Call CompiledFxGraph fabc ##",
        "Torch-Compiled Region: 0/0",
        "CUDAGraphNode.record (dynamo_timed)",
    ],
)
def test_annotations_of_pytorch_are_no_stages(linked: Linker, name: str) -> None:
    assert set(linked.stages(staged((name, 0, 500)))) == {(None, None)}


def test_profiler_steps_give_steps_only(linked: Linker) -> None:
    b = staged(("ProfilerStep#4", 0, 500), ("ProfilerStep#5", 500, 500), ("forward", 0, 200))
    assert linked.stages(b) == [("forward", 4)] * 2 + [(None, 4)] * 3 + [(None, 5)] * 5


def test_work_of_threads_without_annotations_belongs_to_what_was_open(linked: Linker) -> None:
    b = TraceBuilder()
    b.annotation("forward", 0, 100)
    b.annotation("backward", 100, 100)
    b.launched("f", 10, 1000, 5)
    b.launched("b", 110, 1100, 5, tid=9)
    assert linked.stages(b) == [("forward", None), ("backward", None)]


def test_labels_count_before_annotations(linked: Linker) -> None:
    b = staged(
        ("tk1|stage|text%7Cencoder|", 0, 200),
        ("tk1|stage|denoise|0", 200, 300),
        ("tk1|stage|denoise|1", 500, 300),
        ("user", 0, 900),
    )
    expected = [("text|encoder", None)] * 2 + [("denoise", 0)] * 3 + [("denoise", 1)] * 3
    assert linked.stages(b) == [*expected, (None, None), (None, None)]


def test_an_empty_trace_links_to_nothing(linked: Linker) -> None:
    result = linked(TraceBuilder())
    assert len(result) == 0
    assert np.array_equal(assign_stages(result).stage, np.empty(0, np.int64))


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputed_work_is_forward_work_in_backward(tmp_path: Path, reentrant: bool) -> None:
    """Checkpointing runs ops of the forward pass inside a node of the engine."""
    b = TraceBuilder()
    node = "CheckpointFunctionBackward" if reentrant else "MmBackward0"
    b.op("aten::mm", 0, 50, **{"Sequence number": 3, "Fwd thread id": 0})
    b.op(node, 1000, 900, tid=2, **{"Sequence number": 3, "Fwd thread id": 1})
    b.op("aten::layer_norm", 1010, 90, tid=2, **{"Sequence number": 9, "Fwd thread id": 0})
    b.op("aten::native_layer_norm", 1020, 70, tid=2)
    b.launched("again", 1030, 10_000, 5, tid=2)
    b.op("aten::mul", 1200, 50, tid=2)
    b.launched("own", 1210, 11_000, 5, tid=2)
    b.op("NativeLayerNormBackward0", 2000, 100, tid=2, **{"Sequence number": 9, "Fwd thread id": 1})
    b.launched("later", 2010, 12_000, 5, tid=2)
    linked = link(load_file(str(b.write(tmp_path / "t.json"))))
    names = [linked.trace.text(int(linked.trace.ops.name[op])) for op in linked.forward_op]
    assert names == ["aten::native_layer_norm", "aten::mm", "aten::layer_norm"]
    assert [PHASES[phase] for phase in linked.phase] == ["backward"] * 3
