"""Validation: what is withheld, and every figure by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import tracekit
from builders import TraceBuilder
from tracekit import validating
from tracekit.analysis.withholding import (
    has_shapes,
    kernels_alone,
    without_labels,
    without_modules,
    without_shapes,
)
from tracekit.categories import CATEGORIES, CODE_OF, EVIDENCES
from tracekit.classifying.classify import classify
from tracekit.classifying.table import KernelTable
from tracekit.linking.link import Linked, link
from tracekit.reports.validation import render_validation
from tracekit.schemas import read_schema
from tracekit.validation_results import Mode, ModeAccuracy, Validation

ROOT = Path(__file__).parent.parent
RUNS = ROOT / "examples" / "runs"
GEMM = "nvjet_sm90_tst_128x160_64x5_2x1_v_bz_TNT"

WORK = (
    ("aten::linear", GEMM, "tk1|mod|net.proj|Linear", 200),
    ("aten::linear", GEMM, "tk1|mod|net.out|Linear", 100),
    ("aten::conv2d", "implicit_gemm", "tk1|mod|net.conv|Conv2d", 400),
    ("aten::layer_norm", "vectorized_layer_norm_kernel", "tk1|mod|net.norm|LayerNorm", 50),
    ("aten::silu", "silu_kernel", "tk1|mod|net.act|SiLU", 30),
    ("aten::cat", "CatArrayBatchedCopy", "", 20),
    ("aten::scaled_dot_product_attention", "flash_fwd_kernel",
     "tk1|attn|net.attn|self|spatial|64|64|8", 200),
)  # fmt: skip
"""Op, kernel, label and duration in ns of what runs one after the other."""


def work(*, labels: bool = True, shapes: bool = True, modules: bool = True) -> TraceBuilder:
    b = TraceBuilder()
    if modules:
        b.module("Net_0", 0, 10_000)
    if labels:
        b.annotation("tk1|stage|denoise|0", 0, 10_000)
    for index, (op, kernel, label, dur) in enumerate(WORK):
        at = 1000 * index
        if labels and label:
            b.annotation(label, at, 900)
        args = {"Input Dims": [[4, 8]], "Input type": ["float"]} if shapes else {}
        b.op(op, at + 10, 800, **args)
        b.launched(kernel, at + 100, 100_000 + at, dur)
    return b


def rows(table: KernelTable) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = table.to_arrow().to_pydict()
    return columns


VERDICTS = (
    ("other", "name", 0.3, "no rule knows it"),
    ("linear", "name", 0.97, "matrix product of cuBLAS"),
    ("conv", "op", np.nan, "issued by aten::conv2d"),
    ("norm", "op", np.nan, "issued by aten::layer_norm"),
    ("elementwise", "op", np.nan, "issued by aten::silu"),
    ("memory", "op", np.nan, "issued by aten::cat"),
    ("temporal_attention", "op", np.nan, "along time, which is wrong"),
)
"""What a classifier that errs says of each of them."""


def changed(table: KernelTable) -> KernelTable:
    """The table with the verdicts of a classifier that errs; of attention it knows the axis."""
    slugs, evidences, confidences, reasons = zip(*VERDICTS, strict=True)
    unknown = np.full(len(table), -1, np.int64)
    axis = unknown.copy()
    axis[6] = 0
    return replace(
        table,
        category=np.array([CODE_OF[slug] for slug in slugs], np.int8),
        evidence=np.array([EVIDENCES.index(name) for name in evidences], np.int8),
        confidence=np.array(confidences),
        reason=np.arange(len(table)),
        reasons=reasons,
        axis=axis,
        axes=("temporal",),
        kind=unknown,
    )


@pytest.fixture
def erring(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(linked: Linked, donors: Any = ()) -> KernelTable:
        return changed(classify(linked, donors))

    monkeypatch.setattr(validating, "classify", wrong)


def in_mode(result: Validation, mode: Mode, run: int = 0) -> ModeAccuracy:
    return next(part for part in result.runs[run].modes if part.mode == mode)


# Withholding


def test_a_trace_without_its_labels_is_one_that_never_had_any(tmp_path: Path) -> None:
    labelled = without_labels(tracekit.load(work().write(tmp_path / "a.json")))
    never = tracekit.load(work(labels=False).write(tmp_path / "b.json"))
    assert not any("tk1|" in text for text in labelled.strings)
    assert len(labelled.annotations) == 0
    found, expected = rows(classify(link(labelled))), rows(classify(link(never)))
    # Only correlation numbers tell how many events the builder had written before.
    found.pop("correlation"), expected.pop("correlation")
    assert found == expected
    assert set(found["stage"]) == {None}
    assert set(found["module"]) == {"Net_0"}


def test_labels_hide_in_no_other_place(tmp_path: Path) -> None:
    b = work()
    b.op(
        "profiler::_record_function_enter_new",
        5,
        1,
        **{"Concrete Inputs": ["tk1|mod|x|Linear", ""]},
    )
    b.annotation("user tk1|mod|x|Linear", 0, 10)
    mirror = b.annotation("tk1|mod|y|Linear", 0, 10)
    mirror["cat"] = "gpu_user_annotation"
    trace = without_labels(tracekit.load(b.write(tmp_path / "t.json")))
    held = [text for text in trace.strings if "tk1|" in text]
    assert held == ["user tk1|mod|x|Linear"]
    assert len(trace.ops) == len(WORK) + 1
    labels = link(trace).labels
    assert labels.attentions == labels.module_classes == labels.paths == labels.categories == ()


def test_a_trace_without_labels_stays_as_it_is(tmp_path: Path) -> None:
    trace = tracekit.load(work(labels=False).write(tmp_path / "t.json"))
    assert without_labels(trace) is trace


def test_what_else_is_withheld(tmp_path: Path) -> None:
    trace = tracekit.load(work().write(tmp_path / "t.json"))
    assert has_shapes(trace)
    assert not has_shapes(without_shapes(trace))
    assert len(without_shapes(trace).ops) == len(trace.ops)
    assert len(without_modules(trace).frames) == 0 < len(trace.frames)
    assert set(rows(classify(link(without_modules(without_labels(trace)))))["module"]) == {None}
    alone = kernels_alone(trace)
    assert len(alone.activities) == len(alone.calls) == len(WORK)
    assert len(alone.ops) == len(alone.frames) == len(alone.annotations) == 0
    assert set(rows(classify(link(alone)))["op"]) == {None}


def test_modes_are_those_that_withhold_something(tmp_path: Path) -> None:
    def modes(b: TraceBuilder) -> list[str]:
        (run,) = tracekit.validate(b.write(tmp_path / "t.json")).runs
        return [part.mode for part in run.modes]

    assert modes(work()) == ["rich", "no_shapes", "no_modules", "kernels_only"]
    assert modes(work(shapes=False)) == ["rich", "no_modules", "kernels_only"]
    assert modes(work(modules=False)) == ["rich", "no_shapes", "kernels_only"]
    alone = TraceBuilder()
    alone.annotation("tk1|mod|x|Linear", 0, 100)
    alone.launched(GEMM, 10, 1000, 5)
    assert modes(alone) == ["rich"]


# Figures


def test_nothing_is_wrong_where_the_classifier_is_right(tmp_path: Path) -> None:
    result = tracekit.validate(work().write(tmp_path / "t.json"))
    rich = in_mode(result, "rich")
    assert (rich.accuracy, rich.accuracy_by_count, rich.other_share) == (1.0, 1.0, 0.0)
    assert rich.confusions == ()
    (run,) = result.runs
    assert (run.kernels, run.time_ns) == (7, 1000)
    assert (run.decidable_kernels, run.decidable_ns, run.decidable_share) == (6, 980, 0.98)
    assert {slug: ns for slug, ns in run.truth.items() if ns} == {
        "linear": 300, "conv": 400, "norm": 50, "elementwise": 30, "attention": 200,
    }  # fmt: skip
    assert list(run.truth) == list(CATEGORIES)
    assert result.overall[0].total == rich


@pytest.mark.usefixtures("erring")
def test_every_figure_of_a_mode(tmp_path: Path) -> None:
    rich = in_mode(tracekit.validate(work().write(tmp_path / "t.json")), "rich")
    assert (rich.kernels, rich.time_ns) == (6, 980)
    assert (rich.right_kernels, rich.right_ns) == (4, 580)
    assert rich.accuracy == pytest.approx(580 / 980)
    assert rich.accuracy_by_count == pytest.approx(4 / 6)
    assert (rich.other_ns, rich.other_share) == (200, pytest.approx(200 / 980))
    held = {
        (CATEGORIES[true], CATEGORIES[given]): ns
        for true, row in enumerate(rich.matrix)
        for given, ns in enumerate(row)
        if ns
    }
    assert held == {
        ("linear", "other"): 200,
        ("linear", "linear"): 100,
        ("conv", "conv"): 400,
        ("norm", "norm"): 50,
        ("elementwise", "elementwise"): 30,
        ("attention", "temporal_attention"): 200,
    }
    assert [(row.truth, row.category, row.time_ns) for row in rich.confusions] == [
        ("linear", "other", 200), ("attention", "temporal_attention", 200),
    ]  # fmt: skip
    first = rich.confusions[0].examples[0]
    assert (first.name, first.op, first.module, first.kernels, first.time_ns) == (
        GEMM, "aten::linear", "net.proj", 1, 200,
    )  # fmt: skip
    assert first.label == "tk1|mod|net.proj|Linear"
    assert rich.confusions[0].time_share == pytest.approx(200 / 980)


@pytest.mark.usefixtures("erring")
def test_evidence_and_confidence(tmp_path: Path) -> None:
    rich = in_mode(tracekit.validate(work().write(tmp_path / "t.json")), "rich")
    by = {row.evidence: row for row in rich.evidence}
    assert set(by) == {"op", "name"}
    assert (by["op"].time_ns, by["op"].right_ns, by["op"].confidence) == (680, 480, None)
    assert (by["name"].time_ns, by["name"].right_ns) == (300, 100)
    assert by["name"].accuracy == pytest.approx(1 / 3)
    assert by["name"].confidence == pytest.approx((0.3 * 200 + 0.97 * 100) / 300)
    assert [(row.low, row.high, row.time_ns, row.accuracy) for row in rich.confidence] == [
        (0.0, 0.5, 200, 0.0), (0.95, 1.0, 100, 1.0),
    ]  # fmt: skip
    assert [row.confidence for row in rich.confidence] == pytest.approx([0.3, 0.97])


@pytest.mark.usefixtures("erring")
def test_attention_questions(tmp_path: Path) -> None:
    rich = in_mode(tracekit.validate(work().write(tmp_path / "t.json")), "rich")
    by = {row.question: row for row in rich.attention}
    assert set(by) == {"temporal", "axis", "kind"}
    assert [(row.time_ns, row.right_ns, row.unknown_ns) for row in by.values()] == [
        (200, 0, 0), (200, 0, 0), (200, 0, 200),
    ]  # fmt: skip
    assert by["kind"].accuracy == 0.0


def test_causality_is_held_against_what_the_label_says(tmp_path: Path) -> None:
    b = TraceBuilder()
    for index, source in enumerate(("core:causal", "core:full", "core:masked")):
        at = 1000 * index
        b.annotation(f"tk1|cat|attention|{source}", at, 900)
        inputs = ["", "", "", "", "0.", "True", "", ""]
        dims = [[2, 8, 64, 64]] * 3 + [[]] * 5
        b.op(
            "aten::scaled_dot_product_attention", at + 10, 800,
            **{"Concrete Inputs": inputs, "Input Dims": dims, "Input type": ["c10::BFloat16"] * 3},
        )  # fmt: skip
        b.launched("flash_fwd_kernel", at + 100, 100_000 + at, 100)
    rich = in_mode(tracekit.validate(b.write(tmp_path / "t.json")), "rich")
    (causal,) = [row for row in rich.attention if row.question == "causal"]
    assert (causal.kernels, causal.time_ns, causal.right_ns, causal.unknown_ns) == (2, 200, 100, 0)


@pytest.mark.usefixtures("erring")
def test_several_runs_are_summed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        work(modules=name == "a").write(tmp_path / name / "trace.json.gz")
    result = tracekit.validate(tmp_path)
    assert [run.name for run in result.runs] == ["a", "b"]
    by_mode = {row.mode: row for row in result.overall}
    assert by_mode["rich"].runs == 2
    assert by_mode["no_modules"].runs == 1
    rich = in_mode(result, "rich")
    total = by_mode["rich"].total
    assert (total.kernels, total.time_ns, total.right_ns) == (12, 1960, 1160)
    assert total.accuracy == pytest.approx(rich.accuracy)
    assert by_mode["rich"].mean_accuracy == pytest.approx(580 / 980)
    assert (by_mode["rich"].worst_run, by_mode["rich"].worst_accuracy) == ("a", rich.accuracy)
    assert np.array_equal(np.array(total.matrix), 2 * np.array(rich.matrix))
    assert [(row.time_ns, row.kernels) for row in total.confusions] == [(400, 2), (400, 2)]
    assert total.confusions[0].examples[0].kernels == 2
    assert total.evidence[1].confidence == pytest.approx(rich.evidence[1].confidence)
    assert [row.time_ns for row in total.confidence] == [400, 200]
    assert [row.unknown_ns for row in total.attention] == [0, 0, 400]


# Graphs and compiled models


def graphed(folder: Path) -> Path:
    """A run whose trace replays what its eager pass does under labels."""
    folder.mkdir()
    work(modules=False).write(folder / "eager.json.gz")
    b = TraceBuilder()
    b.launch(0, 1, name="cudaGraphLaunch")
    for index, (_, kernel, _, dur) in enumerate(WORK):
        b.kernel(kernel, 10_000 + 1000 * index, dur, 1)
    b.write(folder / "trace.json.gz")
    return folder


def test_graphs_with_and_without_their_eager_pass(tmp_path: Path) -> None:
    result = tracekit.validate(graphed(tmp_path / "run"))
    (run,) = result.runs
    assert (run.name, run.decidable_ns) == ("run", 980)
    assert [part.mode for part in run.modes] == ["rich", "no_shapes", "kernels_only", "no_eager"]
    rich, alone = in_mode(result, "rich"), in_mode(result, "no_eager")
    assert rich.accuracy == 1.0
    assert [row.evidence for row in rich.evidence] == ["graph"]
    assert {row.evidence for row in alone.evidence} <= {"name", "sequence"}


def test_the_eager_pass_alone_is_no_graph(tmp_path: Path) -> None:
    folder = graphed(tmp_path / "run")
    (folder / "trace.json.gz").unlink()
    (run,) = tracekit.validate(folder).runs
    assert run.path.endswith("eager.json.gz")
    assert "no_eager" not in [part.mode for part in run.modes]


def test_cpu_only_traces(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.annotation("tk1|mod|net.proj|Linear", 0, 100)
    b.op("aten::linear", 0, 60, **{"Input Dims": [[4, 8]]})
    b.op("aten::addmm", 10, 40)
    b.op("aten::cat", 200, 40)
    result = tracekit.validate(b.write(tmp_path / "t.json"))
    (run,) = result.runs
    assert (run.kernels, run.decidable_kernels, run.truth["linear"]) == (2, 1, 40)
    assert "of 80 ns of CPU ops' own time" in render_validation(result, "text")
    assert [(part.mode, part.accuracy) for part in run.modes] == [("rich", 1.0), ("no_shapes", 1.0)]


# What cannot be used


def test_inputs_without_labels(tmp_path: Path) -> None:
    bare = work(labels=False).write(tmp_path / "bare.json")
    with pytest.raises(tracekit.InputError, match=r"bare\.json: holds no tracekit labels: collect"):
        tracekit.validate(bare)
    with pytest.raises(tracekit.InputError, match="no such file"):
        tracekit.validate(tmp_path / "nothing")
    with pytest.raises(tracekit.InputError, match="no input was given"):
        tracekit.validate([])
    result = tracekit.validate([bare, work().write(tmp_path / "labelled.json"), tmp_path / "no"])
    assert [run.name for run in result.runs] == ["labelled.json"]
    assert [Path(row.path).name for row in result.unusable] == ["bare.json", "no"]


def test_recorded_runs_with_labels_on_attention() -> None:
    result = tracekit.validate(RUNS)
    assert [run.name for run in result.runs] == ["make-a-video-h200", "stable-diffusion-h200"]
    for run in result.runs:
        held = {slug for slug, ns in run.truth.items() if ns}
        assert held == {"attention", "temporal_attention"} - (
            set() if "video" in run.name else {"temporal_attention"}
        )
        assert in_mode(result, "rich").accuracy == pytest.approx(1.0, abs=0.005)
    assert 0.05 < (result.runs[1].decidable_share or 0) < 0.2


# Reports


def test_json_follows_the_schema(tmp_path: Path) -> None:
    result = tracekit.validate(
        [RUNS / "make-a-video-h200", work().write(tmp_path / "t.json"), "no"]
    )
    written = json.loads(render_validation(result, "json"))
    Draft202012Validator(read_schema("validation-1")).validate(written)
    assert next(iter(written)) == "schema"
    assert written["schema"] == "tracekit.validation/1"
    assert written["categories"] == list(CATEGORIES)
    assert [run["basis"] for run in written["runs"]] == ["gpu", "gpu"]


def test_json_of_names_that_are_no_text(tmp_path: Path) -> None:
    result = tracekit.validate(work().write(tmp_path / "t.json"))
    odd = replace(result, runs=(replace(result.runs[0], path="\udcff.json"),))
    assert json.loads(render_validation(odd, "json"))["runs"][0]["path"] == "\ufffd.json"


@pytest.mark.usefixtures("erring")
def test_text_and_markdown_golden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    work().write(Path("first.json"))
    work(modules=False).write(Path("second.json"))
    result = tracekit.validate(["first.json", "second.json", "missing.json"])
    golden("validation.txt", render_validation(result, "text", width=100))
    golden("validation.md", render_validation(result, "markdown"))


def test_an_unknown_format(tmp_path: Path) -> None:
    result = tracekit.validate(work().write(tmp_path / "t.json"))
    with pytest.raises(ValueError, match="unknown format 'csv'"):
        render_validation(result, "csv")  # type: ignore[arg-type]
