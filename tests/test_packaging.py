"""The wheel: what it holds, that it works alone, and that it is typed throughout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*args: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        list(map(str, args)), cwd=cwd, capture_output=True, text=True, check=False,
        env={**os.environ, **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the unpacked wheel, built from a copy of the tracked files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "tracekit", "collectors", "reports"):
        run("cp", "-r", ROOT / name, source, cwd=folder)
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source,
        cwd=folder,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith("gpu_tracekit-")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_nothing_generic_is_installed(installed: Path) -> None:
    tops = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert tops == {"tracekit"}
    held = {path.relative_to(installed).as_posix() for path in installed.rglob("*.*")}
    assert {
        "tracekit/py.typed",
        "tracekit/schemas/analysis-1.schema.json",
        "tracekit/reports/__init__.py",
        "tracekit/reports/page/report.html.j2",
        "tracekit/schemas/report-1.schema.json",
        "tracekit/collectors/__init__.py",
    } <= held


def test_the_wheel_works_from_anywhere(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text("MINE = True\n")
    trace = ROOT / "examples" / "traces" / "pixart_compiled.json.gz"
    out = run(
        sys.executable, "-m", "tracekit", "analyze", trace, cwd=tmp_path, PYTHONPATH=str(installed)
    )
    assert "Linear" in out
    run(
        sys.executable, "-m", "tracekit", "report", trace, "-o", tmp_path / "report.html",
        cwd=tmp_path, PYTHONPATH=str(installed),
    )  # fmt: skip
    assert "tracekit.report/1" in (tmp_path / "report.html").read_text()
    code = "import reports, tracekit.reports; print(reports.MINE, tracekit.__file__)"
    out = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{installed}")
    assert out == f"True {installed / 'tracekit' / '__init__.py'}\n"


def test_the_wheel_is_typed(installed: Path, tmp_path: Path) -> None:
    run(
        sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml",
        "--cache-dir", tmp_path, "-p", "tracekit",
        cwd=tmp_path, MYPYPATH=str(installed),
    )  # fmt: skip


def test_the_code_is_clean() -> None:
    run(sys.executable, "-m", "ruff", "check", "--no-cache", ROOT, cwd=ROOT)
    run(sys.executable, "-m", "ruff", "format", "--no-cache", "--check", ROOT, cwd=ROOT)
