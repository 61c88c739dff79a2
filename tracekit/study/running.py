"""Runs a study: every case that is not settled, one after the other, in one process.

A fresh process for each case would pay for the import of PyTorch and the start of CUDA again, on a
slow host ten seconds and more. What a case leaves on the GPU is given back before the next one.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tracekit.errors import OutOfMemoryError, TracekitError
from tracekit.study.families import PAPER
from tracekit.study.folder import (
    DOES_NOT_FIT,
    DONE,
    FAILED,
    LEFT_OUT,
    StudyFolder,
    open_study,
    refuse_other_machine,
)
from tracekit.study.plan import Case, Plan, Scale, sweeps_of

if TYPE_CHECKING:
    from tracekit.collectors.progress import Listener


class Recorder(Protocol):
    """What records a case."""

    def environment(self) -> dict[str, Any]:
        """Return versions, host and devices; raise where nothing can be recorded here."""
        ...

    def __call__(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        """Record a case into a folder, and return what the manifest says of it."""
        ...

    def time_again(self, case: Case, folder: Path, listener: Listener) -> dict[str, Any]:
        """Take the times of a case that is recorded anew, and return what the manifest says."""
        ...

    def release(self) -> None:
        """Give back what the last case held."""
        ...


class StudyListener(Protocol):
    """Is told how far a study is."""

    def begin_case(self, name: str, number: int, total: int) -> Listener:
        """Take the case that starts now, its number from 1; return who is told how far it is."""
        ...

    def end_case(self, entry: dict[str, Any]) -> None:
        """Take what the manifest says of a case that has ended."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOptions:
    """What a study measures and how.

    `sweeps` null is those of the models. `minutes` is how long cases are begun, null without end.
    `repeats` is how often each is timed at least, null as the scale says; what is done with fewer
    is timed again.
    """

    models: tuple[str, ...] = tuple(PAPER)
    scale: Scale = "full"
    sweeps: tuple[str, ...] | None = None
    device: str = "cuda"
    dtype: str = "bfloat16"
    seed: int = 0
    minutes: float | None = None
    experiments: tuple[str, ...] = ()
    repeats: int | None = None


@dataclass(frozen=True, slots=True)
class StudySummary:
    """How many cases are in which state after a call, and how many were not begun."""

    folder: Path
    states: dict[str, int]
    not_begun: int
    took_s: float


def run_study(
    path: Path, options: StudyOptions, recorder: Recorder, listener: StudyListener
) -> StudySummary:
    """Record everything of a study that is not settled; what fails is noted, and the rest goes on.

    When it is interrupted, what was finished is kept, and the manifest says so.

    Raises
    ------
    UsageError
        The folder holds another study, or something else.
    HostError
        The folder cannot be written, or the device is not there.
    """
    started = time.monotonic()
    environment = recorder.environment()
    sweeps = sweeps_of(options.models) if options.sweeps is None else options.sweeps
    study = open_study(path, _fixed(options, sweeps))
    refuse_other_machine(study, environment)
    study.environment = study.environment or environment
    study.save()
    cases = Plan(
        options.scale,
        options.models,
        sweeps,
        options.experiments,
        options.repeats,
        (environment.get("devices") or [{}])[0].get("memory_bytes"),
    ).cases()
    for number, case in enumerate(cases, 1):
        is_settled = study.is_settled(case.name)
        if is_settled and not study.is_timed_too_rarely(case.name, case.repeats):
            continue
        if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
            break
        told = listener.begin_case(case.name, number, len(cases))
        # Experiments are of one sitting: those are recorded anew.
        again = _again if case.variant is None and not case.is_graphed else _anew
        listener.end_case((again if is_settled else _one)(study, case, recorder, told))
    recorder.release()
    return _summary(study, cases, time.monotonic() - started)


def _fixed(options: StudyOptions, sweeps: tuple[str, ...]) -> dict[str, Any]:
    return {
        "models": list(options.models),
        "sweeps": list(sweeps),
        "experiments": list(options.experiments),
        "scale": options.scale,
        "device": options.device,
        "dtype": options.dtype,
        "seed": options.seed,
    }


