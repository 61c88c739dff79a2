"""The run folders that are shipped: whole, valid, and read as a user reads them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

import tracekit
from tracekit.loading.loader import load_file
from tracekit.schemas import read_schema

RUNS = sorted(path for path in (Path(__file__).parent.parent / "examples/runs").glob("*/"))


def test_there_are_runs_and_they_are_small() -> None:
    assert len(RUNS) == 2
    assert sum(file.stat().st_size for run in RUNS for file in run.iterdir()) < 6_000_000


@pytest.mark.parametrize("run", RUNS, ids=lambda p: p.name)
def test_manifests(run: Path) -> None:
    manifest = json.loads((run / "run.json").read_text())
    jsonschema.validate(manifest, read_schema("run-1"))
    jsonschema.validate(json.loads((run / "timing.json").read_text()), read_schema("timing-1"))
    assert manifest["complete"]
    for file in manifest["files"]:
        data = (run / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size_bytes"], file["sha256"])


@pytest.mark.parametrize("run", RUNS, ids=lambda p: p.name)
def test_passes_hold_the_same_kernels(run: Path) -> None:
    light = load_file(str(run / "kernels.json.gz")).activities
    rich = load_file(str(run / "trace.json.gz")).activities
    assert len(light) == len(rich)
    assert int(rich.dur_ns.sum()) == pytest.approx(int(light.dur_ns.sum()), rel=0.03)


@pytest.mark.parametrize("run", RUNS, ids=lambda p: p.name)
def test_analysis(run: Path) -> None:
    result = tracekit.analyze(run)
    assert result.corrected is not None
    assert result.trace.warnings == ()
    assert result.left_out == ()
    assert all(stage.source == "label" for stage in result.stages if stage.stage)
    steps = {stage.stage: stage.steps for stage in result.stages}
    assert steps["denoise"] == (4 if "diffusion" in run.name else 2)


def test_the_temporal_axis_costs_most_of_video_attention() -> None:
    """As Golden et al. found (arXiv 2312.14385, section on text-to-video models)."""
    (run,) = [run for run in RUNS if "video" in run.name]
    shares = {share.key: share.time_share for share in tracekit.analyze(run).attention.by_axis}
    assert (shares["temporal"] or 0) > 0.5
