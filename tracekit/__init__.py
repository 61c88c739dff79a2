"""tracekit tells where a generative model's GPU time goes.

>>> import tracekit
>>> result = tracekit.analyze("trace.json.gz")
>>> result.time.busy_ns, [(row.category, row.time_ns) for row in result.categories]

Everything public is listed in ``__all__`` and loaded on first use, so importing the package costs
next to nothing and never imports pandas or torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracekit.api import analyze, classify, kernels, link, load, open_run
    from tracekit.classifying.table import KernelTable
    from tracekit.collectors.recording import record
    from tracekit.errors import (
        InputError,
        MissingDependencyError,
        OutputExistsError,
        TraceFormatError,
        TracekitError,
        UnsupportedInputError,
    )
    from tracekit.reporting import report
    from tracekit.results import Analysis, AnalysisSet
    from tracekit.trace import Trace
    from tracekit.validating import validate
    from tracekit.validation_results import Validation

__version__ = "0.1.0"

_HOME_OF = {
    "analyze": "tracekit.api",
    "classify": "tracekit.api",
    "kernels": "tracekit.api",
    "link": "tracekit.api",
    "load": "tracekit.api",
    "open_run": "tracekit.api",
    "record": "tracekit.collectors.recording",
    "report": "tracekit.reporting",
    "validate": "tracekit.validating",
    "KernelTable": "tracekit.classifying.table",
    "Trace": "tracekit.trace",
    "Analysis": "tracekit.results",
    "AnalysisSet": "tracekit.results",
    "Validation": "tracekit.validation_results",
    "TracekitError": "tracekit.errors",
    "InputError": "tracekit.errors",
    "TraceFormatError": "tracekit.errors",
    "UnsupportedInputError": "tracekit.errors",
    "MissingDependencyError": "tracekit.errors",
    "OutputExistsError": "tracekit.errors",
}

__all__ = [
    "Analysis",
    "AnalysisSet",
    "InputError",
    "KernelTable",
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

# `collectors/` and `reports/` stand beside the package in a checkout and inside it in a wheel.
# A checkout that is on sys.path must find them too.
_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "collectors").is_dir():
    __path__.append(str(_CHECKOUT))


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
