"""The HTML report: one page that needs no network, with its data in one block of JSON."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from tracekit.reports.page_data import data_block, embedded

if TYPE_CHECKING:
    from tracekit.report_results import Report

_TEMPLATE: Final = "report.html.j2"


def render_page(report: Report, version: str) -> str:
    """Return the report as one HTML page; `version` is that of tracekit."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(asset), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(_TEMPLATE).render(
        title=report.title,
        data_json=embedded(data_block(report, version)),
        assets=asset,
        csp_hash=csp_hash,
    )


def csp_hash(text: str) -> str:
    """Return the source of a Content-Security-Policy that allows this script and no other."""
    digest = hashlib.sha256(str(text).encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def asset(name: str) -> str:
    """Return a file of the page that is shipped with it, such as `report.css`, as text.

    Raises `FileNotFoundError` for a name that is not shipped.
    """
    return files("tracekit.reports").joinpath("page", name).read_text(encoding="utf-8")
