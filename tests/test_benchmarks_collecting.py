"""The measurements of recording run on a CPU with tiny models, and end up in the documentation."""

from __future__ import annotations

import gzip
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import tracekit  # noqa: E402
from benchmarks import collecting_passes  # noqa: E402
from benchmarks.collecting import main  # noqa: E402
from benchmarks.collecting_document import passes_text, sleeps_text  # noqa: E402
from benchmarks.collecting_hooks import paired_runs  # noqa: E402
from benchmarks.collecting_passes import RUNS  # noqa: E402
from benchmarks.collecting_setup import interval, ratio  # noqa: E402
from benchmarks.collecting_sleeps import (  # noqa: E402
    SCHEDULER,
    Sleeping,
    corrected_times,
    in_turn,
    with_growth,
)
from benchmarks.tools import CHECKOUT  # noqa: E402
from collect_helpers import options, toy, with_device  # noqa: E402
from tracekit.collectors.models._diffusion import Ddim  # noqa: E402
from tracekit.collectors.passes import record_workload  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("default")
TINY = ("--tiny", "--device", "cpu")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = tmp_path / "collecting.md"
    path.write_text((CHECKOUT / "docs" / "collecting.md").read_text())
    return path


def measured(tmp_path: Path, *args: str) -> dict[str, Any]:
    path = tmp_path / f"{args[0]}.json"
    assert main([*args, *TINY, "-o", str(path)]) == 0
    body: dict[str, Any] = json.loads(path.read_text())
    assert body["versions"]["torch"] == torch.__version__
    return body


def documented(tmp_path: Path, docs: Path, what: str) -> str:
    assert main(["document", str(tmp_path / f"{what}.json"), "--docs", str(docs)]) == 0
    text = docs.read_text()
    return text.partition(f"<!-- {what}:begin -->")[2].partition(f"<!-- {what}:end -->")[0]


def test_hooks(tmp_path: Path, docs: Path) -> None:
    body = measured(tmp_path, "hooks", "--models", "llama", "--pairs", "4")
    row = body["models"]["llama"]
    assert row["pairs"] == len(row["walls_ms"]) == 4
    assert (row["labelled_calls"], row["stage_marks"]) == (2 * 5, 5)
    assert row["low"] <= row["ratio"] <= row["high"]
    assert body["call_ns"] < 20_000
    assert row["host_share"] == pytest.approx(
        (10 * body["call_ns"] + 5 * body["mark_ns"]) / (row["median_ms"] * 1e6), rel=0.01
    )
    assert "| llama, 4 new tokens | 4 |" in documented(tmp_path, docs, "hooks")


def test_pairs_alternate_and_end_in_time() -> None:
    walls: list[bool] = []

    def run(stage: Any) -> None:
        with stage("denoise"):
            walls.append(type(stage).__name__ == "LabelMarker")

    args = SimpleNamespace(device="cpu", pairs=4, seconds=60.0)
    assert len(paired_runs(toy(run=run), args)) == 4  # type: ignore[arg-type]
    assert walls[3:] == [True, False, False, True] * 2
    args.seconds = 0.0
    assert paired_runs(toy(run=run), args) == []  # type: ignore[arg-type]


def test_sleeps(tmp_path: Path, docs: Path) -> None:
    folder = tmp_path / "kept"
    body = measured(tmp_path, "sleeps", "--rounds", "2", "--steps", "2", "--folder", str(folder))
    rows = body["workloads"]["eager"]
    assert [row["sleep_ms"] for row in rows] == [0, 1, 2, 5]
    assert rows[0]["slept_ms"] == 0
    for row in rows[1:]:
        assert row["slept_ms"] >= 2 * row["sleep_ms"]
    assert set(body["workloads"]) == {"eager"}
    found = tracekit.analyze(str(folder / "eager" / "5ms"))
    assert isinstance(found, tracekit.Analysis)
    assert ("denoise", 2) in [(row.stage, row.traced_steps) for row in found.stages]
    timing = json.loads((folder / "eager" / "5ms" / "timing.json").read_text())
    assert len(timing["repeats"]) == 2
    assert timing["stages"][1]["steps"] == 2
    text = documented(tmp_path, docs, "sleeps")
    assert "| eager | 5 ms |" in text
    assert "blamed" not in text
    assert not any("blamed_ms" in row for row in rows)


def test_sleeps_inside_a_step_with_stacks(tmp_path: Path, docs: Path) -> None:
    folder = tmp_path / "kept"
    body = measured(
        tmp_path, "sleeps", "--rounds", "1", "--steps", "2", "--folder", str(folder),
        "--where", "before", "scheduler", "--stacks",
    )  # fmt: skip
    assert list(body["workloads"]) == ["eager", "eager-scheduler"]
    for place, is_inside in (("eager", False), ("eager-scheduler", True)):
        with gzip.open(folder / place / "5ms" / "trace.json.gz") as source:
            events = json.load(source)["traceEvents"]
        steps = [e for e in events if e.get("name", "").startswith("tk1|stage|denoise")]
        slept = [e for e in events if e.get("name", "").endswith(": host_sleep")]
        assert len(steps) == len(slept) == 2
        for step, sleep in zip(steps, slept, strict=True):
            assert sleep["dur"] >= 5000
            assert (step["ts"] <= sleep["ts"] <= step["ts"] + step["dur"]) is is_inside
        # Without a device there is nothing to blame.
        assert {row["blamed_ms"] for row in body["workloads"][place]} == {None}
    assert "| eager, asleep in the scheduler | 5 ms |" in documented(tmp_path, docs, "sleeps")


