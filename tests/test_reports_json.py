from __future__ import annotations

import copy
import csv
import io
import json
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import result_builders as build
from tracekit.categories import CATEGORIES
from tracekit.reports import render
from tracekit.results import SCHEMA, Analysis, AnalysisSet, Gap, IdleResult
from tracekit.schemas import read_schema

if TYPE_CHECKING:
    from collections.abc import Callable

VALIDATOR = Draft202012Validator(read_schema("analysis-1"))

CONTRACT = [
    "schema", "trace", "time", "devices", "corrected", "categories", "stages", "attention", "idle",
    "roofline", "blocks", "what_if", "advice", "left_out",
]  # fmt: skip


def as_json(result: Analysis | AnalysisSet) -> Any:
    return json.loads(render(result, "json"))


def several() -> AnalysisSet:
    return build.ranks(build.typical(), build.empty(), unreadable={"rank2": "is empty"})


def test_typical_golden(golden: Callable[[str, str], None]) -> None:
    golden("typical.json", render(build.typical(), "json"))


def test_measured_golden(golden: Callable[[str, str], None]) -> None:
    golden("measured.json", render(build.measured(), "json"))


def test_keys_are_those_of_the_contract_in_its_order() -> None:
    written = as_json(build.typical())
    assert [key for key in written if key in CONTRACT] == CONTRACT
    assert written["schema"] == SCHEMA
    assert next(iter(written)) == "schema"


def test_pass_axis_and_kind_have_their_names() -> None:
    written = as_json(build.typical(trace=build.trace_info(pass_="rich")))
    assert written["trace"]["pass"] == "rich"
    assert "pass_" not in written["trace"]
    assert next(iter(written["attention"]["by_axis"][0].items())) == ("axis", "spatial")
    assert next(iter(written["attention"]["by_kind"][0].items())) == ("kind", "self")


def test_several_inputs_are_runs_and_overall() -> None:
    written = as_json(several())
    assert list(written) == ["schema", "runs", "overall"]
    assert written["runs"][0] == as_json(build.typical())
    assert written["overall"]["unreadable"] == [{"path": "rank2", "error": "is empty"}]


def test_numbers_that_are_not_finite_become_null() -> None:
    advice = ({"text": "x", "speedup": math.nan, "evidence": math.inf},)
    text = render(build.typical(advice=advice), "json")
    assert json.loads(text)["advice"] == [{"text": "x", "speedup": None, "evidence": None}]
    assert "NaN" not in text
    assert "Infinity" not in text


def test_text_is_kept_as_utf8() -> None:
    text = render(build.typical(), "json")
    assert "核函数_注意力_前向" in text
    assert text.startswith('{\n  "schema": "tracekit.analysis/1",\n  "trace": {\n    "path"')


def test_broken_file_name_is_written_as_replacement() -> None:
    result = build.typical(trace=build.trace_info(path="a\udcff核.json"))
    assert as_json(result)["trace"]["path"] == "a\ufffd核.json"


def test_a_thousand_gaps_take_no_time() -> None:
    gaps = tuple(Gap(0, n, 10, "denoise", "a" * 2_000, "b") for n in range(1_000))
    result = build.typical(idle=IdleResult((), (), gaps, 1_000, 1_000))
    begin = time.perf_counter()
    render(result, "json")
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize(
    "result", [build.typical(), build.measured(), build.empty(), several(), build.ranks()]
)
def test_output_keeps_to_the_schema(result: Analysis | AnalysisSet) -> None:
    VALIDATOR.validate(as_json(result))


def test_schema_is_itself_valid_and_knows_all_categories() -> None:
    schema = read_schema("analysis-1")
    Draft202012Validator.check_schema(schema)
    assert tuple(schema["$defs"]["slug"]["enum"]) == CATEGORIES
    assert schema["$defs"]["schema"]["const"] == SCHEMA


def test_schema_accepts_added_fields() -> None:
    written = as_json(build.typical())
    written["new"] = written["trace"]["new"] = written["stages"][0]["new"] = 1
    VALIDATOR.validate(written)


def test_schema_accepts_what_later_analyses_fill() -> None:
    written = as_json(build.typical())
    written["corrected"] = {
        "source": "measured", "wall_ns": 9, "low_ns": 8, "high_ns": 10, "busy_ns": 5, "idle_ns": 4,
        "idle_share": 0.4, "dilation": 1.7, "by_cause": [], "method": "unprofiled pass",
    }  # fmt: skip
    written["idle"]["by_cause"] = [
        {"cause": "host_late", "time_ns": 1, "time_share": 1.0, "gaps": 1}
    ]
    written["roofline"] = {"device": "H100", "peaks": {}, "by_category": [], "by_stage": []}
    written["what_if"] = [
        {"name": "graph", "scope": "run", "wall_ns": 1, "speedup": 1.5, "assumption": "none"}
    ]
    VALIDATOR.validate(written)


