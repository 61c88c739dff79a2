"""`tracekit collect --ncu`: what is counted, how ncu is asked, and what is said where it fails."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ncu_builders import long_csv, values

import tracekit
from builders import TraceBuilder
from tracekit.cli import counted, run
from tracekit.errors import HostError

if TYPE_CHECKING:
    from tracekit.collectors.workload import Workload

torch = pytest.importorskip("torch")

from collect_helpers import MODEL, ToyBlock, toy  # noqa: E402
from tracekit.collectors import counting  # noqa: E402
from tracekit.collectors.counting import CountOptions  # noqa: E402

COMMAND = import_module("tracekit.cli.collect")
FLASH = "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64>>(Flash_fwd_params)"
FAKE = """#!{python}
import pathlib, subprocess, sys
arguments = sys.argv[1:]
pathlib.Path({seen!r}).write_text("\\n".join(arguments))
log = pathlib.Path(arguments[arguments.index("--log-file") + 1])
log.write_text({log!r})
sys.stderr.write({err!r})
child = arguments[arguments.index("--log-file") + 2:]
sys.exit(subprocess.run(child).returncode if {runs} else {code})
"""

Fake = Callable[..., Path]


@pytest.fixture
def ncu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A function that puts an `ncu` on PATH; it returns where that writes its arguments."""

    def put(log: str = "", *, err: str = "", code: int = 0, runs: bool = False) -> Path:
        folder, seen = tmp_path / "bin", tmp_path / "arguments"
        folder.mkdir(exist_ok=True)
        how = {"log": log, "err": err, "code": code, "runs": runs}
        text = FAKE.format(python=sys.executable, seen=str(seen), **how)
        (folder / "ncu").write_text(text)
        (folder / "ncu").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return seen

    return put


