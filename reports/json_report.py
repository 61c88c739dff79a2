"""The JSON report: `tracekit.analysis/1`, described by `schemas/analysis-1.schema.json`."""

from __future__ import annotations

from typing import Any

import msgspec

from tracekit.results import Analysis, AnalysisSet


def render(result: Analysis | AnalysisSet) -> str:
    """Return the result as JSON, indented by two spaces, with a final newline.

    Times are integer ns, shares 0–1. A number that is not finite becomes null, and what UTF-8
    cannot hold (a file name of broken bytes) becomes U+FFFD.
    """
    return as_text(as_contract(result))


def as_text(contract: dict[str, Any]) -> str:
    """Return plain dicts and lists as JSON text, as `render` does."""
    try:
        encoded = msgspec.json.encode(contract)
    except UnicodeEncodeError:
        encoded = msgspec.json.encode(encodable(contract))
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def as_contract(result: Analysis | AnalysisSet) -> dict[str, Any]:
    """Return the result as plain dicts and lists whose keys and nesting are those of the JSON."""
    if isinstance(result, Analysis):
        return _analysis(result)
    return {
        "schema": result.schema,
        "runs": [_analysis(run) for run in result.runs],
        "overall": msgspec.to_builtins(result.overall),
    }


def _analysis(result: Analysis) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(result)
    fields["trace"] = _renamed(fields["trace"], "pass_", "pass")
    attention = fields["attention"]
    for view, key in (("by_axis", "axis"), ("by_kind", "kind")):
        attention[view] = [_renamed(row, "key", key) for row in attention[view]]
    roofline = fields["roofline"]
    if roofline is not None:
        roofline["total"].pop("key")
        for view, key in (("by_category", "category"), ("by_stage", "stage")):
            roofline[view] = [_renamed(row, "key", key) for row in roofline[view]]
    return {"schema": fields.pop("schema"), **fields}


def _renamed(row: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in row.items()}


def encodable(value: Any) -> Any:
    """Return plain values with U+FFFD in place of each half of a surrogate pair."""
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encodable(item) for item in value]
    return value
