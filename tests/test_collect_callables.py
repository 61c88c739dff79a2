"""`module:callable`: what it is given, and what it has no use for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("torch")

from tracekit.cli import run
from tracekit.collectors.targets import load_callable
from tracekit.collectors.workload import ModelOptions
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
import torch
from collect_helpers import denoise, toy
from tracekit.collectors import ModelOptions

SEEN = []

def none():
    SEEN.append(None)

def defaults(scale=1, *rest, **more):
    SEEN.append(scale)

def one(wanted):
    SEEN.append(wanted)

def by_name(*, options: "ModelOptions | None" = None):
    SEEN.append(options)

def second(scale=1, options: ModelOptions | None = None):
    SEEN.append((scale, options))

def two(model, prompt):
    raise AssertionError

def mixed(options: ModelOptions, prompt):
    raise AssertionError

def build(options):
    SEEN.append(options)
    steps = options.steps or 3
    return toy(run=lambda stage: denoise(stage, steps), stages={"denoise": steps})

class Pipe:
    def __call__(self, options):
        SEEN.append(options)

pipe = Pipe()
"""
OPTIONS = ModelOptions(device="cpu", batch=3)


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the callables of the module `mine` were given."""
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    import mine  # type: ignore[import-not-found]

    yield mine.SEEN
    del sys.modules["mine"]


@pytest.mark.parametrize("name", ["one", "pipe", "build", "by_name"])
def test_the_options_are_given_to_who_takes_them(seen: list[Any], name: str) -> None:
    load_callable(f"mine:{name}", OPTIONS, ["--batch"])
    assert seen == [OPTIONS]


def test_the_options_are_found_by_their_annotation(seen: list[Any]) -> None:
    with pytest.raises(UsageError, match="needs the arguments options, prompt"):
        load_callable("mine:mixed", OPTIONS)
    load_callable("mine:second", OPTIONS)
    assert seen == [(1, OPTIONS)]


def test_who_takes_nothing_is_given_nothing(seen: list[Any]) -> None:
    load_callable("mine:none", OPTIONS)
    load_callable("mine:defaults", OPTIONS).run(lambda *_: None)  # type: ignore[arg-type]
    assert seen == [None, 1, 1]
    for name in ("none", "defaults"):
        with pytest.raises(UsageError, match="takes no argument, so --size would have no effect"):
            load_callable(f"mine:{name}", OPTIONS, ["--size", "--tiny"])


def test_who_needs_more_is_refused(seen: list[Any]) -> None:
    with pytest.raises(UsageError, match="needs the arguments model, prompt"):
        load_callable("mine:two", OPTIONS)


def test_options_on_the_command_line(
    seen: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["collect", "-o", "run", "--device", "cpu", "--repeats", "1"]
    assert run([*start, "mine:build", "--steps", "2", "--batch", "4"]) == 0
    assert (seen[0].steps, seen[0].batch, seen[0].dtype) == (2, 4, "float32")
    body = json.loads((tmp_path / "run" / "run.json").read_text())
    assert body["stages"][0]["steps"] == 2
    capsys.readouterr()
    start[2] = "other"
    for options, text in (
        (("mine:none", "--batch", "2"), "takes no argument, so --batch"),
        (("mine:none", "--dtype", "float16"), "takes no argument, so --dtype"),
        (("mine:one", "--trace-steps", "2"), "--trace-steps needs to know the steps"),
    ):
        assert run([*start, *options]) == 2
        assert text in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
