"""A full disk and places that cannot be written: one line, exit code 5, what was done is kept."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tracekit.errors import HostError

torch = pytest.importorskip("torch")

from test_collect_kills import check  # noqa: E402

from collect_helpers import manifest_of, options, toy  # noqa: E402
from tracekit.cli import run  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
from tracekit.cli import run
sys.exit(run(["collect", "collect_helpers:build", "--device", "cpu", "-o", "run"]))
"""


def one_line(text: str) -> str:
    assert text.startswith("tracekit: "), text
    assert text.count("\n") == 1, text
    return text


def test_no_file_may_be_as_large_as_a_trace(tmp_path: Path) -> None:
    """The profiler itself does not say that its file is cut short."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{TESTS.parent}:{TESTS}", "KINETO_LOG_LEVEL": "99"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "")
    assert str(Path("run")) in one_line(done.stderr)
    assert check(tmp_path / "run") == {"run.json", "timing.json"}
    body = manifest_of(tmp_path / "run")
    assert (body["complete"], body["missing"]) == (False, ["light", "rich"])
    assert not list((tmp_path / "run").glob(".*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small_disk / "run"
    assert run(["collect", "collect_helpers:build", "--device", "cpu", "-o", str(folder)]) == 5
    assert "no space left on device" in one_line(capsys.readouterr().err)
    assert {"run.json", "timing.json"} <= check(folder)
    assert manifest_of(folder)["complete"] is False
    assert not list(folder.glob(".*"))


def test_a_disk_that_is_full_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match="no space left on device"):
        record_workload(toy(), tmp_path / "run", options())
    assert not list((tmp_path / "run").iterdir())


def test_a_disk_that_fills_up_between_the_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest that was written last stays, and tells the truth."""
    real, left = os.fsync, [6]

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(HostError, match="no space left on device"):
        record_workload(toy(), tmp_path, options())
    assert "run.json" in check(tmp_path)
    assert manifest_of(tmp_path)["complete"] is False
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("place", ["/proc/run", "/proc/1/run", "/dev/null/run"])
def test_places_where_nobody_can_write(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["collect", "collect_helpers:build", "--device", "cpu", "-o", place]) == 5
    assert "cannot be written" in one_line(capsys.readouterr().err)


def test_memory_that_runs_out_keeps_the_passes_done(tmp_path: Path) -> None:
    calls: list[Any] = []

    def hungry(stage: Any) -> object:
        calls.append(stage)
        if len(calls) > 4:
            return torch.empty(1 << 60)
        return toy().run(stage)

    with pytest.raises(HostError, match="toy: out of memory on cpu") as raised:
        record_workload(toy(run=hungry), tmp_path, options())
    assert "\n" not in str(raised.value)
    assert check(tmp_path) == {"run.json", "timing.json", "kernels.json.gz"}
    body = json.loads((tmp_path / "run.json").read_text())
    assert (body["missing"], body["errors"][0]["pass"]) == (["rich"], "rich")
