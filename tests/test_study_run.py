"""A study that is run: what is done stays, what fails is tried again, what differs is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from study_builders import FakeRecorder, Told

from tracekit.cli import run as command
from tracekit.cli.progress import case_line
from tracekit.errors import HostError, InputError, OutOfMemoryError, UsageError
from tracekit.study.experiments import AS_STUDIED, OF_MODEL, experiment_cases
from tracekit.study.families import FAMILIES, PAPER, chosen_models
from tracekit.study.folder import read_study
from tracekit.study.measures import timed_again
from tracekit.study.plan import SWEEPS, Plan, chosen_sweeps
from tracekit.study.running import StudyOptions, StudySummary, run_study

SD = ("stable-diffusion",)


def study(path: Path, recorder: FakeRecorder, **changes: Any) -> StudySummary:
    fields: dict[str, Any] = {"models": SD, "sweeps": ("batch",), "scale": "tiny"}
    return run_study(path, StudyOptions(**(fields | changes)), recorder, Told())


def names(path: Path) -> dict[str, str]:
    return {name: entry["status"] for name, entry in read_study(path).cases.items()}


def test_what_is_done_stays_done(tmp_path: Path) -> None:
    path = tmp_path / "study"
    first = FakeRecorder()
    summary = study(path, first)
    assert len(first.seen) == 8
    assert (summary.states, summary.not_begun) == ({"done": 8}, 0)
    again = FakeRecorder()
    assert study(path, again).states == {"done": 8}
    assert again.seen == []
    assert json.loads((path / "study.json").read_text())["schema"] == "tracekit.study/1"


def test_what_failed_is_noted_and_tried_again(tmp_path: Path) -> None:
    failing = FakeRecorder({"stable-diffusion.math": HostError("the disk\nis full")})
    assert study(tmp_path, failing).states == {"done": 7, "failed": 1}
    entry = read_study(tmp_path).cases["stable-diffusion.math"]
    assert (entry["status"], entry["error"]) == ("failed", "the disk is full")
    assert not (tmp_path / "runs" / "stable-diffusion.math").exists()
    again = FakeRecorder()
    assert study(tmp_path, again).states == {"done": 8}
    assert again.seen == ["stable-diffusion.math"]
    assert read_study(tmp_path).cases["stable-diffusion.math"]["error"] is None


def test_an_interruption_keeps_what_was_finished(tmp_path: Path) -> None:
    stopped = FakeRecorder({"stable-diffusion.flash.whole": KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, stopped)
    assert names(tmp_path) == {"stable-diffusion.flash": "done", "stable-diffusion.math": "done"}
    assert not (tmp_path / "runs" / "stable-diffusion.flash.whole").exists()
    again = FakeRecorder()
    study(tmp_path, again)
    assert again.seen[0] == "stable-diffusion.flash.whole"
    assert len(again.seen) == 6


def test_what_does_not_fit_is_not_tried_larger_or_again(tmp_path: Path) -> None:
    error = OutOfMemoryError("out of memory (the passes that were done are in /somewhere)")
    full = FakeRecorder({"image-size.eager.64": error})
    study(tmp_path, full, sweeps=("image-size",))
    found = read_study(tmp_path).cases
    smaller = found["image-size.eager.64"]
    assert (smaller["status"], smaller["error"]) == ("does_not_fit", "out of memory")
    larger = found["image-size.eager.128"]
    assert (larger["status"], larger["error"]) == (
        "does_not_fit",
        "not tried: image-size.eager.64 does not fit already",
    )
    assert "image-size.eager.128" not in full.seen
    assert found["image-size.flash.128"]["status"] == "done"
    again = FakeRecorder()
    study(tmp_path, again, sweeps=("image-size",))
    assert again.seen == []


@pytest.mark.parametrize(("memory_gb", "fits"), [(60, False), (85, True), (None, True)])
def test_attention_that_cannot_be_written_out_is_left_out_with_the_reason(
    tmp_path: Path, memory_gb: int | None, fits: bool
) -> None:
    recorder = FakeRecorder(memory_bytes=None if memory_gb is None else memory_gb * 10**9)
    study(tmp_path, recorder, models=("wan",), sweeps=(), scale="quick")
    assert recorder.seen == (["wan.flash", "wan.eager"] if fits else ["wan.flash"])
    entry = read_study(tmp_path).cases["wan.eager"]
    assert entry["status"] == ("done" if fits else "left_out")
    if not fits:
        assert "take 26 GB and are held twice, beside 15 GB of weights" in entry["error"]
        assert "the GPU has 60 GB" in entry["error"]


def test_what_was_timed_too_rarely_is_timed_again(tmp_path: Path) -> None:
    study(tmp_path, FakeRecorder(), experiments=("variants",))
    again = FakeRecorder({"batch.flash.2": HostError("busy")})
    study(tmp_path, again, experiments=("variants",), repeats=5)
    models = [f"stable-diffusion.{name}" for name in ("flash", "math", "flash.whole", "eager")]
    points = [f"batch.{attention}.{n}" for attention in ("flash", "eager") for n in (1, 2)]
    assert again.timed == [(name, 5) for name in (*models, *points)]
    # What belongs to one sitting is recorded whole.
    assert [name.split(".")[0] for name in again.seen] == ["variant"] * 3
    found = read_study(tmp_path).cases
    assert found["batch.flash.1"]["repeats"] == 5
    assert found["batch.flash.1"]["timed_again"]["created"] == "now"
    failed = found["batch.flash.2"]
    assert (failed["status"], failed["repeats"]) == ("done", 1)
    assert failed["timed_again"] == {"error": "busy"}
    assert case_line(failed) == "not timed again: batch.flash.2: busy"
    line = case_line(found["batch.flash.1"])
    assert re.fullmatch(r"timed again: batch\.flash\.1: 5 repeats, \d+\.\d s", line)
    last = FakeRecorder()
    study(tmp_path, last, experiments=("variants",), repeats=5)
    assert (last.timed, last.seen) == ([("batch.flash.2", 5)], [])


def test_times_of_another_sitting_stay_known_where_timing_once_more_fails(tmp_path: Path) -> None:
    study(tmp_path, FakeRecorder())
    study(tmp_path, FakeRecorder(), repeats=5)
    study(tmp_path, FakeRecorder({"batch.flash.2": HostError("busy")}), repeats=7)
    entry = read_study(tmp_path).cases["batch.flash.2"]
    assert entry["repeats"] == 5
    assert (entry["timed_again"]["created"], entry["timed_again"]["error"]) == ("now", "busy")
    assert [one.repeats for one in timed_again([entry])] == [5]


@pytest.mark.parametrize("error", [HostError("busy"), KeyboardInterrupt()])
def test_what_was_recorded_stays_where_recording_it_again_fails(
    tmp_path: Path, error: BaseException
) -> None:
    study(tmp_path, FakeRecorder(), experiments=("variants",))
    name = next(one for one in read_study(tmp_path).cases if one.startswith("variant."))
    kept = read_study(tmp_path).runs(name) / "kept"
    kept.write_text("")
    failing = FakeRecorder({name: error})
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path, failing, experiments=("variants",), repeats=5)
    else:
        study(tmp_path, failing, experiments=("variants",), repeats=5)
        entry = read_study(tmp_path).cases[name]
        assert (entry["status"], entry["repeats"]) == ("done", 1)
        assert case_line(entry) == f"not timed again: {name}: busy"
    assert kept.exists()
    assert not kept.parent.with_name(f"{name}.before").exists()
    study(tmp_path, FakeRecorder(), experiments=("variants",), repeats=5)
    assert read_study(tmp_path).cases[name]["repeats"] == 5
    assert not kept.exists()


def test_experiments_are_of_the_models_that_are_studied(tmp_path: Path) -> None:
    recorder = FakeRecorder()
    study(tmp_path, recorder, sweeps=(), scale="quick", experiments=("variants", "graphs"))
    assert len([name for name in recorder.seen if name.startswith("variant.stable-")]) == 10
    assert recorder.seen[-2:] == ["graph.stable-diffusion.flash", "graph.stable-diffusion.eager"]
    assert len(set(recorder.seen)) == len(recorder.seen)
    assert read_study(tmp_path).options["experiments"] == ["variants", "graphs"]


def test_every_variant_differs_in_something_that_is_known() -> None:
    from tracekit.collectors.variants import SETTINGS

    for model, variants in OF_MODEL.items():
        assert variants[0].name == AS_STUDIED
        assert len({one.name for one in variants}) == len(variants)
        for one in variants[1:]:
            assert one.options or one.settings or one.dtype or one.compiles
            assert set(one.settings) <= set(SETTINGS)
        cases = experiment_cases(["variants"], [model], "full")
        assert len({case.name for case in cases}) == len(variants)


@pytest.mark.parametrize(
    "changes", [{"scale": "quick"}, {"device": "cpu"}, {"dtype": "float32"}, {"seed": 1}]
)
def test_other_options_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    study(tmp_path, FakeRecorder())
    with pytest.raises(UsageError, match=r"was begun with --.*give the same, or another folder"):
        study(tmp_path, FakeRecorder(), **changes)


def test_another_gpu_is_refused(tmp_path: Path) -> None:
    study(tmp_path, FakeRecorder())
    with pytest.raises(UsageError, match="measured with GPU H100, and here it is A100"):
        study(tmp_path, FakeRecorder(gpu="A100"))


def test_models_may_be_added(tmp_path: Path) -> None:
    study(tmp_path, FakeRecorder(), sweeps=())
    added = FakeRecorder()
    study(tmp_path, added, models=("phenaki",), sweeps=())
    assert added.seen == ["phenaki.flash", "phenaki.eager"]
    assert read_study(tmp_path).options["models"] == ["stable-diffusion", "phenaki"]
    assert len(names(tmp_path)) == 6


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="is not empty and holds no study"):
        study(tmp_path, FakeRecorder())
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(InputError, match="is broken"):
        study(tmp_path, FakeRecorder())
    (tmp_path / "study.json").write_text('{"schema": "tracekit.study/9"}')
    with pytest.raises(InputError, match=r"tracekit\.study/9"):
        study(tmp_path, FakeRecorder())


def test_nothing_is_begun_after_the_minutes(tmp_path: Path) -> None:
    summary = study(tmp_path, FakeRecorder(), minutes=-1.0)
    assert (summary.states, summary.not_begun) == ({}, 8)


def test_the_listener_is_told_of_each_case(tmp_path: Path) -> None:
    told = Told()
    options = StudyOptions(models=("phenaki",), sweeps=(), scale="tiny")
    run_study(tmp_path, options, FakeRecorder(), told)
    assert told.begun == [("phenaki.flash", 1, 2), ("phenaki.eager", 2, 2)]
    assert told.ended == [("phenaki.flash", "done"), ("phenaki.eager", "done")]


def test_an_interrupted_command_exits_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = FakeRecorder({"phenaki.eager": KeyboardInterrupt()})
    monkeypatch.setattr("tracekit.study.recorder.CaseRecorder.environment", stopped.environment)
    monkeypatch.setattr(
        "tracekit.study.recorder.CaseRecorder.__call__",
        lambda _self, case, folder, listener: stopped(case, folder, listener),
    )
    code = command(["study", "run", "-o", str(tmp_path), "--models=phenaki", "--tiny"])
    assert code == 130
    assert names(tmp_path) == {"phenaki.flash": "done"}
    assert capsys.readouterr().out.startswith("done: phenaki.flash (")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--models=lama"], "did you mean llama?"),
        (["--sweeps=size"], "known are image-size"),
        (["--experiments=layout"], "known are variants, graphs, none"),
        (["--models=pixart", "--sweeps=none", "--experiments=graphs"], "add one to --models"),
        (["--models=llama", "--sweeps=frames"], "varies make-a-video; add it to --models"),
        (["--quick", "--tiny"], "give one of them"),
    ],
)
def test_wrong_options(
    tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["study", "run", "-o", str(tmp_path / "s"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_names_of_models_and_groups() -> None:
    assert chosen_models(["paper"]) == tuple(PAPER)
    assert chosen_models(["flux", "llama", "flux"]) == ("llama", "flux")
    assert len(chosen_models(["all"])) == 18


def test_the_families_are_the_models_that_collect_knows() -> None:
    from tracekit.collectors.models import MODELS

    assert list(FAMILIES) == list(MODELS)


def test_cases_of_one_model_and_attention_stand_together() -> None:
    cases = Plan("quick", tuple(PAPER), tuple(SWEEPS)).cases()
    assert len({case.name for case in cases}) == len(cases)
    runs = [(case.sweep, case.model, case.attention == "eager") for case in cases]
    changes = [now for now, before in zip(runs, [None, *runs[:-1]], strict=True) if now != before]
    assert len(changes) == len(set(changes))
    assert chosen_sweeps(["none"], PAPER) == ()
    assert chosen_sweeps([], ["llama"]) == ("prompt", "output")
