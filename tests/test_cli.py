"""The command line: exit codes, one-line errors, outputs."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from builders import TraceBuilder
from tracekit import __version__
from tracekit.analysis.causes import CAUSES
from tracekit.classifying.table import COLUMNS
from tracekit.cli import cli, run
from tracekit.schemas import read_schema

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "traces" / "pixart_compiled.json.gz"


def tracekit(*args: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "tracekit", *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
    )


def small(path: Path) -> Path:
    b = TraceBuilder()
    b.annotation("unet", 0, 500)
    b.op("aten::linear", 0, 50)
    b.launched("nvjet", 10, 1000, 50)
    b.launched('x, "quoted" ünïcode 核', 110, 1200, 30)
    return b.write(path)


def test_text_leads_with_the_answer(tmp_path: Path) -> None:
    done = tracekit("analyze", EXAMPLE)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert "NVIDIA H200" in "".join(lines[:3])
    assert "Linear takes" in "".join(lines[:6])
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in done.stdout


def test_json_follows_the_schema(tmp_path: Path) -> None:
    done = tracekit("analyze", EXAMPLE, "--format", "json")
    value = json.loads(done.stdout)
    jsonschema.validate(value, read_schema("analysis-1"))
    assert value["schema"] == "tracekit.analysis/1"
    assert value["trace"]["path"] == str(EXAMPLE)
    assert [row["cause"] for row in value["idle"]["by_cause"]] == list(CAUSES)
    several = json.loads(tracekit("analyze", EXAMPLE, EXAMPLE, "--format", "json").stdout)
    jsonschema.validate(several, read_schema("analysis-1"))
    assert len(several["runs"]) == 2
    assert several["overall"]["time"]["busy_ns"] == 2 * value["time"]["busy_ns"]


def test_csv_is_the_categories_table() -> None:
    rows = list(csv.DictReader(io.StringIO(tracekit("analyze", EXAMPLE, "--format=csv").stdout)))
    assert len(rows) == 10
    assert rows[0]["category"] == "conv"
    assert sum(int(row["kernels"]) for row in rows) == 469


def test_markdown() -> None:
    assert "| Linear |" in tracekit("analyze", EXAMPLE, "--format", "markdown").stdout


@pytest.mark.parametrize("format_", ["text", "json", "csv", "markdown"])
def test_output_files_hold_what_stdout_would(tmp_path: Path, format_: str) -> None:
    path = tmp_path / "out"
    assert run(["analyze", str(EXAMPLE), "--format", format_, "-o", str(path)]) == 0
    printed = tracekit("analyze", EXAMPLE, "--format", format_).stdout
    assert path.read_bytes().decode().replace("\r\n", "\n") == printed.replace("\r\n", "\n")
    assert list(tmp_path.iterdir()) == [path]


def test_existing_outputs_need_force(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("mine")
    refused = tracekit("analyze", EXAMPLE, "-o", path)
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "mine"
    assert tracekit("analyze", EXAMPLE, "-o", path, "--force").returncode == 0
    assert path.read_text() != "mine"
    kernels = tmp_path / "k.csv"
    kernels.write_text("mine")
    assert tracekit("kernels", EXAMPLE, "-o", kernels).returncode == 2


def test_kernels_as_csv_and_parquet(tmp_path: Path) -> None:
    trace = small(tmp_path / "t.json.gz")
    done = tracekit("kernels", trace)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert tuple(rows[0]) == COLUMNS
    assert [row["name"] for row in rows] == ["nvjet", 'x, "quoted" ünïcode 核']
    assert rows[0]["category"] == "linear"
    assert (rows[0]["start_ns"], rows[0]["dur_ns"], rows[0]["stage"]) == ("1000", "50", "unet")
    assert rows[0]["confidence"] == ""
    assert (rows[0]["op"], rows[0]["launch_start_ns"]) == ("aten::linear", "10")
    for name in ("k.csv", "k.parquet"):
        assert tracekit("kernels", trace, "-o", tmp_path / name).returncode == 0
    assert (tmp_path / "k.csv").read_text() == done.stdout
    table = pq.read_table(tmp_path / "k.parquet")
    assert tuple(table.column_names) == COLUMNS
    assert table["dur_ns"].to_pylist() == [50, 30]
    assert table["flops"].to_pylist() == [None, None]


def test_kernels_needs_a_known_ending(tmp_path: Path) -> None:
    done = tracekit("kernels", EXAMPLE, "-o", tmp_path / "k.xlsx")
    assert (done.returncode, done.stdout) == (2, "")
    assert ".csv or .parquet" in done.stderr


BAD = {
    "missing.json": None,
    "zero.json": b"",
    "text.json": b"not json\n",
    "other.json": b'{"a": [1, 2]}',
    "list.json": b"[1, 2]",
    "cut.json.gz": gzip.compress(b'{"traceEvents": [{"ph": "X"}]}')[:14],
    "binary.bin": bytes(range(256)) * 9,
    "nsys.sqlite": b"SQLite format 3\0" + b"\0" * 100,
    "new\nline.json": b"{",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("command", ["analyze", "kernels"])
def test_bad_inputs_exit_3_with_one_line(tmp_path: Path, name: str, command: str) -> None:
    path = tmp_path / name
    if (data := BAD[name]) is not None:
        path.write_bytes(data)
    done = tracekit(command, path)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("tracekit: ")
    assert name.split("\n")[0] in done.stderr


def test_a_folder_without_traces_exits_3(tmp_path: Path) -> None:
    done = tracekit("analyze", tmp_path)
    assert done.returncode == 3
    assert "holds no trace" in done.stderr


def test_an_empty_trace_exits_0(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"traceEvents": []}')
    for format_ in ("text", "json", "csv", "markdown"):
        assert tracekit("analyze", tmp_path / "t.json", "--format", format_).returncode == 0
    done = tracekit("kernels", tmp_path / "t.json")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_a_cut_file_is_analyzed_with_a_warning(tmp_path: Path) -> None:
    data = gzip.decompress(EXAMPLE.read_bytes())
    (tmp_path / "cut.json").write_bytes(data[: len(data) // 2])
    done = tracekit("analyze", tmp_path / "cut.json", "--format", "json")
    value = json.loads(done.stdout)
    assert done.returncode == 0
    assert value["trace"]["truncated"] is True
    assert "ends early" in done.stderr
    assert "ends early" in tracekit("analyze", tmp_path / "cut.json").stdout


def test_folders_of_ranks_and_run_folders(tmp_path: Path) -> None:
    for rank in (0, 1, 10, 2):
        (tmp_path / f"rank{rank}").mkdir()
        small(tmp_path / f"rank{rank}" / "trace.json.gz")
        small(tmp_path / f"rank{rank}" / "kernels.json.gz")
    (tmp_path / "rank10" / "trace.json.gz").write_bytes(b"broken")
    done = tracekit("analyze", tmp_path, "--format", "json")
    value = json.loads(done.stdout)
    assert done.returncode == 0
    assert [run["trace"]["rank"] for run in value["runs"]] == [0, 1, 2]
    assert {run["trace"]["pass"] for run in value["runs"]} == {"rich"}
    assert "rank10" in value["overall"]["unreadable"][0]["path"]
    assert "rank10" in done.stderr
    rows = list(csv.DictReader(io.StringIO(tracekit("kernels", tmp_path).stdout)))
    assert [row["rank"] for row in rows] == ["0", "0", "1", "1", "2", "2"]
    single = json.loads(tracekit("analyze", tmp_path / "rank1", "--format", "json").stdout)
    assert single["trace"]["rank"] == 1
    (tmp_path / "rank1" / "trace.json.gz").unlink()
    light = json.loads(tracekit("analyze", tmp_path / "rank1", "--format", "json").stdout)
    assert light["trace"]["pass"] == "light"


def test_unwritable_places_exit_5(tmp_path: Path) -> None:
    done = tracekit("analyze", EXAMPLE, "-o", tmp_path / "no" / "such" / "folder.txt")
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1


def test_wrong_usage_exits_2() -> None:
    for args in (["analyze"], ["analyze", "--format", "xml", "x"], ["nonsense"], ["kernels"]):
        assert tracekit(*args).returncode == 2


def test_urls_are_read_through_fsspec(tmp_path: Path) -> None:
    trace = small(tmp_path / "t.json")
    done = tracekit("analyze", trace.as_uri(), "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["trace"]["gpu_events"] == 2
    assert tracekit("analyze", "file:///no/such/file.json").returncode == 3
    assert tracekit("analyze", "nosuch://x/y.json").returncode in (3, 4)


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m tracekit kernels {EXAMPLE} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_help_of_every_command() -> None:
    assert f"tracekit {__version__}" in tracekit("--version").stdout
    for name, command in cli.commands.items():
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert shown.exit_code == 0
        assert command.help
        assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from tracekit.cli import cli;"
        "CliRunner().invoke(cli, ['analyze', '--help']); import tracekit;"
        "print([m for m in ('numpy', 'pyarrow', 'pandas', 'torch', 'rich', 'msgspec', 'fsspec')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_analyze_imports_neither_pandas_nor_torch() -> None:
    code = (
        f"import sys, tracekit; tracekit.analyze({str(EXAMPLE)!r});"
        "print([m for m in ('pandas', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
