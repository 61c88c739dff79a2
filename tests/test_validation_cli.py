"""`tracekit validate`: formats, outputs, gates and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from builders import TraceBuilder
from tracekit.cli import cli, run

RUN = Path(__file__).parent.parent / "examples" / "runs" / "stable-diffusion-h200"


@pytest.fixture
def half_right(tmp_path: Path) -> Path:
    """A trace of which nothing but one of two kernels is what its label says."""
    b = TraceBuilder()
    for index, label in enumerate(("Linear", "Conv2d")):
        b.annotation(f"tk1|mod|net.{index}|{label}", 1000 * index, 900)
        b.op("aten::linear", 1000 * index + 10, 800)
        b.launched("nvjet", 1000 * index + 100, 100_000 + 1000 * index, 50)
    return b.write(tmp_path / "half.json")


def test_text(half_right: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", str(half_right)]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert "half.json  100 ns     100.0%  50.00%" in out
    assert "Convolution → Linear" in out


def test_output_files(half_right: Path, tmp_path: Path) -> None:
    target = tmp_path / "v.json"
    args = ["validate", str(half_right), "--format", "json", "-o", str(target), "--no-cache"]
    assert run(args) == 0
    assert json.loads(target.read_text())["runs"][0]["name"] == "half.json"
    assert run(args) == 2
    assert run([*args, "--force"]) == 0
    assert (
        run(["validate", str(half_right), "--format", "markdown", "-o", str(tmp_path / "v.md")])
        == 0
    )
    assert (tmp_path / "v.md").read_text().startswith("The labels of 1 run decide 100 ns")


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        ([], 0),
        (["0.5"], 0),
        (["0.51"], 1),
        (["kernels_only=0"], 0),
        (["no_modules=1"], 0),
        (["0.5", "rich=0.6"], 1),
        (["98"], 2),
        (["nothing=0.9"], 2),
        (["much"], 2),
    ],
)
def test_gates(
    gates: list[str], code: int, half_right: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [part for gate in gates for part in ("--fail-under", gate)]
    assert run(["validate", str(half_right), *options]) == code
    out, err = capfd.readouterr()
    if code == 1:
        assert "half.json rich 0.5000 < " in err
        assert err.count("\n") == 1
        assert "50.00%" in out


def test_a_trace_without_labels(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    b = TraceBuilder()
    b.launched("nvjet", 0, 1000, 50)
    assert run(["validate", str(b.write(tmp_path / "t.json"))]) == 3
    assert capfd.readouterr().err.endswith("holds no tracekit labels: collect with --label all\n")


def test_a_run_folder_is_read_once_for_all_modes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from tracekit import validating

    read: list[str] = []
    load = validating.load

    def counted(path: str, *args: object, **kwargs: object) -> object:
        read.append(path)
        return load(path)

    monkeypatch.setattr(validating, "load", counted)
    assert run(["validate", str(RUN), "--no-cache"]) == 0
    assert read == [str(RUN / "trace.json.gz")]
    assert "stable-diffusion-h200" in capfd.readouterr().out


def test_help_names_the_modes_of_gates() -> None:
    done = CliRunner().invoke(cli, ["validate", "--help"])
    assert done.exit_code == 0
    assert "kernels_only=0.85" in done.output
