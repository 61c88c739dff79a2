"""Names that attack: nothing in a trace runs, breaks a format, or steers a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

import result_builders as build
import tracekit
from builders import TraceBuilder
from tracekit.cli import run
from tracekit.reports import render
from tracekit.reports.figures import FigureOptions, figure_files
from tracekit.reports.names import clean
from tracekit.reports.notebook import summary
from tracekit.reports.tables import tables
from tracekit.tabular import csv_cell, write_csv

if TYPE_CHECKING:
    from tracekit.loaded import LoadedTrace

HOSTILE = {
    "script": "</script><script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "entity": "&lt;b&gt;&#0;",
    "template": "void f<" + "std::tuple<int, " * 625 + "int" + ">" * 625 + "(int)",
    "nul": "before\0after",
    "emoji": "👩\u200d🚀 核函数 e\u0301",
    "turning": "abc\u202egnp.exe\u200f\u2066",
    "ansi": "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "formula": "=cmd|' /C calc'!A0",
    "plus": "+1+cmd",
    "minus": "-2+3",
    "at": "@SUM(1+1)*@someone",
    "tab": "\t=1+1",
    "return": "\r=1+1",
    "lines": "one\r\ntwo\n\n| three | four |\n# five\n<details>",
    "markdown": "`a` ``b`` | *c* [d](e) ![f](g) $h$ ~~i~~ #1",
    "quotes": 'a","b\\',
    "math": "$\\frac{1}{0}$",
}
"""What JSON can hold; half of a surrogate pair it cannot, see below."""
IN_FILE_NAMES = "<img src=x onerror=alert(1)> =1 \u202e核\x1b[31m`|`\n@x 👩.json"


def hostile_trace(folder: Path) -> Path:
    """Write a trace in which kernels, ops, modules, stages, and the file bear hostile names."""
    b = TraceBuilder()
    for index, name in enumerate(HOSTILE.values()):
        at = 1_000 * index
        b.annotation(name, at, 900)
        b.annotation(f"tk1|attn|{name.replace('|', '%7C')}|self|spatial|64|64|8", at + 5, 400)
        b.module(f"{name}_0", at + 6, 390)
        b.op(name, at + 10, 300)
        b.op("aten::scaled_dot_product_attention", at + 20, 100)
        b.launched(name, at + 30, at + 500, 200)
    path = folder / IN_FILE_NAMES
    value = {**b.metadata, "traceEvents": b.events}
    value["deviceProperties"] = [{"id": 0, "name": HOSTILE["image"] + "\x1b[31m"}]
    path.write_text(json.dumps(value))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile_trace(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def loaded(path: Path) -> LoadedTrace:
    return tracekit.load(path)


@pytest.fixture(scope="module")
def names(loaded: LoadedTrace) -> list[str]:
    """The names of kernels, which the loader leaves as they are."""
    table = loaded.table
    found = [table.name_at(row) or "" for row in range(len(table))]
    assert found == list(HOSTILE.values())
    return found


STEERING = re.compile(
    "[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)
"""What steers a terminal, or turns the direction of writing."""


def steers(text: str) -> bool:
    return STEERING.search(text) is not None


def test_half_a_surrogate_pair_breaks_nothing(tmp_path: Path) -> None:
    b = TraceBuilder()
    b.launched("half \ud800 pair", 10, 1_000, 50)
    b.launched("whole", 110, 2_000, 50)
    (tmp_path / "t.json").write_bytes(json.dumps({**b.metadata, "traceEvents": b.events}).encode())
    odd = tracekit.load(tmp_path / "t.json")
    result = replace(odd.analysis, trace=replace(odd.analysis.trace, path="a\udcff.json"))
    assert sum(row.events for row in result.left_out) + len(odd.activities) == 2
    for kind in ("text", "json", "csv", "markdown"):
        render(result, kind).encode()  # type: ignore[arg-type]
        render(build.ranks(result, result), kind).encode()  # type: ignore[arg-type]
    for table in tables(result).values():
        write_csv(table, io.BytesIO())
    summary(result).encode()
    pytest.importorskip("matplotlib")
    assert figure_files(build.ranks(result, result))


@pytest.mark.parametrize("width", [80, 200])
def test_text(loaded: LoadedTrace, width: int) -> None:
    text = render(loaded.analysis, "text", width=width)
    assert not steers(text)
    assert max(map(cell_len, text.splitlines())) <= width


def test_stderr_and_stdout(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", str(path), "--no-cache"]) == 0
    shown = capsys.readouterr()
    assert not steers(shown.out + shown.err)


def test_messages(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "\x1b[31m\u202e\x9b2J\n.json"
    bad.write_text("nothing")
    cut = tmp_path / f"cut {IN_FILE_NAMES}"
    cut.write_bytes(path.read_bytes()[:-400])
    for args, code in (
        (["analyze", str(bad)], 3),
        (["kernels", str(bad)], 3),
        (["analyze", str(cut), str(bad), "--format", "json"], 0),
        (["tables", str(cut), str(bad), "-o", str(tmp_path / "t")], 0),
        (["kernels", str(path), "-o", str(bad)], 2),
    ):
        assert run([*args, *(["--no-cache"] if code != 2 else [])]) == code
        err = capsys.readouterr().err
        assert r"\x1b[31m" in err
        assert not steers(err)


def test_json_is_verbatim(loaded: LoadedTrace, names: list[str], path: Path) -> None:
    found = json.loads(render(loaded.analysis, "json"))
    assert {row["name"] for row in found["top_kernels"]} == set(names)
    assert found["trace"]["path"] == str(path)


class _Blocks(HTMLParser):
    """Tags and attributes of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_markdown(loaded: LoadedTrace) -> None:
    both = tracekit.api.analyze_all([loaded.path, loaded.path])
    for result in (loaded.analysis, both):
        text = render(result, "markdown")
        assert not steers(text)
        assert max(map(len, text.splitlines())) < 2_000
        html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
        ours = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong"}
        page = _Blocks(html)
        assert page.tags <= ours | {"ul", "li", "blockquote", "details", "summary"}
        assert page.attributes <= {"style"}
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert rows
        for table in text.split("\n\n"):
            lines = [line for line in table.splitlines() if line.startswith("|")]
            widths = {line.replace("\\|", "").count("|") for line in lines}
            assert len(widths) <= 1


