"""Every table of an analysis: complete, typed, the same numbers as the JSON."""

from __future__ import annotations

import csv
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import result_builders as build
import tracekit
from builders import TraceBuilder
from tracekit.api import analyze_with_kernels
from tracekit.cli import cli, run
from tracekit.reports.json_report import as_contract
from tracekit.reports.table_list import TABLES
from tracekit.reports.tables import columns, tables
from tracekit.results import Analysis

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
RUN = ROOT / "examples" / "runs" / "make-a-video-h200"
DICTS = {
    "StageTime.categories",
    "StepTime.categories",
    "Gap.causes",
    "AxisRatio.parts",
    "DevicePeaks.flops_per_s",
}
"""What is a table with a row an entry."""


def records_below(hint: Any) -> Iterator[type]:
    """Yield every record type that a result can hold, itself included."""
    if is_dataclass(hint):
        assert isinstance(hint, type)
        yield hint
        for inner in get_type_hints(hint).values():
            yield from records_below(inner)
    elif get_origin(hint) in (tuple, dict, Union, UnionType):
        for inner in get_args(hint):
            yield from records_below(inner)


def test_every_field_of_every_record_is_a_column_or_a_table() -> None:
    held = {spec.record: {c.name for c in columns(spec)} | set(spec.renamed) for spec in TABLES}
    containers = {Analysis, build.IdleResult, build.AttentionResult, build.AttentionInside}
    records = set(records_below(Analysis)) - containers - {build.Roofline}
    assert len(records) > 25
    for record in records:
        hints = get_type_hints(record)
        for field in fields(record):
            is_nested = any(True for _ in records_below(hints[field.name]))
            name = f"{record.__name__}.{field.name}"
            assert is_nested or name in DICTS or field.name in held[record], name


def test_names_are_unique_and_every_table_begins_with_the_run() -> None:
    names = [spec.name for spec in TABLES]
    assert len(set(names)) == len(names) > 40
    for spec in TABLES:
        found = [column.name for column in columns(spec)]
        assert found[:2] == ["path", "rank"]
        assert len(set(found)) == len(found), spec.name


def plain(table: pa.Table) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key not in ("path", "rank")}
        for row in table.to_pylist()
    ]


JSON_LISTS = {
    "devices": ("devices",),
    "categories": ("categories",),
    "evidence": ("evidence",),
    "top_kernels": ("top_kernels",),
    "attention_calls": ("attention", "calls"),
    "attention_by_axis": ("attention", "by_axis"),
    "attention_by_kind": ("attention", "by_kind"),
    "sequence_lengths": ("attention", "sequence_lengths"),
    "length_profiles": ("attention", "profile"),
    "likeness": ("attention", "likeness"),
    "idle_by_cause": ("idle", "by_cause"),
    "idle_blame": ("idle", "blame"),
    "roofline_by_category": ("roofline", "by_category"),
    "roofline_by_stage": ("roofline", "by_stage"),
    "roofline_above": ("roofline", "above_roof"),
    "what_if": ("what_if",),
    "left_out": ("left_out",),
}


@pytest.fixture(scope="module")
def real() -> Analysis:
    return tracekit.analyze(RUN)


def test_tables_hold_what_the_json_holds(real: Analysis) -> None:
    for result in (real, build.measured()):
        contract, found = as_contract(result), tables(result)
        for name, (first, *rest) in JSON_LISTS.items():
            rows = contract[first]
            for key in rest:
                rows = rows[key]
            assert plain(found[name]) == [
                {key: list(v) if isinstance(v, tuple) else v for key, v in row.items()}
                for row in rows
            ], name


def test_what_is_nested_adds_up_to_what_it_belongs_to(real: Analysis) -> None:
    found = tables(real)
    for nested, parents in (("stage_categories", "stages"), ("gap_causes", "gaps")):
        inside = sum(found[nested]["time_ns"].to_pylist())
        assert inside == sum(found[parents]["time_ns"].to_pylist()) > 0
    steps = [row for stage in real.stages for row in stage.per_step]
    assert found["steps"].num_rows == len(steps) > 0
    assert sum(found["step_categories"]["time_ns"].to_pylist()) == sum(s.time_ns for s in steps)
    lengths = [n for profile in real.attention.profile for n in profile.lengths]
    assert found["length_points"]["length"].to_pylist() == lengths


