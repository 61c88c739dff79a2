"""The cache as the library and the command line use it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from cache_helpers import (
    BIG,
    EXAMPLES,
    files_in,
    load,
    never,
    small,
)
from tracekit import api
from tracekit.caching import sources, tables
from tracekit.caching.cache import clear, list_entries
from tracekit.cli import run

pytestmark = pytest.mark.usefixtures("every_size_is_worth_it")


def test_the_library_writes_nothing_unasked(tmp_path: Path, own_cache: Path) -> None:
    path = small(tmp_path / "trace.json.gz")
    for function in (api.load, api.kernels, api.analyze, api.kernel_tables):
        function(path)
    api.analyze_all([path])
    assert list(tmp_path.iterdir()) == [path]
    assert not own_cache.exists()
    for function in (api.load, api.kernels, api.analyze, api.kernel_tables):
        function(path, cache=True)
        assert len(list_entries([str(tmp_path)])) == 1
        clear([str(tmp_path)])
        assert list(tmp_path.iterdir()) == [path]
    api.analyze_all([path], cache=True)
    assert len(list_entries([str(tmp_path)])) == 1


def test_the_rank_of_a_folder_name_stays_out_of_the_cache(tmp_path: Path) -> None:
    for rank in (3, 5):
        (tmp_path / f"rank{rank}").mkdir()
        path = small(tmp_path / f"rank{rank}" / "any.json")
        assert api.load(path.parent, cache=True).rank == rank
    assert len(list_entries()) == 1


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_warm_outputs_are_the_cold_ones_to_the_byte(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {
        "a.json": ["analyze", "--format", "json"],
        "a.csv": ["analyze", "--format", "csv"],
        "k.parquet": ["kernels"],
        "k.csv": ["kernels"],
    }
    written: dict[str, set[bytes]] = {name: set() for name in outputs}
    for how in ("none", "cold", "warm"):
        for name, (command, *options) in outputs.items():
            out = tmp_path / how / name
            out.parent.mkdir(exist_ok=True)
            if how == "cold":
                clear()
            extra = ["--no-cache"] if how == "none" else []
            with monkeypatch.context() as patch:
                if how == "warm":
                    patch.setattr(api, "load_file", lambda *_: never())
                assert run([command, str(path), *options, "-o", str(out), *extra]) == 0
            written[name].add(out.read_bytes())
            assert len(list_entries()) == (how != "none")
    assert {name: len(contents) for name, contents in written.items()} == dict.fromkeys(outputs, 1)


def test_no_cache_writes_nothing(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "trace.json.gz"
    shutil.copy(BIG, path)
    for command in ("analyze", "kernels"):
        out = tmp_path / f"{command}.csv"
        args = ["--format", "csv"] if command == "analyze" else []
        assert run([command, str(path), *args, "--no-cache", "-o", str(out)]) == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "analyze.csv",
        "kernels.csv",
        "trace.json.gz",
    ]
    assert not own_cache.exists()


def test_cache_ls(tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cache", "ls"]) == 0
    assert capsys.readouterr().out == f"Nothing is cached in {own_cache}.\n"
    one, two = small(tmp_path / "one.json"), small(tmp_path / "two\x1b.json", kernels=1000)
    load(one)
    load(two)
    now = time.time()
    for entry, age_s in zip(list_entries(), (7300, 3 * 86400), strict=True):
        os.utime(entry.folder, (now - age_s, now - age_s))
    assert run(["cache", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Size", "Events", "Made", "Used", "Trace"]
    assert lines[1].endswith("two?.json")
    assert "3,001  " in lines[1]
    assert "2 h ago" in lines[1]
    assert lines[2].endswith(f"3 d ago  {one}")
    assert lines[3].startswith("2 traces, ")
    assert lines[1].index("2 h ago") == lines[2].index("3 d ago")
    assert run(["cache", "ls", str(one)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 trace, ")
    assert run(["cache", "ls", str(tmp_path / "none.json")]) == 0
    assert capsys.readouterr().out == f"Nothing is cached of {tmp_path / 'none.json'}.\n"
    (list_entries()[0].folder / tables.ABOUT).write_text("{}")
    assert run(["cache", "ls"]) == 0
    assert "(damaged)" in capsys.readouterr().out


def test_cache_clear(tmp_path: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs" / "rank0"
    runs.mkdir(parents=True)
    inside = small(runs / "trace.json.gz")
    one, two = small(tmp_path / "one.json", "a"), small(tmp_path / "two.json", "b")
    for path in (inside, one, two):
        load(path)
    assert run(["cache", "clear", str(one)]) == 0
    assert capsys.readouterr().out.startswith("Removed 1 trace, ")
    assert [entry.source for entry in list_entries()] == [two]
    assert [entry.source for entry in list_entries([str(tmp_path / "runs")])] == [inside]
    assert run(["cache", "clear"]) == 0
    assert not own_cache.exists()
    assert inside.parent.joinpath(".tracekit-cache").exists()
    assert run(["cache", "clear", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(" freed.\n")
    assert not inside.parent.joinpath(".tracekit-cache").exists()
    assert run(["cache", "clear", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"Nothing is cached of {tmp_path}.\n"
    assert {path.name for path in files_in(tmp_path)} == {"trace.json.gz", "one.json", "two.json"}


def test_clear_leaves_foreign_files_alone(tmp_path: Path, own_cache: Path) -> None:
    own_cache.mkdir()
    (own_cache / "thesis.tex").write_text("mine")
    load(small(tmp_path / "t.json"))
    (own_cache / "entries" / "notes").mkdir()
    assert not (own_cache / ".gitignore").exists()
    assert clear().entries == 1
    assert (own_cache / "thesis.tex").read_text() == "mine"
    assert (own_cache / "entries" / "notes").is_dir()


def test_a_second_path_of_the_same_content_can_be_cleared(tmp_path: Path) -> None:
    first = small(tmp_path / "a.json")
    second = tmp_path / "b.json"
    shutil.copy(first, second)
    load(first)
    time.sleep(sources.SETTLE_NS / 1e9 + 0.1)
    load(second, never)
    assert clear([str(second)]).entries == 1
