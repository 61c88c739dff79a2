"""The tools that are measured: which there are, and the command that runs each."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

CHECKOUT: Final = Path(__file__).resolve().parent.parent

Tool = Literal["stages", "tracekit", "warm", "one worker", "two workers", "hta", "tracelens"]
"""`tracekit` is `tracekit analyze` without a cache, `warm` with one that knows the trace."""

OURS: Final[frozenset[Tool]] = frozenset(
    ("stages", "tracekit", "warm", "one worker", "two workers")
)
PEERS: Final[dict[Tool, str]] = {"hta": "HTA", "tracelens": "TraceLens"}

# Below the folder of the package. The name is looked for letter by letter, because PyPI has an
# unrelated project `tracelens`, and some file systems do not tell the two apart.
_TRACELENS_REPORT: Final = ("Reporting", "generate_perf_report_pytorch.py")
# Of the largest trace too everything stays.
_CACHE_SIZE: Final = "100GB"
_HOW_TO_INSTALL: Final[dict[Tool, str]] = {
    "hta": "HTA is not installed, nothing is compared with it: pip install 'gpu-tracekit[hta]'",
    "tracelens": "TraceLens is not installed, nothing is compared with it: pip install "
    "git+https://github.com/AMD-AGI/TraceLens (tracelens on PyPI is another project)",
}


class UnusableError(Exception):
    """The benchmark cannot go on; `code` is the exit code of the command."""

    def __init__(self, message: str, code: int = 3) -> None:
        super().__init__(message)
        self.code = code


def has_hta() -> bool:
    """Say whether HTA is installed, without importing it."""
    return importlib.util.find_spec("hta") is not None


def has_tracelens() -> bool:
    """Say whether TraceLens is installed, without importing it."""
    spec = importlib.util.find_spec("TraceLens")
    folders = (spec.submodule_search_locations if spec else None) or []
    return any(Path(folder, *_TRACELENS_REPORT).is_file() for folder in folders)


def installed(tool: Tool) -> bool:
    """Say whether a peer can be run here; tracekit always can."""
    return {"hta": has_hta, "tracelens": has_tracelens}.get(tool, lambda: True)()


def how_to_install(tool: Tool) -> str:
    """Return one sentence on how to get a peer that is missing."""
    return _HOW_TO_INSTALL[tool]


def version(distribution: str) -> str:
    """Return the version of an installed distribution, or `not installed`."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def tracelens_version() -> str:
    """Return TraceLens's version; that of its namesake on PyPI does not count."""
    return version("TraceLens") if has_tracelens() else "not installed"


def child_env(cache_folder: Path | None = None) -> dict[str, str]:
    """Return an environment in which child processes find this checkout.

    tracekit's cache is in `cache_folder`, or off: never in the user's own.
    """
    known = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *([known] if known else [])]),
        **({"TRACEKIT_CACHE": str(cache_folder)} if cache_folder else {}),
        "TRACEKIT_CACHE_SIZE": _CACHE_SIZE if cache_folder else "0",
    }


@cache
def analyze_options() -> frozenset[str]:
    """Return the options that `tracekit analyze` knows, by what its help says."""
    told = subprocess.run(
        [sys.executable, "-m", "tracekit.cli", "analyze", "--help"],
        env=child_env(),
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(re.findall(r"--[a-z][a-z-]*", told.stdout))


def command(tool: Tool, trace: Path, out: Path) -> list[str]:
    """Return the command line that runs a tool on a trace; `tracekit` writes its JSON to `out`."""
    python = [sys.executable, "-m"]
    jobs: dict[Tool, str] = {
        "stages": "benchmarks.stage_job",
        "hta": "benchmarks.hta_job",
        "tracelens": "benchmarks.tracelens_job",
    }
    if tool in jobs:
        return [*python, jobs[tool], str(trace)]
    analyze = [*python, "tracekit.cli", "analyze", str(trace), "--format", "json", "-o", str(out)]
    if tool != "warm" and "--no-cache" in analyze_options():
        analyze.append("--no-cache")
    workers: dict[Tool, str] = {"one worker": "1", "two workers": "2"}
    return [*analyze, *(["--workers", workers[tool]] if tool in workers else [])]
