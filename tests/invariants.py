"""What must hold of every trace, analysis and report, whatever the input was."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import fields
from functools import cache
from typing import Any

import jsonschema
import numpy as np
from rich.cells import cell_len

from tracekit.analysis.analyze import analyze_table
from tracekit.categories import CATEGORIES
from tracekit.classifying.classify import classify
from tracekit.classifying.table import COLUMNS, KernelTable
from tracekit.linking.link import link
from tracekit.reports import FORMATS, render
from tracekit.results import Analysis
from tracekit.schemas import read_schema
from tracekit.trace import NO_TEXT, NULL, Table, Trace

TABLES = ("activities", "calls", "ops", "frames", "annotations", "overheads", "synchronizations")
INT64 = range(-(2**63), 2**63)
WIDTH = 100


def check_message(message: str, path: str) -> None:
    """An error on purpose names the file and stays on one line (a path may hold line breaks)."""
    assert message.startswith(path), message
    rest = message[len(path) :]
    assert len(rest) > 10
    assert "\n" not in rest
    assert "Traceback" not in rest
    assert not control_characters(rest), message


def check_all(trace: Trace) -> Analysis:
    """Run a trace through everything and check each part; return the analysis."""
    check_trace(trace)
    table = classify(link(trace))
    result, _ = analyze_table(table)
    check_result(table, result)
    check_reports(result)
    check_kernels(table)
    return result


def check_trace(trace: Trace) -> None:
    held = 0
    for name in TABLES:
        table: Table = getattr(trace, name)
        held += len(table)
        for field in fields(table):
            column = getattr(table, field.name)
            assert column.shape == (len(table),), (name, field.name)
            if column.dtype == np.int32 and len(column):
                bound = len(trace.threads if field.name == "thread" else trace.strings)
                lowest = 0 if field.name == "thread" else NO_TEXT
                assert int(column.min()) >= lowest, (name, field.name)
                assert int(column.max()) < bound, (name, field.name)
        if len(table):
            assert int(table.dur_ns.min()) >= 0, name
            assert int(table.start_ns.min()) > NULL, name
            assert np.all(table.end_ns >= table.start_ns), f"{name}: an end left int64"
    start_ns = trace.activities.start_ns
    assert np.all(start_ns[1:] >= start_ns[:-1])
    left_out = sum(count.events for count in trace.left_out)
    assert held + left_out <= trace.events
    assert all(count.events > 0 for count in trace.left_out)
    assert all(text.isprintable() for count in trace.left_out for text in (count.what, count.why))
    assert all("\n" not in warning for warning in trace.warnings)
    assert trace.warnings or not trace.truncated


def check_result(table: KernelTable, result: Analysis) -> None:
    _check_numbers(result)
    assert np.all((table.start_ns + table.dur_ns) >= table.start_ns)
    rows = len(table)
    assert [c.category for c in result.categories] == list(CATEGORIES)
    assert sum(c.kernels for c in result.categories) == rows
    if result.trace.basis == "gpu":
        assert result.trace.gpu_events == rows
    assert result.time.kernel_ns == sum(c.time_ns for c in result.categories)
    assert result.time.kernel_ns == sum(e.time_ns for e in result.evidence)
    assert result.time.kernel_ns == int(table.dur_ns.sum())
    for device in result.devices:
        assert 0 <= device.busy_ns <= device.span_ns
        assert device.idle_ns == device.span_ns - device.busy_ns
        assert device.busy_ns <= device.kernel_ns
    for name in ("span_ns", "busy_ns", "idle_ns", "kernel_ns"):
        assert getattr(result.time, name) == sum(getattr(d, name) for d in result.devices)
    if result.time.kernel_ns:
        assert math.isclose(sum(c.time_share or 0 for c in result.categories), 1)
    _check_stages(result, rows)
    _check_idle(result)


def _check_stages(result: Analysis, rows: int) -> None:
    if result.stages:
        assert sum(s.time_ns for s in result.stages) == result.time.kernel_ns
        assert sum(s.kernels for s in result.stages) == rows
    for stage in result.stages:
        assert sum(stage.categories.values()) == stage.time_ns
        assert stage.start_ns <= stage.end_ns
        assert sum(step.kernels for step in stage.per_step) <= stage.kernels
        for step in stage.per_step:
            assert sum(step.categories.values()) == step.time_ns
            assert stage.start_ns <= step.start_ns <= step.end_ns <= stage.end_ns


def _check_idle(result: Analysis) -> None:
    idle = result.idle
    assert idle.gaps_listed == len(idle.gaps) <= idle.gaps_total
    lengths = [gap.time_ns for gap in idle.gaps]
    assert lengths == sorted(lengths, reverse=True)
    assert all(length > 0 for length in lengths)
    if idle.gaps_total == idle.gaps_listed:
        assert sum(lengths) == result.time.idle_ns


def check_reports(result: Analysis) -> None:
    reports = {name: render(result, name, width=WIDTH) for name in FORMATS}
    for name, report in reports.items():
        assert report.endswith("\n"), name
        report.encode()
    value = json.loads(reports["json"], parse_constant=_not_json)
    wrong = jsonschema.exceptions.best_match(validator().iter_errors(value))
    assert wrong is None, f"{wrong.json_path}: {wrong.message[:200]}"
    table = list(csv.DictReader(io.StringIO(reports["csv"], newline="")))
    assert [row["category"] for row in table] == list(CATEGORIES)
    for name in ("text", "markdown"):
        # A terminal obeys control bytes, so a kernel's name must not smuggle any into it.
        assert not control_characters(reports[name]), f"control characters in {name}"
    for line in reports["text"].splitlines()[1:]:
        assert cell_len(line) <= WIDTH, line


def check_kernels(table: KernelTable) -> None:
    import pyarrow as pa
    import pyarrow.csv

    arrow = table.to_arrow()
    assert tuple(arrow.column_names) == COLUMNS
    assert len(arrow) == len(table)
    arrow.validate(full=True)
    plain = [
        pa.field(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
        for field in arrow.schema
    ]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(arrow.cast(pa.schema(plain)), sink)
    # The csv module refuses NUL, which a name may hold and arrow writes as it is.
    text = sink.getvalue().decode().replace("\0", "")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert len(rows) == len(table) + 1
    assert all(len(row) == len(COLUMNS) for row in rows)


def control_characters(text: str) -> set[str]:
    """Return the characters that a terminal may take for orders; line breaks are allowed."""
    return {c for c in text if (ord(c) < 32 or 127 <= ord(c) < 160) and c != "\n"}


def _check_numbers(value: Any, where: str = "result") -> None:
    """Every integer within int64, every float finite, every text encodable."""
    if isinstance(value, float):
        assert math.isfinite(value), where
    elif isinstance(value, int):
        assert value in INT64, (where, value)
    elif isinstance(value, str):
        value.encode()
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_numbers(item, f"{where}.{key}")
    elif isinstance(value, tuple | list):
        for item in value:
            _check_numbers(item, where)
    elif hasattr(value, "__dataclass_fields__"):
        for field in fields(value):
            _check_numbers(getattr(value, field.name), f"{where}.{field.name}")


def _not_json(text: str) -> None:
    raise AssertionError(f"{text} is no JSON")


@cache
def validator() -> Any:
    """Return the validator of `tracekit.analysis/1`; compiled once, since fuzzing asks often."""
    schema = read_schema("analysis-1")
    return jsonschema.validators.validator_for(schema)(schema)
