from __future__ import annotations

import gzip
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.compare import MB, Case, json_bytes
from benchmarks.limit_job import chunks
from benchmarks.limits import main as limits_main
from benchmarks.limits import measure_limits
from benchmarks.measure import Spread, measure
from benchmarks.plan import Options, source_for, tools_for
from benchmarks.scale import main as scale_main
from benchmarks.scale import read_template, scaled, write_scaled
from benchmarks.tools import Tool, child_env, command, has_tracelens

# Kineto's own layout, with what could mislead a cut by text: percent signs, quoted keys inside a
# string, values that mean "none", metadata without a time, and the last microsecond of the run.
KINETO = """
  {
    "schemaVersion": 1,
    "deviceProperties": [
    {
      "id": 0, "name": "GPU"
    }
    ],
  "displayTimeUnit": "ms",
  "baseTimeNanoseconds": 1790857026000000000,
  "traceEvents": [
  {
    "ph": "X", "cat": "cpu_op", "name": "aten::add", "pid": 9, "tid": 9,
    "ts": 4593705061352.605, "dur": 9.973,
    "args": {
      "External id": 5,"Record function id": 0, "Concrete Inputs": ["\\"ts\\": 7 %d"], "Ev Idx": 0
    }
  },
  {
    "ph": "X", "cat": "python_function", "name": "nn.Module: Linear_0", "pid": 9, "tid": 9,
    "ts": 4593705061353.001, "dur": 5.000,
    "args": {
      "Python parent id": null, "Python id": 1, "Python module id": 0, "Ev Idx": 1
    }
  },
  {
    "ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 9, "tid": 9,
    "ts": 4593705061354.999, "dur": 2.001,
    "args": {
      "External id": 5, "cbid": 211, "correlation": 41
    }
  },
  {
    "ph": "s", "id": 41, "pid": 9, "tid": 9, "ts": 4593705061354.999,
    "cat": "ac2g", "name": "ac2g"
  },
  {
    "ph": "X", "cat": "kernel", "name": "addé<float>", "pid": 0, "tid": 7,
    "ts": 4593705061400.120, "dur": 20.999,
    "args": {
      "External id": 5,      "device": 0,      "stream": 7, "correlation": 41,      "est. achieved occupancy %": 0
    }
  },
  {
    "ph": "f", "id": 41, "pid": 0, "tid": 7, "ts": 4593705061400.120,
    "cat": "ac2g", "name": "ac2g", "bp": "e"
  },
  {
    "ph": "X", "cat": "gpu_memset", "name": "Memset", "pid": 0, "tid": 7,
    "ts": 4593705061410.000, "dur": 0.512,
    "args": {
      "External id": 0, "device": 0, "stream": 7, "correlation": 44
    }
  },
  {
    "name": "process_name", "ph": "M", "ts": 0, "pid": 9, "tid": 0,
    "args": {
      "name": "python3", "id": 3
    }
  }
  ],
  "traceName": "t.json"
}"""  # noqa: E501

# Of the first event's start and the kernel's end, and the microsecond between two copies.
PERIOD_NS = 4593705061421119 - 4593705061352605 + 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.json"
    path.write_text(KINETO.replace('"ts": 0,', '"ts": 0.000,'), encoding="utf-8")
    return path


def exact(text: str | bytes) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(text, parse_float=Decimal)["traceEvents"]
    return events


def ids(events: list[dict[str, Any]], key: str) -> list[int]:
    return [event["args"][key] for event in events if key in event.get("args", {})]


def test_one_copy_is_the_source(source: Path) -> None:
    assert b"".join(scaled(read_template(source), 1)) == source.read_bytes()


def test_copies_are_shifted_exactly(source: Path) -> None:
    template = read_template(source)
    before = exact(source.read_text(encoding="utf-8"))
    after = exact(b"".join(scaled(template, 3)))

    assert template.period_ns == PERIOD_NS
    assert len(after) == 3 * len(before) == 3 * template.events
    for number in range(3):
        copy = after[number * len(before) : (number + 1) * len(before)]
        for old, new in zip(before, copy, strict=True):
            shift = 0 if old["ph"] == "M" else number * PERIOD_NS
            assert Decimal(new["ts"]) * 1000 == Decimal(old["ts"]) * 1000 + shift
            assert new.get("dur") == old.get("dur")
            assert new["name"] == old["name"]