def test_types_do_not_depend_on_what_is_there() -> None:
    empty, full = tables(build.empty()), tables(build.measured())
    assert {n: t.schema for n, t in empty.items()} == {n: t.schema for n, t in full.items()}
    assert full["gaps"].schema.field("start_ns").type == pa.int64()
    assert full["categories"].schema.field("time_share").type == pa.float64()
    assert full["stages"].schema.field("stage").type == pa.string()
    assert full["length_levels"].schema.field("levels").type == pa.list_(pa.int64())
    assert full["idle_blame"].schema.field("is_own").type == pa.bool_()


def test_null_is_null() -> None:
    stages = tables(build.typical())["stages"].to_pylist()
    assert stages[-1]["stage"] is None
    assert stages[-1]["steps"] is None


def test_several_runs_share_a_table_and_add_their_sums() -> None:
    one, two = build.typical(), build.typical(trace=build.trace_info(path="b", rank=1))
    alone, found = tables(one), tables(build.ranks(one, two, unreadable={"c": "is empty"}))
    assert set(found) - set(alone) == {"overall_categories", "unreadable"}
    assert found["categories"]["path"].to_pylist() == [one.trace.path] * 10 + ["b"] * 10
    assert found["categories"]["rank"].to_pylist() == [None] * 10 + [1] * 10
    assert found["unreadable"].to_pylist() == [{"path": "c", "error": "is empty"}]
    for name, table in alone.items():
        assert found[name].schema == table.schema


def test_one_reading_gives_analysis_and_kernels() -> None:
    result, kernels = analyze_with_kernels([RUN])
    assert isinstance(result, Analysis)
    (table,) = kernels
    assert int(table.dur_ns.sum()) == result.time.kernel_ns


def hostile(path: Path) -> Path:
    b = TraceBuilder()
    b.annotation("=stage", 0, 500)
    b.op("aten::linear", 0, 50)
    b.launched("=cmd|' /C calc'!A0", 10, 1000, 50)
    return b.write(path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_files_are_guarded_and_parquet_is_verbatim(tmp_path: Path) -> None:
    trace, folder = hostile(tmp_path / "t.json"), tmp_path / "made" / "tables"
    for kind in ("csv", "parquet"):
        assert run(["tables", str(trace), "-o", str(folder), "--format", kind]) == 0
    assert [r["name"] for r in rows_of(folder / "kernels.csv")] == ["'=cmd|' /C calc'!A0"]
    assert [r["name"] for r in rows_of(folder / "top_kernels.csv")] == ["'=cmd|' /C calc'!A0"]
    found = pq.read_table(folder / "kernels.parquet")
    assert found["name"].to_pylist() == ["=cmd|' /C calc'!A0"]
    assert found["path"].to_pylist() == [str(trace)]
    names = {spec.name for spec in TABLES} | {"kernels"}
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("csv", "parquet")
    }


def test_every_csv_file_is_its_parquet_file(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        assert run(["tables", str(RUN), "-o", str(tmp_path), "--format", kind]) == 0
    for spec in TABLES:
        table = pq.read_table(tmp_path / f"{spec.name}.parquet")
        rows = rows_of(tmp_path / f"{spec.name}.csv")
        assert len(rows) == table.num_rows, spec.name
        for name in table.schema.names:
            if pa.types.is_int64(table.schema.field(name).type):
                read = [int(row[name]) if row[name] else None for row in rows]
                assert read == table[name].to_pylist(), f"{spec.name}.{name}"


def test_existing_files_stay_without_force(tmp_path: Path) -> None:
    trace = hostile(tmp_path / "t.json")
    (tmp_path / "gaps.csv").write_text("mine")
    done = CliRunner().invoke(cli, ["tables", str(trace), "-o", str(tmp_path)])
    assert type(done.exception).__name__ == "OutputExistsError"
    assert not (tmp_path / "kernels.csv").exists()
    assert (tmp_path / "gaps.csv").read_text() == "mine"
    assert run(["tables", str(trace), "-o", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "gaps.csv").read_text() != "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    trace = hostile(tmp_path / "t.json")
    assert run(["tables", str(trace), "-o", str(trace / "below")]) == 5


def test_the_documentation_lists_every_table_and_column() -> None:
    text = (ROOT / "docs" / "outputs.md").read_text()
    listed = text.partition("<!-- tables:begin -->")[2].partition("<!-- tables:end -->")[0]
    rows = [
        f"| `{spec.name}` | {spec.about} | {', '.join(f'`{c.name}`' for c in columns(spec)[2:])} |"
        for spec in TABLES
    ]
    assert listed.strip().splitlines()[2:] == rows
