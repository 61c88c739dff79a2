"""The house: imports point one way, files and functions stay small, names are as promised."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracekit
from tracekit import errors

ROOT = Path(__file__).parent.parent
PACKAGES = ("tracekit", "collectors", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

BASE = {
    "tracekit.errors",
    "tracekit.units",
    "tracekit.categories",
    "tracekit.labels",
    "tracekit.tabular",
}
MAY_IMPORT: dict[str, set[str]] = {
    "tracekit.errors": set(),
    "tracekit.units": set(),
    "tracekit.categories": set(),
    "tracekit.labels": {"tracekit.categories"},
    "tracekit.tabular": {"tracekit.errors"},
    "tracekit.roofline_results": BASE,
    "tracekit.attention_results": BASE,
    "tracekit.results": BASE | {"tracekit.attention_results", "tracekit.roofline_results"},
    "tracekit.report_results": BASE | {"tracekit.results"},
    "tracekit.validation_results": BASE,
    "tracekit.memory_results": BASE,
    "tracekit.track_results": BASE,
    "tracekit.serving": BASE,
    "tracekit.study": BASE
    | {
        "tracekit.analysis",
        "tracekit.api",
        "tracekit.attention_results",
        "tracekit.classifying",
        "tracekit.collectors",
        "tracekit.memory_results",
        "tracekit.output",
        "tracekit.results",
        "tracekit.runfolder",
        "tracekit.runrecord",
        "tracekit.counters",
        "tracekit.spread_results",
        "tracekit.cause_results",
        "tracekit.study_results",
    },
    "tracekit.spread_results": BASE,
    "tracekit.cause_results": BASE | {"tracekit.spread_results"},
    "tracekit.study_results": BASE | {"tracekit.spread_results", "tracekit.cause_results"},
    "tracekit.schemas": BASE,
    "tracekit.trace": BASE,
    "tracekit.output": BASE,
    "tracekit.counters": BASE,
    "tracekit.runfolder": BASE,
    "tracekit.runrecord": BASE | {"tracekit.runfolder"},
    "tracekit.loading": BASE | {"tracekit.trace"},
    "tracekit.caching": BASE | {"tracekit.trace", "tracekit.output", "tracekit.runfolder"},
    "tracekit.linking": BASE | {"tracekit.trace"},
    "tracekit.costing": BASE | {"tracekit.trace", "tracekit.linking"},
    "tracekit.classifying": BASE | {"tracekit.trace", "tracekit.linking", "tracekit.costing"},
    "tracekit.analysis": BASE
    | {
        "tracekit.trace",
        "tracekit.linking",
        "tracekit.costing",
        "tracekit.classifying",
        "tracekit.results",
        "tracekit.roofline_results",
        "tracekit.attention_results",
        "tracekit.report_results",
        "tracekit.validation_results",
        "tracekit.track_results",
        "tracekit.counters",
        "tracekit.runrecord",
    },
    "tracekit.loaded": BASE | {"tracekit.trace", "tracekit.classifying", "tracekit.results"},
    "tracekit.api": BASE
    | {
        "tracekit.trace",
        "tracekit.loaded",
        "tracekit.loading",
        "tracekit.caching",
        "tracekit.linking",
        "tracekit.classifying",
        "tracekit.analysis",
        "tracekit.results",
        "tracekit.runfolder",
        "tracekit.counters",
        "tracekit.runrecord",
    },
    "tracekit.annotating": BASE
    | {
        "tracekit.output",
        "tracekit.loading",
        "tracekit.caching",
        "tracekit.classifying",
        "tracekit.analysis",
        "tracekit.api",
        "tracekit.reports",
        "tracekit.results",
        "tracekit.track_results",
        "tracekit.runfolder",
    },
    "tracekit.validating": BASE
    | {
        "tracekit.trace",
        "tracekit.loading",
        "tracekit.caching",
        "tracekit.linking",
        "tracekit.classifying",
        "tracekit.analysis",
        "tracekit.api",
        "tracekit.runfolder",
        "tracekit.validation_results",
    },
    "tracekit.reporting": BASE
    | {
        "tracekit.loading",
        "tracekit.caching",
        "tracekit.classifying",
        "tracekit.analysis",
        "tracekit.api",
        "tracekit.runfolder",
        "tracekit.runrecord",
        "tracekit.results",
        "tracekit.report_results",
        "tracekit.reports",
    },
    "tracekit.reports": {
        "tracekit.results",
        "tracekit.report_results",
        "tracekit.roofline_results",
        "tracekit.attention_results",
        "tracekit.validation_results",
        "tracekit.memory_results",
        "tracekit.track_results",
        "tracekit.spread_results",
        "tracekit.cause_results",
        "tracekit.study_results",
        "tracekit.units",
        "tracekit.categories",
        "tracekit.errors",
        "tracekit.tabular",
    },
    "tracekit.collectors": {
        "tracekit.runfolder",
        "tracekit.counters",
        "tracekit.labels",
        "tracekit.errors",
        "tracekit.output",
    },
}
"""What each layer may import of ours, itself aside; `cli` and the package root may import all."""
SHOWS_ITSELF = {"tracekit.results", "tracekit.loaded"}
"""Layers whose objects notebooks show: they may import reports, but only when they are asked to."""
TOP = ("tracekit.cli", "tracekit", "tracekit.__main__")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "tracekit":
        parts = ("tracekit", *parts)
    return ".".join(part for part in parts if part != "__init__")


def layer_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    layer = layer_of(module_of(path))
    ours = {layer_of(name) for name in imports_of(path) if name.split(".")[0] == "tracekit"}
    if layer in TOP:
        return
    assert layer in MAY_IMPORT, f"{layer} has no place in the layers"
    if layer in SHOWS_ITSELF:
        ours -= {"tracekit.reports"}
    assert ours - {layer, "tracekit"} <= MAY_IMPORT[layer]


@pytest.mark.parametrize("layer", sorted(SHOWS_ITSELF))
def test_what_shows_itself_imports_reports_only_when_asked(layer: str) -> None:
    code = f"import sys, {layer}; assert not any('tracekit.reports' in m for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_the_analyzer_needs_no_torch_and_prints_nothing(path: Path) -> None:
    module = module_of(path)
    roots = {name.split(".")[0] for name in imports_of(path)}
    if layer_of(module) != "tracekit.collectors":
        assert not roots & {"torch", "diffusers", "transformers"}
    if layer_of(module) in ("tracekit.cli", "tracekit.collectors"):
        return
    assert not roots & {"click"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "eval", "exec")


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, node.name
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            is_command = bool(node.decorator_list)
            assert is_command or len([a for a in arguments if a.arg != "self"]) <= 6, node.name


def test_every_package_is_in_the_wheel() -> None:
    packages = {module_of(path) for path in SOURCES if path.name == "__init__.py"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert packages == set(project["tool"]["setuptools"]["packages"])


def test_the_public_names() -> None:
    assert tracekit.__all__ == [
        "Analysis",
        "AnalysisSet",
        "InputError",
        "KernelTable",
        "LoadedTrace",
        "MissingDependencyError",
        "OutputExistsError",
        "Trace",
        "TraceFormatError",
        "TracekitError",
        "UnsupportedInputError",
        "Validation",
        "__version__",
        "analyze",
        "classify",
        "kernels",
        "link",
        "load",
        "open_run",
        "record",
        "report",
        "validate",
    ]
    for name in tracekit.__all__:
        assert getattr(tracekit, name) is not None
    assert dir(tracekit) == sorted(tracekit.__all__)
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = tracekit.nothing_here
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == tracekit.__version__


def test_errors_carry_the_exit_codes_of_the_command_line() -> None:
    codes = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.TracekitError)
    }
    assert codes == {
        "TracekitError": 1,
        "UsageError": 2,
        "OutputExistsError": 2,
        "InputError": 3,
        "TraceFormatError": 3,
        "UnsupportedInputError": 3,
        "LimitExceededError": 3,
        "MissingDependencyError": 4,
        "HostError": 5,
        "OutOfMemoryError": 5,
    }


def test_public_names_are_never_hidden_by_subpackages() -> None:
    subpackages = {path.parent.name for path in (ROOT / "tracekit").glob("*/__init__.py")}
    modules = {path.stem for path in (ROOT / "tracekit").glob("*.py")}
    assert not (subpackages | modules) & set(tracekit.__all__)
