"""The labelled corpus: its truth is what the models' own source says, and its traces are sound."""

from __future__ import annotations

import gzip
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tracekit
from corpus import record, spec
from corpus.compiling import Origins, _called
from corpus.pack import pack
from corpus.recording import RICH, Setting, record_case
from corpus.slim import slim
from corpus.spec import AttentionRule, Built, Size, find_model, load_models
from corpus.truth import Truth
from tracekit.errors import UsageError
from tracekit.labels import parse_attention

Decided = Counter[tuple[str, str | None]]


def recorded(name: str, mode: str, folder: Path) -> tuple[Decided, list[dict[str, Any]]]:
    """Return how often each outermost op stands under each truth label, and all events."""
    record_case(find_model(name), mode, Setting(folder, "cpu", tiny=True))
    text = gzip.decompress((folder / f"{name}.{mode}" / RICH).read_bytes())
    events = [event for event in json.loads(text)["traceEvents"] if event["ph"] == "X"]
    return decided(events), events


def decided(events: list[dict[str, Any]]) -> Decided:
    found: Decided = Counter()
    for around, event in nested(events):
        if event["cat"] == "cpu_op" and not any(one["cat"] == "cpu_op" for one in around):
            labels = [one["name"] for one in around if one["name"].startswith("tk1|cat|")]
            found[event["name"], labels[-1].removeprefix("tk1|cat|") if labels else None] += 1
    return found


def nested(
    events: list[dict[str, Any]],
) -> Iterator[tuple[list[dict[str, Any]], dict[str, Any]]]:
    for thread in {event["tid"] for event in events}:
        stack: list[dict[str, Any]] = []
        own = [event for event in events if event["tid"] == thread and "dur" in event]
        for event in sorted(own, key=lambda one: (one["ts"], -one["dur"])):
            while stack and stack[-1]["ts"] + stack[-1]["dur"] <= event["ts"]:
                stack.pop()
            yield stack, event
            stack.append(event)


def labels_of(found: Decided, op: str) -> dict[str | None, int]:
    return {label: count for (name, label), count in found.items() if name == op}


def test_every_layer_and_every_operator_of_a_video_transformer_is_decided(tmp_path: Path) -> None:
    found, events = recorded("latte", "default", tmp_path)
    assert labels_of(found, "aten::linear") == {"linear|module": 38}
    assert labels_of(found, "aten::conv2d") == {"conv|module": 1}
    assert set(labels_of(found, "aten::layer_norm")) == {"norm|module"}
    # Two blocks over pixels, each with self- and cross-attention; two over frames.
    assert labels_of(found, "aten::scaled_dot_product_attention") == {
        "attention|core:full": 4,
        "temporal_attention|core:full": 2,
    }
    calls = [label for event in events if (label := parse_attention(event["name"]))]
    lengths = {(one.axis, one.kind, one.query_length, one.key_length) for one in calls}
    assert lengths == {
        ("spatial", "self", 16, 16), ("spatial", "cross", 16, 8), ("temporal", "self", 3, 3),
    }  # fmt: skip


def test_attention_that_is_written_out_is_attention_and_its_projections_are_not(
    tmp_path: Path,
) -> None:
    found, _ = recorded("dit", "written", tmp_path)
    assert set(labels_of(found, "aten::baddbmm")) == {"attention|core"}
    assert set(labels_of(found, "aten::bmm")) == {"attention|core"}
    assert set(labels_of(found, "aten::softmax")) == {"attention|core"}
    assert set(labels_of(found, "aten::linear")) == {"linear|module"}
    own, _ = recorded("own-einsum", "default", tmp_path)
    assert set(labels_of(own, "aten::einsum")) == {"attention|core"}
    assert labels_of(own, "aten::linear") == {"linear|module": 12}
    assert labels_of(own, "aten::add") == {"elementwise|arith": 6}


def test_norms_rotary_embeddings_and_caches_of_a_language_model(tmp_path: Path) -> None:
    found, events = recorded("llama", "default", tmp_path)
    calls = [label for event in events if (label := parse_attention(event["name"]))]
    lengths = {(one.kind, one.axis, one.query_length, one.key_length) for one in calls}
    assert lengths == {
        ("self", "sequence", count, 8 + new) for count, new in ((8, 0), (1, 1), (1, 2))
    }
    assert set(labels_of(found, "aten::rsqrt")) == {"norm|module"}
    assert set(labels_of(found, "aten::neg")) == {"elementwise|rotary"}
    assert set(labels_of(found, "aten::cat")) == {"memory|cache", "elementwise|rotary", None}
    attention = labels_of(found, "aten::scaled_dot_product_attention")
    assert sum(attention.values()) == 9  # three layers; a prompt and two tokens
    assert all(label and label.startswith("attention|core") for label in attention)


def test_a_training_step_has_phases_and_a_labelled_optimizer(tmp_path: Path) -> None:
    _, events = recorded("bert", "train", tmp_path)
    names = {event["name"] for event in events}
    assert {"tk1|stage|forward|", "tk1|stage|backward|", "tk1|stage|optimizer|"} <= names
    assert "tk1|cat|elementwise|optimizer" in names
    assert any("Sequence number" in event.get("args", {}) for event in events)
    result = tracekit.analyze(str(tmp_path / "bert.train" / RICH))
    assert {stage.stage for stage in result.stages} == {"forward", "backward", "optimizer"}