def test_who_slept_is_blamed_for_it(tmp_path: Path) -> None:
    work = Sleeping(toy(), 20, waits=False, cuda=False)
    asleep = toy(run=work.run)
    record_workload(asleep, tmp_path, options(stacks=True, repeats=3))
    with_device(tmp_path)
    slept_ms = work.slept_ms[-1]
    row = corrected_times(tmp_path, slept_ms, stacks=True)
    # A busy machine lengthens the other runs that the time is mapped onto.
    assert 0.5 * slept_ms < row["blamed_ms"] < 2 * slept_ms
    assert row["blamed_over_slept"] == row["blamed_ms"] / slept_ms
    assert "blamed_ms" not in corrected_times(tmp_path, slept_ms, stacks=False)
    about = {"gpu": "G", "driver": "1", "versions": {"torch": "2"}, "date": "d", "dtype": "float16"}
    growth = {"idle_grew_ms": 1.0, "grew_over_slept": None, "low": None, "high": None}
    rows = [{"sleep_ms": 20, "slept_ms": slept_ms, **row, **growth}]
    text = sleeps_text({**about, "steps": 3, "rounds": 1, "workloads": {"graph": rows}})
    assert "blamed / slept |" in text
    assert f"| {row['blamed_ms']:.2f} | {row['blamed_over_slept']:.2f} |" in text


def test_the_scheduler_is_as_it_was_after_sleeping(tmp_path: Path) -> None:
    before = Ddim.advance

    def run(stage: Any) -> None:
        assert Ddim.advance is not before
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Sleeping(toy(run=run), 1, waits=False, cuda=False, where=SCHEDULER).run(None)  # type: ignore[arg-type]
    assert Ddim.advance is before


def test_sleeps_are_in_turn_and_in_the_wall_time() -> None:
    order: list[int] = []

    def variant(sleep_ms: int) -> Sleeping:
        def run(stage: Any) -> None:
            order.append(sleep_ms)
            with stage("denoise", 0):
                pass

        return Sleeping(toy(run=run), sleep_ms, waits=False, cuda=False)

    timings = in_turn([variant(0), variant(20)], 3)
    assert order == [0, 20, 20, 0, 0, 20]
    assert timings[1]["min_wall_ms"] >= 20 > timings[0]["median_wall_ms"]
    assert timings[1]["stages"][0]["median_wall_ms"] < 20


def test_growth_is_over_what_was_slept() -> None:
    walls_ms = [4.0, 5.0, 6.0]
    rows: list[dict[str, Any]] = [
        {"idle_ms": 3.0, "slept_ms": 0.0, "walls_ms": walls_ms},
        {"idle_ms": 14.0, "slept_ms": 10.0, "walls_ms": [wall + 10 for wall in walls_ms]},
        {"idle_ms": 14.0, "slept_ms": 10.0, "walls_ms": [12.0, 15.0, 18.0]},
    ]
    first, steady, noisy = with_growth(rows)
    assert (first["idle_grew_ms"], first["grew_over_slept"]) == (0.0, None)
    assert (steady["idle_grew_ms"], steady["grew_over_slept"]) == (11.0, 1.1)
    # Rounds that are slow alike leave nothing open.
    assert (steady["low"], steady["high"]) == pytest.approx((1.1, 1.1))
    assert (noisy["low"], noisy["high"]) == pytest.approx((0.9, 1.3))
    (unknown,) = with_growth([{"idle_ms": None, "slept_ms": 0.0, "walls_ms": walls_ms}])
    assert unknown["idle_grew_ms"] is None


def test_passes(tmp_path: Path, docs: Path) -> None:
    body = measured(tmp_path, "passes", "--only", "1", "--rounds", "2")
    (row,) = body["rows"]
    assert row["run"] == "llama, 512 + 32 tokens"
    assert row["min_ms"] <= row["unprofiled_ms"] <= row["max_ms"]
    assert row["repeats"] == 5
    assert row["kernels_rich_over_light"] > 0
    assert "| llama, 512 + 32 tokens |" in documented(tmp_path, docs, "passes")


def test_what_was_measured_before_an_interrupt_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_row = collecting_passes._measure

    def measure_one(run: Any, folder: Path, args: Any) -> dict[str, Any]:
        if run is not RUNS[1]:
            raise KeyboardInterrupt
        return measure_row(run, folder, args)

    monkeypatch.setattr(collecting_passes, "_measure", measure_one)
    path = tmp_path / "passes.json"
    chosen = ("--only", "1", "0", "--rounds", "1")
    assert main(["passes", *TINY, *chosen, "-o", str(path)]) == 130
    assert [row["run"] for row in json.loads(path.read_text())["rows"]] == [RUNS[1].title]


def test_a_run_that_failed_is_told() -> None:
    row = {"run": "a", "error": "out of memory"}
    about = {"gpu": "G", "driver": "1", "versions": {"torch": "2"}, "date": "d", "rounds": 3}
    text = passes_text({**about, "dtype": "float16", "rows": [row]})
    assert text.startswith("G (driver 1), torch 2, random weights in float16, d; ")
    assert "| a | out of memory |" in text


def test_spreads() -> None:
    assert interval([1.0] * 5) == (1.0, 1.0, 1.0)
    found = ratio([(1.0, 1.1), (2.0, 2.2), (1.0, 1.1), (1.0, 5.0)])
    assert found["ratio"] == pytest.approx(1.1)
    assert found["low"] <= found["ratio"] < found["high"]


def test_what_cannot_be_documented(
    tmp_path: Path, docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = docs.read_text()
    wrong = tmp_path / "wrong.json"
    for text in ("{}", "[]", "{", '{"what": "nothing"}'):
        wrong.write_text(text)
        assert main(["document", str(wrong), "--docs", str(docs)]) == 3
        assert str(wrong) in capsys.readouterr().err
    assert main(["document", str(tmp_path / "gone"), "--docs", str(docs)]) == 3
    assert docs.read_text() == before
