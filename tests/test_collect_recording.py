"""`tracekit.record`, the trace handler and the decorator, also when they are disabled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

torch = pytest.importorskip("torch")

import tracekit  # noqa: E402
from collect_helpers import MODEL, TEXT, TOKENS, WIDTH, manifest_of, names_in  # noqa: E402
from tracekit.collectors import trace_handler, traced_step  # noqa: E402
from tracekit.errors import OutputExistsError, UsageError  # noqa: E402
from tracekit.schemas import read_schema  # noqa: E402

if TYPE_CHECKING:
    from tracekit.collectors import Recording

ROOT = Path(__file__).parent.parent
RUN = Draft202012Validator(read_schema("run-1"))
TIMING = Draft202012Validator(read_schema("timing-1"))


def loop(recording: Recording, steps: int = 2) -> None:
    x, text = torch.randn(1, TOKENS, WIDTH), torch.randn(1, TEXT, WIDTH)
    with torch.no_grad():
        for step in range(steps):
            with recording.stage("denoise", step=step):
                x = MODEL(x, text)


def test_a_loop_of_ones_own_is_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with tracekit.record(folder, modules={"net": MODEL}) as recording:
        loop(recording)
    body = manifest_of(folder)
    RUN.validate(body)
    assert body["complete"] is True
    assert body["stages"] == [{"stage": "denoise", "steps": 2, "traced_steps": 2}]
    assert [entry["pass"] for entry in body["passes"]] == ["rich"]
    assert body["passes"][0]["attention_modules"] == 4
    found = [name for name in names_in(folder) if name.startswith("tk1|")]
    assert found.count("tk1|attn|net.blocks.1.attn2|cross|sequence|16|7|4") == 2
    assert "tk1|stage|denoise|1" in found
    assert not any(module._forward_hooks for module in MODEL.modules())
    result = tracekit.analyze(str(folder))
    assert ("denoise", 2) in [(row.stage, row.traced_steps) for row in result.stages]


def test_what_is_measured_is_timed_and_recorded_light(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with tracekit.record(str(folder)) as recording:
        loop(recording)
        recording.measure(lambda: loop(recording), repeats=3)
    body = manifest_of(folder)
    RUN.validate(body)
    assert [entry["pass"] for entry in body["passes"]] == ["rich", "timing", "light"]
    assert (body["complete"], body["missing"]) == (True, [])
    timing = json.loads((folder / "timing.json").read_text())
    TIMING.validate(timing)
    assert len(timing["repeats"]) == 3
    assert timing["stages"][0]["steps"] == 2
    assert body["passes"][0]["dilation"] == pytest.approx(
        body["passes"][0]["wall_ms"] / timing["median_wall_ms"], rel=1e-3
    )


def test_what_raises_is_passed_on_and_noted(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), tracekit.record(folder, {"net": MODEL}) as recording:  # noqa: PT012
        loop(recording, 1)
        _ = 1 / 0
    body = manifest_of(folder)
    RUN.validate(body)
    assert (body["complete"], body["errors"][0]["error"]) == (False, "ZeroDivisionError")
    assert "tk1|stage|denoise|0" in names_in(folder)
    with tracekit.record(folder, force=True) as recording:
        loop(recording, 1)
    assert manifest_of(folder)["complete"] is True


def test_a_folder_in_use_and_a_second_recording_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(OutputExistsError), tracekit.record(tmp_path):
        pass
    with tracekit.record(tmp_path / "a") as recording:
        with pytest.raises(UsageError, match="still being recorded"), tracekit.record("b"):
            pass
        loop(recording, 1)
    assert manifest_of(tmp_path / "a")["complete"] is True


def test_ranks_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with tracekit.record(tmp_path) as recording:
        loop(recording, 1)
    assert manifest_of(tmp_path / "rank1")["rank"] == 1


def test_a_profiler_of_ones_own(tmp_path: Path) -> None:
    step = traced_step("denoise")(lambda: torch.ones(3).sum())
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU],
        schedule=torch.profiler.schedule(wait=0, warmup=1, active=1, repeat=2),
        on_trace_ready=trace_handler(tmp_path / "run"),
        acc_events=True,
    ) as profiler:
        for _ in range(4):
            step()
            profiler.step()
    for folder in (tmp_path / "run", tmp_path / "run-2"):
        RUN.validate(manifest_of(folder))
        assert any(name.startswith("tk1|stage|denoise|") for name in names_in(folder))


def test_decorated_functions_are_steps_of_the_recording(tmp_path: Path) -> None:
    @traced_step("decode")
    def step(value: int, *, more: int = 0) -> int:
        """Add."""
        return int(torch.tensor(value + more).sum())

    assert step(1, more=2) == 3
    assert (step.__name__, step.__doc__) == ("step", "Add.")
    with tracekit.record(tmp_path / "run"):
        assert [step(1), step(2), step(3)] == [1, 2, 3]
    names = [name for name in names_in(tmp_path / "run") if name.startswith("tk1|stage|decode")]
    assert sorted(names) == [f"tk1|stage|decode|{number}" for number in range(3)]
    with tracekit.record(tmp_path / "again"):
        step(1)
    assert "tk1|stage|decode|0" in names_in(tmp_path / "again")


DISABLED = """
import sys
sys.modules["torch"] = None  # an import of torch fails
import tracekit
from tracekit.collectors import trace_handler, traced_step
@traced_step("a", enabled={enabled})
def step(x):
    return x
with tracekit.record("run", modules={{}}, enabled={enabled}) as r:
    with r.stage("denoise", step=1):
        assert step(5) == 5
    r.measure(lambda: 1 / 0)
trace_handler("run", enabled={enabled})(None)
assert not [name for name in sys.modules if "profil" in name.lower()], sys.modules
import os
assert not os.path.exists("run")
print("fine")
"""


@pytest.mark.parametrize(("enabled", "disable"), [(False, ""), (True, "1")])
def test_disabled_is_a_no_op_that_imports_no_profiler(
    tmp_path: Path, enabled: bool, disable: str
) -> None:
    env: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT), "TRACEKIT_DISABLE": disable}
    done = subprocess.run(
        [sys.executable, "-c", DISABLED.format(enabled=enabled)],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


def test_a_disabled_decorator_is_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert traced_step("a", enabled=False)(denoise_once) is denoise_once
    monkeypatch.setenv("TRACEKIT_DISABLE", "1")
    assert traced_step("a")(denoise_once) is denoise_once
    monkeypatch.setenv("TRACEKIT_DISABLE", "0")
    assert traced_step("a")(denoise_once) is not denoise_once


def denoise_once() -> None:
    pass