def test_recomputed_work_is_labelled_where_it_is_done(tmp_path: Path) -> None:
    _, events = recorded("clip", "train-checkpoint", tmp_path)
    inside = Counter(
        "backward" if any("backward" in one["name"] for one in around) else "forward"
        for around, event in nested(events)
        if event["name"].startswith("tk1|cat|attention|core")
    )
    # On a CPU the backward pass runs in the thread that asked for it.
    assert inside["backward"] == inside["forward"] > 0


def test_a_rule_that_no_module_obeys_is_refused() -> None:
    net = torch.nn.Linear(2, 2)
    rule = AttentionRule(r"^Attention$", "spatial")
    built = Built(lambda: net(torch.zeros(1, 2)), {"net": net}, (rule,))
    with pytest.raises(UsageError, match=r"\^Attention\$"):
        Truth(built)


class Scaled(torch.nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.linear(x + 1, self.weight * 2)


@pytest.mark.parametrize(
    ("extra", "arithmetic"), [({}, "elementwise|arith"), ({"Scaled": "mixed"}, None)]
)
def test_what_a_layer_of_its_own_make_does_beside_its_function(
    extra: dict[str, str], arithmetic: str | None, tmp_path: Path
) -> None:
    net, inputs = torch.nn.Sequential(Scaled(4, 4), torch.nn.GELU()), torch.ones(2, 4)
    built = Built(lambda: net(inputs), {"net": net}, extra=extra)
    model = spec.Model("own-layer", lambda _size: built, ("default",))
    record_case(model, "default", Setting(tmp_path, "cpu", tiny=True))
    text = gzip.decompress((tmp_path / "own-layer.default" / RICH).read_bytes())
    found = decided([one for one in json.loads(text)["traceEvents"] if one["ph"] == "X"])
    assert labels_of(found, "aten::linear") == {"linear|function": 1}
    assert labels_of(found, "aten::gelu") == {"elementwise|module": 1}
    assert labels_of(found, "aten::mul") == labels_of(found, "aten::add") == {arithmetic: 1}


def test_one_failing_model_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_size: Size) -> Built:
        raise ZeroDivisionError("no such layer")

    load_models()
    monkeypatch.setitem(spec.MODELS, "broken", spec.Model("broken", broken, ("default",)))
    out, packed = tmp_path / "out", tmp_path / "packed"
    arguments = ["-o", str(out), "--tiny", "--device", "cpu", "--modes", "default"]
    arguments += ["--models", "broken,own-chunked", "--pack", str(packed)]
    assert record.main(arguments) == 1
    text = capsys.readouterr().out
    assert "FAILED broken.default: ZeroDivisionError: no such layer" in text
    assert "1 of 2 cases" in text
    about, *cases = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    assert about["torch"] == torch.__version__
    assert [case["case"] for case in cases] == ["broken.default", "own-chunked.default"]
    with tarfile.open(packed / "corpus-0.tar") as archive:
        assert f"own-chunked.default/{RICH}" in archive.getnames()
    assert record.main([*arguments, "--modes", "sideways"]) == 2
    assert record.main(arguments) == 2  # the folder holds something


def test_there_are_enough_models_in_every_mode() -> None:
    models = load_models()
    modes = Counter(mode for model in models.values() for mode in model.modes)
    assert len(models) >= 60
    assert min(modes[mode] for mode in ("compile", "cudagraph", "train", "written")) >= 8


def test_small_traces_keep_times_exact_and_drop_what_nobody_reads(tmp_path: Path) -> None:
    plain, small = tmp_path / "plain.json", tmp_path / RICH
    op = {"cat": "cpu_op", "name": "aten::mm", "tid": 2, "ts": "T.598", "dur": 3.002}
    kernel = {"cat": "kernel", "name": "gemm", "tid": 7, "ts": "T.601", "dur": 1.001}
    events = [
        {**op, "args": {"External id": 7, "Ev Idx": 0, "Input Dims": [[2, 3]]}},
        {**kernel, "args": {"correlation": 9, "grid": [1, 1, 1], "queued": 0}},
        {"cat": "gpu_user_annotation", "name": "a", "tid": 7, "ts": 1, "dur": 1},
        {"cat": "cuda_runtime", "name": "cudaGetDevice", "tid": 2, "ts": 2, "dur": 1},
        {"ph": "f", "cat": "ac2g", "name": "ac2g", "tid": 7, "ts": 3, "id": 9},
        {"ph": "M", "name": "process_name", "args": {"name": "python"}},
    ]
    whole = {
        "schemaVersion": 1,
        "baseTimeNanoseconds": 5,
        "deviceProperties": [{"id": 0}, {"id": 1}],
        "traceEvents": [{"ph": "X", "pid": 1, **event} for event in events],
    }
    text = json.dumps(whole).replace('"T.598"', "4593887672770.598")
    plain.write_text(text.replace('"T.601"', "4593887672771.601"))
    assert slim(plain, small)["kernels"] == 1
    trace = json.loads(gzip.decompress(small.read_bytes()))
    first, second, meta = trace["traceEvents"]
    assert (first["ts"], first["dur"]) == (0.0, 3.0)
    assert (second["ts"], second["dur"]) == (1.003, 1.001)
    assert trace["baseTimeNanoseconds"] == 5 + 4593887672770598
    assert set(first["args"]) == {"Input Dims"}
    assert set(second["args"]) == {"correlation", "grid"}
    assert meta["name"] == "process_name"
    assert len(trace["deviceProperties"]) == 1