def test_ids_are_unique_to_a_copy_and_still_link(source: Path) -> None:
    events = exact(b"".join(scaled(read_template(source), 3)))

    assert ids(events, "correlation") == [41, 41, 44, 45, 45, 48, 49, 49, 52]
    assert [event["id"] for event in events if "id" in event] == [41, 41, 45, 45, 49, 49]
    assert ids(events, "External id") == [5, 5, 5, 0, 6, 6, 6, 0, 7, 7, 7, 0]
    assert ids(events, "Ev Idx") == [0, 1, 2, 3, 4, 5]
    assert ids(events, "Python id") == [1, 2, 3]
    assert ids(events, "Python parent id") == [None, None, None]
    assert set(ids(events, "Record function id")) == {0}
    assert set(ids(events, "id")) == {3}
    assert events[0]["args"]["Concrete Inputs"] == ['"ts": 7 %d']


def test_layout_is_kept(source: Path) -> None:
    text = b"".join(scaled(read_template(source), 2)).decode()

    assert text.count('\n  {\n    "ph": "X"') == 2 * KINETO.count('\n  {\n    "ph": "X"')
    assert text.endswith('\n  }\n  ],\n  "traceName": "t.json"\n}')
    assert "},{" not in text


def test_gzip_and_plain_hold_the_same_bytes(source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "source.json.gz"
    packed.write_bytes(gzip.compress(source.read_bytes()))
    template = read_template(packed)
    plain, first, second = tmp_path / "a.json", tmp_path / "a.json.gz", tmp_path / "b.json.gz"

    size = write_scaled(template, plain, 4)
    assert {write_scaled(template, path, 4) for path in (first, second)} == {size}

    assert plain.read_bytes() == gzip.decompress(first.read_bytes())
    assert first.read_bytes() == second.read_bytes()
    assert json_bytes(plain) == json_bytes(first) == size
    assert not list(tmp_path.glob("*.part"))


def test_size_is_met_to_half_a_copy(source: Path) -> None:
    template = read_template(source)
    copies = template.copies_for(0.05)
    size = sum(map(len, scaled(template, copies)))

    assert abs(size - 50_000) <= template.list_bytes / 2 + copies * template.events
    assert template.copies_for(1e-9) == 1


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ('"traceEvents"', '"events"', "no traceEvents"),
        ('"ts": 4593705061352.605', '"ts": 4593705061352.6051', "nanoseconds"),
        ('"ts": 4593705061352.605', '"ts": -1.000', "nanoseconds"),
        ('"ts": 4593705061352.605', '"ts": 4.5e12', "timed events"),
        ('"ph": "s", "id": 41', '"id": 41, "ph": "s"', "flow"),
    ],
)
def test_what_cannot_be_scaled_is_refused(source: Path, old: str, new: str, what: str) -> None:
    source.write_text(KINETO.replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=what):
        read_template(source)


