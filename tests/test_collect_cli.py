"""`tracekit collect`: what it prints, its exit codes, and what a kill leaves behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tracekit.cli import run
from tracekit.collectors.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parent
TOY = "collect_helpers:build"


@pytest.fixture
def collect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """A function that runs `tracekit collect` in an empty folder: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KINETO_LOG_LEVEL", "99")
    monkeypatch.setenv("TORCH_CPP_LOG_LEVEL", "ERROR")

    def call(*args: str) -> tuple[int, str, str]:
        code = run(["collect", *args])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def without(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    for name in list(sys.modules):
        if name.startswith("tracekit.collectors.models."):
            monkeypatch.delitem(sys.modules, name)
    for name in libraries:
        monkeypatch.setitem(sys.modules, name, None)


def test_wrong_usage(collect: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for args, text in (
        ((), "give one model"),
        (("llama",), "give the run folder"),
        (("a", "b", "-o", "run"), "give one model"),
        (("llama", "-o", "run", "--passes", "all"), "give some of timing,light,rich,eager"),
        (("lama", "-o", "run"), "did you mean llama?"),
        (("llama", "-o", "run", "--steps", "0"), "--steps"),
    ):
        code, out, err = collect(*args)
        assert (code, out) == (2, ""), args
        assert text in err
    assert not list(tmp_path.iterdir())


def test_models_are_listed_without_torch(
    collect: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, "torch", "diffusers", "transformers")
    code, out, err = collect("--list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == list(MODELS)


def test_presets_are_listed_with_what_is_assumed(
    collect: Callable[..., tuple[int, str, str]],
) -> None:
    pytest.importorskip("diffusers")
    code, out, _ = collect("--list", "--verbose")
    assert code == 0
    assert "    --preset 2-7b: LLaMA 2 7B, 6.74 B parameters, the default\n" in out
    assert "        assumed: inputs.prompt_tokens, inputs.new_tokens\n" in out
    assert max(map(len, out.splitlines())) <= 100


def test_verbose_goes_with_list(collect: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = collect("llama", "-o", "run", "--verbose")
    assert code == 2
    assert "--verbose: goes with --list" in err


@pytest.mark.parametrize("target", ["llama", TOY])
def test_without_torch_the_extra_is_named(
    collect: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    without(monkeypatch, "torch")
    code, out, err = collect(target, "-o", "run", "--device", "cpu")
    assert (code, out) == (4, "")
    assert "torch" in err
    assert "pip install 'gpu-tracekit[collect]'" in err
    assert err.count("\n") == 1


def test_without_diffusers_the_extra_is_named(
    collect: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    without(monkeypatch, "diffusers")
    code, _, err = collect("stable-diffusion", "-o", "run", "--device", "cpu")
    assert code == 4
    assert "diffusers" in err
    assert "gpu-tracekit[collect]" in err


def test_without_a_gpu_the_way_out_is_named(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code, out, err = collect(TOY, "-o", "run")
    assert (code, out) == (5, "")
    assert "--device cpu --tiny" in err
    assert err.count("\n") == 1
    assert collect(TOY, "-o", "run", "--device", "tpu")[0] == 5
    assert not list(tmp_path.iterdir())


def test_three_lines_at_the_end(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    code, out, err = collect(TOY, "-o", "my run", "--device", "cpu", "--repeats", "2")
    assert (code, err) == (0, "")
    where, took, command = out.splitlines()
    assert where.startswith("Recorded timing, light, rich in my run (")
    assert took.startswith("Took ")
    assert "rich " in took
    assert command == "Next: tracekit analyze 'my run'"
    code, out, err = collect(TOY, "-o", "my run", "--device", "cpu")
    assert (code, out) == (2, "")
    assert "--force" in err


def test_any_callable_is_recorded_with_the_modules_it_uses(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    code, _, err = collect("collect_helpers:plain", "-o", "run", "--device", "cpu", "--seed", "3")
    assert (code, err) == (0, "")
    body = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (body["model"]["name"], body["seed"]) == ("collect_helpers:plain", 3)
    assert body["passes"][2]["attention_modules"] == 4
    assert (body["stages"], body["dtype"]) == ([], "float32")


@pytest.mark.parametrize(
    ("target", "code", "text"),
    [
        ("collect_helpers:failing", 3, "raised ValueError: the weights are missing"),
        ("collect_helpers:nothing", 2, "has no nothing"),
        ("collect_helpers:WIDTH", 2, "cannot be called"),
        ("no_such_module:run", 2, "there is no module no_such_module"),
        ("broken_module:run", 3, "raised ZeroDivisionError"),
        ("needs_more:run", 4, "needs no_such_library"),
    ],
)
def test_callables_that_cannot_be_run(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path, target: str, code: int, text: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    (tmp_path / "needs_more.py").write_text("import no_such_library\n")
    found, out, err = collect(target, "-o", "run", "--device", "cpu")
    assert (found, out) == (code, "")
    assert text in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_an_unwritable_place(collect: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "file").write_text("")
    code, _, err = collect(TOY, "-o", "file/run", "--device", "cpu")
    assert code == 5
    assert "cannot be written" in err


SCRIPT = """
import sys, torch
from beside import VALUE
assert __name__ == "__main__"
with torch.no_grad():
    torch.nn.Linear(4, 4)(torch.ones(1, 4))
print(sys.argv[1:], VALUE)
"""


@pytest.mark.parametrize(
    ("end", "code", "shown"),
    [
        ("", 0, ""),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('no prompt')", 1, "no prompt\n"),
        ("raise ValueError('mine')", 1, "ValueError: mine\n"),
    ],
)
def test_a_script_runs_and_its_exit_code_passes_through(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path, end: str, code: int, shown: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "beside.py").write_text("VALUE = 3\n")
    (tmp_path / "sub" / "script.py").write_text(SCRIPT + end)
    argv, path = sys.argv, list(sys.path)
    found, out, err = collect("-o", "run", "--", "python", "sub/script.py", "--steps", "2")
    assert (found, out) == (code, "['--steps', '2'] 3\n")
    assert shown in err
    assert "tracekit/collectors" not in err.replace("\\", "/")
    assert err.endswith("Next: tracekit analyze run\n")
    assert (sys.argv, sys.path) == (argv, path)
    body = json.loads((tmp_path / "run" / "run.json").read_text())
    assert body["complete"] is not shown.startswith("ValueError")
    assert body["passes"][0]["ops"] > 0
    assert sys.modules.pop("beside", None) is not None


def test_a_script_may_go_to_another_directory(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "sub").mkdir()
    (tmp_path / "s.py").write_text("import os, torch\nos.chdir('sub')\ntorch.ones(2).sum()\n")
    assert collect("-o", "run", "--", "python", "s.py")[0] == 0
    # The script runs a second time to be counted: from where it began.
    assert Path.cwd() == tmp_path
    assert json.loads((tmp_path / "run" / "run.json").read_text())["complete"] is True


def test_a_module_runs_like_a_script(
    collect: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "my_module.py").write_text("import torch\nprint(int(torch.ones(2).sum()))\n")
    code, out, _ = collect("-o", "run", "--", "python3", "-m", "my_module")
    assert (code, out) == (0, "2\n")
    assert collect("-o", "b", "--", "python", "gone.py")[0] == 2
    assert collect("-o", "b", "--", "python", "-c", "1")[0] == 2
    assert not (tmp_path / "b").exists()


def start(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tracekit", "collect", TOY, "--device", "cpu"]
    env = {**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "KINETO_LOG_LEVEL": "99"}
    return subprocess.Popen(
        [*command, "-o", str(folder), *more],
        cwd=folder.parent, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )  # fmt: skip


def heed_interrupts() -> None:
    """Shells let what they start in the background ignore interrupts, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def whole_files(folder: Path) -> int:
    """Check that every file under a final name can be read to its end, and count them."""
    found = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith("."):
            continue
        data = path.read_bytes()
        json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        found += 1
    return found


def test_a_killed_command_leaves_no_broken_file(tmp_path: Path) -> None:
    """A hundred kills are in test_collect_kills; these are of whole processes."""
    pytest.importorskip("torch")
    instants = random.Random(4)
    folder = tmp_path / "run"
    for _ in range(3):
        process = start(folder, "--force", "--repeats", "2")
        (folder / "run.json").unlink(missing_ok=True)
        wait_for(folder / "run.json", process)
        time.sleep(instants.uniform(0, 1.5))
        process.kill()
        process.communicate()
        whole_files(folder)
    process = start(folder, "--force")
    assert process.communicate()[1] == b""
    assert whole_files(folder) == len(list(folder.iterdir())) == 4


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "run"
    process = start(folder, "--repeats", "1000000", "--passes", "timing,light")
    wait_for(folder / "run.json", process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == b"tracekit: interrupted\n"
    assert process.returncode == 130
    body = json.loads((folder / "run.json").read_text())
    assert (body["complete"], body["missing"]) == (False, ["timing", "light"])
    assert body["errors"][0]["error"] == "KeyboardInterrupt"
