"""How far a recording is: complete at the end, and silent while something is measured."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from collect_helpers import denoise, options, toy  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402
from tracekit.collectors.progress import Meter, planned_runs  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent


class Log:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.plans: list[int] = []
        self.names: list[str] = []
        self.steps: list[int] = []

    def plan(self, steps: int) -> None:
        self.plans.append(steps)

    def begin(self, what: str) -> None:
        self.names.append(what)

    def advance(self, steps: int) -> None:
        self.steps.append(steps)

    @property
    def told(self) -> int:
        return len(self.plans) + len(self.names) + len(self.steps)


@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({}, 4 * (1 + 2 + 2)),
        ({"passes": ("rich",), "warm_up": 3}, 4 * (3 + 1)),
        ({"passes": ("eager", "timing")}, 4 * (1 + 2 + 1 + 1 + 2)),
        ({"passes": ("eager",)}, 4 * (1 + 2 + 1)),
    ],
)
def test_all_steps_are_told(tmp_path: Path, changes: dict[str, Any], planned: int) -> None:
    log = Log()
    record_workload(toy(), tmp_path, options(listener=log, **changes))
    assert log.plans[0] == planned == sum(log.steps)
    assert log.names[-1].endswith(("pass", "timing 2/2"))


def test_traced_steps_count_for_themselves(tmp_path: Path) -> None:
    log = Log()
    part = toy(run_traced=lambda stage: denoise(stage, 1), traced_stages={"t": 1, "denoise": 1})
    record_workload(part, tmp_path, options(listener=log))
    assert set(log.plans) == {4 * (1 + 2) + 2 * (1 + 3 + 2)} == {sum(log.steps)}


def test_stages_nobody_announced_are_learned_from_the_first_run(tmp_path: Path) -> None:
    log = Log()
    record_workload(toy(stages={}), tmp_path, options(listener=log))
    assert log.plans[0] == 5
    assert log.plans[-1] == 5 * 4 == sum(log.steps)


def test_warm_ups_move_by_step_and_measured_runs_are_silent(tmp_path: Path) -> None:
    log = Log()
    inside: list[tuple[str, int]] = []

    def run(stage: Callable[..., Any]) -> None:
        before = log.told
        denoise(stage)
        inside.append((log.names[-1], log.told - before))

    record_workload(toy(run=run), tmp_path, options(listener=log))
    assert inside == [
        ("warm-up 1/1", 3), ("timing 1/2", 0), ("timing 2/2", 0), ("light pass", 0),
        ("rich pass", 0),
    ]  # fmt: skip


def test_more_steps_than_announced_do_not_count_twice() -> None:
    log = Log()
    meter = Meter(log, (2, 0), {"denoise": 2}, {})
    for _ in range(5):
        meter.step()
    meter.end_run(traced=False)
    meter.end_run(traced=False)
    assert (log.plans, sum(log.steps)) == ([4], 6)


def test_planned_runs() -> None:
    assert planned_runs(("timing", "light", "rich"), 5, 2, traced=False) == (7, 2)
    assert planned_runs(("eager", "timing", "light", "rich"), 5, 2, traced=True) == (7, 11)
    assert planned_runs((), 5, 2, traced=True) == (0, 0)


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_bar_on_a_terminal(tmp_path: Path, no_color: str) -> None:
    """stdout stays clean, the bar is gone in the end, and NO_COLOR is obeyed."""
    mine, theirs = pty.openpty()
    env = {
        **os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "TERM": "xterm", "COLUMNS": "80",
        "NO_COLOR": no_color, "KINETO_LOG_LEVEL": "99",
    }  # fmt: skip
    command = [sys.executable, "-m", "tracekit", "collect", "collect_helpers:build"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--repeats", "2", "-o", "run"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with pytest.raises(OSError):  # noqa: PT012
        while True:
            shown += os.read(mine, 65536)
    out, _ = process.communicate()
    os.close(mine)
    assert process.returncode == 0
    assert out.startswith(b"Recorded timing, light, rich in run")
    text = shown.decode()
    assert "warm-up 2/2" in text
    assert "24/24" in text
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", text)) is not bool(no_color)
    assert text.endswith("\x1b[2K")