def test_scale_command(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = source.with_name("out.json")
    assert scale_main([str(source), str(out), "--copies", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "copies": 2,
        "events": 16,
        "bytes": out.stat().st_size,
    }
    with pytest.raises(SystemExit) as stop:
        scale_main([str(source), str(out), "--copies", "2"])
    assert stop.value.code == 2
    assert scale_main([str(source), str(out), "--copies", "0", "--force"]) == 3
    assert len(exact(out.read_text(encoding="utf-8"))) == 16


def test_measure_sees_the_whole_process_tree() -> None:
    hold = "block = b'x' * 60_000_000; import time; time.sleep(0.4)"
    tree = (
        "import subprocess, sys; children = [subprocess.Popen([sys.executable, '-c', sys.argv[1]])"
        " for _ in range(2)]; [child.wait() for child in children]; print('done')"
    )
    run = measure([sys.executable, "-c", tree, hold])

    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")
    assert run.wall_s > 0.4
    assert run.samples > 1
    assert 120_000_000 < run.peak_bytes < 250_000_000
    assert run.maxrss_bytes > 60_000_000


def test_measure_reports_failure_and_output() -> None:
    run = measure([sys.executable, "-c", "import sys; print('é'); sys.exit('no')"])
    assert (run.returncode, run.stdout, run.stderr) == (1, "é\n", "no\n")


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="no-such-command"):
        measure(["no-such-command"])


def test_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 9.0]) == Spread(2.5, 1.0, 9.0)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--traces", "nowhere.json", "--sizes", ""], 3, "nowhere.json: no such trace"),
        (["--traces", "--sizes", "many"], 2, "--sizes"),
        (["--traces", "--sizes", "", "--repeats", "0"], 2, "--repeats"),
    ],
)
def test_wrong_use(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == code
    assert said in capsys.readouterr().err


def test_whole_run_without_peers(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for peer in ("hta", "tracelens"):
        monkeypatch.setattr(f"benchmarks.tools.has_{peer}", lambda: False)
    out, keep = tmp_path / "out.md", tmp_path / "kept"
    arguments = ["--traces", "--source", str(source), "--sizes", "0.01", "--repeats", "1"]
    assert main([*arguments, "--format", "markdown", "-o", str(out), "--keep", str(keep)]) == 0

    lines = out.read_text(encoding="utf-8").splitlines()
    (scaled_trace,) = keep.iterdir()
    ours, peers, *_ = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines
        if line.startswith("| tiny x")
    )
    assert ours[2] == str(len(exact(scaled_trace.read_bytes())))
    assert all(float(cell) >= 0 for cell in ours[3:7])
    assert peers.count("not installed") == 2
    assert any("pip install 'gpu-tracekit[hta]'" in line for line in lines)
    assert any("github.com/AMD-AGI/TraceLens" in line for line in lines)


def test_a_namesake_is_not_tracelens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "TraceLens"
    (package / "Reporting").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    assert not has_tracelens()
    (package / "Reporting" / "generate_perf_report_pytorch.py").touch()
    assert has_tracelens()


def test_which_tools_run_on_which_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozenset({"--no-cache", "--workers"})
    monkeypatch.setattr("benchmarks.plan.analyze_options", lambda: known)
    monkeypatch.setattr("benchmarks.plan.installed", lambda peer: True)
    options = Options((), (), (71, 500, 2000), 1, {"hta": 200, "tracelens": 50}, False, None)

    def tools(target_mb: float | None, mb: float) -> list[str]:
        return [str(t) for t in tools_for(Case("", Path(), int(mb * MB), target_mb), options)]

    ours = ["stages", "tracekit", "warm"]
    assert tools(None, 10) == [*ours, "hta", "tracelens"]
    assert tools(71, 70.9) == [*ours, "hta"]
    assert tools(500, 495) == [*ours, "one worker", "two workers"]
    assert tools(2000, 2000) == ours
    monkeypatch.setattr("benchmarks.plan.analyze_options", frozenset)
    assert tools(500, 495) == ["stages", "tracekit"]


def test_only_warm_runs_have_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    known = frozenset({"--no-cache", "--workers"})
    monkeypatch.setattr("benchmarks.tools.analyze_options", lambda: known)
    trace, out = Path("t.json"), Path("out.json")
    tools: tuple[Tool, ...] = ("tracekit", "warm", "two workers")
    cold, warm, two = (command(tool, trace, out) for tool in tools)
    assert cold == [*warm, "--no-cache"]
    assert two == [*cold, "--workers", "2"]
    assert child_env()["TRACEKIT_CACHE_SIZE"] == "0"
    assert child_env(Path("there"))["TRACEKIT_CACHE"] == "there"
    assert child_env(Path("there"))["TRACEKIT_CACHE_SIZE"] != "0"


def test_small_sizes_get_a_small_source() -> None:
    sources = {Path("large"): 17.7, Path("small"): 8.6}
    chosen = {size: source_for(size, sources).name for size in (1, 10, 18, 50, 71)}
    assert chosen == {1: "small", 10: "small", 18: "large", 50: "large", 71: "large"}


def test_chunks_are_whole_events(source: Path) -> None:
    events = exact(source.read_bytes())
    for size in (100, 500, 1 << 20):
        pieces = [json.loads(chunk, parse_float=Decimal) for chunk in chunks(str(source), size)]
        assert [event for piece in pieces for event in piece] == events[:-1]


def test_limits(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = {limit.job: limit for limit in measure_limits(source, 1)}
    assert list(limits) == ["gunzip", "simdjson", "msgspec", "load1", "load2"]
    for job in ("gunzip", "msgspec", "load1"):
        assert limits[job].mb_per_s is not None
    source.write_text("{}")
    assert limits_main([str(source), "--repeats", "1"]) == 3
    assert "no event list" in capsys.readouterr().err
