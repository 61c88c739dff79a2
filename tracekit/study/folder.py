"""The folder of a study: its manifest, `study.json`, and its run folders below `runs`.

The manifest is written whole after each case, so that a study which was stopped goes on where it
was: what is done stays done, what failed is tried again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tracekit.errors import HostError, InputError, UsageError
from tracekit.output import whole_file

STUDY: Final = "study.json"
SCHEMA: Final = "tracekit.study/1"
RUNS: Final = "runs"
DONE, FAILED, DOES_NOT_FIT, LEFT_OUT = "done", "failed", "does_not_fit", "left_out"
SETTLED: Final = (DONE, DOES_NOT_FIT, LEFT_OUT)
"""States that another call leaves as they are."""
_FIXED: Final = {
    "scale": "--{0}",
    "device": "--device {0}",
    "dtype": "--dtype {0}",
    "seed": "--seed {0}",
}
"""Options that all of a study has in common, and how they are given."""
_MOST_BYTES: Final = 64 * 2**20


@dataclass(slots=True)
class StudyFolder:
    """A study's folder and what its manifest says.

    `options` are those of the whole study, `environment` machine and versions (null until the first
    case runs), `cases` what came of each, by name.
    """

    path: Path
    options: dict[str, Any]
    environment: dict[str, Any] | None = None
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)

    def runs(self, name: str) -> Path:
        """Return the run folder of a case."""
        return self.path / RUNS / name

    def is_settled(self, name: str) -> bool:
        """Say whether nothing is to be done for a case any more."""
        return self.cases.get(name, {}).get("status") in SETTLED

    def is_timed_too_rarely(self, name: str, repeats: int) -> bool:
        """Say whether a case was recorded, with fewer repeats than are wanted."""
        entry = self.cases.get(name, {})
        return entry.get("status") == DONE and int(entry.get("repeats") or 0) < repeats

    def save(self) -> None:
        """Write the manifest whole.

        Raises
        ------
        HostError
            The folder cannot be written.
        """
        body = {
            "schema": SCHEMA,
            "options": self.options,
            "environment": self.environment,
            "cases": list(self.cases.values()),
        }
        with whole_file(self.path / STUDY, force=True) as temporary:
            temporary.write_text(json.dumps(body, indent=1, default=str) + "\n", encoding="utf-8")


def read_study(path: Path) -> StudyFolder:
    """Return a study that was begun.

    Raises
    ------
    InputError
        The folder holds none, or its manifest is broken.
    """
    file = path / STUDY
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: holds no {STUDY}; give the folder that tracekit study run has written"
        ) from error
    try:
        body = json.loads(data[:_MOST_BYTES])
        if body["schema"] != SCHEMA:
            raise InputError(f"{file}: is {body['schema']}, and this version reads {SCHEMA}")
        cases = {case["name"]: case for case in body["cases"]}
        return StudyFolder(path, dict(body["options"]), body["environment"], cases)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is broken ({' '.join(str(error).split())})") from error


def open_study(path: Path, options: Mapping[str, Any]) -> StudyFolder:
    """Return the study of a folder: the one that was begun there, or a new one.

    Models, sweeps and experiments may be added to a study; everything else is fixed when it begins.

    Raises
    ------
    UsageError
        The folder holds something else, or a study that was begun with other options.
    HostError
        The folder cannot be made or written.
    """
    if (path / STUDY).exists():
        study = read_study(path)
        _refuse_others(study, options)
        for name in ("models", "sweeps", "experiments"):
            both = (*study.options.get(name, ()), *options[name])
            study.options[name] = list(dict.fromkeys(both))
        return study
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(f"{path}: is not empty and holds no study; give another folder")
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise HostError(f"{path}: cannot be written ({reason}); choose another place") from error
    study = StudyFolder(path, dict(options))
    study.save()
    return study


def _refuse_others(study: StudyFolder, options: Mapping[str, Any]) -> None:
    for name, flag in _FIXED.items():
        before, now = study.options.get(name), options[name]
        if before != now:
            raise UsageError(
                f"{study.path}: was begun with {flag.format(before)}, not {flag.format(now)}; "
                "give the same, or another folder"
            )


def refuse_other_machine(study: StudyFolder, environment: Mapping[str, Any]) -> None:
    """Raise where a study goes on with another GPU, or another version of PyTorch.

    Raises
    ------
    UsageError
        They differ from those that it was begun with.
    """
    if study.environment is None:
        return
    for what, before, now in (
        ("GPU", _gpu(study.environment), _gpu(environment)),
        ("torch", _torch(study.environment), _torch(environment)),
    ):
        if before != now:
            raise UsageError(
                f"{study.path}: was measured with {what} {before}, and here it is {now}; "
                "times of both do not belong together: give another folder"
            )


def _gpu(environment: Mapping[str, Any]) -> str | None:
    devices = environment.get("devices") or [{}]
    name = devices[0].get("name")
    return None if name is None else str(name)


def _torch(environment: Mapping[str, Any]) -> str | None:
    found = (environment.get("versions") or {}).get("torch")
    return None if found is None else str(found)