def test_packed_files_stay_under_their_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpus.pack.LARGEST_BYTES", 5000)
    for name in "abc":
        (tmp_path / "corpus" / name).mkdir(parents=True)
        (tmp_path / "corpus" / name / RICH).write_bytes(bytes(2000))
    files = pack(tmp_path / "corpus", tmp_path / "packed")
    assert [file.name for file in files] == ["corpus-0.tar", "corpus-1.tar", "corpus-2.tar"]


class Attention(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = torch.nn.Linear(2, 2)
        self.norm = torch.nn.LayerNorm(2)


@pytest.mark.parametrize(
    ("kind", "operations", "label"),
    [
        ("extern", ["to_q mm"], "linear|extern:linear"),
        ("fused", ["to_q addmm", " gelu"], "linear|fused:linear*+elementwise"),
        ("fused", ["to_q addmm", "norm mean", " add"], "norm|fused:linear*+norm+elementwise"),
        ("template", ["to_q addmm", "norm mean"], "linear|template:linear+norm"),
        ("fused", ["attn _softmax", "attn view"], "attention|fused:attention"),
        ("extern", ["attn _scaled_dot_product_flash_attention"], "attention|extern:attention"),
        ("fused", ["attn mul:rotary"], "elementwise|fused:elementwise"),
        ("fused", ["attn mul:rotary", "attn bmm"], "elementwise|fused:attention*+elementwise"),
        ("fused", ["attn mul"], None),  # a scale, a gate, a mask
        ("fused", ["norm mean", "attn mul"], "norm|fused:norm"),
        ("fused", ["norm view"], None),
    ],
)
def test_compiled_kernels_take_the_most_expensive_operation(
    kind: str, operations: list[str], label: str | None
) -> None:
    net = torch.nn.ModuleDict({"attn": Attention()})
    rule = AttentionRule(r"^Attention$", "spatial")
    built = Built(lambda: None, {"net": net}, (rule,))
    origins = Origins(built)
    nodes = [operation(text, net) for text in operations]
    expected = None if label is None else f"tk1|cat|{label}"
    assert origins.label(nodes, kind) == expected


@pytest.mark.parametrize(
    ("operations", "label"),
    [
        (["attn _softmax", "time _softmax"], None),
        (["attn bmm", "time bmm"], None),  # the layout of both results
        (["time _softmax", "attn bmm"], "temporal_attention|fused:temporal_attention+attention*"),
    ],
)
def test_a_compiled_kernel_of_two_axes_is_undecided(
    operations: list[str], label: str | None
) -> None:
    net = torch.nn.ModuleDict({"attn": Attention(), "time": Attention()})
    across = AttentionRule(r"^Attention$", "spatial", path="attn$")
    along = AttentionRule(r"^Attention$", "temporal", path="time$")
    origins = Origins(Built(lambda: None, {"net": net}, (across, along)))
    expected = None if label is None else f"tk1|cat|{label}"
    assert origins.label([operation(text, net) for text in operations], "fused") == expected


def operation(text: str, net: torch.nn.ModuleDict) -> SimpleNamespace:
    """Return a node of a graph: a module's path, an op, and the function that has the line."""
    where, name = text.split(" ")
    name, _, function = name.partition(":")
    attention = net["time" if where == "time" else "attn"]
    alone = {"": [], "attn": [attention], "time": [attention]}
    chain = alone.get(where, [attention, getattr(attention, where, None)])
    stack = {str(id(one)): (f"L['self'].{where}", type(one)) for one in chain}
    lines = f'File "model.py", line 1, in apply_{function}_emb\n' if function else ""
    aten = SimpleNamespace(_opname=name)
    meta = {"nn_module_stack": stack, "original_aten": aten, "stack_trace": lines}
    return SimpleNamespace(op="call_function", target=f"aten.{name}.default", meta=meta)


def test_a_convolution_of_a_library_is_no_copy_that_made_its_input() -> None:
    net = torch.nn.ModuleDict({"attn": Attention()})
    copy, called = operation("attn bmm", net), operation(" convolution", net)
    unsure = SimpleNamespace(get_origin_node=lambda: None, origins=[copy, called])
    assert list(_called(unsure)) == [called]
    product = SimpleNamespace(get_origin_node=lambda: None, origins=[copy])
    assert list(_called(product)) == [copy]
    sure = SimpleNamespace(get_origin_node=lambda: copy, origins=[copy, called])
    assert list(_called(sure)) == [copy]