def test_analyze_csv(path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["analyze", str(path), str(path), "--format", "csv", "--no-cache"]) == 0
    rows = list(csv.reader(io.StringIO(capsysbinary.readouterr().out.decode(), newline="")))
    assert {len(row) for row in rows} == {5}
    assert {row[0] for row in rows[1:]} == {csv_cell(str(path))}


def cells_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_kernels_csv_and_parquet(path: Path, names: list[str], tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        assert run(["kernels", str(path), "-o", str(tmp_path / f"k.{kind}"), "--no-cache"]) == 0
    assert pq.read_table(tmp_path / "k.parquet")["name"].to_pylist() == names
    rows = cells_of(tmp_path / "k.csv")
    assert [row["name"] for row in rows] == [csv_cell(name) for name in names]
    for row in rows:
        assert None not in row
        for key in ("name", "op", "module", "stage", "reason"):
            assert not row[key].startswith(("=", "+", "-", "@", "\t", "\r"))
            assert "\0" not in row[key]


def test_kernels_csv_to_stdout(path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["kernels", str(path), "--no-cache"]) == 0
    out = capsysbinary.readouterr().out.decode()
    assert len(list(csv.reader(io.StringIO(out, newline="")))) == len(HOSTILE) + 1


def test_every_table(path: Path, names: list[str], tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        args = ["tables", str(path), "-o", str(tmp_path), "--format", kind, "--no-cache"]
        assert run(args) == 0
    top = pq.read_table(tmp_path / "top_kernels.parquet")
    assert set(top["name"].to_pylist()) == set(names)
    assert set(top["path"].to_pylist()) == {str(path)}
    for file in tmp_path.glob("*.csv"):
        for row in cells_of(file):
            assert None not in row, file.name
            assert None not in row.values(), file.name
            for cell in row.values():
                is_number = cell.lstrip("-").replace(".", "").isdigit()
                assert is_number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_figures(loaded: LoadedTrace) -> None:
    pytest.importorskip("matplotlib")
    both = tracekit.api.analyze_all([loaded.path, loaded.path])
    for result in (loaded.analysis, both):
        files = figure_files(result, FigureOptions(kinds=("svg",)))
        assert files
        for data in files.values():
            root = ET.fromstring(data)
            tags = {element.tag.rsplit("}")[-1] for element in root.iter()}
            assert not tags & {"script", "image", "img", "a", "foreignObject"}
            texts = ["".join(t.itertext()) for t in root.iter("{http://www.w3.org/2000/svg}text")]
            assert not any(map(steers, texts))
            assert max(map(len, texts)) < 120


def test_notebook(loaded: LoadedTrace) -> None:
    both = tracekit.api.analyze_all([loaded.path, loaded.path])
    for html in (loaded._repr_html_(), both._repr_html_(), loaded.tables._repr_html_()):
        page = _Blocks(html)
        assert not page.tags & {"script", "img", "a", "iframe", "b", "style", "link"}
        assert page.attributes <= {"style", "title", "role", "aria-label"}
        assert not steers(html)
        assert len(html) < 40_000


def test_data_frames_are_verbatim(loaded: LoadedTrace, names: list[str]) -> None:
    pytest.importorskip("pandas")
    assert loaded.kernels.name.tolist() == names
    assert set(loaded.tables["top_kernels"].name) == set(names)


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_what_is_shown_of_a_name_steers_nothing(name: str) -> None:
    assert not steers(clean(name))
    assert "\n" not in clean(name)