@pytest.fixture
def profiler(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the profiler, and what runs meanwhile, in its order."""
    from torch.cuda import profiler

    asked: list[str] = []
    monkeypatch.setattr(profiler, "start", lambda: asked.append("start"))
    monkeypatch.setattr(profiler, "stop", lambda: asked.append("stop"))
    monkeypatch.setattr(counting, "synchronize", lambda *, cuda: asked.append("synchronize"))
    return asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with one attention call."""
    found = tmp_path / "run"
    found.mkdir()
    b = TraceBuilder()
    b.op("aten::_scaled_dot_product_flash_attention", 0, 90)
    b.launched(FLASH, 10, 1_000, 50, grid=[16, 2, 1], block=[128, 1, 1])
    b.op("aten::linear", 100, 90)
    b.launched("nvjet_tst", 110, 1_100, 50, grid=[1, 1, 1], block=[128, 1, 1])
    b.write(found / "trace.json.gz")
    (found / "run.json").write_text(json.dumps({"schema": "tracekit.run/1", "files": []}))
    return found


CSV = long_csv([(FLASH, "(16, 2, 1)", values(12))])


def test_only_attention_modules_in_the_first_step_of_each_stage_are_counted(
    profiler: list[str],
) -> None:
    counting.run_counted(toy(), counting.CountedRun())
    # Two blocks of two modules, in one of three steps; the first run is for warming up.
    assert profiler == ["synchronize", *["start", "stop"] * 4, "synchronize"]
    MODEL.blocks[0].attn1(torch.zeros(1, 4, 32))
    assert len(profiler) == 10


@pytest.mark.parametrize("how", [{"compile": True}, {"cuda_graph": True}])
def test_what_is_compiled_or_captured_is_counted_by_stages(
    how: dict[str, bool], profiler: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sped_up: list[str] = []
    monkeypatch.setattr(counting, "compile_modules", lambda *_, graphs: sped_up.append("compile"))
    monkeypatch.setattr(counting, "graph_modules", lambda _: sped_up.append("cuda_graph"))
    counting.run_counted(toy(), counting.CountedRun(**how))
    assert sped_up == list(how)
    # Three runs to warm up; then all but the last two of three steps, and what is outside of them.
    assert profiler == [
        *["synchronize"] * 3, "start", "stop", "start", "stop", "start", "synchronize", "stop",
    ]  # fmt: skip


def test_scripts_are_counted_from_their_start(
    profiler: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracekit.collectors import script

    class Everywhere:
        def __init__(self, marker: counting.FirstSteps, *, label: bool) -> None:
            assert not label
            self.marker = marker

        def __enter__(self) -> None:
            monkeypatch.setattr(script, "marker", self.marker, raising=False)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(script, "staged_everywhere", Everywhere)
    path = tmp_path / "work.py"
    path.write_text(
        "import sys\n"
        "from tracekit.collectors.script import marker\n"
        "for step in range(3):\n"
        "    with marker('denoise', step): pass\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    task = {"target": ["python", str(path), "4"], "given": {}, "is_script": True}
    monkeypatch.setattr(sys, "argv", ["counted", json.dumps(task)])
    assert counted.main() == 4
    assert profiler == ["stop", "start", "stop", "start"]


def test_a_module_that_raises_stops_counting(profiler: list[str]) -> None:
    block = ToyBlock()
    with (
        counting.counted_modules({"block": block}, counting.FirstSteps()),
        pytest.raises(RuntimeError),
    ):
        block.attn1(torch.zeros(1, 4, 5))
    assert profiler == ["start", "stop"]


def test_what_counts_of_stages() -> None:
    marker, seen = counting.FirstSteps(), []
    assert marker.is_on
    for name, step in (("text", None), ("text", None), ("denoise", 3), ("denoise", 4)):
        with marker(name, step):
            seen.append(marker.is_on)
            with marker("inside", step):
                seen.append(marker.is_on)
        assert marker.is_on
    assert seen == [True, True, True, True, True, False, False, False]


def test_without_attention_modules_there_is_nothing_to_count(profiler: list[str]) -> None:
    with pytest.raises(HostError, match="--ncu: toy has no attention modules"):
        counting.run_counted(toy(modules={"a": torch.nn.Linear(2, 2)}), counting.CountedRun())


def test_the_file_stands_in_the_folder_and_its_manifest(ncu: Fake, folder: Path) -> None:
    seen = ncu(CSV)
    assert counting.count_attention(["python", "child"], folder, CountOptions((FLASH,), 70)) == 1
    assert (folder / "ncu.csv").read_text() == CSV
    [entry] = json.loads((folder / "run.json").read_text())["files"]
    assert (entry["name"], entry["launches"]) == ("ncu.csv", 1)
    assert entry["sha256"] == hashlib.sha256(CSV.encode()).hexdigest()
    asked = seen.read_text().splitlines()
    assert asked[-2:] == ["python", "child"]
    for option, value in (
        ("--clock-control", "none"),
        ("--profile-from-start", "off"),
        ("--graph-profiling", "node"),
        ("--launch-count", "70"),
        ("--kernel-name", "regex:^(.*\\W)?(flash_fwd_kernel)$"),
    ):
        assert asked[asked.index(option) + 1] == value
    assert not list(folder.glob(".*"))
    cache = tracekit.analyze(folder).attention.cache
    assert cache is not None
    assert (cache.kernels, cache.by_axis[0].l1_hit_rate) == (1, pytest.approx(0.12))


def test_the_filter_is_left_out_where_it_would_be_wrong() -> None:
    pattern = r"^(.*\W)?(b|f|flash_fwd_kernel)$"
    assert counting.name_filter([FLASH, "b", "void f<int>(a)"]) == pattern
    assert counting.name_filter([]) is None
    assert counting.name_filter(["odd+name", "b"]) is None
    assert counting.name_filter(f"kernel_{number}" for number in range(1000)) is None


@pytest.mark.parametrize(
    ("fake", "told"),
    [
        ({"log": "==ERROR== ERR_NVGPUCTRPERM - The user has no permission\n", "code": 1},
         r"only administrators count \(ERR_NVGPUCTRPERM\); run as root .*RestrictProfilingTo"),
        ({"err": "a\ntracekit: out of memory\n", "code": 5},
         r"ended with 5 \(tracekit: out of memory"),
        ({"log": "==PROF== hm\n==WARNING== No kernels were profiled.\n"},
         r"nothing was counted \(No kernels were profiled"),
        ({}, r"nothing was counted \(it says nothing"),
    ],
)  # fmt: skip
def test_what_is_said_where_it_fails(
    ncu: Fake, folder: Path, fake: dict[str, Any], told: str
) -> None:
    ncu(**fake)
    with pytest.raises(HostError, match=told):
        counting.count_attention(["python"], folder, CountOptions())
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "trace.json.gz"]


def test_wrong_usage_is_told_before_anything_runs(
    ncu: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ncu(CSV)
    for args, code, text in (
        (("llama", "--device", "cpu"), 2, "--ncu: needs a GPU"),
        (("llama", "--ncu-kernels", "a("), 2, "--ncu-kernels: is no regular expression"),
    ):
        assert run(["collect", "-o", str(tmp_path / "out"), "--ncu", *args]) == code
        assert text in capsys.readouterr().err
    out = str(tmp_path / "out")
    assert run(["collect", "-o", out, "--ncu-kernels", "flash", "llama"]) == 2
    assert "--ncu-kernels: goes with --ncu" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    assert run(["collect", "-o", str(tmp_path / "out"), "--ncu", "llama"]) == 5
    assert "no ncu on PATH; install Nsight Compute" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_counts_after_the_passes(
    ncu: Fake,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tracekit.collectors.passes import RunSummary

    seen = ncu(CSV)
    monkeypatch.setattr(COMMAND, "workload_of", lambda *_: toy())
    summary = RunSummary(folder, 1000, ("rich",), None, {}, 1.0)
    monkeypatch.setattr(COMMAND, "_record", lambda *_: summary)
    args = ["collect", "-o", str(folder), "--force", "--ncu", "--steps", "2", "toy"]
    assert run(args) == 0
    assert "Counted 1 launches of attention in ncu.csv.\n" in capsys.readouterr().out
    asked = seen.read_text().splitlines()
    assert asked[-4:-1] == [sys.executable, "-m", "tracekit.cli.counted"]
    assert "regex:^(.*\\W)?(flash_fwd_kernel)$" in asked
    task = json.loads(asked[-1])
    assert task["target"] == ["toy"]
    assert (task["given"]["steps"], task["given"]["device"]) == (2, "cuda")
    ncu(code=3, err="tracekit: no\n")
    assert run(args) == 5
    assert f"ended with 3 (tracekit: no) (the rest of the run is in {folder})" in (
        capsys.readouterr().err
    )


@pytest.fixture
def script(tmp_path: Path) -> list[str]:
    """A command that says on stdout that it ran."""
    path = tmp_path / "work.py"
    path.write_text("import sys\nprint('ran', sys.argv[1:])\nsys.exit(len(sys.argv) - 1)\n")
    return ["python", str(path)]


def test_a_script_is_run_again_to_be_counted(
    ncu: Fake,
    folder: Path,
    script: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tracekit.collectors import environment

    seen = ncu(CSV, runs=True)
    args = ["collect", "-o", str(folder), "--force", "--ncu", "--", *script]
    if not torch.cuda.is_available():
        assert run(args) == 5
        assert "--device cuda: torch " in capsys.readouterr().err
    monkeypatch.setattr(environment, "check_device", lambda _: None)
    names = iter([(), (FLASH,), (FLASH,)])
    monkeypatch.setattr(counted, "_attention_names", lambda _: next(names))
    assert run(args) == 5
    assert "there is no attention in the rich pass" in capsys.readouterr().err
    assert run(args) == 0
    said = capsys.readouterr()
    assert said.out == "ran []\n"
    assert "Counted 1 launches of attention in ncu.csv.\n" in said.err
    asked = seen.read_text().splitlines()
    assert asked[asked.index("--profile-from-start") + 1] == "on"
    assert json.loads(asked[-1])["target"] == script
    (folder / "ncu.csv").unlink()
    assert run([*args, "1"]) == 1
    assert "Counted nothing, because the script failed.\n" in capsys.readouterr().err
    assert not (folder / "ncu.csv").exists()


def test_only_some_kernels_of_attention(
    ncu: Fake, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = ncu(CSV)
    given = {"ncu_launches": 5, "compile_": True, "cuda_graph": False, "ncu_kernels": "^flash_"}
    assert counted.count(("toy",), given, folder) == 1
    assert "regex:^(.*\\W)?(flash_fwd_kernel)$" in seen.read_text().splitlines()
    told = "--ncu-kernels fmha: is no kernel of attention; there are flash_fwd_kernel "
    with pytest.raises(HostError, match=told):
        counted.count(("toy",), given | {"ncu_kernels": "fmha"}, folder)


def test_the_process_that_is_counted(
    profiler: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"attention": "auto", "device": "cuda", "seed": 3, "compile_": False}
    given |= {"cuda_graph": False}
    task = {"target": ["toy"], "given": given, "is_script": False}
    monkeypatch.setattr(sys, "argv", ["counted", json.dumps(task)])

    def build(target: tuple[str, ...], options: dict[str, Any]) -> Workload:
        assert (target, options) == (("toy",), given)
        return toy()

    monkeypatch.setattr(COMMAND, "workload_of", build)
    assert counted.main() == 0
    assert profiler.count("start") == 4

    def fail(*_: Any) -> Workload:
        raise HostError("no GPU\nhere")

    monkeypatch.setattr(COMMAND, "workload_of", fail)
    assert counted.main() == 5
    assert capsys.readouterr().err == "tracekit: no GPU here\n"


def test_a_process_of_its_own(
    ncu: Fake, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ncu(CSV, runs=True)
    given = {"device": "cuda", "attention": "auto", "seed": 0, "ncu_launches": 5, "weights": None}
    given |= {"ncu_kernels": None, "compile_": False, "cuda_graph": False}
    monkeypatch.chdir(tmp_path)
    told = r"ended with 5 \(tracekit: --device cuda: torch .*\(the rest of the run is in"
    with pytest.raises(HostError, match=told):
        counted.count(("collect_helpers:build",), given, folder)
