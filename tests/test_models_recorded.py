"""Every model by name, recorded tiny on a CPU and analyzed, against what its definition says."""

from __future__ import annotations

import json
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import tracekit
from benchmarks.stages import GOAL, agreement
from tracekit.collectors.models import MODELS, load_builder
from tracekit.collectors.passes import RecordOptions, record_workload
from tracekit.collectors.workload import ModelOptions, Workload

torch = pytest.importorskip("torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")
    for _module in MODELS.values():
        import_module(_module)

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]

_PASSES = ("timing", "rich")


@cache
def recorded(model: str) -> tuple[Workload, Path, dict[str, Any]]:
    """A run folder of a model, tiny, recorded once."""
    options = ModelOptions(device="cpu", dtype="float32", tiny=True)
    workload = load_builder(model)(options)
    folder = Path(mkdtemp(prefix="tracekit-test-")) / model
    how = RecordOptions(device="cpu", dtype="float32", passes=_PASSES, repeats=1, warm_up=1)
    record_workload(workload, folder, how)
    return workload, folder, json.loads((folder / "run.json").read_text())


@cache
def table(model: str) -> Any:
    """The kernel table of the run, in columns."""
    return tracekit.kernels(str(recorded(model)[1])).to_arrow()


@pytest.mark.parametrize("model", MODELS)
def test_stages_found_without_labels_agree_with_them(model: str) -> None:
    found = agreement(recorded(model)[1] / "trace.json.gz")
    assert found is not None
    values = {what: value for what, value in found.index.items() if value is not None}
    assert {"labels", "shapes"} <= set(values)
    assert min(values.values()) >= GOAL, values


@pytest.mark.parametrize("model", MODELS)
def test_the_stages_and_steps_are_those_of_the_definition(model: str) -> None:
    workload, folder, manifest = recorded(model)
    definition = import_module(MODELS[model])
    assert manifest["complete"] is True
    told = {stage["stage"]: stage for stage in manifest["stages"]}
    assert tuple(told) == definition.STAGES
    analysis = tracekit.analyze(str(folder))
    assert isinstance(analysis, tracekit.Analysis)
    found = {row.stage: row for row in analysis.stages if row.stage is not None}
    assert tuple(found) == definition.STAGES
    for name, row in found.items():
        assert row.source == "label"
        assert row.steps == told[name]["steps"], name
        if workload.stages:
            assert row.steps == workload.stages[name], name


@pytest.mark.parametrize("model", MODELS)
def test_the_attention_is_of_the_kinds_and_axes_of_the_definition(model: str) -> None:
    columns = table(model).select(["module", "attention_kind", "attention_axis"]).to_pydict()
    found: dict[str, set[tuple[str, str]]] = {}
    for module, kind, axis in zip(*columns.values(), strict=True):
        if kind is not None or axis is not None:
            found.setdefault(str(module).partition(".")[0], set()).add((kind, axis))
    assert found == import_module(MODELS[model]).ATTENTION


@pytest.mark.parametrize("model", MODELS)
def test_nothing_runs_outside_of_stages_but_a_little(model: str) -> None:
    stages = table(model).column("stage").to_pylist()
    # Counted, not timed: on a busy machine any op may take long.
    assert stages.count(None) <= 0.1 * len(stages)