def _one(study: StudyFolder, case: Case, recorder: Recorder, listener: Listener) -> dict[str, Any]:
    """Record a case, and write into the manifest what came of it."""
    entry = _entry(case)
    found: dict[str, Any]
    folder = study.runs(case.name)
    started = time.monotonic()
    if case.left_out is not None:
        return _settle(study, entry | {"status": LEFT_OUT, "error": case.left_out})
    if (smaller := _smaller_that_did_not_fit(study, case)) is not None:
        found = {"status": DOES_NOT_FIT, "error": f"not tried: {smaller} does not fit already"}
        return _settle(study, entry | found)
    try:
        facts = recorder(case, folder, listener)
    except OutOfMemoryError as error:
        found = {"status": DOES_NOT_FIT, "error": without_place(_line(error))}
        shutil.rmtree(folder, ignore_errors=True)
    except TracekitError as error:
        found = {"status": FAILED, "error": _line(error)}
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        # Half a run is none; the manifest has what was finished.
        shutil.rmtree(folder, ignore_errors=True)
        raise
    else:
        found = {"status": DONE, "error": None, **facts}
    return _settle(study, entry | found | {"took_s": round(time.monotonic() - started, 1)})


def _again(
    study: StudyFolder, case: Case, recorder: Recorder, listener: Listener
) -> dict[str, Any]:
    """Time a case again that was timed too rarely; where that fails its first times stay."""
    entry = study.cases[case.name]
    started = time.monotonic()
    try:
        facts = recorder.time_again(case, study.runs(case.name), listener)
    except TracekitError as error:
        # Where an earlier sitting was timed again, its times are still those in the folder.
        earlier = entry.get("timed_again") or {}
        found: dict[str, Any] = {"timed_again": {**earlier, "error": without_place(_line(error))}}
    else:
        took_s = round(time.monotonic() - started, 1)
        found = {"repeats": case.repeats, "timed_again": {**facts, "error": None, "took_s": took_s}}
    return _settle(study, entry | found)


def _anew(study: StudyFolder, case: Case, recorder: Recorder, listener: Listener) -> dict[str, Any]:
    """Record a case again that was timed too rarely; where that fails what was recorded stays."""
    before, folder = study.cases[case.name], study.runs(case.name)
    if not folder.is_dir():
        return _one(study, case, recorder, listener)
    aside = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        entry = _one(study, case, recorder, listener)
    except BaseException:
        _put_back(aside, folder)
        raise
    if entry["status"] == DONE:
        shutil.rmtree(aside, ignore_errors=True)
        return entry
    _put_back(aside, folder)
    return _settle(study, before | {"timed_again": {"error": entry["error"]}})


def _put_back(aside: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _smaller_that_did_not_fit(study: StudyFolder, case: Case) -> str | None:
    """Return the point of the same sweep that is smaller and did not fit, null where none is."""
    for other in study.cases.values():
        if other["status"] != DOES_NOT_FIT or case.sweep is None or case.value is None:
            continue
        same = (other["sweep"], other["attention"]) == (case.sweep, case.attention)
        if same and other["value"] < case.value:
            return str(other["name"])
    return None


def _settle(study: StudyFolder, entry: dict[str, Any]) -> dict[str, Any]:
    study.cases[entry["name"]] = entry
    study.save()
    return entry


def _entry(case: Case) -> dict[str, Any]:
    return {
        "name": case.name,
        "model": case.model,
        "attention": case.attention,
        "options": dict(case.options),
        "repeats": case.repeats,
        "is_whole": case.is_whole,
        "sweep": case.sweep,
        "variable": case.variable,
        "value": case.value,
        "variant": case.variant,
        "settings": list(case.settings),
        "dtype": case.dtype,
        "is_graphed": case.is_graphed,
        "folder": f"runs/{case.name}",
    }


def _summary(study: StudyFolder, cases: tuple[Case, ...], took_s: float) -> StudySummary:
    states: dict[str, int] = {}
    begun = 0
    for case in cases:
        status = study.cases.get(case.name, {}).get("status")
        if status is not None:
            states[status] = states.get(status, 0) + 1
            begun += 1
    return StudySummary(study.path, states, len(cases) - begun, took_s)


def without_place(text: str) -> str:
    """Return what an error says without where it left what was done: that is removed."""
    return text.partition(" (the passes that were done")[0]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