@pytest.mark.parametrize("key", CONTRACT)
def test_schema_misses_a_missing_key(key: str) -> None:
    written = as_json(build.typical())
    del written[key]
    assert not VALIDATOR.is_valid(written)


MUTATIONS: list[tuple[list[str | int], object]] = [
    (["schema"], "tracekit.analysis/2"),
    (["trace", "path"], None),
    (["trace", "basis"], "tpu"),
    (["trace", "events"], -1),
    (["trace", "rank"], "0"),
    (["trace", "truncated"], 0),
    (["time", "span_ns"], None),
    (["time", "busy_ns"], 1.5),
    (["time", "idle_ns"], -1),
    (["devices", 0, "device"], "0"),
    (["devices", 0, "kernel_ns"], None),
    (["corrected"], {}),
    (["categories"], []),
    (["categories", 0, "category"], "linear"),
    (["categories", 0, "kernels"], None),
    (["categories", 0, "time_share"], 1.01),
    (["stages", 0, "categories"], {"convolution": 1}),
    (["stages", 0, "start_ns"], None),
    (["stages", 0, "steps"], "4"),
    (["stages", 0, "per_step", 0, "step"], None),
    (["attention", "calls"], None),
    (["attention", "by_axis", 0], {"key": "x", "kernels": 1, "time_ns": 1, "time_share": 1.0}),
    (["attention", "by_kind", 0, "time_ns"], None),
    (["idle", "by_cause"], [{"cause": "magic", "time_ns": 1, "time_share": 1.0, "gaps": 1}]),
    (["idle", "gaps", 0, "time_ns"], None),
    (["idle", "gaps", 0, "cause"], "magic"),
    (["roofline"], []),
    (["roofline", "by_category", 0, "category"], "convolution"),
    (["roofline", "by_category", 0, "flops"], 1.5),
    (["roofline", "by_stage", 0, "covered_ns"], None),
    (["roofline", "total", "roofline_share"], -1.0),
    (["left_out", 0, "why"], None),
    (["left_out", 0, "time_ns"], "1"),
    (["evidence", 0, "evidence"], "magic"),
]


@pytest.mark.parametrize(("path", "value"), MUTATIONS)
def test_schema_refuses_wrong_values(path: list[str | int], value: object) -> None:
    written = as_json(build.typical())
    *parents, last = path
    place: Any = written
    for key in parents:
        place = place[key]
    place[last] = value
    assert not VALIDATOR.is_valid(written)
    whole_set = as_json(several())
    whole_set["runs"][0] = written
    assert not VALIDATOR.is_valid(whole_set)


NULLABLE: list[list[str | int]] = [
    ["trace", "pass"], ["trace", "rank"], ["trace", "world_size"], ["trace", "device_name"],
    ["trace", "torch"], ["devices", 0, "device"], ["categories", 0, "time_share"],
    ["stages", 0, "stage"], ["stages", 0, "source"], ["stages", 0, "steps"],
    ["stages", 0, "traced_steps"], ["attention", "by_axis", 0, "axis"],
    ["attention", "length_ratio"], ["roofline"], ["roofline", "device"],
    ["roofline", "by_category", 0, "flops_share"], ["roofline", "by_stage", 0, "stage"],
    ["idle", "gaps", 0, "device"],
    ["idle", "gaps", 0, "stage"], ["idle", "gaps", 0, "cause"], ["left_out", 0, "time_ns"],
]  # fmt: skip


@pytest.mark.parametrize("path", NULLABLE)
def test_schema_accepts_null_where_it_can_be(path: list[str | int]) -> None:
    written = copy.deepcopy(as_json(build.typical()))
    *parents, last = path
    place: Any = written
    for key in parents:
        place = place[key]
    place[last] = None
    VALIDATOR.validate(written)


def test_schema_that_is_not_shipped() -> None:
    with pytest.raises(FileNotFoundError):
        read_schema("analysis-0")


def test_csv_is_the_categories_table() -> None:
    text = render(build.analysis({"linear": (2, 300), "norm": (1, 100)}), "csv")
    lines = text.split("\r\n")
    assert lines[0] == "category,kernels,time_ns,time_share"
    assert lines[2] == "linear,2,300,0.75"
    assert lines[-1] == ""
    assert [line.split(",")[0] for line in lines[1:-1]] == list(CATEGORIES)


def test_csv_leaves_null_empty() -> None:
    assert "conv,0,0,\r\n" in render(build.empty(), "csv")


def test_csv_of_several_inputs_leads_with_a_quoted_path() -> None:
    odd = 'a "b", c\n.json'
    run = replace(build.typical(), trace=build.trace_info(path=odd))
    rows = list(csv.reader(io.StringIO(render(build.ranks(run, run), "csv"), newline="")))
    assert rows[0] == ["path", "category", "kernels", "time_ns", "time_share"]
    assert len(rows) == 1 + 2 * len(CATEGORIES)
    assert {row[0] for row in rows[1:]} == {odd}
