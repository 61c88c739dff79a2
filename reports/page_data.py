"""The data block of the HTML report: `tracekit.report/1`, described by its JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import numpy as np

from tracekit.reports.answer import answer, made
from tracekit.reports.json_report import as_contract, encodable
from tracekit.reports.names import readable_names
from tracekit.reports.page_columns import encoded
from tracekit.reports.palette import CAUSE_COLOR_OF, CAUSE_LABEL_OF, COLOR_OF, LABEL_OF

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracekit.report_results import (
        Band,
        Column,
        KernelKind,
        KindTime,
        Report,
        RooflinePoint,
        RunReport,
        Timeline,
        TimelineCalls,
    )

    _Named: TypeAlias = KernelKind | KindTime | RooflinePoint

BLOCK_ID: Final = "tracekit-data"
"""The `id` of the element that holds the data block."""

_ESCAPES: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)
"""What JSON holds inside of strings only, and what could end a script or a line of one."""


def embedded(block: dict[str, Any]) -> str:
    """Return a data block as JSON that may stand inside a script element of HTML.

    What UTF-8 cannot hold becomes U+FFFD, as in the JSON of an analysis.
    """
    try:
        text = msgspec.json.encode(block)
    except UnicodeEncodeError:
        text = msgspec.json.encode(encodable(block))
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text.decode()


def data_block(report: Report, version: str) -> dict[str, Any]:
    """Return the data block as plain dicts and lists; `version` is that of tracekit."""
    return {
        "schema": report.schema,
        "tracekit": version,
        "title": report.title,
        "categories": [
            {"category": slug, "label": LABEL_OF[slug], "color": color}
            for slug, color in COLOR_OF.items()
        ],
        "causes": [
            {"cause": cause, "label": CAUSE_LABEL_OF[cause], "color": color}
            for cause, color in CAUSE_COLOR_OF.items()
        ],
        "unreadable": msgspec.to_builtins(report.unreadable),
        "runs": [_run(run) for run in report.runs],
    }


def _run(run: RunReport) -> dict[str, Any]:
    short = _short_names(run)
    return {
        "label": run.label,
        "sentences": answer(run.analysis),
        "made": [{"label": label, "text": text} for label, text in made(run.analysis, run.facts)],
        "analysis": as_contract(run.analysis),
        "kernels": _named(run.kernels, short),
        "kernels_total": run.kernels_total,
        "modules": msgspec.to_builtins(run.modules),
        "modules_total": run.modules_total,
        "roofline_points": _named(run.roofline_points, short),
        "roofline_points_total": run.roofline_points_total,
        "timeline": None if run.timeline is None else _timeline(run.timeline, short),
    }


def _short_names(run: RunReport) -> dict[str, str]:
    """Return a readable name for each name of a run, with what differs where two are alike."""
    kinds = () if run.timeline is None else run.timeline.kinds
    named: tuple[_Named, ...] = (*kinds, *run.kernels, *run.roofline_points)
    names = list(dict.fromkeys(row.name for row in named if row.name is not None))
    return dict(zip(names, readable_names(names), strict=True))


def _named(rows: Sequence[_Named], short: dict[str, str]) -> list[dict[str, Any]]:
    """Return rows with a readable name beside each name."""
    named = []
    for row in rows:
        name = row.name
        fields: dict[str, Any] = msgspec.to_builtins(row)
        fields.pop("name")
        named.append({"name": name, "short": None if name is None else short[name], **fields})
    return named


def _timeline(drawn: Timeline, short: dict[str, str]) -> dict[str, Any]:
    origin_ns, gaps = drawn.origin_ns, drawn.gaps
    start = np.diff(drawn.start_ns, prepend=drawn.start_ns[:1])
    first = [lane.first for lane in drawn.lanes]
    start[first] = drawn.start_ns[first] - origin_ns
    return {
        "origin_ns": str(origin_ns),
        "span_ns": drawn.span_ns,
        "rows": len(drawn),
        "lanes": msgspec.to_builtins(drawn.lanes),
        "columns": {
            "start": encoded(start, signed=True),
            "dur": encoded(drawn.dur_ns),
            "kind": encoded(drawn.kind),
            "place": encoded(drawn.place),
            "step": encoded(drawn.band + 1),
        },
        "kinds": _named(drawn.kinds, short),
        "places": msgspec.to_builtins(drawn.places),
        "steps": [_band(band, origin_ns) for band in drawn.bands],
        "gaps": {
            "device": encoded(gaps.device + 1),
            "before": _differences(gaps.before, 0),
            "after": encoded(gaps.after - gaps.before, signed=True),
            "cause": encoded(gaps.cause),
        },
        "attention": _calls(drawn.attention, origin_ns),
        "axes": list(drawn.attention.axes),
        "attention_kinds": list(drawn.attention.kinds),
    }


def _band(band: Band, origin_ns: int) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(band)
    for key in ("start_ns", "end_ns"):
        fields[key] -= origin_ns
    return fields


def _calls(calls: TimelineCalls, origin_ns: int) -> dict[str, Any]:
    return {
        "start": _differences(calls.start_ns, origin_ns),
        "dur": encoded(calls.dur_ns),
        "time": encoded(calls.time_ns),
        "query_length": encoded(calls.query_length),
        "key_length": encoded(calls.key_length),
        "axis": encoded(calls.axis + 1),
        "kind": encoded(calls.kind + 1),
    }


def _differences(values: Column, first: int) -> dict[str, Any]:
    return encoded(np.diff(values, prepend=first), signed=True)
